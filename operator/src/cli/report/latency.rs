//! What callers would see, as parts of their SLO: all promises stand on one line, whatever they are in milliseconds.

use std::fmt::Write;

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{AppSimulation, Billing, GroupPlan, Member};
use maud::{Markup, html};

use super::ModelReport;
use super::axis::Axis;
use super::chart::{self, Row, percent};
use super::palette::Palette;
use crate::cli::{plan::table, simulate};

/// The most applications that are drawn; the table has all.
const DRAWN: usize = 40;

/// How far the charts reach, in SLOs.
const REACH: f64 = 1.25;

/// Steps in which a distribution is drawn.
const STEPS: u32 = 75;

/// Height of a row in pixels, of which the line at the bottom takes some.
const HEIGHT: u32 = 40;

pub(super) fn render(model: &ModelReport<'_>, palette: &Palette) -> Markup {
    match model.named.plan.billing {
        Billing::PerReplica => simulated(model, palette),
        Billing::PerInvocation => bounded(model, palette),
    }
}

fn axis() -> Axis {
    Axis::with_ticks(REACH, &[0.0, 0.25, 0.5, 0.75, 1.0])
}

fn tick(part: f64) -> String {
    if part >= 1.0 {
        "SLO".to_owned()
    } else {
        format!("{:.0}%", part * 100.0)
    }
}

/// Those with the least room first.
fn tightest<T>(mut rows: Vec<T>, room: impl Fn(&T) -> f64) -> (Vec<T>, usize) {
    rows.sort_by(|a, b| room(a).total_cmp(&room(b)));
    let hidden = rows.len().saturating_sub(DRAWN);
    rows.truncate(DRAWN);
    (rows, hidden)
}

/// `Drawn are the 40 with the least room`
fn left_out(hidden: usize) -> Markup {
    html! { @if hidden > 0 { " Drawn are the " (DRAWN) " with the least room; the table has " (hidden) " more." } }
}

fn simulated(model: &ModelReport<'_>, palette: &Palette) -> Markup {
    let named = model.named;
    let groups = named.names.iter().zip(&named.plan.groups).zip(&model.simulated);
    let seen: Vec<(&str, &GroupPlan, &Member, &AppSimulation)> = groups
        .filter_map(|((name, group), seen)| Some((name.as_str(), group, seen.as_ref()?)))
        .flat_map(|(name, group, seen)| {
            let apps = group.members.iter().zip(&seen.apps);
            apps.map(move |(member, app)| (name, group, member, app))
        })
        .collect();
    let rows: Vec<Vec<String>> = seen
        .iter()
        .map(|(name, _, member, app)| simulate::app_row(name, member, app))
        .collect();
    let (drawn, hidden) = tightest(seen, |(_, _, member, app)| {
        (member.slo.get() - promised(member, app).get()) / member.slo.get()
    });
    let story = html! {
        "Simulated requests through the gateway's own batching rule, each application on the scale of its own SLO. The dot is the latency that its "
        "percentile of requests keeps, the tick the median; the dot has to stay left of the SLO."
        (left_out(hidden))
    };
    let axis = axis();
    let chart = html! {
        div.chart {
            (chart::scale(&axis, tick, "as parts of the SLO", "within the SLO"))
            @for (_, group, member, app) in &drawn {
                (chart::row(&distribution(model, palette, &axis, group, member, app), &axis))
            }
        }
    };
    let numbers = chart::table(&simulate::APP_COLUMNS, &rows);
    chart::figure("Latency against the SLO", &story, &chart, &numbers)
}

/// The latency that the promised share of requests keeps.
fn promised(member: &Member, app: &AppSimulation) -> Seconds {
    app.quantile(member.percentile.fraction())
}

fn distribution(
    model: &ModelReport<'_>,
    palette: &Palette,
    axis: &Axis,
    group: &GroupPlan,
    member: &Member,
    app: &AppSimulation,
) -> Row {
    let class = palette.class(&group.device);
    let slo = member.slo.get();
    let within = promised(member, app);
    let at = |latency: Seconds| percent(axis.at(latency.get() / slo));
    let line = HEIGHT - 6;
    let title = format!(
        "{}: {}% within {} of {}; {} within the SLO",
        member.app,
        member.percentile.get(),
        plan::duration(within),
        plan::duration(member.slo),
        simulate::percent(app.attainment)
    );
    let plot = html! {
        g.mark {
            title { (title) }
            rect.hit x="0" y="0" width="100%" height=(HEIGHT) {}
            svg.density.(class) x="0" y="0" width="100%" height=(line) viewBox={ "0 0 " (STEPS) " 100" } preserveAspectRatio="none" {
                path d=(outline(app, slo)) {}
            }
            line.base x1="0" x2="100%" y1=(line) y2=(line) {}
            line.promise x1=(percent(axis.at(1.0))) x2=(percent(axis.at(1.0))) y1="0" y2=(HEIGHT) {}
            line.median x1=(at(app.p50)) x2=(at(app.p50)) y1=(line - 8) y2=(line) {}
            circle.dot.(class) cx=(at(within)) cy=(line) r="4.5" {}
        }
    };
    Row {
        label: html! { span.name { (member.app) } },
        note: html! { (member.percentile.get()) "% in " (plan::duration(within)) " of " (plan::duration(member.slo)) },
        title,
        plot,
        height: HEIGHT,
        value: html! {
            @if app.kept { (simulate::percent(app.attainment)) }
            @else { strong.bad { (simulate::percent(app.attainment)) " missed" } }
        },
        app: Some(model.key(&member.app)),
    }
}

/// The outline of a histogram in a box of `STEPS` times 100, its highest column as high as the box.
fn outline(app: &AppSimulation, slo: f64) -> String {
    let share = |step: u32| {
        let latency = slo * REACH * f64::from(step) / f64::from(STEPS);
        Seconds::new(latency).map_or(1.0, |latency| app.share_within(latency))
    };
    let shares: Vec<f64> = (0..=STEPS).map(share).collect();
    let columns: Vec<f64> = shares.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let highest = columns.iter().copied().fold(0.0, f64::max);
    let mut path = "M0 100".to_owned();
    for (step, column) in columns.iter().enumerate() {
        let height = if highest > 0.0 {
            column / highest * 100.0
        } else {
            0.0
        };
        let _ = write!(path, "V{:.1}H{}", 100.0 - height, step + 1);
    }
    path + "V100Z"
}

fn bounded(model: &ModelReport<'_>, palette: &Palette) -> Markup {
    let named = model.named;
    let groups = named.names.iter().zip(&named.plan.groups);
    let members: Vec<(&str, &GroupPlan, &Member)> = groups
        .flat_map(|(name, group)| {
            group
                .members
                .iter()
                .map(move |member| (name.as_str(), group, member))
        })
        .collect();
    let run = |member: &Member| {
        let run = member.latency_bound.get() - member.max_wait.get();
        Seconds::new(run.max(0.0)).unwrap_or(Seconds::ZERO)
    };
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|(name, _, member)| {
            vec![
                member.app.clone(),
                (*name).to_owned(),
                table::duration(member.slo),
                table::duration(member.max_wait),
                table::duration(run(member)),
                table::duration(member.latency_bound),
            ]
        })
        .collect();
    let (drawn, hidden) = tightest(members, |(_, _, member)| {
        (member.slo.get() - member.latency_bound.get()) / member.slo.get()
    });
    let story = html! {
        "Each batch finds a function of its own, so nothing queues: a request takes at most its longest wait for the batch to fill (light) and the longest run "
        "of a full batch (dark). Together they stay within the SLO for every single request."
        (left_out(hidden))
    };
    let axis = axis();
    let chart = html! {
        div.chart {
            (chart::scale(&axis, tick, "as parts of the SLO", "at most"))
            @for (_, group, member) in &drawn {
                (chart::row(&bound(model, palette, &axis, group, member, run(member)), &axis))
            }
        }
    };
    let columns = ["APP", "GROUP", "SLO", "LONGEST WAIT", "LONGEST RUN", "TOGETHER"];
    chart::figure(
        "Latency against the SLO",
        &story,
        &chart,
        &chart::table(&columns, &rows),
    )
}

fn bound(
    model: &ModelReport<'_>,
    palette: &Palette,
    axis: &Axis,
    group: &GroupPlan,
    member: &Member,
    run: Seconds,
) -> Row {
    let at = |latency: Seconds| axis.at(latency.get() / member.slo.get());
    let class = palette.class(&group.device);
    let (waited, done) = (at(member.max_wait), at(member.latency_bound));
    let title = format!(
        "{}: waits at most {}, then runs at most {}; SLO {}",
        member.app,
        plan::duration(member.max_wait),
        plan::duration(run),
        plan::duration(member.slo)
    );
    Row {
        label: html! { span.name { (member.app) } },
        note: html! { "at most " (plan::duration(member.latency_bound)) " of " (plan::duration(member.slo)) },
        plot: html! {
            g.mark {
                title { (title) }
                (chart::bar(&format!("wait {class}"), 0.0, waited))
                (chart::bar(&class, waited, done))
                line.promise x1=(percent(axis.at(1.0))) x2=(percent(axis.at(1.0))) y1="0" y2="100%" {}
            }
        },
        title,
        height: 26,
        value: html! { (money::percent(member.latency_bound.get() / member.slo.get())) },
        app: Some(model.key(&member.app)),
    }
}
