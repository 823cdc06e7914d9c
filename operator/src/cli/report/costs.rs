//! What every application costs beside what it would cost alone, and what every kind of device costs.

use std::collections::BTreeMap;

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::{GroupPlan, Member};
use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{self, Row, percent};
use super::palette::{Palette, kind};
use super::{ModelReport, Report};
use crate::cli::plan::table;

/// The most applications that are drawn; the table has all.
const DRAWN: usize = 40;

/// Cost of one model's applications.
pub(super) fn by_app(model: &ModelReport<'_>, palette: &Palette) -> Markup {
    let groups = &model.named.plan.groups;
    let mut members: Vec<(&GroupPlan, &Member)> = groups
        .iter()
        .flat_map(|group| group.members.iter().map(move |member| (group, member)))
        .collect();
    members.sort_by(|(_, a), (_, b)| {
        let dearer = b.cost_per_second.total_cmp(&a.cost_per_second);
        dearer.then_with(|| a.app.cmp(&b.app))
    });
    let (drawn, others) = members.split_at(members.len().min(DRAWN));
    let alone = |member: &Member| member.explanation.alone.cost_per_second;
    let widest = members
        .iter()
        .map(|(_, member)| alone(member).max(member.cost_per_second));
    let axis = Axis::from_zero(widest);
    let story = html! {
        "What each application pays of its group, by what it would cost alone (the outline). The gap is what sharing saves."
        @if !others.is_empty() {
            @let rest: f64 = others.iter().map(|(_, member)| member.cost_per_second).sum();
            " Drawn are the " (DRAWN) " dearest; the other " (others.len()) " cost " (money::per_month(rest)) " together."
        }
    };
    let rows = html! {
        div.chart {
            (chart::heading(&format!("{} a month", model.named.currency)))
            @for (group, member) in drawn {
                (chart::row(&row(model, palette, &axis, group, member, alone(member)), &axis))
            }
        }
    };
    let numbers = chart::table(&table::APP_COLUMNS, &table::apps(model.named));
    chart::figure("Cost by application", &story, &rows, &numbers)
}

fn row(
    model: &ModelReport<'_>,
    palette: &Palette,
    axis: &Axis,
    group: &GroupPlan,
    member: &Member,
    alone: f64,
) -> Row {
    let device = plan::device(&group.device).to_string();
    let (cost, alone_cost) = (money::per_month(member.cost_per_second), money::per_month(alone));
    let title = format!("{}: {cost} a month on {device}; alone {alone_cost}", member.app);
    Row {
        label: html! { span.name { (member.app) } },
        note: html! { (plan::duration(member.slo)) " · " (member.rate.get()) "/s" },
        plot: html! {
            g.mark {
                title { (title) "; " (member.explanation) }
                (chart::bar("alone", 0.0, axis.at(alone)))
                (chart::bar(&palette.class(&group.device), 0.0, axis.at(member.cost_per_second)))
            }
        },
        title,
        height: 26,
        value: html! { (cost) },
        app: Some(model.key(&member.app)),
    }
}

/// Cost of every kind of device in one currency, as one bar, dearest first; nothing where there is one kind only.
pub(super) fn by_device(report: &Report<'_>, currency: &str, palette: &Palette) -> Markup {
    // By kind: class, cost, groups, replicas.
    let mut kinds: BTreeMap<&str, (String, f64, usize, u64)> = BTreeMap::new();
    let of_currency = report
        .models
        .iter()
        .filter(|model| model.named.currency == currency);
    for group in of_currency.flat_map(|model| &model.named.plan.groups) {
        let found = kinds
            .entry(kind(&group.device))
            .or_insert_with(|| (palette.class(&group.device), 0.0, 0, 0));
        found.1 += group.predicted.cost_per_second;
        found.2 += 1;
        found.3 += u64::from(group.replicas);
    }
    if kinds.len() < 2 {
        return html! {};
    }
    let total: f64 = kinds.values().map(|(_, cost, ..)| cost).sum();
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|(_, a), (_, b)| b.1.total_cmp(&a.1));
    let part = |cost: f64| if total > 0.0 { cost / total } else { 0.0 };
    let before = |index: usize| {
        kinds[..index]
            .iter()
            .map(|(_, (_, cost, ..))| part(*cost))
            .sum::<f64>()
    };
    let story = html! { "What runs where, in " (currency) " a month." };
    let drawn = html! {
        svg.strip role="img" width="100%" height="28" {
            title { "Cost by kind of device" }
            desc { @for (kind, (_, cost, ..)) in &kinds { (kind) ": " (money::percent(part(*cost))) ". " } }
            @for (index, (kind, (class, cost, ..))) in kinds.iter().enumerate() {
                rect.part.mark.(class) x=(percent(before(index) * 100.0)) y="0" width=(percent(part(*cost) * 100.0)) height="28" {
                    title { (kind) ": " (money::per_month(*cost)) " a month, " (money::percent(part(*cost))) }
                }
            }
        }
        ul.legend {
            @for (kind, (class, cost, ..)) in &kinds {
                li { span.swatch.(class) {} b { (kind) } " " (money::per_month(*cost)) " · " (money::percent(part(*cost))) }
            }
        }
    };
    let rows: Vec<Vec<String>> = kinds
        .iter()
        .map(|(kind, (_, cost, groups, replicas))| {
            vec![
                (*kind).to_owned(),
                groups.to_string(),
                replicas.to_string(),
                money::per_month(*cost),
                money::percent(part(*cost)),
            ]
        })
        .collect();
    let columns = ["DEVICE", "GROUPS", "REPLICAS", "COST/MONTH", "SHARE"];
    chart::figure("Cost by device", &story, &drawn, &chart::table(&columns, &rows))
}
