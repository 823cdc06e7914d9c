//! The plan for machines: always a list, numbers as numbers.

use harmonybatch_api::yaml;
use harmonybatch_controller::plan;
use harmonybatch_planner::{Billing, Device, Dispatch, GroupPlan};
use serde::Serialize;

use super::Named;

#[derive(Serialize)]
struct Output<'a> {
    plans: Vec<ModelPlan<'a>>,
}

#[derive(Serialize)]
struct ModelPlan<'a> {
    namespace: &'a str,
    model: &'a str,
    billing: &'static str,
    groups: Vec<Group<'a>>,
    infeasible: Vec<Infeasible<'a>>,
    total: Total,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum DeviceForm<'a> {
    Cpu { vcpu: f64 },
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
}

/// As JSON.
pub(crate) fn json(plans: &[Named]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&output(plans))? + "\n")
}

/// As YAML.
pub(crate) fn yaml(plans: &[Named]) -> anyhow::Result<String> {
    Ok(yaml::write(&output(plans))?)
}

fn output(plans: &[Named]) -> Output<'_> {
    Output {
        plans: plans.iter().map(model).collect(),
    }
}

fn model(named: &Named) -> ModelPlan<'_> {
    let plan = &named.plan;
    ModelPlan {
        namespace: &plan.namespace,
        model: &plan.model,
        billing: billing(plan.billing),
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
                reason: plan::refusal(&plan.model, infeasible),
                nearest_slo_ms: infeasible.nearest_slo.map(|slo| milliseconds(slo.as_millis())),
            })
            .collect(),
        total: Total {
            cost_per_second: plan.cost_per_second,
        },
    }
}

fn group<'a>(name: &'a str, group: &'a GroupPlan) -> Group<'a> {
    Group {
        name,
        device: match &group.device {
            Device::Cpu { vcpu } => DeviceForm::Cpu { vcpu: vcpu.get() },
            Device::Gpu { pool, units } => DeviceForm::Gpu {
                pool,
                units: units.get(),
            },
        },
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
            })
            .collect(),
        predicted: Predicted {
            cost_per_second: group.predicted.cost_per_second,
            mean_batch: group.predicted.mean_batch,
            utilization: group.predicted.utilization,
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
pub(super) fn dispatch(dispatch: Dispatch) -> &'static str {
    match dispatch {
        Dispatch::Eager => "Eager",
        Dispatch::Timed => "Timed",
    }
}
