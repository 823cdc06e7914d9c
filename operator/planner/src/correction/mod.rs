//! How far a runtime is from its profile, by what its batches took: the factors by which plans take the profile's latencies.
//!
//! Every function of a kind of device is scaled by the same two factors, one for the mean and one for the maximum. A profile that is wrong
//! was mostly measured on another machine, or beside other neighbours, and what makes one size slower there makes all of them so; and batches are only
//! seen on the functions that a plan uses. Were those corrected alone, a plan would flee to the functions that nobody has seen, whose
//! figures are as wrong and only look better.
//!
//! [`estimate`](Estimate::of) makes out of batches what they say, by a prior that is the profile itself; [`Correction::after`] says when
//! that is enough to correct by something else than before. Under a quota what batches take depends on what is left of it: there [`UnderQuota`] plays the
//! group that was seen, and finds the factor on its work that explains them.

mod batches;
mod estimate;
mod explanation;

pub use batches::{Batches, Bucket, Expected, Longest};
pub use estimate::Estimate;
pub use explanation::{Rows, UnderQuota};

/// The least and the most that a latency is corrected by: what is further off is another model or another device, and no profile to be corrected.
pub const BOUNDS: (f64, f64) = (0.25, 4.0);

/// Batches that must have been seen before anything is corrected.
const ENOUGH: u64 = 20;
/// Error of the factor, as a part of it, above which nothing is corrected yet.
const SETTLED: f64 = 0.12;
/// How many of its errors another factor must be away from the one in force.
const SURE: f64 = 3.0;
/// How many times the factor in force another one must be to take its place: a little for what is slower, because an SLO is at stake, and more for
/// what is faster, because only money is. For the maximum, whose quantile is known to a sixteenth, a tenth.
const SLOWER: f64 = 1.05;
const FASTER: f64 = 1.25;
const SLOWER_MAX: f64 = 1.1;
/// What is so many times slower than it was taken for does not wait until the last correction has been seen to hold.
const AT_ONCE: f64 = 1.25;
/// Steps of a factor: three decimals, as it is written.
const STEPS: f64 = 1000.0;

/// How many times the profile's latencies plans take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    mean: f64,
    max: f64,
}

impl Default for Correction {
    /// The profile as it is.
    fn default() -> Self {
        Self { mean: 1.0, max: 1.0 }
    }
}

impl Correction {
    /// The factors of the mean and of the maximum, brought within [`BOUNDS`] and to three decimals; what is no number is 1.
    pub fn new(mean: f64, max: f64) -> Self {
        let within = |factor: f64| {
            let factor = if factor.is_nan() { 1.0 } else { factor };
            (factor.clamp(BOUNDS.0, BOUNDS.1) * STEPS).round() / STEPS
        };
        Self {
            mean: within(mean),
            max: within(max),
        }
    }

    /// Both factors as they are, whatever they are.
    pub(crate) fn exactly(factor: f64) -> Self {
        Self {
            mean: factor,
            max: factor,
        }
    }

    /// Times the profile's mean latency.
    pub fn mean(self) -> f64 {
        self.mean
    }

    /// Times the profile's longest latency.
    pub fn max(self) -> f64 {
        self.max
    }

    /// Whether latencies stay as the profile has them.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// So many fourths of it, on the scale of logarithms: none of it is the profile as it is.
    #[must_use]
    pub fn fourths(self, fourths: u8) -> Self {
        let part = f64::from(fourths.min(4)) / 4.0;
        Self::new(self.mean.powf(part), self.max.powf(part))
    }

    /// What to correct by after an estimate, where that is something else than before. `held` says that the correction in force has stood for
    /// as long as batches are remembered, so that all of them are of its time: until then only what is much slower changes it, and one step of a
    /// runtime that is seen little by little leads to few changes.
    pub fn after(self, estimate: &Estimate, held: bool) -> Option<Self> {
        if !estimate.is_settled() {
            return None;
        }
        // A mean far below an unchanged maximum would stand for times that scatter more than before: it is lowered with the maximum or not at all.
        let with_margin = estimate.mean() * estimate.error().exp();
        let with_margin = with_margin.max(estimate.max(with_margin).min(1.0));
        let off = estimate.mean().ln() - self.mean.ln();
        let surely = off.abs() > SURE * estimate.error();
        // Of what is slower the estimate decides and its margin is added; of what is faster the margin is left.
        let slower = surely && off > SLOWER.ln();
        let faster = surely && self.mean > FASTER * with_margin;
        let (mean, follows) = if slower || faster {
            (with_margin, with_margin)
        } else {
            (self.mean, estimate.mean())
        };
        let max = estimate.max(follows);
        let longer = estimate.surely_longest() > SLOWER_MAX * self.max;
        let shorter = self.max > FASTER * max;
        let changes = slower || faster || longer || shorter;
        let much = (slower && off > AT_ONCE.ln()) || estimate.surely_longest() > AT_ONCE * self.max;
        // What becomes faster by its maximum becomes so by all that is known.
        let mean = if shorter { mean.min(with_margin) } else { mean };
        let found = Self::new(mean, if changes { max } else { self.max });
        (changes && (held || much) && found != self).then_some(found)
    }
}

/// The corrections of one model, by kind of device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Corrections {
    /// Of every CPU limit.
    pub cpu: Correction,
    /// Of every share of a kind of GPU, by its name.
    pub gpu: std::collections::BTreeMap<String, Correction>,
}

impl Corrections {
    /// Of a kind of GPU.
    pub fn of_gpu(&self, device: &str) -> Correction {
        self.gpu.get(device).copied().unwrap_or_default()
    }

    /// Whether all latencies stay as the profile has them.
    pub fn are_none(&self) -> bool {
        self.cpu.is_none() && self.gpu.values().all(|correction| correction.is_none())
    }

    /// So many fourths of each, as [`Correction::fourths`].
    #[must_use]
    pub fn fourths(&self, fourths: u8) -> Self {
        let gpu = self.gpu.iter();
        Self {
            cpu: self.cpu.fourths(fourths),
            gpu: gpu
                .map(|(device, correction)| (device.clone(), correction.fourths(fourths)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
