//! The plan that runs, as the groups of the cluster tell it: what a new controller starts from.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::quantity::{Cpu, Decimal, Duration, Rate};
use harmonybatch_api::{Device, Dispatch, InferenceGroup};
use harmonybatch_planner as planner;
use harmonybatch_planner::units::{self, BatchSize, GpuUnits, Percentile, Seconds, Vcpu};
use harmonybatch_planner::{Billing, GroupOutline, MemberOutline, PlanOutline};
use kube::ResourceExt;

/// One outline a model. Of two groups that list an application the one of the later plan has it; a group that cannot be read is
/// left out, so that its applications are planned anew.
pub(super) fn running(groups: &[Arc<InferenceGroup>]) -> Vec<PlanOutline> {
    let mut homes: BTreeMap<(String, &str), (i64, String)> = BTreeMap::new();
    for group in groups {
        let namespace = group.namespace().unwrap_or_default();
        for member in &group.spec.members {
            let home = homes.entry((namespace.clone(), &member.app)).or_default();
            *home = home.clone().max((group.spec.plan_generation, group.name_any()));
        }
    }
    let mut plans: BTreeMap<(String, String), PlanOutline> = BTreeMap::new();
    for group in groups {
        let namespace = group.namespace().unwrap_or_default();
        let model = group.spec.model_ref.name.clone();
        let is_home = |app: &str| {
            let home = homes.get(&(namespace.clone(), app));
            home.is_some_and(|(_, name)| *name == group.name_any())
        };
        let Some(outline) = outline(group, is_home).filter(|outline| !outline.members.is_empty()) else {
            continue;
        };
        plans
            .entry((namespace.clone(), model.clone()))
            .or_insert_with(|| PlanOutline {
                namespace: namespace.clone(),
                model: model.clone(),
                billing: Billing::default(),
                groups: Vec::new(),
                infeasible: Vec::new(),
                cost_per_second: 0.0,
            })
            .groups
            .push(outline);
    }
    plans.into_values().collect()
}

/// A group with those of its members that are at home in it.
pub(crate) fn outline(group: &InferenceGroup, is_home: impl Fn(&str) -> bool) -> Option<GroupOutline> {
    let spec = &group.spec;
    let members = spec.members.iter().filter(|member| is_home(&member.app));
    let members = members.map(|member| {
        let rate: Rate = member.rate.parse().ok()?;
        let percentile: Decimal = member.percentile.parse().ok()?;
        Some(MemberOutline {
            app: member.app.clone(),
            slo: seconds(&member.slo)?,
            percentile: Percentile::new(percentile.to_f64()).ok()?,
            rate: units::Rate::new(rate.per_second()).ok()?,
            max_wait: seconds(&member.max_wait)?,
            latency_bound: None,
            cost_per_second: None,
        })
    });
    Some(GroupOutline {
        name: group.name_any(),
        device: device(&spec.device)?,
        batch_size: BatchSize::new(u32::try_from(spec.batch_size).ok()?).ok()?,
        dispatch: match spec.dispatch {
            Dispatch::Eager => planner::Dispatch::Eager,
            Dispatch::Timed => planner::Dispatch::Timed,
        },
        replicas: u32::try_from(spec.replicas).ok()?,
        members: members.collect::<Option<_>>()?,
        cost_per_second: 0.0,
    })
}

/// What a group's device is called by the planner.
pub(crate) fn device(device: &Device) -> Option<planner::Device> {
    match device {
        Device::Cpu(size) => {
            let limit: Cpu = size.limit.parse().ok()?;
            Some(planner::Device::Cpu {
                vcpu: Vcpu::from_millis(u32::try_from(limit.millis()).ok()?).ok()?,
            })
        }
        Device::Gpu(share) => Some(planner::Device::Gpu {
            pool: share.pool.clone(),
            units: GpuUnits::new(u32::try_from(share.units).ok()?).ok()?,
        }),
    }
}

fn seconds(text: &str) -> Option<Seconds> {
    let duration: Duration = text.parse().ok()?;
    Seconds::new(duration.as_secs_f64()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn an_application_runs_in_the_group_of_the_later_plan_only() {
        let old = fixtures::group("mlp-aaaaa", 3, &["search", "cart"]);
        let new = fixtures::group("mlp-bbbbb", 4, &["search"]);
        let plans = running(&[Arc::new(old), Arc::new(new)]);
        assert_eq!(plans.len(), 1);
        assert_eq!(
            (plans[0].namespace.as_str(), plans[0].model.as_str()),
            ("shop", "mlp")
        );
        let members: Vec<Vec<&str>> = plans[0]
            .groups
            .iter()
            .map(|group| group.members.iter().map(|member| member.app.as_str()).collect())
            .collect();
        assert_eq!(members, [["cart"], ["search"]]);
        let group = &plans[0].groups[0];
        assert_eq!(group.device.to_string(), "cpu 150m");
        assert_eq!((group.batch_size.get(), group.replicas), (8, 2));
        let member = &group.members[0];
        assert!((member.slo.get() - 0.5).abs() < 1e-12 && (member.rate.get() - 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_group_that_cannot_be_read_is_left_out() {
        let mut broken = fixtures::group("mlp-aaaaa", 3, &["search"]);
        broken.spec.members[0].slo = "soon".to_owned();
        assert_eq!(running(&[Arc::new(broken)]), []);
        let empty = fixtures::group("mlp-bbbbb", 3, &[]);
        assert!(running(&[Arc::new(empty)]).is_empty());
    }
}
