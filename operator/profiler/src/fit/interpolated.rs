//! Curves of batch sizes that were not measured in full ([`crate::design`]): those between their neighbours' curves, times their level.
//!
//! The mean has the level that its own samples say. The bound has it, too, and is raised until no more of its own samples exceed it, under all limits together,
//! than the quantile lets by chance: a size whose slow batches are slower than its neighbours' is then not planned for too little.
//!
//! Under a quota a bound is fitted with a parallelism of its own, and a latency that lies by chance on one side or the other of a whole period makes another one of it. That is as good as any at the limits that were
//! measured, but not for sizes between. Where the means know the parallelism, because a limit is beyond it, bounds that others are made of have that one.

use super::form::{Curve, Form};
use super::throttled::BEYOND_PERIODS;
use super::{CpuFit, Observation, throttled};
use crate::goal::Goal;
use crate::points::{Check, Point};

/// A bound is raised by such parts.
const STEP: f64 = 1.01;
/// At most so often: seventy times the neighbours' is no chance.
const STEPS: i32 = 427;

/// What is known of how a size lies between others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interpolated {
    /// The batch sizes between whose curves its curves lie.
    pub between: (u32, u32),
    /// How far the means would be off without samples of its own, as a part.
    pub off: f64,
    /// How well its own samples say that, as a part.
    pub known_to: f64,
}

/// The curves of a size with these points, `fits` being those of the sizes that were measured in full and `tails` their percentiles. None where its neighbours have no curves of one form.
pub(super) fn between(
    batch: u32,
    points: &[&Point],
    fits: &[CpuFit],
    tails: &impl Fn(u32) -> Vec<Observation>,
    goal: Goal,
) -> Option<CpuFit> {
    let checks: Vec<(&Point, &Check)> = points
        .iter()
        .filter_map(|&point| Some((point, point.check.as_ref()?)))
        .collect();
    let level = checks.first()?.1.level;
    let of = |batch: u32| fits.iter().find(|fit| fit.batch == batch);
    let (lower, upper) = (of(level.between.0)?, of(level.between.1)?);
    let part = f64::from(batch - lower.batch) / f64::from(upper.batch - lower.batch);
    let mean = lower.mean.between(&upper.mean, part, level.ratio)?;
    let samples: Vec<Observation> = checks
        .iter()
        .filter_map(|(point, check)| Some((point.vcpu()?, check)))
        .flat_map(|(vcpu, check)| check.sorted.iter().map(move |&seconds| (vcpu, seconds)))
        .collect();
    let allowed = goal.most_beyond(samples.len());
    let (below, above) = (
        bound(lower, &tails(lower.batch)),
        bound(upper, &tails(upper.batch)),
    );
    let tail = (0..=STEPS)
        .filter_map(|step| below.between(&above, part, level.ratio * STEP.powi(step)))
        .find(|tail| beyond(tail, &samples) <= allowed)?;
    let errors = points.iter().filter_map(|point| {
        let known = point.summary.mean;
        Some((mean.mean(point.vcpu()?) / known.value - 1.0).abs() - known.relative())
    });
    Some(CpuFit {
        batch,
        mean,
        tail,
        error: errors.fold(lower.error.max(upper.error), f64::max),
        interpolated: Some(Interpolated {
            between: level.between,
            off: (level.found - 1.0).abs(),
            known_to: level.known_to,
        }),
    })
}

/// The bound of a size that was measured in full, as others are made of it.
fn bound(fit: &CpuFit, tails: &[Observation]) -> Curve {
    let largest = tails.iter().map(|&(vcpu, _)| vcpu).fold(0.0, f64::max);
    match fit.mean {
        Curve::Throttled(mean) if mean.parallelism < largest => {
            Curve::Throttled(throttled::reaching(tails, mean.parallelism, mean.after_idle))
        }
        _ => fit.tail,
    }
}

/// How many samples exceed the bound, by more than a fit of that form takes for nothing.
fn beyond(tail: &Curve, samples: &[Observation]) -> usize {
    let slack = match tail.form() {
        Form::Throttled => 1.0 + BEYOND_PERIODS,
        Form::Hyperbolic | Form::Exponential => 1.0,
    };
    let beyond = samples
        .iter()
        .filter(|&&(vcpu, seconds)| seconds > tail.bound(vcpu) * slack);
    beyond.count()
}
