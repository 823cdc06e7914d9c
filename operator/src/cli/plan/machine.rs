//! The plan for machines: always a list, numbers as numbers.

use harmonybatch_api::yaml;
use harmonybatch_controller::plan;
use harmonybatch_planner::{Billing, Device, Dispatch, GroupPlan};
use serde::Serialize;

use super::pools::{self, Limited, PoolForm};
use super::{Named, baselines};

#[derive(Serialize)]
struct Output<'a> {
    plans: Vec<ModelPlan<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<PoolForm<'a>>,
}

#[derive(Serialize)]
struct ModelPlan<'a> {
    namespace: &'a str,
    model: &'a str,
    billing: &'static str,
    /// As a fraction.
    headroom: f64,
    currency: &'a str,
    groups: Vec<Group<'a>>,
    infeasible: Vec<Infeasible<'a>>,
    total: Total,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    baselines: Vec<Compared>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    baseline: &'static str,
    groups: usize,
    cost_per_second: f64,
    ratio: Option<f64>,
    late_groups: usize,
    unserved_apps: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    name: &'a str,
    device: DeviceForm<'a>,
    batch_size: u32,
    dispatch: &'static str,
    replicas: u32,
    members: Vec<Member<'a>>,
    predicted: Predicted,
}

/// A device and its size.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DeviceForm<'a> {
    /// A CPU limit.
    Cpu { vcpu: f64 },
    /// A share of a pool.
    Gpu { pool: &'a str, units: u32 },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member<'a> {
    app: &'a str,
    slo_ms: f64,
    percentile: f64,
    rate_per_second: f64,
    max_wait_ms: f64,
    latency_bound_ms: f64,
    cost_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicted {
    cost_per_second: f64,
    mean_batch: f64,
    utilization: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Infeasible<'a> {
    app: &'a str,
    reason: String,
    nearest_slo_ms: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    cost_per_second: f64,
    least_cost_per_second: f64,
}

/// As JSON.
pub(crate) fn json(plans: &[Named], limited: &[Limited]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&output(plans, limited))? + "\n")
}

/// As YAML.
pub(crate) fn yaml(plans: &[Named], limited: &[Limited]) -> anyhow::Result<String> {
    Ok(yaml::write(&output(plans, limited))?)
}

fn output<'a>(plans: &'a [Named], limited: &'a [Limited]) -> Output<'a> {
    Output {
        plans: plans.iter().map(model).collect(),
        pools: pools::forms(limited),
    }
}

fn model(named: &Named) -> ModelPlan<'_> {
    let plan = &named.plan;
    ModelPlan {
        namespace: &plan.namespace,
        model: &plan.model,
        billing: billing(plan.billing),
        headroom: plan.headroom.get(),
        currency: &named.currency,
        groups: named
            .names
            .iter()
            .zip(&plan.groups)
            .map(|(name, planned)| group(name, planned))
            .collect(),
        infeasible: plan
            .infeasible
            .iter()
            .map(|infeasible| Infeasible {
                app: &infeasible.app,
                reason: plan::refusal(plan, infeasible),
                nearest_slo_ms: infeasible.nearest_slo.map(|slo| milliseconds(slo.as_millis())),
            })
            .collect(),
        total: Total {
            cost_per_second: plan.cost_per_second,
            least_cost_per_second: plan.least_cost_per_second,
        },
        baselines: named
            .baselines
            .iter()
            .map(|baseline| Compared {
                baseline: baselines::name(baseline.baseline),
                groups: baseline.groups,
                cost_per_second: baseline.cost_per_second,
                ratio: baselines::ratio(plan, baseline),
                late_groups: baseline.late,
                unserved_apps: baseline.unserved,
            })
            .collect(),
    }
}

fn group<'a>(name: &'a str, group: &'a GroupPlan) -> Group<'a> {
    Group {
        name,
        device: device(&group.device),
        batch_size: group.batch_size.get(),
        dispatch: dispatch(group.dispatch),
        replicas: group.replicas,
        members: group
            .members
            .iter()
            .map(|member| Member {
                app: &member.app,
                slo_ms: milliseconds(member.slo.as_millis()),
                percentile: member.percentile.get(),
                rate_per_second: member.rate.get(),
                max_wait_ms: milliseconds(member.max_wait.as_millis()),
                latency_bound_ms: milliseconds(member.latency_bound.as_millis()),
                cost_per_second: member.cost_per_second,
            })
            .collect(),
        predicted: Predicted {
            cost_per_second: group.predicted.cost_per_second,
            mean_batch: group.predicted.mean_batch,
            utilization: group.predicted.utilization,
        },
    }
}

/// A device as it is written everywhere.
pub(crate) fn device(device: &Device) -> DeviceForm<'_> {
    match device {
        Device::Cpu { vcpu } => DeviceForm::Cpu { vcpu: vcpu.get() },
        Device::Gpu { pool, units } => DeviceForm::Gpu {
            pool,
            units: units.get(),
        },
    }
}

/// Seconds times 1000 leave noise in the last digits: a nanosecond is fine enough.
pub(crate) fn milliseconds(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// As the API writes it.
pub(crate) fn billing(billing: Billing) -> &'static str {
    match billing {
        Billing::PerReplica => "PerReplica",
        Billing::PerInvocation => "PerInvocation",
    }
}

/// As the API writes it.
pub(crate) fn dispatch(dispatch: Dispatch) -> &'static str {
    match dispatch {
        Dispatch::Eager => "Eager",
        Dispatch::Timed => "Timed",
    }
}
