//! The planner's forms through the points: an exponential in the CPU limit for each batch size, a line in the batch size for each GPU.
//!
//! Squares are of *relative* errors, because latencies at a tenth of a core are ten times those at a whole one and would else be all that
//! counts. The error of a fit is the largest relative one, at the points themselves and, between the first and the last of them, at each
//! point that the fit was made without (leave-one-out): at the ends that would be an extrapolation, which is another question.

pub mod exponential;
pub mod line;

use std::collections::{BTreeMap, BTreeSet};

use crate::points::Point;
use crate::samples::Device;
use exponential::Exponential;
use line::Line;

/// An abscissa (vCPU or rows) and a latency in seconds.
pub type Observation = (f64, f64);

/// Fewest CPU limits: three coefficients, and one more so that the fit has an error.
pub const LEAST_LIMITS: usize = 4;
/// Fewest batch sizes on a GPU: two coefficients, and one more.
pub const LEAST_SIZES: usize = 3;

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// No samples at all.
    #[error("there are no samples")]
    Empty,
    /// Too few CPU limits.
    #[error("batch {batch} is measured at {} ({}): {LEAST_LIMITS} CPU limits are needed, for three coefficients and an error: measure the endpoint at others and give all files with --merge", counted(.limits.len(), "CPU limit"), .limits.join(", "))]
    TooFewLimits {
        /// The batch size.
        batch: u32,
        /// Where it is measured.
        limits: Vec<String>,
    },
    /// Too few batch sizes.
    #[error("{device} is measured with {}: {LEAST_SIZES} are needed, for two coefficients and an error: raise --max-batch", counted(*.sizes, "batch size"))]
    TooFewSizes {
        /// The device.
        device: String,
        /// How many there are.
        sizes: usize,
    },
    /// No curve of the form describes the points.
    #[error("no curve of the planner's form goes through the latencies of {0}")]
    NoCurve(String),
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// One batch size on CPU.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuFit {
    /// Rows in the batch.
    pub batch: u32,
    /// Through the means.
    pub mean: Exponential,
    /// Above the upper ends of the high quantile.
    pub tail: Exponential,
    /// Of the mean.
    pub error: f64,
}

/// One kind of GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuFit {
    /// With its memory.
    pub device: Device,
    /// Through the means.
    pub mean: Line,
    /// Of the mean.
    pub error: f64,
}

/// Everything that was fitted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fit {
    /// Batch sizes 1, 2, ... in this order.
    pub cpu: Vec<CpuFit>,
    /// By device.
    pub gpu: Vec<GpuFit>,
}

impl Fit {
    /// The largest error of all its curves.
    pub fn error(&self) -> f64 {
        let cpu = self.cpu.iter().map(|fit| fit.error);
        cpu.chain(self.gpu.iter().map(|fit| fit.error))
            .fold(0.0, f64::max)
    }
}

/// Fits every batch size on CPU and every GPU that the points have.
pub fn fit(points: &[Point]) -> Result<Fit, FitError> {
    if points.is_empty() {
        return Err(FitError::Empty);
    }
    let mut by_batch: BTreeMap<u32, Vec<&Point>> = BTreeMap::new();
    let mut gpus: Vec<(&Device, Vec<&Point>)> = Vec::new();
    for point in points {
        match point.device {
            Device::Cpu { .. } => by_batch.entry(point.batch).or_default().push(point),
            Device::Gpu { .. } => match gpus.iter_mut().find(|(device, _)| *device == &point.device) {
                Some((_, own)) => own.push(point),
                None => gpus.push((&point.device, vec![point])),
            },
        }
    }
    let largest = by_batch.keys().next_back().copied().unwrap_or(0);
    let on_cpu = |batch| cpu(batch, by_batch.get(&batch).map_or(&[][..], Vec::as_slice));
    Ok(Fit {
        cpu: (1..=largest).map(on_cpu).collect::<Result<_, _>>()?,
        gpu: gpus
            .iter()
            .map(|(device, points)| gpu(device, points))
            .collect::<Result<_, _>>()?,
    })
}

fn cpu(batch: u32, points: &[&Point]) -> Result<CpuFit, FitError> {
    let limits: BTreeSet<String> = points.iter().map(|point| point.device.to_string()).collect();
    if limits.len() < LEAST_LIMITS {
        return Err(FitError::TooFewLimits {
            batch,
            limits: limits.into_iter().collect(),
        });
    }
    let at = |latency: fn(&Point) -> f64| -> Vec<Observation> {
        points
            .iter()
            .filter_map(|point| Some((point.vcpu()?, latency(point))))
            .collect()
    };
    let means = at(|point| point.summary.mean.value);
    // Where a tail without an upper end was accepted, the largest that was seen is all there is.
    let tails = at(|point| point.summary.tail.high.unwrap_or(point.summary.tail.value));
    let (Some(mean), Some(tail)) = (exponential::through(&means), exponential::above(&tails)) else {
        return Err(FitError::NoCurve(format!("batch {batch}")));
    };
    Ok(CpuFit {
        batch,
        mean,
        tail,
        error: error(&means, |some| {
            exponential::through(some).map(|curve| move |vcpu| curve.at(vcpu))
        }),
    })
}

fn gpu(device: &Device, points: &[&Point]) -> Result<GpuFit, FitError> {
    if points.len() < LEAST_SIZES {
        return Err(FitError::TooFewSizes {
            device: device.to_string(),
            sizes: points.len(),
        });
    }
    let means: Vec<Observation> = points
        .iter()
        .map(|point| (f64::from(point.batch), point.summary.mean.value))
        .collect();
    Ok(GpuFit {
        device: device.clone(),
        mean: line::through(&means).ok_or_else(|| FitError::NoCurve(device.to_string()))?,
        error: error(&means, |some| {
            line::through(some).map(|line| move |rows| line.at(rows))
        }),
    })
}

/// The largest relative error at the observations, in order, and at those between the first and the last without themselves.
fn error<C: Fn(f64) -> f64>(observations: &[Observation], fit: impl Fn(&[Observation]) -> Option<C>) -> f64 {
    let off = |curve: &C, &(x, seconds): &Observation| (curve(x) / seconds - 1.0).abs();
    let all = fit(observations).map(|curve| {
        observations
            .iter()
            .map(|each| off(&curve, each))
            .fold(0.0, f64::max)
    });
    let between = 1..observations.len().saturating_sub(1);
    let without = between.map(|left_out| {
        let mut others = observations.to_vec();
        let one = others.remove(left_out);
        fit(&others).map_or(f64::INFINITY, |curve| off(&curve, &one))
    });
    without.fold(all.unwrap_or(f64::INFINITY), f64::max)
}

#[cfg(test)]
mod tests;
