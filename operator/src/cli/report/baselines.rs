//! Other planners on the same applications, at the same prices.

use harmonybatch_controller::plan::money;
use harmonybatch_planner::{ArrivalProcess, Baseline, BaselinePlan};
use maud::{Markup, html};

use super::ModelReport;
use super::axis::Axis;
use super::chart::{self, Row, count};
use crate::cli::plan::baselines;

pub(super) fn render(model: &ModelReport<'_>) -> Markup {
    let plan = &model.named.plan;
    let Some(compared) = &model.baselines else {
        return html! {
            figure { figcaption {
                h3 { "Other ways to serve them" }
                p { "Left out: other planners are priced by the exact law of the batch size, this plan by the paper's (" code { "--model paper" } ")." }
            } }
        };
    };
    let served = compared.iter().filter(|one| one.unserved == 0);
    let costs = served.map(|one| one.cost_per_second);
    let axis = Axis::from_zero(costs.chain([plan.cost_per_second]));
    let poisson = model
        .set
        .apps()
        .iter()
        .all(|app| app.arrivals == ArrivalProcess::Poisson);
    let story = html! {
        "The same applications under other planners, each with as many replicas as it needs, priced as this plan is."
        @if !poisson { " The others take arrivals for Poisson, which bursts and traces are not: theirs are no promises for those." }
    };
    let own = line(
        &axis,
        "This plan",
        &count(plan.groups.len(), "group", "groups"),
        plan.cost_per_second,
        Some(1.0),
        "own",
    );
    let mut sorted: Vec<&BaselinePlan> = compared.iter().collect();
    sorted.sort_by(|a, b| {
        let unserved = (a.unserved > 0).cmp(&(b.unserved > 0));
        unserved.then(a.cost_per_second.total_cmp(&b.cost_per_second))
    });
    let chart = html! {
        div.chart {
            (chart::heading(&format!("{} a month", model.named.currency)))
            (chart::row(&own, &axis))
            @for one in sorted {
                @let note = baselines::note(one);
                @let groups = count(one.groups, "group", "groups");
                @let said = if note.is_empty() { groups } else if one.unserved > 0 { note.clone() } else { format!("{groups}; {note}") };
                @let class = if note.is_empty() { "other" } else { "broken" };
                (chart::row(&line(&axis, name(one.baseline), &said, one.cost_per_second, baselines::ratio(plan, one), class), &axis))
            }
        }
    };
    let numbers = chart::table(&baselines::COLUMNS, &baselines::rows(plan, compared));
    chart::figure("Other ways to serve them", &story, &chart, &numbers)
}

/// As people know it.
fn name(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Alone => "One group each",
        Baseline::Batch => "BATCH (SC 2020)",
        Baseline::Mbs => "MBS+ (INFOCOM 2021)",
        Baseline::TwoStage => "HarmonyBatch paper",
    }
}

fn line(axis: &Axis, name: &str, note: &str, cost: f64, ratio: Option<f64>, class: &str) -> Row {
    let month = money::per_month(cost);
    let times = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}x"));
    Row {
        label: html! { span.name { (name) } },
        note: html! { (note) },
        title: format!("{name}: {month} a month, {note}"),
        plot: html! {
            @if ratio.is_some() || class == "own" {
                (chart::bar(class, 0.0, axis.at(cost)))
            }
        },
        height: 26,
        value: html! {
            @if ratio.is_some() || class == "own" { (month) @if class != "own" { span.note { " " (times) } } }
            @else { "-" }
        },
        app: None,
    }
}
