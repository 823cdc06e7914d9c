//! The difference for people: groups side by side, then applications, then money, then the switch.

use std::fmt::Write;

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{AppChange, AppState, GroupChange, GroupOutline, MemberOutline, PlanDiff, Switch};

use super::{Named, machine};
use crate::cli::plan::machine as plan_machine;
use crate::cli::plan::table::columns;

/// All models that differ.
pub(super) fn render(diffs: &[Named]) -> String {
    let changed: Vec<String> = diffs
        .iter()
        .filter(|named| !named.diff.is_empty())
        .map(model)
        .collect();
    match changed.as_slice() {
        [] => "The plans do not differ.\n".to_owned(),
        _ => changed.join("\n"),
    }
}

fn model(named: &Named) -> String {
    let diff = &named.diff;
    let mut text = format!("Model {}/{}\n", diff.namespace, diff.model);
    if !diff.groups.is_empty() {
        let rows = diff.groups.iter().flat_map(group_rows).collect();
        columns(&mut text, &["CHANGE", "OLD", "NEW", "COST/MONTH"], rows);
    }
    if !diff.apps.is_empty() {
        let rows: Vec<Vec<String>> = diff.apps.iter().flat_map(app_rows).collect();
        if !rows.is_empty() {
            columns(&mut text, &["APP", "WHAT", "OLD", "NEW"], rows);
        }
    }
    text.push('\n');
    text.push_str(&total(diff, &named.currency));
    text.push_str(&switch(&diff.switch, &named.currency));
    text
}

/// Old and new groups side by side, then who moved.
fn group_rows(change: &GroupChange) -> Vec<Vec<String>> {
    let lines = change.old.len().max(change.new.len());
    let side = |groups: &[GroupOutline], line: usize| groups.get(line).map_or_else(String::new, group);
    let mut rows: Vec<Vec<String>> = (0..lines)
        .map(|line| {
            let first = line == 0;
            let title = if first { machine::kind(change.kind) } else { "" };
            let cost = money::difference_per_month(change.difference_per_second());
            vec![
                title.to_owned(),
                side(&change.old, line),
                side(&change.new, line),
                if first { cost } else { String::new() },
            ]
        })
        .collect();
    let mut note = |text: String| rows.push(vec![String::new(), text]);
    for moved in &change.moved {
        note(format!("{} moves from {} to {}", moved.app, moved.from, moved.to));
    }
    let in_both = !change.old.is_empty() && !change.new.is_empty();
    for (names, what) in [(&change.joined, "joins"), (&change.left, "leaves")] {
        for name in names.iter().filter(|_| in_both) {
            note(format!("{name} {what}"));
        }
    }
    rows
}

/// `mlp-9ldzj: 2 x cpu 100m, batch 8, Eager (cart,search)`.
fn group(group: &GroupOutline) -> String {
    let apps: Vec<&str> = group.members.iter().map(|member| member.app.as_str()).collect();
    format!(
        "{}: {} x {}, batch {}, {} ({})",
        group.name,
        group.replicas,
        group.device,
        group.batch_size,
        plan_machine::dispatch(group.dispatch),
        apps.join(",")
    )
}

fn app_rows(change: &AppChange) -> Vec<Vec<String>> {
    let row = |what: &str, old: String, new: String| vec![change.app.clone(), what.to_owned(), old, new];
    match (&change.old, &change.new) {
        (Some(AppState::Served { member: old, .. }), Some(AppState::Served { member: new, .. })) => {
            facts(old)
                .into_iter()
                .zip(facts(new))
                .filter(|((_, old), (_, new))| old != new && !old.is_empty() && !new.is_empty())
                .map(|((what, old), (_, new))| row(what, old, new))
                .collect()
        }
        (old, new) => vec![row("place", place(old.as_ref()), place(new.as_ref()))],
    }
}

fn place(state: Option<&AppState>) -> String {
    match state {
        None => "-".to_owned(),
        Some(AppState::Infeasible) => "cannot be served".to_owned(),
        Some(AppState::Served { group, member }) => {
            format!(
                "{group}, SLO {}, {}/s",
                plan::duration(member.slo),
                member.rate.get()
            )
        }
    }
}

/// What is said of an application; empty where it is not known.
fn facts(member: &MemberOutline) -> [(&'static str, String); 6] {
    let known = |bound: Option<Seconds>| bound.map_or_else(String::new, plan::duration);
    [
        ("SLO", plan::duration(member.slo)),
        ("percentile", format!("{}%", member.percentile.get())),
        ("rate", format!("{}/s", member.rate.get())),
        ("longest wait", plan::duration(member.max_wait)),
        ("latency bound", known(member.latency_bound)),
        (
            "cost/month",
            member.cost_per_second.map_or_else(String::new, money::per_month),
        ),
    ]
}

fn total(diff: &PlanDiff, currency: &str) -> String {
    let (old, new) = (diff.old_cost_per_second, diff.new_cost_per_second);
    let mut text = format!(
        "Cost {} -> {} {currency} a month ({}",
        money::per_month(old),
        money::per_month(new),
        money::difference_per_month(diff.difference_per_second())
    );
    if old > 0.0 {
        let _ = write!(text, ", {:+.0}%", (new / old - 1.0) * 100.0);
    }
    let _ = writeln!(text, "; {:+.3e} a second)", diff.difference_per_second());
    text
}

fn switch(switch: &Switch, currency: &str) -> String {
    if switch.extra.is_empty() {
        return "The switch needs no more replicas than run.\n".to_owned();
    }
    let parts: Vec<String> = switch
        .extra
        .iter()
        .map(|extra| format!("{} x {}", extra.replicas, extra.device))
        .collect();
    let mut sums = Vec::new();
    if switch.vcpu_millis > 0 {
        sums.push(format!("{}m vCPU", switch.vcpu_millis));
    }
    sums.extend(
        switch
            .gpu_units
            .iter()
            .map(|(pool, units)| format!("{units} units of {pool}")),
    );
    let mut text = format!(
        "The switch needs {} beside what runs ({})",
        parts.join(", "),
        sums.join(", ")
    );
    if let Some(cost) = switch.cost_per_second {
        let _ = write!(
            text,
            ", at the rate of {} {currency} a month until it is done",
            money::per_month(cost)
        );
    }
    text + "\n"
}
