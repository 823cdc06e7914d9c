//! The explanation for machines: numbers as numbers, amounts per second.

use harmonybatch_api::yaml;
use harmonybatch_controller::plan;
use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{
    Constraint, InfeasibleExplanation, Plan, Relaxation, ServedExplanation, Verdict, WhatIf,
};
use serde::Serialize;

use super::Named;
use crate::cli::plan::machine::{DeviceForm, device, dispatch, milliseconds};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    namespace: &'a str,
    model: &'a str,
    app: &'a str,
    slo_ms: f64,
    percentile: f64,
    rate_per_second: f64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    served: Option<Served<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    infeasible: Option<Infeasible>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Served<'a> {
    group: Group<'a>,
    cost: Cost,
    alone: Configuration<'a>,
    runner_up: Option<RunnerUp<'a>>,
    binds: Option<&'static str>,
    relaxations: Vec<RelaxationForm<'a>>,
    slo_prices: Vec<Price>,
    rate_prices: Vec<Price>,
    because: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    name: &'a str,
    device: DeviceForm<'a>,
    replicas: u32,
    batch_size: u32,
    dispatch: &'static str,
    shares_with: Vec<&'a str>,
    verified: bool,
    max_wait_ms: f64,
    latency_bound_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attainment: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    per_second: f64,
    per_request: f64,
    share_of_group: f64,
    group_per_second: f64,
    plan_per_second: f64,
    saving_alone: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration<'a> {
    device: DeviceForm<'a>,
    replicas: u32,
    batch_size: u32,
    cost_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunnerUp<'a> {
    device: DeviceForm<'a>,
    replicas: u32,
    factor: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RelaxationForm<'a> {
    constraint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    of_app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    saving_per_second: f64,
}

/// Cost fields are absent where the application could not be served.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Price {
    factor: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<f64>,
    feasible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_per_second: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Infeasible {
    reason: String,
    nearest_slo_ms: Option<f64>,
    nearest_rate_per_second: Option<f64>,
}

/// As JSON.
pub(super) fn json(named: &Named) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&output(named))? + "\n")
}

/// As YAML.
pub(super) fn yaml(named: &Named) -> anyhow::Result<String> {
    Ok(yaml::write(&output(named))?)
}

fn output(named: &Named) -> Output<'_> {
    let explanation = &named.explanation;
    let app = &explanation.app;
    let (served, infeasible) = match &explanation.verdict {
        Verdict::Served(found) => (Some(served(named, found)), None),
        Verdict::Infeasible(found) => (None, Some(infeasible(&explanation.plan, found))),
    };
    Output {
        namespace: &explanation.plan.namespace,
        model: &explanation.plan.model,
        app: &app.name,
        slo_ms: milliseconds(app.slo.as_millis()),
        percentile: app.percentile.get(),
        rate_per_second: app.rate.get(),
        currency: &named.currency,
        served,
        infeasible,
    }
}

fn served<'a>(named: &'a Named, found: &'a ServedExplanation) -> Served<'a> {
    let plan = &named.explanation.plan;
    let group = &plan.groups[found.group];
    let member = &group.members[found.member];
    let why = &member.explanation;
    let others = group.members.iter().filter(|other| other.app != member.app);
    let whole = group.predicted.cost_per_second;
    Served {
        group: Group {
            name: &named.names[found.group],
            device: device(&group.device),
            replicas: group.replicas,
            batch_size: group.batch_size.get(),
            dispatch: dispatch(group.dispatch),
            shares_with: others.map(|other| other.app.as_str()).collect(),
            verified: group.verified,
            max_wait_ms: milliseconds(member.max_wait.as_millis()),
            latency_bound_ms: milliseconds(member.latency_bound.as_millis()),
            mean_latency_ms: member.simulated.map(|seen| milliseconds(seen.mean.as_millis())),
            attainment: member.simulated.map(|seen| seen.attainment),
        },
        cost: Cost {
            per_second: member.cost_per_second,
            per_request: member.cost_per_request,
            share_of_group: if whole > 0.0 {
                member.cost_per_second / whole
            } else {
                0.0
            },
            group_per_second: whole,
            plan_per_second: plan.cost_per_second,
            saving_alone: why.saving,
        },
        alone: Configuration {
            device: device(&why.alone.device),
            replicas: why.alone.replicas,
            batch_size: why.alone.batch_size.get(),
            cost_per_second: why.alone.cost_per_second,
        },
        runner_up: why.runner_up.as_ref().map(|other| RunnerUp {
            device: device(&other.device),
            replicas: other.replicas,
            factor: other.factor,
        }),
        binds: found.binds().map(|it| constraint(&it.constraint).0),
        relaxations: found.relaxations.iter().map(relaxation).collect(),
        slo_prices: found.slo_prices.iter().map(slo_price).collect(),
        rate_prices: found.rate_prices.iter().map(rate_price).collect(),
        because: why.to_string(),
    }
}

fn relaxation(found: &Relaxation) -> RelaxationForm<'_> {
    let (name, of_app, pool) = constraint(&found.constraint);
    RelaxationForm {
        constraint: name,
        of_app,
        pool,
        saving_per_second: found.saving_per_second,
    }
}

/// The name of a constraint, whose it is if it is another's, and the pool that it is about.
fn constraint(constraint: &Constraint) -> (&'static str, Option<&str>, Option<&str>) {
    match constraint {
        Constraint::Slo => ("Slo", None, None),
        Constraint::SloOf { app, .. } => ("SloOf", Some(app), None),
        Constraint::Percentile => ("Percentile", None, None),
        Constraint::DeviceMemory => ("DeviceMemory", None, None),
        Constraint::Devices { pool } => ("Devices", None, Some(pool)),
        Constraint::Headroom => ("Headroom", None, None),
        Constraint::Capacity => ("Capacity", None, None),
        _ => ("Other", None, None),
    }
}

fn slo_price(price: &WhatIf<Seconds>) -> Price {
    let slo_ms = Some(milliseconds(price.value.as_millis()));
    Price {
        slo_ms,
        ..changed(price)
    }
}

fn rate_price(price: &WhatIf<Rate>) -> Price {
    Price {
        rate_per_second: Some(price.value.get()),
        ..changed(price)
    }
}

fn changed<T>(price: &WhatIf<T>) -> Price {
    Price {
        factor: price.factor,
        slo_ms: None,
        rate_per_second: None,
        feasible: price.change.is_some(),
        plan_per_second: price.change.map(|change| change.plan_per_second),
        difference_per_second: price.change.map(|change| change.difference_per_second),
        app_per_second: price.change.map(|change| change.app_per_second),
    }
}

fn infeasible(plan: &Plan, found: &InfeasibleExplanation) -> Infeasible {
    Infeasible {
        reason: plan::refusal(plan, &found.app),
        nearest_slo_ms: found.app.nearest_slo.map(|slo| milliseconds(slo.as_millis())),
        nearest_rate_per_second: found.nearest_rate.map(Rate::get),
    }
}
