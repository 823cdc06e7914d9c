//! Outcomes, in a file that a run goes on from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use harmonybatch_api::inference_model::{AfterIdle, CpuProfile};
use serde::{Deserialize, Serialize};

use super::configurations::Configuration;
use super::drive::Driven;
use super::interval::{self, Estimate};
use super::networks::Network;
use super::place::{Served, device};
use super::predicted::{Latency, Predicted};

/// Everything that was found.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) machine: Machine,
    /// Of each network, as it was measured last.
    #[serde(default)]
    pub(super) profiles: BTreeMap<String, Measured>,
    pub(super) outcomes: Vec<Outcome>,
}

/// A network's profile.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// What the model's condition says of it.
    pub(super) said: String,
    pub(super) cpu: Vec<CpuProfile>,
    /// What idle time costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after_idle: Option<AfterIdle>,
}

/// Where.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Name of the processor.
    pub(super) processor: String,
    pub(super) cores: usize,
}

/// One configuration: what was predicted, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub(super) network: String,
    pub(super) configuration: String,
    /// The plan in words.
    pub(super) plan: String,
    /// What a replica runs on.
    pub(super) device: String,
    pub(super) batch_size: i32,
    pub(super) apps: Vec<AppOutcome>,
    /// Share of batches of 1, 2, ... rows.
    pub(super) batches_predicted: Vec<f64>,
    /// The same, of what the pods counted.
    pub(super) batches_measured: Vec<f64>,
    /// Part of the time in which a replica computes.
    pub(super) utilization_predicted: f64,
    /// The same, of what the pods counted.
    pub(super) utilization_measured: f64,
    /// Seconds of CPU that the batches took which ran; none where nobody counts them.
    pub(super) work: Option<Work>,
    /// A second: of the plan.
    pub(super) cost_predicted: f64,
    /// A second: by the limits that the kernel holds.
    pub(super) cost_measured: f64,
}

/// Seconds of CPU for the same batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Work {
    /// By the profile, of batches that follow each other.
    pub(super) by_profile: f64,
    /// What idle time and stops cost besides, as the plan is played for the arrivals that came.
    pub(super) cost: f64,
    /// By the kernel.
    pub(super) measured: f64,
}

impl Work {
    /// How many times what the profile says batches needed, beyond what idle time and stops cost.
    pub(super) fn slowdown(self) -> f64 {
        // As far as a what-if goes.
        ((self.measured - self.cost) / self.by_profile).clamp(0.25, 4.0)
    }

    /// How many times all that was predicted they needed.
    pub(super) fn of_predicted(self) -> f64 {
        self.measured / (self.by_profile + self.cost)
    }
}

/// One application. Times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppOutcome {
    pub(super) app: String,
    pub(super) slo: f64,
    pub(super) rate: u32,
    pub(super) requests: u64,
    pub(super) mean: Compared,
    pub(super) p99: Compared,
    /// Percent of the admitted requests that were answered within the SLO.
    pub(super) attainment: f64,
    /// Answers that were wrong or did not come.
    pub(super) failed: u64,
    /// Refused as beyond the contract.
    pub(super) throttled: u64,
    /// The longest that the generator itself was late.
    pub(super) send_lag: f64,
}

/// A figure: what the plan says, and what was found, with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    pub(super) predicted: f64,
    /// The same for the arrivals that came: what it is less off than the plan is chance.
    pub(super) at_arrivals: f64,
    /// The same for the work that batches took as well, where that is known: what is still off is neither chance nor the profile's work.
    pub(super) at_work: Option<f64>,
    pub(super) measured: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Compared {
    /// How far the prediction is off, as a part of what was measured; below 0 where it was too small.
    pub(super) fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// The same of the prediction for the arrivals that came.
    pub(super) fn error_at_arrivals(&self) -> f64 {
        self.at_arrivals / self.measured - 1.0
    }

    /// The same of the prediction for these and the work that batches took.
    pub(super) fn error_at_work(&self) -> Option<f64> {
        Some(self.at_work? / self.measured - 1.0)
    }
}

impl Outcome {
    /// Rows of a batch in the mean, predicted and measured.
    pub(super) fn mean_batch(&self) -> (f64, f64) {
        (rows(&self.batches_predicted), rows(&self.batches_measured))
    }

    /// The part of all batches whose size is not as predicted (total variation distance).
    pub(super) fn batches_apart(&self) -> f64 {
        let sizes = self.batches_predicted.len().max(self.batches_measured.len());
        let share = |shares: &[f64], size: usize| shares.get(size).copied().unwrap_or(0.0);
        let apart = |size| (share(&self.batches_predicted, size) - share(&self.batches_measured, size)).abs();
        (0..sizes).map(apart).sum::<f64>() / 2.0
    }

    /// How far the predicted cost is off, as a part of what was paid.
    pub(super) fn cost_error(&self) -> f64 {
        self.cost_predicted / self.cost_measured - 1.0
    }
}

fn rows(shares: &[f64]) -> f64 {
    shares
        .iter()
        .zip(1_u32..)
        .map(|(share, size)| share * f64::from(size))
        .sum()
}

impl Record {
    /// What the file holds; nothing where there is none.
    pub(super) fn read(file: &Path) -> Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no record of `e2e accuracy`", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Writes all of it; a run that ends meanwhile leaves the old file.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let unfinished = file.with_extension("unfinished");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)
            .and_then(|()| std::fs::rename(&unfinished, file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Those of the configurations that it does not hold.
    pub(super) fn without(
        &self,
        network: &Network,
        mut configurations: Vec<&'static Configuration>,
    ) -> Vec<&'static Configuration> {
        configurations.retain(|configuration| {
            let is_this = |outcome: &&Outcome| {
                outcome.network == network.name && outcome.configuration == configuration.name
            };
            self.outcomes.iter().find(is_this).is_none()
        });
        configurations
    }
}

impl Machine {
    /// This one, as far as the kernel tells.
    pub(super) fn here() -> Self {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What would have been predicted of the arrivals that came, of each application in the order of the configuration.
pub(super) struct Hindsight {
    pub(super) at_arrivals: Vec<Latency>,
    /// The work that batches took, where that is known, and what would have been predicted for that as well.
    pub(super) at_work: Option<(Work, Vec<Latency>)>,
}

/// Brings together what was predicted and what was measured.
pub(super) fn compare(
    network: &Network,
    configuration: &Configuration,
    served: &Served,
    predicted: &Predicted,
    driven: &Driven,
    hindsight: &Hindsight,
    cost_measured: f64,
) -> Result<Outcome> {
    let compared = |index: usize, of: fn(&Latency) -> f64, found: Option<Estimate>| -> Result<Compared> {
        let found = found.context("no request was answered")?;
        let at_work = hindsight.at_work.as_ref();
        Ok(Compared {
            predicted: of(&predicted.apps[index]),
            at_arrivals: of(&hindsight.at_arrivals[index]),
            at_work: at_work.map(|(_, apps)| of(&apps[index])),
            measured: found.value,
            low: found.low,
            high: found.high,
        })
    };
    let mut apps = Vec::new();
    let measured = driven.report.apps.iter().zip(&driven.latencies);
    for (index, (asked, (report, latencies))) in configuration.apps.iter().zip(measured).enumerate() {
        apps.push(AppOutcome {
            app: asked.name.to_owned(),
            slo: report.slo_ms / 1e3,
            rate: asked.rate,
            requests: report.requests,
            mean: compared(index, |it| it.mean, interval::mean(latencies))?,
            p99: compared(index, |it| it.p99, interval::quantile(latencies, 0.99))?,
            attainment: report.attainment.unwrap_or(0.0),
            failed: report.wrong + report.failed,
            throttled: report.throttled,
            send_lag: report.send_lag_ms / 1e3,
        });
    }
    let total: u64 = driven.batches.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "counts of batches")]
    let batches_measured = driven
        .batches
        .iter()
        .map(|count| *count as f64 / total as f64)
        .collect();
    let first = served.groups.first().context("a plan without groups")?;
    Ok(Outcome {
        network: network.name.to_owned(),
        configuration: configuration.name.to_owned(),
        plan: served.in_words(),
        device: device(first),
        batch_size: first.spec.batch_size,
        apps,
        batches_predicted: predicted.batches.clone(),
        batches_measured,
        utilization_predicted: predicted.utilization,
        utilization_measured: driven.utilization,
        work: hindsight.at_work.as_ref().map(|(work, _)| *work),
        cost_predicted: predicted.cost,
        cost_measured,
    })
}
