//! The difference for machines: numbers as numbers, amounts per second.

use std::collections::BTreeMap;

use harmonybatch_api::yaml;
use harmonybatch_planner::{AppChange, AppState, GroupChange, GroupChangeKind, GroupOutline, Switch};
use serde::Serialize;

use super::Named;
use crate::cli::plan::machine::{DeviceForm, device, dispatch, milliseconds};

#[derive(Serialize)]
struct Output<'a> {
    differ: bool,
    models: Vec<ModelDiff<'a>>,
}

#[derive(Serialize)]
struct ModelDiff<'a> {
    namespace: &'a str,
    model: &'a str,
    currency: &'a str,
    groups: Vec<Regrouped<'a>>,
    apps: Vec<AppForm<'a>>,
    cost: Cost,
    switch: SwitchForm<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Regrouped<'a> {
    change: &'static str,
    old: Vec<Group<'a>>,
    new: Vec<Group<'a>>,
    moved: Vec<Moved<'a>>,
    joined: &'a [String],
    left: &'a [String],
    difference_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    name: &'a str,
    device: DeviceForm<'a>,
    batch_size: u32,
    dispatch: &'static str,
    replicas: u32,
    apps: Vec<&'a str>,
    cost_per_second: f64,
}

#[derive(Serialize)]
struct Moved<'a> {
    app: &'a str,
    from: &'a str,
    to: &'a str,
}

#[derive(Serialize)]
struct AppForm<'a> {
    app: &'a str,
    old: Option<State<'a>>,
    new: Option<State<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    feasible: bool,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    served: Option<Served<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Served<'a> {
    group: &'a str,
    slo_ms: f64,
    percentile: f64,
    rate_per_second: f64,
    max_wait_ms: f64,
    latency_bound_ms: Option<f64>,
    cost_per_second: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the unit is part of the name")]
struct Cost {
    old_per_second: f64,
    new_per_second: f64,
    difference_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SwitchForm<'a> {
    extra_replicas: Vec<Extra<'a>>,
    vcpu: f64,
    gpu_units: &'a BTreeMap<String, u64>,
    cost_per_second: Option<f64>,
}

#[derive(Serialize)]
struct Extra<'a> {
    device: DeviceForm<'a>,
    replicas: u32,
}

/// As JSON.
pub(super) fn json(diffs: &[Named]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&output(diffs))? + "\n")
}

/// As YAML.
pub(super) fn yaml(diffs: &[Named]) -> anyhow::Result<String> {
    Ok(yaml::write(&output(diffs))?)
}

fn output(diffs: &[Named]) -> Output<'_> {
    Output {
        differ: diffs.iter().any(|named| !named.diff.is_empty()),
        models: diffs.iter().map(model).collect(),
    }
}

fn model(named: &Named) -> ModelDiff<'_> {
    let diff = &named.diff;
    ModelDiff {
        namespace: &diff.namespace,
        model: &diff.model,
        currency: &named.currency,
        groups: diff.groups.iter().map(change).collect(),
        apps: diff.apps.iter().map(app).collect(),
        cost: Cost {
            old_per_second: diff.old_cost_per_second,
            new_per_second: diff.new_cost_per_second,
            difference_per_second: diff.difference_per_second(),
        },
        switch: switch(&diff.switch),
    }
}

/// The word for a kind of change, in every form of the output.
pub(super) fn kind(kind: GroupChangeKind) -> &'static str {
    match kind {
        GroupChangeKind::Added => "Added",
        GroupChangeKind::Removed => "Removed",
        GroupChangeKind::Split => "Split",
        GroupChangeKind::Merged => "Merged",
        GroupChangeKind::Moved => "Moved",
        GroupChangeKind::Resized => "Resized",
        GroupChangeKind::Members => "Members",
    }
}

fn change(change: &GroupChange) -> Regrouped<'_> {
    Regrouped {
        change: kind(change.kind),
        old: change.old.iter().map(group).collect(),
        new: change.new.iter().map(group).collect(),
        moved: change
            .moved
            .iter()
            .map(|moved| Moved {
                app: &moved.app,
                from: &moved.from,
                to: &moved.to,
            })
            .collect(),
        joined: &change.joined,
        left: &change.left,
        difference_per_second: change.difference_per_second(),
    }
}

fn group(group: &GroupOutline) -> Group<'_> {
    Group {
        name: &group.name,
        device: device(&group.device),
        batch_size: group.batch_size.get(),
        dispatch: dispatch(group.dispatch),
        replicas: group.replicas,
        apps: group.members.iter().map(|member| member.app.as_str()).collect(),
        cost_per_second: group.cost_per_second,
    }
}

fn app(change: &AppChange) -> AppForm<'_> {
    AppForm {
        app: &change.app,
        old: change.old.as_ref().map(state),
        new: change.new.as_ref().map(state),
    }
}

fn state(state: &AppState) -> State<'_> {
    let served = match state {
        AppState::Infeasible => None,
        AppState::Served { group, member } => Some(Served {
            group,
            slo_ms: milliseconds(member.slo.as_millis()),
            percentile: member.percentile.get(),
            rate_per_second: member.rate.get(),
            max_wait_ms: milliseconds(member.max_wait.as_millis()),
            latency_bound_ms: member.latency_bound.map(|bound| milliseconds(bound.as_millis())),
            cost_per_second: member.cost_per_second,
        }),
    };
    State {
        feasible: served.is_some(),
        served,
    }
}

#[expect(clippy::cast_precision_loss, reason = "an amount of CPU")]
fn switch(switch: &Switch) -> SwitchForm<'_> {
    SwitchForm {
        extra_replicas: switch
            .extra
            .iter()
            .map(|extra| Extra {
                device: device(&extra.device),
                replicas: extra.replicas,
            })
            .collect(),
        vcpu: switch.vcpu_millis as f64 / 1000.0,
        gpu_units: &switch.gpu_units,
        cost_per_second: switch.cost_per_second,
    }
}
