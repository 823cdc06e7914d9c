//! The outcomes as a table in Markdown, and the goals that were kept.

use super::record::{AppOutcome, Compared, Outcome, Record};

/// How far predictions may be off.
const COST: f64 = 0.05;
const MEAN: f64 = 0.05;
const P99: f64 = 0.10;
/// Percent of the requests that the applications ask for: the API's default.
const PERCENTILE: f64 = 99.0;

const HEADER: &str = "| network | application | plan | mean: predicted, measured (95 %) | off: plan; its arrivals; its work | p99: predicted, measured (95 %) | off: plan; its arrivals; its work | within SLO | rows a batch, apart | busy | CPU work | cost off |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// The whole report.
pub(super) fn render(record: &Record) -> String {
    let mut text = HEADER.to_owned();
    for outcome in &record.outcomes {
        for (index, app) in outcome.apps.iter().enumerate() {
            text += &row(outcome, app, index == 0);
        }
    }
    text + "\n" + &verdicts(record)
}

/// The outcome in a line, while others are still measured.
pub(super) fn line(outcome: &Outcome) -> String {
    let app = |app: &AppOutcome| {
        format!(
            "{} mean {} p99 {} within {:.2}%",
            app.app,
            errors(app.mean),
            errors(app.p99),
            floored(app.attainment)
        )
    };
    let (predicted, measured) = outcome.mean_batch();
    format!(
        "{}; rows a batch {predicted:.2} and {measured:.2}, busy {:.0}% and {:.0}%, CPU work {}",
        outcome.apps.iter().map(app).collect::<Vec<_>>().join(", "),
        outcome.utilization_predicted * 100.0,
        outcome.utilization_measured * 100.0,
        work(outcome)
    )
}

/// What belongs to the whole configuration stands in its first row.
fn row(outcome: &Outcome, app: &AppOutcome, is_first: bool) -> String {
    let whole = |text: String| if is_first { text } else { String::new() };
    let (predicted, measured) = outcome.mean_batch();
    format!(
        "| {} | {} {:.0} ms, {}/s | {} | {} | {} | {} | {} | {:.2} % | {} | {} | {} | {} |\n",
        whole(format!("{}/{}", outcome.network, outcome.configuration)),
        app.app,
        app.slo * 1e3,
        app.rate,
        whole(outcome.plan.clone()),
        figure(app.mean),
        errors(app.mean),
        figure(app.p99),
        errors(app.p99),
        floored(app.attainment),
        whole(format!(
            "{predicted:.2}, {measured:.2}; {:.0} %",
            outcome.batches_apart() * 100.0
        )),
        whole(format!(
            "{:.0} %, {:.0} %",
            outcome.utilization_predicted * 100.0,
            outcome.utilization_measured * 100.0
        )),
        whole(work(outcome)),
        whole(off(outcome.cost_error())),
    )
}

/// How many times the profile's work batches needed.
fn work(outcome: &Outcome) -> String {
    let said = outcome
        .work
        .map(|work| format!("{:.2} times", work.of_predicted()));
    said.unwrap_or_else(|| "unknown".to_owned())
}

/// How far a prediction is off: the plan's, that for the arrivals that came, and that for the work that batches needed as well.
fn errors(figure: Compared) -> String {
    let errors = [
        Some(figure.error()),
        Some(figure.error_at_arrivals()),
        figure.error_at_work(),
    ];
    errors
        .into_iter()
        .flatten()
        .map(off)
        .collect::<Vec<_>>()
        .join("; ")
}

fn figure(figure: Compared) -> String {
    format!(
        "{:.1}, {:.1} ms ({:.1} to {:.1})",
        figure.predicted * 1e3,
        figure.measured * 1e3,
        figure.low * 1e3,
        figure.high * 1e3
    )
}

fn off(error: f64) -> String {
    format!("{:+.1} %", error * 100.0)
}

/// Not rounded up to what was not reached.
fn floored(percent: f64) -> f64 {
    (percent * 100.0).floor() / 100.0
}

/// How many figures are within the goals, which SLOs were kept, and what was measured where.
fn verdicts(record: &Record) -> String {
    let mut lines = goals(record);
    lines.push(slos(record));
    lines.extend(
        record
            .profiles
            .iter()
            .map(|(network, profile)| format!("{network}: {}", profile.said)),
    );
    lines.push(format!(
        "on {} cores of {}",
        record.machine.cores, record.machine.processor
    ));
    lines.join("\n") + "\n"
}

/// Of every figure in the report's order: its name, how far it may be off, and how far it is.
fn goals(record: &Record) -> Vec<String> {
    let outcomes = || record.outcomes.iter();
    let of_apps = |error: fn(&AppOutcome) -> Option<f64>| -> Vec<f64> {
        outcomes()
            .flat_map(|outcome| &outcome.apps)
            .filter_map(error)
            .collect()
    };
    let reach = |limit: f64, figure: fn(&AppOutcome) -> Compared| {
        let figures = outcomes().flat_map(|outcome| &outcome.apps).map(figure);
        figures
            .filter(|it| it.error().abs() > limit && reaches(*it, limit))
            .count()
    };
    vec![
        goal(
            "cost",
            COST,
            &outcomes().map(Outcome::cost_error).collect::<Vec<_>>(),
            0,
        ),
        goal(
            "mean latency",
            MEAN,
            &of_apps(|app| Some(app.mean.error())),
            reach(MEAN, |app| app.mean),
        ),
        goal(
            "99th percentile",
            P99,
            &of_apps(|app| Some(app.p99.error())),
            reach(P99, |app| app.p99),
        ),
        goal(
            "mean latency of the arrivals that came",
            MEAN,
            &of_apps(|app| Some(app.mean.error_at_arrivals())),
            0,
        ),
        goal(
            "99th percentile of these",
            P99,
            &of_apps(|app| Some(app.p99.error_at_arrivals())),
            0,
        ),
        goal(
            "mean latency of these, for the work that batches needed",
            MEAN,
            &of_apps(|app| app.mean.error_at_work()),
            0,
        ),
        goal(
            "99th percentile of these, for the work that batches needed",
            P99,
            &of_apps(|app| app.p99.error_at_work()),
            0,
        ),
    ]
}

/// How many of the errors are within the limit; `known` of the others might be, as far as is known.
fn goal(name: &str, limit: f64, errors: &[f64], known: usize) -> String {
    let within = errors.iter().filter(|error| error.abs() <= limit).count();
    let worst = errors
        .iter()
        .copied()
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
        .unwrap_or(0.0);
    #[expect(clippy::cast_precision_loss, reason = "a few figures")]
    let mean = errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len().max(1) as f64;
    let reach = (known > 0).then(|| format!("; {known} of the others' intervals reach into that"));
    format!(
        "{name}: {within} of {} within {:.0} %, off by {:.1} % in the mean, by {} at worst{}",
        errors.len(),
        limit * 100.0,
        mean * 100.0,
        off(worst),
        reach.unwrap_or_default()
    )
}

fn slos(record: &Record) -> String {
    let apps = || record.outcomes.iter().flat_map(|outcome| &outcome.apps);
    let missed: Vec<_> = record
        .outcomes
        .iter()
        .flat_map(|outcome| outcome.apps.iter().map(move |app| (outcome, app)))
        .filter(|(_, app)| app.attainment < PERCENTILE)
        .map(|(outcome, app)| format!("{}/{} {}", outcome.network, outcome.configuration, app.app))
        .collect();
    let requests: u64 = apps().map(|app| app.requests).sum();
    let failed: u64 = apps().map(|app| app.failed).sum();
    let mut text = format!(
        "SLOs: {} of {} kept, {requests} requests, {failed} without an answer of their own",
        apps().count() - missed.len(),
        apps().count()
    );
    if !missed.is_empty() {
        text += "; missed: ";
        text += &missed.join(", ");
    }
    text
}

/// Whether some value of the interval is predicted within the limit.
fn reaches(figure: Compared, limit: f64) -> bool {
    figure.predicted >= figure.low * (1.0 - limit) && figure.predicted <= figure.high * (1.0 + limit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::record::{Machine, Work};
    use super::*;

    fn record(mean: Compared, attainment: f64) -> Record {
        let p99 = Compared {
            predicted: 0.11,
            at_arrivals: 0.105,
            at_work: None,
            measured: 0.1,
            low: 0.09,
            high: 0.12,
        };
        let app = AppOutcome {
            app: "search".to_owned(),
            slo: 0.2,
            rate: 20,
            requests: 5000,
            mean,
            p99,
            attainment,
            failed: 0,
            throttled: 0,
            send_lag: 0.001,
        };
        let outcome = Outcome {
            network: "mlp".to_owned(),
            configuration: "tight".to_owned(),
            plan: "1 x cpu 300m, b = 2, Eager".to_owned(),
            device: "cpu 300m".to_owned(),
            batch_size: 2,
            apps: vec![app],
            work: Some(Work {
                by_profile: 8.0,
                cost: 2.0,
                measured: 12.0,
            }),
            batches_predicted: vec![0.5, 0.5],
            batches_measured: vec![0.6, 0.4],
            utilization_predicted: 0.5,
            utilization_measured: 0.4,
            cost_predicted: 1.0,
            cost_measured: 1.0,
        };
        let machine = Machine {
            processor: "a processor".to_owned(),
            cores: 2,
        };
        Record {
            machine,
            profiles: BTreeMap::new(),
            outcomes: vec![outcome],
        }
    }

    #[test]
    fn a_row_says_what_was_predicted_and_found_and_goals_are_counted() {
        let mean = Compared {
            predicted: 0.040,
            at_arrivals: 0.045,
            at_work: Some(0.051),
            measured: 0.050,
            low: 0.045,
            high: 0.055,
        };
        let text = render(&record(mean, 98.999));
        assert!(text.contains("| mlp/tight | search 200 ms, 20/s | 1 x cpu 300m, b = 2, Eager | 40.0, 50.0 ms (45.0 to 55.0) | -20.0 %; -10.0 %; +2.0 % | 110.0, 100.0 ms (90.0 to 120.0) | +10.0 %; +5.0 % | 98.99 % | 1.50, 1.40; 10 % | 50 %, 40 % | 1.20 times | +0.0 % |"), "{text}");
        assert!(
            text.contains(
                "mean latency: 0 of 1 within 5 %, off by 20.0 % in the mean, by -20.0 % at worst\n"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "SLOs: 0 of 1 kept, 5000 requests, 0 without an answer of their own; missed: mlp/tight search"
            ),
            "{text}"
        );
    }

    #[test]
    fn an_interval_that_reaches_into_the_goal_is_told() {
        let mean = Compared {
            predicted: 0.046,
            at_arrivals: 0.046,
            at_work: None,
            measured: 0.050,
            low: 0.048,
            high: 0.055,
        };
        let text = render(&record(mean, 99.5));
        assert!(
            text.contains("by -8.0 % at worst; 1 of the others' intervals reach into that"),
            "{text}"
        );
        assert!(text.contains("SLOs: 1 of 1 kept"), "{text}");
    }
}
