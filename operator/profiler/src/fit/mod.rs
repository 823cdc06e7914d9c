//! The planner's forms through the points: a curve in the CPU limit for each batch size, all of the one form that [`choice`] finds, and a line in the
//! batch size for each GPU. Sizes that were not measured in full have curves between their neighbours' ([`interpolated`]).
//!
//! Squares are of *relative* errors, because latencies at a tenth of a core are ten times those at a whole one and would else be all that
//! counts. The error of a fit is the largest relative one, at the points themselves and, between the first and the last of them, at each
//! point that the fit was made without (leave-one-out): at the ends that would be an extrapolation, which is another question.

pub mod after_idle;
pub mod choice;
pub mod exponential;
pub mod form;
pub mod hyperbolic;
pub mod interpolated;
pub mod line;
mod search;
pub mod throttled;

use std::collections::{BTreeMap, BTreeSet};

use crate::goal::Goal;
use crate::points::Point;
use crate::samples::Device;
use after_idle::AfterIdle;
use choice::{Choice, Means};
use form::{Curve, Form};
use interpolated::Interpolated;
use line::Line;
use throttled::Known;

/// An abscissa (vCPU or rows) and a latency in seconds.
pub type Observation = (f64, f64);

/// Fewest CPU limits: three coefficients, and one more so that the fit has an error.
pub const LEAST_LIMITS: usize = 4;
/// Fewest batch sizes on a GPU: two coefficients, and one more.
pub const LEAST_SIZES: usize = 3;

/// A limit of this part of a batch's parallelism stops next to nothing.
const STOPS_NOTHING: f64 = 0.95;

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
    /// Of which the mean goes through the means.
    pub mean: Curve,
    /// Of which the bound is above the upper ends of the high quantile.
    pub tail: Curve,
    /// Of the mean.
    pub error: f64,
    /// How it lies between other sizes, where it was not measured in full.
    pub interpolated: Option<Interpolated>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Batch sizes 1, 2, ... in this order.
    pub cpu: Vec<CpuFit>,
    /// Why they have the form that they have, where there are any.
    pub choice: Option<Choice>,
    /// What idle time adds to a batch on CPU, at a limit that stops none.
    pub after_idle: AfterIdle,
    /// By device.
    pub gpu: Vec<GpuFit>,
}

impl Fit {
    /// What idle time adds in CPU seconds, and its time constant in seconds; none where it is nothing. It keeps as many CPUs busy as a batch of one row, or one where
    /// nothing says how many these are.
    pub fn idle_work(&self) -> Option<(f64, f64)> {
        let AfterIdle {
            seconds,
            time_constant,
            vcpu,
            ..
        } = self.after_idle;
        let cpus = self.cpu.first().map_or(1.0, |single| match single.mean {
            Curve::Throttled(mean) => mean.parallelism,
            Curve::Hyperbolic(_) | Curve::Exponential(_) => 1.0,
        });
        (seconds > 0.0).then(|| (seconds * vcpu.min(cpus), time_constant))
    }

    /// The largest error of all its curves.
    pub fn error(&self) -> f64 {
        let cpu = self.cpu.iter().map(|fit| fit.error);
        cpu.chain(self.gpu.iter().map(|fit| fit.error))
            .fold(0.0, f64::max)
    }
}

/// Fits every batch size on CPU and every GPU that the points have. `after_idle` is what idle time adds to a batch on CPU; where it turns out that its limit stops
/// batches, it says something else, and is not taken for it.
pub fn fit(points: &[Point], after_idle: AfterIdle, goal: Goal) -> Result<Fit, FitError> {
    let found = with(points, after_idle, goal)?;
    let is_stopped = found.cpu.first().is_some_and(|single| match single.mean {
        Curve::Throttled(mean) => after_idle.vcpu < STOPS_NOTHING * mean.parallelism,
        Curve::Hyperbolic(_) | Curve::Exponential(_) => false,
    });
    if is_stopped && after_idle.seconds > 0.0 {
        return with(points, AfterIdle::NOTHING, goal);
    }
    Ok(found)
}

fn with(points: &[Point], after_idle: AfterIdle, goal: Goal) -> Result<Fit, FitError> {
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
    let sizes = in_full(&by_batch, after_idle)?;
    let choice = choice(&sizes, &by_batch);
    let form = choice.as_ref().map(|choice| choice.form);
    let cpu = form.map_or_else(|| Ok(Vec::new()), |form| of_form(form, &sizes))?;
    Ok(Fit {
        cpu: with_sizes_between(cpu, &by_batch, goal)?,
        choice,
        after_idle,
        gpu: gpus
            .iter()
            .map(|(device, points)| gpu(device, points))
            .collect::<Result<_, _>>()?,
    })
}

/// What the batch sizes on CPU that were measured in full are in each of the forms that may be right, fitted to all limits and to all but each of those between the first and the last: as far as these are
/// apart, that far the curves are unknown. The chosen form is the first, and first fitted to all limits.
pub(crate) fn variants(points: &[Point], after_idle: AfterIdle) -> Result<Vec<Vec<CpuFit>>, FitError> {
    let mut by_batch: BTreeMap<u32, Vec<&Point>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.vcpu().is_some()) {
        by_batch.entry(point.batch).or_default().push(point);
    }
    let sizes = in_full(&by_batch, after_idle)?;
    let choice = choice(&sizes, &by_batch).ok_or(FitError::Empty)?;
    let others = choice.plausible().into_iter().filter(|form| *form != choice.form);
    let limits = sizes.iter().map(|size| size.tails.len()).min().unwrap_or(0);
    let mut found = Vec::new();
    for form in [choice.form].into_iter().chain(others) {
        found.push(of_form(form, &sizes)?);
        for left_out in 1..limits.saturating_sub(1) {
            let without: Vec<Size> = sizes.iter().map(|size| size.without(left_out)).collect();
            found.push(of_form(form, &without)?);
        }
    }
    Ok(found)
}

/// Batch sizes that were measured in full, 1, 2, ... in this order, those between left out.
fn in_full(by_batch: &BTreeMap<u32, Vec<&Point>>, after_idle: AfterIdle) -> Result<Vec<Size>, FitError> {
    let largest = by_batch.keys().next_back().copied().unwrap_or(0);
    let points = |batch: u32| by_batch.get(&batch).map_or(&[][..], Vec::as_slice);
    let in_full = (1..=largest).filter(|&batch| !is_checked(points(batch)));
    in_full
        .map(|batch| Size::new(batch, points(batch), after_idle))
        .collect()
}

fn is_checked(points: &[&Point]) -> bool {
    points.iter().any(|point| point.check.is_some())
}

fn choice(sizes: &[Size], by_batch: &BTreeMap<u32, Vec<&Point>>) -> Option<Choice> {
    let means: Vec<Means> = sizes.iter().map(|size| size.means.clone()).collect();
    let on_cpu = by_batch.values().flatten().copied();
    (!means.is_empty()).then(|| Choice::of(&means, choice::has_clusters_of_a_quota(on_cpu)))
}

/// Adds those that were not measured in full, in the order of batch sizes.
fn with_sizes_between(
    in_full: Vec<CpuFit>,
    by_batch: &BTreeMap<u32, Vec<&Point>>,
    goal: Goal,
) -> Result<Vec<CpuFit>, FitError> {
    let tails_of = |batch: u32| by_batch.get(&batch).map_or_else(Vec::new, |points| tails(points));
    let checked = by_batch.iter().filter(|(_, points)| is_checked(points));
    let between = checked.map(|(&batch, points)| {
        let fit = interpolated::between(batch, points, &in_full, &tails_of, goal);
        fit.ok_or_else(|| FitError::NoCurve(format!("batch {batch}, between its neighbours")))
    });
    let between: Vec<CpuFit> = between.collect::<Result<_, _>>()?;
    let mut all = in_full;
    all.extend(between);
    all.sort_by_key(|fit| fit.batch);
    Ok(all)
}

/// Every batch size with a curve of the form; work under a quota is found for all of them together.
fn of_form(form: Form, sizes: &[Size]) -> Result<Vec<CpuFit>, FitError> {
    let mut fits: Vec<CpuFit> = sizes
        .iter()
        .map(|size| size.fit(form))
        .collect::<Result<_, _>>()?;
    if form == Form::Throttled {
        let known: Vec<Known<'_>> = sizes.iter().map(Size::known).collect();
        let curves = throttled::together(&known)
            .ok_or_else(|| FitError::NoCurve("batches of all sizes together".to_owned()))?;
        for ((fit, size), curve) in fits.iter_mut().zip(&known).zip(curves) {
            fit.mean = Curve::Throttled(curve);
            fit.error = size.error(curve);
        }
    }
    Ok(fits)
}

fn at(points: &[&Point], latency: fn(&Point) -> f64) -> Vec<Observation> {
    let at = points
        .iter()
        .filter_map(|point| Some((point.vcpu()?, latency(point))));
    at.collect()
}

/// Where a tail without an upper end was accepted, the largest that was seen is all there is.
fn tails(points: &[&Point]) -> Vec<Observation> {
    at(points, |point| {
        let tail = point.summary.tail;
        tail.high.unwrap_or(tail.value)
    })
}

/// What is known of one batch size on CPU, by limit.
struct Size {
    batch: u32,
    means: Means,
    tails: Vec<Observation>,
}

impl Size {
    fn new(batch: u32, points: &[&Point], after_idle: AfterIdle) -> Result<Self, FitError> {
        let limits: BTreeSet<String> = points.iter().map(|point| point.device.to_string()).collect();
        if limits.len() < LEAST_LIMITS {
            return Err(FitError::TooFewLimits {
                batch,
                limits: limits.into_iter().collect(),
            });
        }
        Ok(Self {
            batch,
            means: Means {
                observations: at(points, |point| point.summary.mean.value),
                known_to: points.iter().map(|point| point.summary.mean.relative()).collect(),
                after_idle,
            },
            tails: tails(points),
        })
    }

    /// Without one of the limits.
    fn without(&self, left_out: usize) -> Self {
        let mut size = Self {
            batch: self.batch,
            means: self.means.clone(),
            tails: self.tails.clone(),
        };
        size.means.observations.remove(left_out);
        size.means.known_to.remove(left_out);
        size.tails.remove(left_out);
        size
    }

    fn known(&self) -> Known<'_> {
        Known {
            means: &self.means.observations,
            precision: &self.means.known_to,
            after_idle: self.means.after_idle,
        }
    }

    fn fit(&self, form: Form) -> Result<CpuFit, FitError> {
        let after_idle = self.means.after_idle;
        let (Some(mean), Some(tail)) = (
            form.through(&self.means.observations, after_idle),
            form.above(&self.tails, after_idle),
        ) else {
            return Err(FitError::NoCurve(format!("batch {}", self.batch)));
        };
        Ok(CpuFit {
            batch: self.batch,
            mean,
            tail,
            error: error(&self.means.observations, |some| {
                form.through(some, after_idle)
                    .map(|curve| move |vcpu| curve.mean(vcpu))
            }),
            interpolated: None,
        })
    }
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

/// Sum of the squares of relative errors.
fn squares(observations: &[Observation], curve: impl Fn(f64) -> f64) -> f64 {
    observations
        .iter()
        .map(|&(x, seconds)| (curve(x) / seconds - 1.0).powi(2))
        .sum()
}

/// By how much a curve is to be multiplied so that no latency exceeds it.
fn scale_above(observations: &[Observation], curve: impl Fn(f64) -> f64) -> f64 {
    observations
        .iter()
        .map(|&(x, seconds)| seconds / curve(x))
        .fold(0.0, f64::max)
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
