//! CPU work under a quota: `max(work / parallelism, work / vcpu)` in the mean, and one wait for each quota that is begun at most.
//!
//! The formulas, and their derivation, are the planner's (`planner/src/profile/throttled.rs`). The profiler sends batches one after the other, so
//! that it measures the mean of a replica that is never idle. What a stop costs ([`AfterIdle`]) is taken off every quota, as there.

use super::after_idle::AfterIdle;
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
    /// What idle time adds where no limit stops anything.
    pub after_idle: AfterIdle,
}

/// What is left of a limit for batches of this parallelism, when what they lose by each stop is taken off.
fn left_of(vcpu: f64, parallelism: f64, after_idle: AfterIdle) -> f64 {
    /// As the planner has it.
    const LEAST: f64 = 0.1;
    if vcpu >= parallelism {
        return vcpu;
    }
    let lost = parallelism * after_idle.after(PERIOD * (1.0 - vcpu / parallelism));
    (vcpu - lost / PERIOD).max(LEAST * vcpu)
}

impl Throttled {
    fn left_of(&self, vcpu: f64) -> f64 {
        left_of(vcpu, self.parallelism, self.after_idle)
    }

    /// Mean latency at a CPU limit.
    pub fn mean(&self, vcpu: f64) -> f64 {
        self.work / self.left_of(vcpu).min(self.parallelism)
    }

    /// Longest latency at a CPU limit.
    pub fn bound(&self, vcpu: f64) -> f64 {
        let left = self.left_of(vcpu);
        let wait = PERIOD * (1.0 - left / self.parallelism).max(0.0);
        self.work / self.parallelism + (self.work / (left * PERIOD)).ceil() * wait
    }
}

/// The curve whose mean has the least relative squares. None for fewer than two observations, or where a latency is not positive.
///
/// With `alone = work / parallelism` the mean is `max(alone, work / vcpu)`. Limits up to some one of them determine the work and those beyond it
/// determine `alone`, or the corner lies at one of them; each of these few cases has its own best coefficients, and the best of all wins.
///
/// What is left of the limits depends on the parallelism: it is found with that of the limits themselves, and then anew.
pub fn through(observations: &[Observation], after_idle: AfterIdle) -> Option<Throttled> {
    const TIMES: u32 = 3;
    let mut found = without_stops(observations)?;
    if after_idle.seconds > 0.0 {
        for _ in 0..TIMES {
            let left = observations
                .iter()
                .map(|&(vcpu, seconds)| (left_of(vcpu, found.parallelism, after_idle), seconds));
            found = without_stops(&left.collect::<Vec<_>>())?;
        }
    }
    Some(Throttled { after_idle, ..found })
}

/// The same where stops cost nothing.
fn without_stops(observations: &[Observation]) -> Option<Throttled> {
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
            after_idle: AfterIdle::NOTHING,
        })
        .map(|curve| (super::squares(observations, |vcpu| curve.mean(vcpu)), curve))
        .filter(|(squares, _)| squares.is_finite())
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, curve)| curve)
}

/// What a mean may be off by besides what its sample knows of it, as a part: a machine is not the same in each of the minutes in which limits have their turns.
const DRIFT: f64 = 0.03;

/// The means of one batch size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// In the order of limits.
    pub(super) means: &'a [Observation],
    /// Half the confidence interval of each as a part of it.
    pub(super) precision: &'a [f64],
    pub(super) after_idle: AfterIdle,
}

impl Known<'_> {
    /// The work of least squares, each in units of its own error, for this parallelism, and those squares. Under a small limit few of the batches that are short
    /// beside the quota meet its end, so that their mean is known ten times less well than that under a limit that never stops them.
    fn with(&self, parallelism: f64) -> (f64, f64) {
        let weighed = self
            .means
            .iter()
            .zip(self.precision)
            .map(|(&(vcpu, seconds), &known_to)| {
                // Half a 95 % interval is two standard errors; one without a second sample is no better known than to itself.
                let error = if known_to.is_finite() { known_to / 2.0 } else { 1.0 };
                (
                    1.0 / (error * error + DRIFT * DRIFT),
                    1.0 / (left_of(vcpu, parallelism, self.after_idle).min(parallelism) * seconds),
                )
            });
        let (sum, squares) = weighed
            .clone()
            .fold((0.0, 0.0), |(sum, squares), (weight, part)| {
                (sum + weight * part, squares + weight * part * part)
            });
        let work = sum / squares;
        let off = weighed
            .map(|(weight, part)| weight * (work * part - 1.0).powi(2))
            .sum();
        (work, off)
    }

    /// The largest relative error of the mean with this parallelism, at all limits and, between the ends, at each one that the work was found without.
    pub(super) fn error(&self, curve: Throttled) -> f64 {
        let off = |curve: Throttled, &(vcpu, seconds): &Observation| (curve.mean(vcpu) / seconds - 1.0).abs();
        let all = self.means.iter().map(|each| off(curve, each));
        let without = (1..self.means.len().saturating_sub(1)).map(|left_out| {
            let (mut means, mut known_to) = (self.means.to_vec(), self.precision.to_vec());
            let one = means.remove(left_out);
            known_to.remove(left_out);
            let (work, _) = Known {
                means: &means,
                precision: &known_to,
                after_idle: self.after_idle,
            }
            .with(curve.parallelism);
            off(Throttled { work, ..curve }, &one)
        });
        all.chain(without).fold(0.0, f64::max)
    }
}

/// The curves of all batch sizes, of least squares in units of what each mean is known to. CPUs that a batch keeps busy are a property of the runtime, and one number
/// for all sizes is known better than one for each; it is taken unless the squares of numbers of their own are smaller by more than one for each, which is what chance makes of them. None where
/// a size has no curve.
pub(super) fn together(sizes: &[Known<'_>]) -> Option<Vec<Throttled>> {
    let limits = || sizes.iter().flat_map(|size| size.means).map(|&(vcpu, _)| vcpu);
    let (low, high) = (
        limits().fold(f64::INFINITY, f64::min),
        limits().fold(0.0, f64::max),
    );
    for size in sizes {
        through(size.means, size.after_idle)?;
    }
    let best = |sizes: &[Known<'_>]| {
        search::search(low, high, |parallelism| {
            let off: f64 = sizes.iter().map(|size| size.with(parallelism).1).sum();
            off.is_finite().then_some((off, (off, parallelism)))
        })
    };
    let (shared_off, shared) = best(sizes)?;
    let own: Vec<(f64, f64)> = sizes.iter().map(|size| best(&[*size])).collect::<Option<_>>()?;
    let own_off: f64 = own.iter().map(|(off, _)| off).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few batch sizes")]
    let explained = sizes.len() as f64 - 1.0;
    let is_shared = shared_off - own_off <= explained;
    let curves = sizes.iter().zip(own).map(|(size, (_, own))| {
        let parallelism = if is_shared { shared } else { own };
        Throttled {
            work: size.with(parallelism).0,
            parallelism,
            after_idle: size.after_idle,
        }
    });
    Some(curves.collect())
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
pub fn above(observations: &[Observation], after_idle: AfterIdle) -> Option<Throttled> {
    through(observations, after_idle)?;
    let limits = || observations.iter().map(|&(vcpu, _)| vcpu);
    let low = limits().fold(f64::INFINITY, f64::min);
    // How long batches wait tells of a parallelism that no limit reaches.
    let high = LARGEST * limits().fold(0.0, f64::max);
    search::search(low, high, |parallelism| {
        let curve = reaching(observations, parallelism, after_idle);
        let squares = super::squares(observations, |vcpu| curve.bound(vcpu));
        (squares.is_finite() && curve.work > 0.0).then_some((squares, curve))
    })
}

/// Of this parallelism, the curve with the least work whose bound no latency exceeds, but for [`BEYOND_PERIODS`].
pub(super) fn reaching(observations: &[Observation], parallelism: f64, after_idle: AfterIdle) -> Throttled {
    let alone = observations.iter().map(|&(vcpu, seconds)| {
        if vcpu >= parallelism {
            return seconds;
        }
        let spent_in = PERIOD * left_of(vcpu, parallelism, after_idle) / parallelism;
        let begun = (seconds / (PERIOD * (1.0 + BEYOND_PERIODS))).ceil();
        let (waits, seconds) = (begun, seconds.min(begun * PERIOD));
        // Just above whole quotas, so that rounding does not take the last wait away.
        let quotas = (waits - 1.0) * spent_in * (1.0 + 1e-9);
        quotas.max(seconds - waits * (PERIOD - spent_in))
    });
    Throttled {
        work: alone.fold(0.0, f64::max) * parallelism,
        parallelism,
        after_idle,
    }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const LIMITS: [f64; 5] = [0.1, 0.2, 0.4, 0.7, 1.0];
    /// As a short network's means are known in a few seconds for each: what a quota does to few of the batches is not.
    const KNOWN_TO: [f64; 5] = [0.4, 0.3, 0.2, 0.1, 0.01];

    /// Means of a work at all limits, each off by its own part of what it is known to.
    fn means(work: f64, parallelism: f64, off: [f64; 5]) -> Vec<Observation> {
        let each = LIMITS.iter().zip(KNOWN_TO).zip(off);
        let mean = |((&vcpu, known_to), off): ((&f64, f64), f64)| {
            (vcpu, work / vcpu.min(parallelism) * (1.0 + off * known_to))
        };
        each.map(mean).collect()
    }

    fn together_of(sizes: &[Vec<Observation>]) -> Vec<Throttled> {
        let known: Vec<Known<'_>> = sizes
            .iter()
            .map(|means| Known {
                means,
                precision: &KNOWN_TO,
                after_idle: AfterIdle::NOTHING,
            })
            .collect();
        together(&known).unwrap()
    }

    #[test]
    fn what_is_known_well_counts_for_more_than_what_is_not() {
        // Means under small limits are too low for both sizes, as far as they may be; without a limit that stops them both are right.
        let off = [-1.0, -1.0, -0.5, 0.2, 0.1];
        let sizes = [means(0.003, 0.97, off), means(0.005, 0.97, off)];
        for ((found, work), own) in together_of(&sizes).iter().zip([0.003, 0.005]).zip(&sizes) {
            let error = |curve: &Throttled| (curve.work / work - 1.0).abs();
            assert!(error(found) < 0.12, "{found:?} for {work}");
            let free = found.mean(1.0) / (work / 0.97) - 1.0;
            assert!(free.abs() < 0.01, "{found:?} for {work}");
            // Where all means count the same, the worst known ones have their way.
            let alone = through(own, AfterIdle::NOTHING).unwrap();
            assert!(error(&alone) > 2.0 * error(found), "{alone:?} and {found:?}");
        }
    }

    /// With 0.7 ms lost by each stop of 90 ms, 9.3 of the 10 ms of the smallest quota are left, and the more of the larger ones the shorter they stop.
    #[test]
    fn what_stops_cost_is_no_work() {
        let after_idle = AfterIdle {
            seconds: 0.000_7,
            time_constant: 0.008,
            ..AfterIdle::NOTHING
        };
        let lost = |stopped: f64| 0.000_7 * (1.0 - (-stopped / 0.008).exp());
        let mean = |vcpu: f64| {
            if vcpu < 1.0 {
                0.001 / (vcpu - lost(0.1 * (1.0 - vcpu)) / 0.1)
            } else {
                0.001
            }
        };
        let observed = LIMITS.map(|vcpu| (vcpu, mean(vcpu)));
        assert!((observed[0].1 - 0.001 / 0.093).abs() < 1e-6);
        let found = through(&observed, after_idle).unwrap();
        assert!((found.work - 0.001).abs() < 1e-8, "{found:?}");
        let known = Known {
            means: &observed,
            precision: &[0.01; 5],
            after_idle,
        };
        let found = together(&[known]).unwrap()[0];
        assert!((found.work - 0.001).abs() < 1e-6, "{found:?}");
        // Who does not know of it takes it for work.
        let ignorant = through(&observed, AfterIdle::NOTHING).unwrap();
        assert!(ignorant.work > 1.02 * found.work, "{ignorant:?}");
    }

    #[test]
    fn sizes_that_keep_different_numbers_of_cpus_busy_keep_their_own() {
        let found = together_of(&[means(0.02, 0.4, [0.0; 5]), means(0.08, 0.9, [0.0; 5])]);
        for (curve, (work, parallelism)) in found.iter().zip([(0.02, 0.4), (0.08, 0.9)]) {
            assert!((curve.work / work - 1.0).abs() < 1e-3, "{curve:?}");
            assert!((curve.parallelism / parallelism - 1.0).abs() < 1e-3, "{curve:?}");
        }
    }
}
