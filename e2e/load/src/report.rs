//! What became of the requests. Samples are the one source: every figure is derived from them, so that a report can be
//! narrowed to a part of the run.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::plan::{App, Plan};

/// Latencies are kept in microseconds, up to an hour, to three digits.
const LONGEST: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// Failures that a report lists; the counts are of all.
const FAILURES: usize = 10_000;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200, and the answer is this request's own.
    Right,
    /// 200, but the answer is not this request's own: what differs.
    Wrong(String),
    /// Another status, and the start of its body.
    Refused(u16, String),
    /// No answer: the connection failed or ended.
    Broken(String),
    /// No answer before the plan's timeout.
    TimedOut,
    /// Not sent, because as many requests as the plan allows were in flight.
    Unsent,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Index of the application in the plan.
    pub app: usize,
    /// When it was due, since the start.
    pub intended: Duration,
    /// When it was handed to the client, since the start.
    pub sent: Duration,
    /// From `intended` to the last byte of the answer.
    pub latency: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// A request that did not come back right.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Its application.
    pub app: String,
    /// When it was due, seconds since the start.
    pub at_seconds: f64,
    /// When it failed, seconds since the start.
    pub failed_at_seconds: f64,
    /// What happened.
    pub what: String,
}

/// The report of one application. Latencies are milliseconds, of right answers only.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppReport {
    /// Its name.
    pub app: String,
    /// Its SLO.
    pub slo_ms: f64,
    /// Requests that were due.
    pub requests: u64,
    /// Rows of the requests that were answered right.
    pub rows: u64,
    /// Requests per second that were due.
    pub rate_per_second: f64,
    /// Answered right.
    pub right: u64,
    /// Answered right and within the SLO.
    pub within_slo: u64,
    /// Answered right, but later.
    pub late: u64,
    /// Answered with 429: above the contract, counted apart.
    pub throttled: u64,
    /// Answered with 200, but not with this request's own answer.
    pub wrong: u64,
    /// Everything else that was not answered right: statuses, broken connections, timeouts, unsent.
    pub failed: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Mean latency.
    pub mean_ms: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile of the latency.
    pub p99_ms: f64,
    /// Longest latency.
    pub max_ms: f64,
    /// Percent of the admitted requests (all but throttled ones) that were answered right within the SLO; none if none was.
    pub attainment: Option<f64>,
    /// The longest delay between the time at which a request was due and its sending: the generator's own lag.
    pub send_lag_ms: f64,
}

/// The report of a run, or of a part of one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seconds that the report covers.
    pub seconds: f64,
    /// In the order of the plan.
    pub apps: Vec<AppReport>,
    /// What did not come back right, 429 included, in order of the intended time; at most 10,000.
    pub failures: Vec<Failure>,
    /// Every request in order of the intended time, the warm-up excluded.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    #[serde(skip)]
    described: Vec<App>,
}

impl Report {
    /// The report of the samples after the plan's warm-up; sending ended at `end`.
    pub(crate) fn new(plan: &Plan, samples: Vec<Sample>, end: Duration) -> Self {
        Self::of(plan.apps.clone(), samples, plan.warm_up..end)
    }

    /// The same report, of the requests that were due in a part of the run (times since the start).
    #[must_use]
    pub fn during(&self, part: Range<Duration>) -> Self {
        Self::of(self.described.clone(), self.samples.clone(), part)
    }

    /// The report of an application.
    pub fn app(&self, name: &str) -> Option<&AppReport> {
        self.apps.iter().find(|app| app.app == name)
    }

    /// Whether every application had a request, no answer was wrong or failed, and each attainment (percent) is at least this.
    pub fn holds(&self, attainment: f64) -> bool {
        self.apps.iter().all(|app| {
            app.wrong == 0 && app.failed == 0 && app.attainment.is_some_and(|found| found >= attainment)
        })
    }

    fn of(described: Vec<App>, mut samples: Vec<Sample>, part: Range<Duration>) -> Self {
        samples.retain(|sample| part.contains(&sample.intended));
        samples.sort_by_key(|sample| (sample.intended, sample.app));
        let seconds = part.end.saturating_sub(part.start).as_secs_f64();
        let apps = described.iter().enumerate().map(|(index, app)| {
            let own = samples.iter().filter(|sample| sample.app == index);
            AppReport::of(app, own, seconds)
        });
        let failed = samples.iter().filter(|sample| sample.outcome != Outcome::Right);
        let failures = failed.take(FAILURES).map(|sample| Failure {
            app: described[sample.app].name.clone(),
            at_seconds: sample.intended.as_secs_f64(),
            failed_at_seconds: (sample.intended + sample.latency).as_secs_f64(),
            what: sample.outcome.to_string(),
        });
        let (apps, failures) = (apps.collect(), failures.collect());
        Self {
            seconds,
            apps,
            failures,
            samples,
            described,
        }
    }
}

impl AppReport {
    fn of<'a>(app: &App, samples: impl Iterator<Item = &'a Sample>, seconds: f64) -> Self {
        let mut report = Self::empty(app);
        // The bounds are constants, so this cannot fail; without a histogram the percentiles would be 0.
        let mut latencies = Histogram::<u64>::new_with_bounds(1, LONGEST, DIGITS).ok();
        for sample in samples {
            report.requests += 1;
            report.send_lag_ms = report
                .send_lag_ms
                .max(millis(sample.sent.saturating_sub(sample.intended)));
            match &sample.outcome {
                Outcome::Right => {
                    report.rows += app.rows as u64;
                    report.right += 1;
                    *if sample.latency <= app.slo {
                        &mut report.within_slo
                    } else {
                        &mut report.late
                    } += 1;
                    let micros = u64::try_from(sample.latency.as_micros()).unwrap_or(LONGEST);
                    if let Some(latencies) = &mut latencies {
                        latencies.saturating_record(micros);
                    }
                    report.max_ms = report.max_ms.max(millis(sample.latency));
                }
                Outcome::Wrong(_) => report.wrong += 1,
                Outcome::Refused(429, _) => report.throttled += 1,
                Outcome::Refused(..) | Outcome::Broken(_) | Outcome::TimedOut | Outcome::Unsent => {
                    report.failed += 1;
                }
            }
            let status = match &sample.outcome {
                Outcome::Right | Outcome::Wrong(_) => Some(200),
                Outcome::Refused(status, _) => Some(*status),
                Outcome::Broken(_) | Outcome::TimedOut | Outcome::Unsent => None,
            };
            if let Some(status) = status {
                *report.statuses.entry(status).or_default() += 1;
            }
        }
        report.finish(latencies.as_ref(), seconds);
        report
    }

    fn empty(app: &App) -> Self {
        Self {
            app: app.name.clone(),
            slo_ms: millis(app.slo),
            requests: 0,
            rows: 0,
            rate_per_second: 0.0,
            right: 0,
            within_slo: 0,
            late: 0,
            throttled: 0,
            wrong: 0,
            failed: 0,
            statuses: BTreeMap::new(),
            mean_ms: 0.0,
            p50_ms: 0.0,
            p99_ms: 0.0,
            max_ms: 0.0,
            attainment: None,
            send_lag_ms: 0.0,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of requests and microseconds, below 2^52"
    )]
    fn finish(&mut self, latencies: Option<&Histogram<u64>>, seconds: f64) {
        if let Some(latencies) = latencies.filter(|latencies| !latencies.is_empty()) {
            self.mean_ms = latencies.mean() / 1e3;
            self.p50_ms = latencies.value_at_quantile(0.5) as f64 / 1e3;
            self.p99_ms = latencies.value_at_quantile(0.99) as f64 / 1e3;
        }
        if seconds > 0.0 {
            self.rate_per_second = self.requests as f64 / seconds;
        }
        let admitted = self.requests - self.throttled;
        self.attainment = (admitted > 0).then(|| 100.0 * self.within_slo as f64 / admitted as f64);
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => write!(formatter, "right"),
            Self::Wrong(what) => write!(formatter, "wrong answer: {what}"),
            Self::Refused(status, body) => write!(formatter, "status {status}: {body}"),
            Self::Broken(error) => write!(formatter, "no answer: {error}"),
            Self::TimedOut => write!(formatter, "no answer in time"),
            Self::Unsent => write!(formatter, "not sent: too many requests in flight"),
        }
    }
}

impl fmt::Display for Report {
    /// A table with one line for each application, then the failures by kind.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{:<12} {:>8} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>16} {:>6} {:>6} {:>6}",
            "APP",
            "REQUESTS",
            "RATE/S",
            "SLO",
            "MEAN",
            "P50",
            "P99",
            "MAX",
            "WITHIN SLO",
            "WRONG",
            "FAILED",
            "429"
        )?;
        for app in &self.apps {
            let attained = app
                .attainment
                .map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2}%"));
            let within = format!("{}/{} {attained}", app.within_slo, app.requests - app.throttled);
            writeln!(
                formatter,
                "{:<12} {:>8} {:>7.2} {:>7.0}ms {:>7.1}ms {:>7.1}ms {:>7.1}ms {:>7.1}ms {within:>16} {:>6} {:>6} {:>6}",
                app.app,
                app.requests,
                app.rate_per_second,
                app.slo_ms,
                app.mean_ms,
                app.p50_ms,
                app.p99_ms,
                app.max_ms,
                app.wrong,
                app.failed,
                app.throttled
            )?;
        }
        let mut kinds = BTreeMap::<(&str, &str), (u64, f64)>::new();
        for failure in &self.failures {
            kinds
                .entry((&failure.app, &failure.what))
                .or_insert((0, failure.at_seconds))
                .0 += 1;
        }
        for ((app, what), (count, first)) in kinds.iter().take(20) {
            writeln!(formatter, "{app}: {count} x {what} (first at {first:.3} s)")?;
        }
        Ok(())
    }
}
