//! The explanation for people: a page with one thing a line.

use std::fmt::Write;

use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::{
    Constraint, CostChange, Device, Dispatch, GroupPlan, InfeasibleExplanation, Member, Plan, Relaxation,
    ServedExplanation, Verdict,
};

use super::Named;
use crate::cli::plan::table::columns;

/// Width of the words on the left.
const LABEL: usize = 12;

/// Length of the bar of the dearest price.
const BAR: f64 = 24.0;

/// Members that are listed by name.
const LISTED: usize = 8;

/// The page.
pub(super) fn render(named: &Named) -> String {
    let explanation = &named.explanation;
    let app = &explanation.app;
    let mut text = format!(
        "{}/{} on model {}: {}% of {}/s within {}\n\n",
        explanation.plan.namespace,
        app.name,
        explanation.plan.model,
        app.percentile.get(),
        app.rate.get(),
        plan::duration(app.slo)
    );
    match &explanation.verdict {
        Verdict::Served(found) => served(&mut text, named, found),
        Verdict::Infeasible(found) => infeasible(&mut text, &explanation.plan, found),
    }
    text
}

fn line(text: &mut String, label: &str, what: &str) {
    let _ = writeln!(text, "  {label:<LABEL$}{what}");
}

fn infeasible(text: &mut String, plan: &Plan, found: &InfeasibleExplanation) {
    line(
        text,
        "Runs",
        "nowhere: no configuration serves it; the other applications are planned without it",
    );
    line(text, "Because", &plan::refusal(plan, &found.app));
    let slo = found
        .app
        .nearest_slo
        .map(|slo| format!("set slo.latency to {} or more", plan::duration(slo)));
    let headroom = (found.app.nearest_headroom)
        .map(|headroom| format!("set headroom of the InferencePlatform to {headroom} or less"));
    let rate = found.nearest_rate.map(|rate| {
        format!(
            "declare a rate of at most {}/s, or split it over several applications",
            two_digits(rate.get())
        )
    });
    for remedy in [slo, headroom, rate].into_iter().flatten() {
        line(text, "Remedy", &remedy);
    }
}

/// Rounded down to two significant digits: rounded up it might not be served.
fn two_digits(value: f64) -> f64 {
    let unit = 10.0_f64.powf(value.log10().floor() - 1.0);
    (value / unit).floor() * unit
}

fn served(text: &mut String, named: &Named, found: &ServedExplanation) {
    let plan = &named.explanation.plan;
    let group = &plan.groups[found.group];
    let member = &group.members[found.member];
    let why = &member.explanation;
    let currency = &named.currency;
    let batch = match group.batch_size.get() {
        1 => "one row at a time".to_owned(),
        rows => format!("batches of up to {rows}"),
    };
    line(
        text,
        "Runs",
        &format!(
            "on {}, {batch}, group {}",
            function(&group.device, group.replicas),
            named.names[found.group]
        ),
    );
    line(text, "With", &company(group, member));
    line(text, "Leaves", &departure(group, member));
    line(text, "Latency", &latency(group, member));
    if !plan.headroom.is_none() {
        let spare = format!(
            "batches may take {} longer than profiled, and every SLO is still kept",
            plan.headroom
        );
        line(text, "To spare", &spare);
    }
    text.push('\n');

    let whole = group.predicted.cost_per_second;
    let mut cost = format!(
        "{} {currency} a month, {} per million rows",
        money::per_month(member.cost_per_second),
        money::per_million(member.cost_per_request)
    );
    if group.members.len() > 1 && whole > 0.0 {
        let _ = write!(
            cost,
            ": {} of its group's {}, its fair share",
            money::percent(member.cost_per_second / whole),
            money::per_month(whole)
        );
    }
    line(text, "Costs", &cost);
    if group.members.len() > 1 {
        line(
            text,
            "",
            "(shares are in proportion to what each would cost alone, so that all save the same part)",
        );
        line(
            text,
            "Alone",
            &format!(
                "{} {currency} a month, on {}: sharing saves {}",
                money::per_month(why.alone.cost_per_second),
                function(&why.alone.device, why.alone.replicas),
                money::percent(why.saving)
            ),
        );
    }
    let next = why.runner_up.as_ref().map_or_else(
        || "no other kind of device keeps its SLO".to_owned(),
        |other| {
            format!(
                "alone on {}: {:.2}x as dear as alone on {}",
                function(&other.device, other.replicas),
                other.factor,
                function(&why.alone.device, why.alone.replicas)
            )
        },
    );
    line(text, "Next best", &next);
    line(text, "Binds", &binds(found, currency));
    prices(text, named, found, member);
}

fn function(device: &Device, replicas: u32) -> String {
    match replicas {
        1 => device.to_string(),
        _ => format!("{replicas} replicas of {device}"),
    }
}

fn company(group: &GroupPlan, member: &Member) -> String {
    let others: Vec<String> = group
        .members
        .iter()
        .filter(|other| other.app != member.app)
        .map(|other| {
            format!(
                "{} ({}, {}/s)",
                other.app,
                plan::duration(other.slo),
                other.rate.get()
            )
        })
        .collect();
    if others.is_empty() {
        return if member.explanation.isolated {
            "nobody: it asks to be isolated".to_owned()
        } else {
            "nobody: alone is cheapest".to_owned()
        };
    }
    let more = others.len().saturating_sub(LISTED);
    let listed = others[..others.len() - more].join(", ");
    if more > 0 {
        format!("{listed} and {more} more")
    } else {
        listed
    }
}

fn departure(group: &GroupPlan, member: &Member) -> String {
    match group.dispatch {
        Dispatch::Eager => "as soon as a replica is free, with what waits then".to_owned(),
        Dispatch::Timed => format!(
            "in a full batch, or when it has waited {}",
            plan::duration(member.max_wait)
        ),
    }
}

fn latency(group: &GroupPlan, member: &Member) -> String {
    let percentile = member.percentile.get();
    match member.simulated {
        Some(seen) => format!(
            "{percentile}% within {} in simulation, mean {}; {:.2}% keep the SLO ({:.2}% were every batch as slow as can be)",
            plan::duration(member.latency_bound),
            plan::duration(seen.mean),
            seen.attainment * 100.0,
            seen.attainment_if_slowest * 100.0
        ),
        None if group.dispatch == Dispatch::Timed => {
            format!(
                "at most {}: longest wait and longest run",
                plan::duration(member.latency_bound)
            )
        }
        None => "not confirmed by simulation: watch its attainment".to_owned(),
    }
}

fn binds(found: &ServedExplanation, currency: &str) -> String {
    let Some(Relaxation {
        constraint,
        saving_per_second,
    }) = found.binds()
    else {
        return "nothing by itself: neither half as much longer an SLO, nor half as many more late requests, nor a third less load saves anything".to_owned();
    };
    let saved = format!("{} {currency} a month", money::per_month(*saving_per_second));
    match constraint {
        Constraint::Slo => format!("its own SLO: half as much longer would save {saved}"),
        Constraint::SloOf { app, slo } => format!(
            "the SLO of {app}, {}, with which it shares: half as much longer would save {saved}",
            plan::duration(*slo)
        ),
        Constraint::Percentile => {
            format!("its percentile: half as many more late requests would save {saved}")
        }
        Constraint::DeviceMemory => {
            format!("device memory: were a third less needed, that would save {saved}")
        }
        Constraint::Headroom => format!("the platform's headroom: without it {saved} would be saved"),
        Constraint::Capacity => {
            format!("no promise, but its load: a third less would save {saved}")
        }
        Constraint::Devices { pool } => {
            format!("the devices of gpu pool {pool}, which all models share: one more would save {saved}")
        }
        _ => format!("a limit of the platform: without it {saved} would be saved"),
    }
}

fn prices(text: &mut String, named: &Named, found: &ServedExplanation, member: &Member) {
    let now = named.explanation.plan.cost_per_second;
    let today = CostChange {
        plan_per_second: now,
        difference_per_second: 0.0,
        app_per_second: member.cost_per_second,
    };
    let mut rows: Vec<(String, f64, Option<CostChange>)> = Vec::new();
    rows.push((
        format!(
            "as it is: SLO {}, {}/s",
            plan::duration(member.slo),
            member.rate.get()
        ),
        1.0,
        Some(today),
    ));
    rows.extend(found.slo_prices.iter().map(|price| {
        (
            format!("SLO {}", plan::duration(price.value)),
            price.factor,
            price.change,
        )
    }));
    rows.extend(found.rate_prices.iter().map(|price| {
        let rounded = (price.value.get() * 1e6).round() / 1e6;
        (format!("rate {rounded}/s"), price.factor, price.change)
    }));
    let dearest = rows
        .iter()
        .filter_map(|(_, _, change)| change.map(|change| change.plan_per_second))
        .fold(0.0, f64::max);
    let rows = rows.into_iter().map(|(what, factor, change)| {
        let mut cells = vec![format!("  {what}"), format!("{factor:.2}x")];
        match change {
            Some(change) => cells.extend([
                money::per_month(change.plan_per_second),
                money::difference_per_month(change.difference_per_second),
                money::per_month(change.app_per_second),
                bar(change.plan_per_second, dearest),
            ]),
            None => cells.push("cannot be served".to_owned()),
        }
        cells
    });
    let title = ["  WHAT IF", "", "PLAN/MONTH", "DIFFERENCE", "ITS SHARE", ""];
    columns(text, &title, rows.collect());
    text.push_str("  (each line: the whole model planned again with this one number changed)\n");
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to the length of a bar"
)]
fn bar(value: f64, dearest: f64) -> String {
    let part = if dearest > 0.0 {
        (value / dearest).clamp(0.0, 1.0)
    } else {
        0.0
    };
    "▇".repeat((part * BAR).round() as usize)
}
