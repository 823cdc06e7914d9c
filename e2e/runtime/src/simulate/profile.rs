//! Latency profiles: the `profile` of an InferenceModel as JSON, for one device.

use std::time::Duration;

use serde::Deserialize;

/// How the latency of a single batch varies around the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Law {
    /// GPU: whole turns of the other tenants, floor or ceil of L0/(m tau) of them, in the proportion that keeps the mean.
    /// CPU: uniform between 2 mean - max and max, or half the mean and max where that would start below 0.3 mean.
    Spread,
    /// Always the mean.
    Mean,
    /// Always the maximum.
    Worst,
}

/// What is wrong with a profile or a share.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("the profile is not JSON of the expected shape")]
    Json(#[from] serde_json::Error),
    #[error("\"{text}\" is not a duration such as 2.5ms (us, ms or s)")]
    Duration { text: String },
    #[error("{field}: \"{text}\" is not a number above 0")]
    Number { field: &'static str, text: String },
    #[error("the profile has neither cpu nor gpu")]
    Empty,
    #[error("a cpu profile needs the CPU limit: --cpu-millis or HARMONYBATCH_CPU_MILLIS")]
    NoCpu,
    #[error("a gpu profile needs the share: {0}")]
    NoShare(&'static str),
    #[error("a share of {units} units of {total} does not exist")]
    Share { units: u32, total: u32 },
    #[error("the profile ends at batches of {largest}, {rows} rows came")]
    TooManyRows { rows: usize, largest: usize },
}

/// `spec.profile` of an InferenceModel, as JSON. A GPU's `slice` (tau, per unit) may stand beside its coefficients.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    #[serde(default)]
    cpu: Vec<CpuEntry>,
    gpu: Option<GpuEntry>,
}

#[derive(Debug, Clone, Deserialize)]
struct CpuEntry {
    batch: usize,
    mean: Curve,
    max: Curve,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Curve {
    Exponential(Exponential),
    Hyperbolic(Hyperbolic),
    Throttled(Throttled),
}

#[derive(Debug, Clone, Deserialize)]
struct Hyperbolic {
    work: String,
    fixed: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Throttled {
    work: String,
    parallelism: String,
    period: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Exponential {
    alpha: String,
    beta: String,
    gamma: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GpuEntry {
    per_row: String,
    fixed: String,
    slice: Option<String>,
}

/// The device's share that this process was given, by flags or by the environment that the operator sets.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Share {
    /// CPU limit in thousandths of a vCPU, for a profile with `cpu`.
    #[arg(long, env = "HARMONYBATCH_CPU_MILLIS")]
    cpu_millis: Option<u32>,
    /// Units of the GPU that this share has (m), for a profile with `gpu`.
    #[arg(long, env = "HARMONYBATCH_GPU_UNITS")]
    gpu_units: Option<u32>,
    /// Units that a whole GPU has (M).
    #[arg(long, env = "HARMONYBATCH_GPU_UNITS_TOTAL")]
    gpu_units_total: Option<u32>,
    /// Time slice of one unit (tau), where the profile does not say it.
    #[arg(long, env = "HARMONYBATCH_GPU_SLICE")]
    gpu_slice: Option<String>,
}

/// A profile at a share: what is needed to say how long a batch takes. Seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Device {
    /// (batch size, mean, max), smallest batch first.
    Cpu(Vec<(usize, f64, f64)>),
    /// `L0 = per_row b + fixed` on the whole device.
    Gpu {
        per_row: f64,
        fixed: f64,
        slice: f64,
        units: f64,
        total: f64,
    },
}

impl Profile {
    pub(crate) fn parse(json: &str) -> Result<Self, ProfileError> {
        Ok(serde_json::from_str(json)?)
    }

    /// The device at the share. A profile of both devices is that of a GPU where a GPU share is given.
    pub(crate) fn at(&self, share: &Share) -> Result<Device, ProfileError> {
        match &self.gpu {
            Some(gpu) if share.gpu_units.is_some() || self.cpu.is_empty() => gpu.at(share),
            _ if self.cpu.is_empty() => Err(ProfileError::Empty),
            _ => {
                let millis = share
                    .cpu_millis
                    .filter(|millis| *millis > 0)
                    .ok_or(ProfileError::NoCpu)?;
                let vcpu = f64::from(millis) / 1000.0;
                let mut entries = self
                    .cpu
                    .iter()
                    .map(|entry| Ok((entry.batch, entry.mean.at(vcpu)?.0, entry.max.at(vcpu)?.1)))
                    .collect::<Result<Vec<_>, ProfileError>>()?;
                entries.sort_by_key(|entry| entry.0);
                Ok(Device::Cpu(entries))
            }
        }
    }
}

impl Curve {
    /// Mean and longest latency.
    fn at(&self, vcpu: f64) -> Result<(f64, f64), ProfileError> {
        match self {
            Self::Exponential(curve) => {
                let latency = curve.at(vcpu)?;
                Ok((latency, latency))
            }
            Self::Hyperbolic(curve) => {
                let latency = seconds(&curve.work)? / vcpu + seconds(&curve.fixed)?;
                Ok((latency, latency))
            }
            Self::Throttled(curve) => curve.at(vcpu),
        }
    }
}

impl Exponential {
    /// Eq. 1: `alpha exp(-c / beta) + gamma`.
    fn at(&self, vcpu: f64) -> Result<f64, ProfileError> {
        let beta = above_zero("beta", &self.beta)?;
        Ok(seconds(&self.alpha)? * (-vcpu / beta).exp() + seconds(&self.gamma)?)
    }
}

impl Throttled {
    /// `max(work / n, work / c)`, and `work / n` with one wait for each quota that is begun.
    fn at(&self, vcpu: f64) -> Result<(f64, f64), ProfileError> {
        let parallelism = above_zero("parallelism", &self.parallelism)?;
        let (work, period) = (
            seconds(&self.work)?,
            seconds(self.period.as_deref().unwrap_or("100ms"))?,
        );
        let wait = period * (1.0 - vcpu / parallelism).max(0.0);
        let quotas = (work / (vcpu * period)).ceil();
        Ok((work / vcpu.min(parallelism), work / parallelism + quotas * wait))
    }
}

fn above_zero(field: &'static str, text: &str) -> Result<f64, ProfileError> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| ProfileError::Number {
        field,
        text: text.to_owned(),
    })
}

impl GpuEntry {
    fn at(&self, share: &Share) -> Result<Device, ProfileError> {
        let units = share
            .gpu_units
            .ok_or(ProfileError::NoShare("--gpu-units or HARMONYBATCH_GPU_UNITS"))?;
        let total = share.gpu_units_total.ok_or(ProfileError::NoShare(
            "--gpu-units-total or HARMONYBATCH_GPU_UNITS_TOTAL",
        ))?;
        if units == 0 || units > total {
            return Err(ProfileError::Share { units, total });
        }
        let slice = self.slice.as_ref().or(share.gpu_slice.as_ref());
        let slice = slice.ok_or(ProfileError::NoShare(
            "gpu.slice, --gpu-slice or HARMONYBATCH_GPU_SLICE",
        ))?;
        let tau = seconds(slice)?;
        if tau <= 0.0 {
            return Err(ProfileError::Number {
                field: "slice",
                text: slice.clone(),
            });
        }
        Ok(Device::Gpu {
            per_row: seconds(&self.per_row)?,
            fixed: seconds(&self.fixed)?,
            slice: tau,
            units: f64::from(units),
            total: f64::from(total),
        })
    }
}

impl Device {
    /// How long a batch takes; `chance` in `[0, 1)` picks one value of the law.
    pub(crate) fn latency(&self, rows: usize, law: Law, chance: f32) -> Result<Duration, ProfileError> {
        let chance = f64::from(chance);
        let seconds = match self {
            Self::Cpu(entries) => {
                let largest = entries.last().map_or(0, |entry| entry.0);
                let (_, mean, max) = entries
                    .iter()
                    .find(|entry| entry.0 >= rows)
                    .ok_or(ProfileError::TooManyRows { rows, largest })?;
                cpu_law(*mean, max.max(*mean), law, chance)
            }
            Self::Gpu {
                per_row,
                fixed,
                slice,
                units,
                total,
            } => {
                #[expect(clippy::cast_precision_loss, reason = "rows of a batch")]
                let whole = per_row * rows as f64 + fixed;
                let turns = whole / (units * slice);
                let others = (total - units) * slice;
                match law {
                    Law::Mean => total / units * whole,
                    Law::Worst => turns.ceil() * others + whole,
                    Law::Spread if chance < turns.fract() => turns.ceil() * others + whole,
                    Law::Spread => turns.floor() * others + whole,
                }
            }
        };
        Ok(Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)))
    }
}

fn cpu_law(mean: f64, max: f64, law: Law, chance: f64) -> f64 {
    let low = 2.0 * mean - max;
    match law {
        Law::Mean => mean,
        Law::Worst => max,
        Law::Spread if low >= 0.3 * mean => low + (max - low) * chance,
        // Two points, half the mean and the maximum, in the proportion that keeps the mean.
        Law::Spread if chance < 0.5 * mean / (max - 0.5 * mean) => max,
        Law::Spread => 0.5 * mean,
    }
}

/// A duration as the API writes it, in seconds.
fn seconds(text: &str) -> Result<f64, ProfileError> {
    let wrong = || ProfileError::Duration {
        text: text.to_owned(),
    };
    let (number, scale) = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .ok_or_else(wrong)?;
    let value = number
        .parse::<f64>()
        .ok()
        .filter(|value| *value >= 0.0 && value.is_finite());
    Ok(value.ok_or_else(wrong)? * scale)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const VGG19_A10: &str = r#"{"gpu":{"perRow":"1.67984ms","fixed":"2.11309ms","slice":"2ms"}}"#;
    const VGG19_CPU: &str = r#"{"cpu":[{"batch":1,
        "mean":{"exponential":{"alpha":"1826.07ms","beta":"0.52837","gamma":"180.154ms"}},
        "max":{"exponential":{"alpha":"2000ms","beta":"0.5","gamma":"0.25s"}}}]}"#;

    fn share(cpu_millis: Option<u32>, units: Option<u32>) -> Share {
        Share {
            cpu_millis,
            gpu_units: units,
            gpu_units_total: units.map(|_| 24),
            gpu_slice: None,
        }
    }

    fn mean_of(device: &Device, rows: usize) -> f64 {
        let samples = 40_000_u16;
        let sum = (0..samples).map(|index| {
            let chance = f32::from(index) / f32::from(samples);
            device.latency(rows, Law::Spread, chance).unwrap().as_secs_f64()
        });
        sum.sum::<f64>() / f64::from(samples)
    }

    /// 20 ms of one CPU under half of one: 40 ms in the mean, 20 ms and the 50 ms without quota at most.
    #[test]
    fn every_form_on_cpu_has_its_mean_and_its_longest_latency() {
        let text = r#"{"cpu":[{"batch":1,
            "mean":{"hyperbolic":{"work":"20ms","fixed":"1ms"}}, "max":{"throttled":{"work":"20ms","parallelism":"1"}}}]}"#;
        let device = Profile::parse(text).unwrap().at(&share(Some(500), None)).unwrap();
        for (law, expected) in [(Law::Mean, 0.041), (Law::Worst, 0.07)] {
            let found = device.latency(1, law, 0.0).unwrap().as_secs_f64();
            assert!((found - expected).abs() < 1e-8, "{found}");
        }
    }

    #[test]
    fn a_gpu_share_follows_equations_3_and_4() {
        let device = Profile::parse(VGG19_A10)
            .unwrap()
            .at(&share(None, Some(6)))
            .unwrap();
        let whole = 8.0 * 1.67984e-3 + 2.11309e-3;
        let mean = device.latency(8, Law::Mean, 0.0).unwrap().as_secs_f64();
        assert!((mean - 4.0 * whole).abs() < 1e-8, "{mean}");
        let worst = device.latency(8, Law::Worst, 0.0).unwrap().as_secs_f64();
        assert!(
            (worst - ((whole / 12e-3).ceil() * 36e-3 + whole)).abs() < 1e-8,
            "{worst}"
        );
        assert!((mean_of(&device, 8) - mean).abs() < 1e-4 * mean);
    }

    #[test]
    fn a_whole_gpu_does_not_wait_for_others() {
        let device = Profile::parse(VGG19_A10)
            .unwrap()
            .at(&share(None, Some(24)))
            .unwrap();
        let whole = 1.67984e-3 + 2.11309e-3;
        for law in [Law::Mean, Law::Worst, Law::Spread] {
            let latency = device.latency(1, law, 0.5).unwrap().as_secs_f64();
            assert!((latency - whole).abs() < 1e-8, "{law:?} {latency}");
        }
    }

    #[test]
    fn a_cpu_limit_follows_equation_1() {
        let device = Profile::parse(VGG19_CPU)
            .unwrap()
            .at(&share(Some(1650), None))
            .unwrap();
        let mean = device.latency(1, Law::Mean, 0.0).unwrap().as_secs_f64();
        assert!(
            (mean - (1.82607 * (-1.65_f64 / 0.52837).exp() + 0.180_154)).abs() < 1e-8,
            "{mean}"
        );
        assert!((mean_of(&device, 1) - mean).abs() < 1e-3 * mean);
        assert!(device.latency(2, Law::Mean, 0.0).is_err());
    }

    #[test]
    fn a_law_with_a_far_maximum_keeps_the_mean() {
        let device = Device::Cpu(vec![(1, 0.1, 0.9)]);
        assert!((mean_of(&device, 1) - 0.1).abs() < 1e-3);
    }

    #[test]
    fn a_share_that_is_missing_or_impossible_is_refused() {
        let gpu = Profile::parse(VGG19_A10).unwrap();
        assert!(
            gpu.at(&share(Some(100), None))
                .unwrap_err()
                .to_string()
                .contains("HARMONYBATCH_GPU_UNITS")
        );
        assert!(
            gpu.at(&share(None, Some(25)))
                .unwrap_err()
                .to_string()
                .contains("25 units of 24")
        );
        let cpu = Profile::parse(VGG19_CPU).unwrap();
        assert!(
            cpu.at(&share(None, None))
                .unwrap_err()
                .to_string()
                .contains("HARMONYBATCH_CPU_MILLIS")
        );
        assert!(Profile::parse("{}").unwrap().at(&share(Some(100), None)).is_err());
        assert!(seconds("5").is_err() && seconds("-1ms").is_err() && seconds("infs").is_err());
    }
}
