//! The plan for people: the groups, then every application with its reason, then what cannot be planned, then the money.

use std::fmt::Write;

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{GroupPlan, Plan};

use super::{Named, baselines, machine};

/// Spaces between columns.
const GAP: usize = 3;

/// More applications than this are not cut into groups one by one, so that it is worth saying how far the plan can be from the cheapest.
const MANY: usize = 100;

/// Of a row for each group.
pub(crate) const GROUP_COLUMNS: [&str; 9] = [
    "GROUP",
    "APPS",
    "SLO",
    "DEVICE",
    "BATCH",
    "REPLICAS",
    "DISPATCH",
    "UTILIZATION",
    "COST/MONTH",
];

/// Of a row for each application.
pub(crate) const APP_COLUMNS: [&str; 8] = [
    "APP",
    "SLO",
    "RATE",
    "GROUP",
    "COST/MILLION",
    "COST/MONTH",
    "SAVING",
    "BECAUSE",
];

/// All plans, one after the other.
pub(crate) fn render(plans: &[Named]) -> String {
    plans.iter().map(model).collect::<Vec<_>>().join("\n")
}

fn model(named: &Named) -> String {
    let plan = &named.plan;
    let mut text = format!(
        "Model {}/{} ({}, prices in {})\n",
        plan.namespace,
        plan.model,
        terms(plan),
        named.currency
    );
    if plan.groups.is_empty() && plan.infeasible.is_empty() {
        text.push_str("\nNo InferenceApp names it.\n");
    }
    if !plan.groups.is_empty() {
        columns(&mut text, &GROUP_COLUMNS, groups(named));
        columns(&mut text, &APP_COLUMNS, apps(named));
    }
    if !plan.infeasible.is_empty() {
        let rows = plan.infeasible.iter().map(|infeasible| {
            let nearest = infeasible.nearest_slo.map_or_else(|| "-".to_owned(), duration);
            vec![infeasible.app.clone(), nearest, plan::refusal(plan, infeasible)]
        });
        columns(
            &mut text,
            &["CANNOT BE PLANNED", "NEAREST SLO", "REASON"],
            rows.collect(),
        );
    }
    if !named.baselines.is_empty() {
        columns(
            &mut text,
            &baselines::COLUMNS,
            baselines::rows(plan, &named.baselines),
        );
    }
    text.push('\n');
    text.push_str(&total(plan, &named.currency));
    text
}

/// How the platform bills, and what the plan has to spare: `PerReplica with 10% to spare`.
pub(crate) fn terms(plan: &Plan) -> String {
    let billing = machine::billing(plan.billing);
    if plan.headroom.is_none() {
        billing.to_owned()
    } else {
        format!("{billing} with {} to spare", plan.headroom)
    }
}

/// A row for each group, in the plan's order.
pub(crate) fn groups(named: &Named) -> Vec<Vec<String>> {
    let groups = named.names.iter().zip(&named.plan.groups);
    groups.map(|(name, planned)| group(name, planned)).collect()
}

/// `500ms to 1s`
pub(crate) fn slo_range(group: &GroupPlan) -> String {
    match (group.members.first(), group.members.last()) {
        (Some(tightest), Some(loosest)) if tightest.slo != loosest.slo => {
            format!("{} to {}", duration(tightest.slo), duration(loosest.slo))
        }
        (Some(only), _) => duration(only.slo),
        (None, _) => "-".to_owned(),
    }
}

fn group(name: &str, group: &GroupPlan) -> Vec<String> {
    let apps: Vec<&str> = group.members.iter().map(|member| member.app.as_str()).collect();
    vec![
        name.to_owned(),
        apps.join(","),
        slo_range(group),
        plan::device(&group.device).to_string(),
        group.batch_size.to_string(),
        group.replicas.to_string(),
        machine::dispatch(group.dispatch).to_owned(),
        money::percent(group.predicted.utilization),
        money::per_month(group.predicted.cost_per_second),
    ]
}

/// A row for each application that is served, by name.
pub(crate) fn apps(named: &Named) -> Vec<Vec<String>> {
    let groups = named.names.iter().zip(&named.plan.groups);
    let mut rows: Vec<Vec<String>> = groups
        .flat_map(|(name, group)| {
            group.members.iter().map(move |member| {
                vec![
                    member.app.clone(),
                    duration(member.slo),
                    format!("{}/s", member.rate.get()),
                    name.clone(),
                    money::per_million(member.cost_per_request),
                    money::per_month(member.cost_per_second),
                    money::percent(member.explanation.saving),
                    member.explanation.to_string(),
                ]
            })
        })
        .collect();
    rows.sort();
    rows
}

fn total(plan: &Plan, currency: &str) -> String {
    let members = plan.groups.iter().flat_map(|group| &group.members);
    let alone: f64 = members
        .map(|member| member.explanation.alone.cost_per_second)
        .sum();
    let mut text = format!(
        "Total {} {currency} a month",
        money::per_month(plan.cost_per_second)
    );
    if alone > 0.0 {
        let saving = money::percent(1.0 - plan.cost_per_second / alone);
        let _ = write!(
            text,
            "; every application alone would cost {}: {saving} saved",
            money::per_month(alone)
        );
    }
    if let Some(said) = bound(plan) {
        let _ = write!(text, "\n{said}");
    }
    text + "\n"
}

/// How far a plan for many applications can be from the cheapest.
pub(crate) fn bound(plan: &Plan) -> Option<String> {
    let apps = plan.groups.iter().map(|group| group.members.len()).sum::<usize>();
    (apps > MANY && plan.least_cost_per_second > 0.0).then(|| {
        let gap = money::percent(plan.cost_per_second / plan.least_cost_per_second - 1.0);
        let least = money::per_month(plan.least_cost_per_second);
        format!(
            "So many applications are grouped together with their neighbours first; no plan costs less than {least}: this one is at most {gap} above the cheapest"
        )
    })
}

pub(crate) fn duration(seconds: Seconds) -> String {
    plan::duration(seconds)
}

/// An empty line, then the header and the rows, each column as wide as its widest cell.
pub(crate) fn columns(text: &mut String, header: &[&str], rows: Vec<Vec<String>>) {
    let header: Vec<String> = header.iter().map(|&title| title.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    text.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}{:GAP$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
