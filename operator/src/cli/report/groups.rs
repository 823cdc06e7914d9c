//! The groups over the axis of SLOs: which applications share batches, and on what.

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{GroupPlan, Member};
use maud::{Markup, html};

use super::ModelReport;
use super::axis::Axis;
use super::chart::{self, Row, count, percent};
use super::palette::Palette;
use crate::cli::plan::table;

/// The most groups that are drawn; the table has all.
const DRAWN: usize = 60;

/// Marks of more members than this would hide the bar: they are small.
const CROWD: usize = 24;

/// The most members that a group's label lists by name.
const LISTED: usize = 5;

pub(super) fn render(model: &ModelReport<'_>, palette: &Palette) -> Markup {
    let plan = &model.named.plan;
    let slos = plan.groups.iter().flat_map(|group| &group.members);
    let axis = Axis::logarithmic(slos.map(|member| member.slo.get()));
    let mut drawn: Vec<(&str, &GroupPlan)> = model
        .named
        .names
        .iter()
        .map(String::as_str)
        .zip(&plan.groups)
        .collect();
    // The dearest, in the plan's order.
    if drawn.len() > DRAWN {
        let cost = |group: &GroupPlan| group.predicted.cost_per_second;
        let mut costs: Vec<f64> = drawn.iter().map(|(_, group)| cost(group)).collect();
        costs.sort_by(|a, b| b.total_cmp(a));
        let least = costs[DRAWN - 1];
        drawn.retain(|(_, group)| cost(group) >= least);
        drawn.truncate(DRAWN);
    }
    let hidden = plan.groups.len() - drawn.len();
    let story = html! {
        "Each bar is a group: applications that share batches, from the tightest to the loosest SLO. Each mark is an application. "
        "The tightest decides how long a batch may wait."
        @if let Some(bound) = table::bound(plan) { " " (bound) "." }
        @if hidden > 0 { " Drawn are the " (drawn.len()) " dearest groups; the table has " (hidden) " more." }
    };
    let rows = html! {
        div.chart {
            (chart::scale(&axis, label, "SLO", &format!("{} a month", model.named.currency)))
            @for (name, group) in drawn { (chart::row(&row(model, palette, &axis, name, group), &axis)) }
        }
    };
    let numbers = chart::table(&table::GROUP_COLUMNS, &table::groups(model.named));
    chart::figure("Groups", &story, &rows, &numbers)
}

fn label(seconds: f64) -> String {
    Seconds::new(seconds).map_or_else(|_| String::new(), plan::duration)
}

fn row(model: &ModelReport<'_>, palette: &Palette, axis: &Axis, name: &str, group: &GroupPlan) -> Row {
    let at = |member: Option<&Member>| axis.at(member.map_or(0.0, |member| member.slo.get()));
    let (from, to) = (at(group.members.first()), at(group.members.last()));
    let class = palette.class(&group.device);
    let dense = group.members.len() > CROWD;
    let device = plan::device(&group.device).to_string();
    let replicas = count(group.replicas as usize, "replica", "replicas");
    let plot = html! {
        (chart::bar(&format!("span {class}"), from, to))
        @for member in &group.members {
            circle.mark.(class).dense[dense] cx=(percent(at(Some(member)))) cy="50%" r=(if dense { "2" } else { "5.5" }) data-app=(model.key(&member.app)) {
                title { (member.app) ": " (plan::duration(member.slo)) ", " (member.rate.get()) "/s" }
            }
        }
    };
    Row {
        label: html! {
            span.name { (device) }
            span.detail { "batch " (group.batch_size) " · " (replicas) }
        },
        note: html! { (members(group)) },
        title: format!(
            "{name}: {} on {device}, batches of up to {}, {replicas}, SLO {}",
            count(group.members.len(), "application", "applications"),
            group.batch_size,
            table::slo_range(group)
        ),
        plot,
        height: 34,
        value: html! { (money::per_month(group.predicted.cost_per_second)) },
        app: None,
    }
}

/// `search, cart, feed and 12 others`
fn members(group: &GroupPlan) -> String {
    let names = group.members.iter().map(|member| member.app.as_str());
    let listed: Vec<&str> = names.take(LISTED).collect();
    match group.members.len() - listed.len() {
        0 => listed.join(", "),
        1 => format!("{} and 1 other", listed.join(", ")),
        others => format!("{} and {others} others", listed.join(", ")),
    }
}
