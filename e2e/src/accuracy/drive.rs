//! The load: Poisson arrivals at the declared rates, and what the pods counted meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e_load::{App, Outcome, Plan, Report};
use serde_json::Value;

use super::configurations::Configuration;
use super::place::{Place, Served};

/// Sent before anything is counted: connections are open then, and every page was touched.
const WARM_UP: Duration = Duration::from_secs(5);
/// Seed of the arrivals.
const SEED: u64 = 20_240_619;

/// What came of a load.
pub(super) struct Driven {
    pub(super) report: Report,
    /// Seconds of each application's answers, in order of their due times.
    pub(super) latencies: Vec<Vec<f64>>,
    /// Batches of 1, 2, ... rows.
    pub(super) batches: Vec<u64>,
    /// Part of the time in which a replica computed.
    pub(super) utilization: f64,
    /// Seconds of CPU that the runtimes had; none where the kernel that counts them cannot be seen.
    pub(super) cpu_time: Option<f64>,
}

impl Driven {
    /// When the requests of an application were due, in seconds and in order.
    pub(super) fn arrivals(&self, app: usize) -> Vec<f64> {
        let own = self.report.samples.iter().filter(|sample| sample.app == app);
        let mut times: Vec<f64> = own.map(|sample| sample.intended.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

/// How long it takes until the rarest application has sent so many requests.
pub(super) fn seconds(configuration: &Configuration, requests: u32) -> f64 {
    let rarest = configuration.apps.iter().map(|asked| asked.rate).min();
    f64::from(requests) / f64::from(rarest.unwrap_or(1))
}

/// Sends what the configuration declares, until each application has sent `requests` in the mean.
pub(super) async fn drive(
    place: &Place<'_>,
    configuration: &Configuration,
    served: &Served,
    requests: u32,
) -> Result<Driven> {
    send(place, configuration, WARM_UP, SEED + 1).await?;
    let (before, had) = (place.statistics(served).await?, place.cpu_time(served)?);
    let duration = Duration::from_secs_f64(seconds(configuration, requests));
    let report = send(place, configuration, duration, SEED).await?;
    let (after, has) = (place.statistics(served).await?, place.cpu_time(served)?);
    let counted = |statistics: &[Value]| -> Result<(Vec<u64>, f64)> {
        let mut sizes = Vec::new();
        let mut computed = 0.0;
        for pod in statistics {
            let own = pod["sizes"]
                .as_array()
                .context("the runtime counts no batches by size")?;
            sizes.resize(own.len(), 0);
            for (sum, count) in sizes.iter_mut().zip(own) {
                *sum += count.as_u64().context("a count is no number")?;
            }
            computed += pod["computedSeconds"]
                .as_f64()
                .context("the runtime counts no time")?;
        }
        Ok((sizes, computed))
    };
    let ((first, idle), (last, busy)) = (counted(&before)?, counted(&after)?);
    let batches: Vec<u64> = last
        .iter()
        .zip(&first)
        .map(|(last, first)| last.saturating_sub(*first))
        .collect();
    let rows: u64 = batches.iter().zip(1..).map(|(count, size)| count * size).sum();
    let right: u64 = report.apps.iter().map(|app| app.right).sum();
    if rows < right {
        bail!("{right} requests were answered, but the pods ran {rows} rows: a pod was started anew");
    }
    let latencies = (0..configuration.apps.len())
        .map(|index| latencies(&report, index))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a few pods")]
    let replicas = served.pods.len() as f64;
    Ok(Driven {
        utilization: (busy - idle) / (report.seconds * replicas),
        cpu_time: has
            .zip(had)
            .map(|(has, had)| has.saturating_sub(had).as_secs_f64()),
        latencies,
        batches,
        report,
    })
}

async fn send(
    place: &Place<'_>,
    configuration: &Configuration,
    duration: Duration,
    seed: u64,
) -> Result<Report> {
    let mut apps = Vec::new();
    for asked in configuration.apps {
        let host = format!("{}-infer.{}", asked.name, place.namespace);
        let slo = e2e_load::parse_duration(asked.slo)?;
        apps.push(App {
            model: place.network.name.to_owned(),
            columns: place.network.columns,
            ..App::new(asked.name, host, f64::from(asked.rate), slo)
        });
    }
    let plan = Plan {
        seed,
        ..Plan::new(place.gateway.clone(), apps, duration)
    };
    Ok(e2e_load::run(plan).await?)
}

fn latencies(report: &Report, app: usize) -> Vec<f64> {
    let own = report
        .samples
        .iter()
        .filter(|sample| sample.app == app && sample.outcome == Outcome::Right);
    own.map(|sample| sample.latency.as_secs_f64()).collect()
}
