//! CPU work under a quota: `max(work / parallelism, work / vcpu)` in the mean, and one wait for each quota that is begun at most.
//!
//! The formulas, and their derivation, are the planner's (`planner/src/profile/throttled.rs`). The profiler sends batches one after the other, so
//! that it measures the mean of a replica that is never idle.

use super::{Observation, search};
use crate::modality::Clusters;

/// Of the quota, in seconds: Kubernetes' default (the kubelet's `cpuCFSQuotaPeriod`).
pub const PERIOD: f64 = 0.1;

/// Largest parallelism, in multiples of the largest limit: above it a batch waits for nearly the whole period at all limits.
const LARGEST: f64 = 8.0;

/// A latency that exceeds whole periods by no more than this part is taken for these: the request's way and threads that wake up late are not
/// under the quota, and one more wait of a batch would be far more.
pub const BEYOND_PERIODS: f64 = 0.03;

/// Coefficients: CPU seconds, CPUs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttled {
    /// CPU time of a batch.
    pub work: f64,
    /// CPUs that it keeps busy.
    pub parallelism: f64,
}

impl Throttled {
    /// Mean latency at a CPU limit.
    pub fn mean(&self, vcpu: f64) -> f64 {
        self.work / vcpu.min(self.parallelism)
    }

    /// Longest latency at a CPU limit.
    pub fn bound(&self, vcpu: f64) -> f64 {
        let wait = PERIOD * (1.0 - vcpu / self.parallelism).max(0.0);
        self.work / self.parallelism + (self.work / (vcpu * PERIOD)).ceil() * wait
    }
}

/// The curve whose mean has the least relative squares. None for fewer than two observations, or where a latency is not positive.
///
/// With `alone = work / parallelism` the mean is `max(alone, work / vcpu)`. Limits up to some one of them determine the work and those beyond it
/// determine `alone`, or the corner lies at one of them; each of these few cases has its own best coefficients, and the best of all wins.
pub fn through(observations: &[Observation]) -> Option<Throttled> {
    let positive = |&(vcpu, seconds): &Observation| vcpu > 0.0 && seconds.is_finite() && seconds > 0.0;
    if observations.len() < 2 || !observations.iter().all(positive) {
        return None;
    }
    let mut sorted = observations.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (smallest, largest) = (sorted.first()?.0, sorted.last()?.0);
    let split = (1..sorted.len()).map(|at| {
        let (slowed, free) = sorted.split_at(at);
        let work = factor(slowed, |vcpu| 1.0 / vcpu);
        (work, work / factor(free, |_| 1.0))
    });
    let corner = sorted.iter().map(|&(parallelism, _)| {
        let work = factor(&sorted, |vcpu| 1.0 / vcpu.min(parallelism));
        (work, parallelism)
    });
    split
        .chain(corner)
        // No mean tells of a parallelism beyond the limits.
        .map(|(work, parallelism)| Throttled {
            work,
            parallelism: parallelism.clamp(smallest, largest),
        })
        .map(|curve| (super::squares(observations, |vcpu| curve.mean(vcpu)), curve))
        .filter(|(squares, _)| squares.is_finite())
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, curve)| curve)
}

/// The f of least relative squares for latencies close to `f shape(vcpu)`.
fn factor(observations: &[Observation], shape: impl Fn(f64) -> f64) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for &(vcpu, seconds) in observations {
        let part = shape(vcpu) / seconds;
        sum += part;
        squares += part * part;
    }
    sum / squares
}

/// The curve of least relative squares whose bound no latency exceeds, but for [`BEYOND_PERIODS`].
///
/// For a given parallelism it is the least `alone` for which `alone + ceil(alone / spent_in) wait` reaches every latency. With k waits this is at
/// most k periods, so that k is the number of periods that the latency has begun, and `alone` the larger of k - 1 quotas and of what k waits leave.
pub fn above(observations: &[Observation]) -> Option<Throttled> {
    through(observations)?;
    let limits = || observations.iter().map(|&(vcpu, _)| vcpu);
    let low = limits().fold(f64::INFINITY, f64::min);
    // How long batches wait tells of a parallelism that no limit reaches.
    let high = LARGEST * limits().fold(0.0, f64::max);
    search::search(low, high, |parallelism| {
        let alone = observations.iter().map(|&(vcpu, seconds)| {
            if vcpu >= parallelism {
                return seconds;
            }
            let spent_in = PERIOD * vcpu / parallelism;
            let begun = (seconds / (PERIOD * (1.0 + BEYOND_PERIODS))).ceil();
            let (waits, seconds) = (begun, seconds.min(begun * PERIOD));
            // Just above whole quotas, so that rounding does not take the last wait away.
            let quotas = (waits - 1.0) * spent_in * (1.0 + 1e-9);
            quotas.max(seconds - waits * (PERIOD - spent_in))
        });
        let curve = Throttled {
            work: alone.fold(0.0, f64::max) * parallelism,
            parallelism,
        };
        let squares = super::squares(observations, |vcpu| curve.bound(vcpu));
        (squares.is_finite() && curve.work > 0.0).then_some((squares, curve))
    })
}

/// The part of batches that a quota with this mean makes slow: batches that follow each other need `mean / PERIOD` quotas each, and what this has past
/// a whole number is the part of them that meets one end of a quota more than the others.
pub fn slow_part(clusters: &Clusters) -> f64 {
    let mean = clusters.fast + clusters.slow_part * (clusters.slow - clusters.fast);
    (mean / PERIOD).fract()
}

/// Whether two clusters are those of a quota, whatever the coefficients: their parts are, and the slow ones wait less than a period.
pub fn explains(clusters: &Clusters, count: usize) -> bool {
    /// Of the part, beyond the noise of its count: pauses between batches, and quotas that are handed out in slices.
    const TOLERANCE: f64 = 0.05;
    let part = clusters.slow_part;
    let off = (part - slow_part(clusters)).abs();
    // A whole number of quotas is both no batch and every batch.
    let off = off.min(1.0 - off);
    #[expect(clippy::cast_precision_loss, reason = "no sample has 2^52 values")]
    let noise = (part * (1.0 - part) / count.max(1) as f64).sqrt();
    off <= TOLERANCE + 2.0 * noise && clusters.slow - clusters.fast < PERIOD
}
