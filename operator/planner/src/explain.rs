//! Why an application is served the way it is: data first, and the sentence that users read.

mod app_explanation;
mod what_if;

use std::fmt;

use crate::plan::Device;
use crate::units::BatchSize;

pub use app_explanation::{
    AppExplanation, Constraint, CostChange, ExplainError, InfeasibleExplanation, Relaxation,
    ServedExplanation, Verdict, WhatIf,
};
pub use what_if::explain;

/// How many names of other members a sentence lists before it only counts.
const NAMES_LISTED: usize = 3;

/// The cheapest way to serve an application on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Alone {
    /// Device and size of one replica.
    pub device: Device,
    /// How many replicas run.
    pub replicas: u32,
    /// The most rows in a batch.
    pub batch_size: BatchSize,
    /// Cost per second, in the platform's currency.
    pub cost_per_second: f64,
    /// Cost per row, in the platform's currency.
    pub cost_per_request: f64,
}

/// The best configuration on the next best kind of device.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerUp {
    /// Device and size of one replica.
    pub device: Device,
    /// How many replicas run.
    pub replicas: u32,
    /// Its cost relative to the cheapest, at least 1.
    pub factor: f64,
}

/// Why one application is in its group.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The first few other members of the group, tightest SLO first.
    pub shares_with: Vec<String>,
    /// How many other members the group has.
    pub others: usize,
    /// Whether it asked to be alone.
    pub isolated: bool,
    /// The cheapest way to serve it alone.
    pub alone: Alone,
    /// The cheapest way to serve it alone on another kind of device, if there is one that keeps its SLO.
    pub runner_up: Option<RunnerUp>,
    /// What sharing saves against `alone`, as a fraction; zero where it is alone or where nothing costs.
    pub saving: f64,
}

impl Explanation {
    /// Picks the names that a sentence may list.
    pub(crate) fn list_names<'a>(others: impl Iterator<Item = &'a str>) -> Vec<String> {
        others.take(NAMES_LISTED).map(str::to_owned).collect()
    }
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 7 others`.
fn enumerate(f: &mut fmt::Formatter<'_>, names: &[String], total: usize) -> fmt::Result {
    let unlisted = total.saturating_sub(names.len());
    for (index, name) in names.iter().enumerate() {
        let separator = match index {
            0 => "",
            _ if index + 1 == names.len() && unlisted == 0 => " and ",
            _ => ", ",
        };
        write!(f, "{separator}{name}")?;
    }
    match unlisted {
        0 => Ok(()),
        1 => write!(f, " and 1 other"),
        _ => write!(f, " and {unlisted} others"),
    }
}

/// `cpu 1650m`, or `2 replicas of cpu 1650m`.
fn function(f: &mut fmt::Formatter<'_>, device: &Device, replicas: u32) -> fmt::Result {
    if replicas > 1 {
        write!(f, "{replicas} replicas of ")?;
    }
    write!(f, "{device}")
}

/// The name of a kind of device: `cpu` or the pool.
fn kind(device: &Device) -> &str {
    match device {
        Device::Cpu { .. } => "cpu",
        Device::Gpu { pool, .. } => pool,
    }
}

impl fmt::Display for Explanation {
    /// One sentence, such as `shares a batch with cart and feed; alone it needs cpu 1650m at 1.84 per million;
    /// a10 alone is 2.1x dearer`. Prices are per million rows in the platform's currency.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.others > 0 {
            write!(f, "shares a batch with ")?;
            enumerate(f, &self.shares_with, self.others)?;
            write!(f, "; alone it needs ")?;
        } else if self.isolated {
            write!(f, "isolated, on ")?;
        } else {
            write!(f, "cheapest alone, on ")?;
        }
        function(f, &self.alone.device, self.alone.replicas)?;
        write!(f, " at {} per million", PerMillion(self.alone.cost_per_request))?;
        if let Some(runner_up) = &self.runner_up {
            let alone = if self.others > 0 { " alone" } else { "" };
            write!(
                f,
                "; {}{alone} is {:.1}x dearer",
                kind(&runner_up.device),
                runner_up.factor
            )?;
        }
        Ok(())
    }
}

/// A cost per row, written per million rows with three significant digits or two decimals.
struct PerMillion(f64);

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = self.0 * 1e6;
        if cost >= 100.0 {
            write!(f, "{cost:.0}")
        } else if cost >= 0.01 || cost <= 0.0 {
            write!(f, "{cost:.2}")
        } else {
            write!(f, "{cost:.2e}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Vcpu;

    fn explanation(shares_with: &[&str], others: usize) -> Result<Explanation, crate::units::UnitError> {
        let device = Device::Cpu {
            vcpu: Vcpu::from_millis(1650)?,
        };
        let gpu = Device::Gpu {
            pool: "a10".into(),
            units: crate::units::GpuUnits::new(6)?,
        };
        Ok(Explanation {
            shares_with: shares_with.iter().map(|&name| name.to_owned()).collect(),
            others,
            isolated: false,
            alone: Alone {
                device,
                replicas: 1,
                batch_size: BatchSize::ONE,
                cost_per_second: 9.2e-6,
                cost_per_request: 1.84e-6,
            },
            runner_up: Some(RunnerUp {
                device: gpu,
                replicas: 1,
                factor: 2.1,
            }),
            saving: 0.31,
        })
    }

    #[test]
    fn the_sentence_is_the_one_that_the_design_promises() {
        let text = explanation(&["cart", "feed"], 2).map(|it| it.to_string());
        assert_eq!(
            text.as_deref(),
            Ok(
                "shares a batch with cart and feed; alone it needs cpu 1650m at 1.84 per million; \
                a10 alone is 2.1x dearer"
            )
        );
    }

    #[test]
    fn a_crowd_is_counted_and_solitude_is_said() {
        let crowd = explanation(&["a", "b", "c"], 10).map(|it| it.to_string());
        assert!(crowd.is_ok_and(|text| text.starts_with("shares a batch with a, b, c and 7 others;")));
        let single = explanation(&[], 0).map(|it| it.to_string());
        assert_eq!(
            single.as_deref(),
            Ok("cheapest alone, on cpu 1650m at 1.84 per million; a10 is 2.1x dearer")
        );
    }
}
