//! When a batch size is known well enough, and how many more batches that takes.

use crate::design::Known;
use crate::interval::{self, Mean, Quantile};
use crate::modality::{self, Clusters};
use crate::samples::Samples;

/// Fewest samples of a batch size: a few equal ones at the start would look like certainty.
pub(crate) const LEAST: usize = 10;

/// How well every batch size shall be known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    precision: f64,
    tail_precision: f64,
    quantile: f64,
    confidence: f64,
}

/// A part that is none.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{name} {found} must be between 0 and 1, both excluded")]
pub struct GoalError {
    /// Which one.
    pub name: &'static str,
    /// What was found.
    pub found: f64,
}

/// What is known of a batch size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Batches measured.
    pub count: usize,
    /// Their mean latency.
    pub mean: Mean,
    /// The high quantile of their latencies.
    pub tail: Quantile,
    /// Their clusters, if there are two.
    pub clusters: Option<Clusters>,
}

impl Goal {
    /// Half the interval of the mean within `precision` of it, the upper end of the interval of the `quantile` within `tail_precision` of it,
    /// both intervals of this `confidence`. All are between 0 and 1.
    pub fn new(
        precision: f64,
        tail_precision: f64,
        quantile: f64,
        confidence: f64,
    ) -> Result<Self, GoalError> {
        let parts = [
            ("precision", precision),
            ("tail precision", tail_precision),
            ("quantile", quantile),
            ("confidence", confidence),
        ];
        match parts.into_iter().find(|&(_, part)| !(part > 0.0 && part < 1.0)) {
            Some((name, found)) => Err(GoalError { name, found }),
            None => Ok(Self {
                precision,
                tail_precision,
                quantile,
                confidence,
            }),
        }
    }

    /// Half the interval of a mean that is wanted, as a part of it.
    pub fn precision(&self) -> f64 {
        self.precision
    }

    /// How much higher than the quantile the upper end of its interval may be, as a part of it.
    pub fn tail_precision(&self) -> f64 {
        self.tail_precision
    }

    /// Half the interval of a mean of so many samples, for the deviation that they have.
    pub(crate) fn half_width(&self, deviation: f64, count: usize) -> f64 {
        interval::half_width(deviation, count, self.confidence)
    }

    /// Most of so many samples that exceed the true quantile, beyond doubt.
    pub(crate) fn most_beyond(&self, count: usize) -> usize {
        interval::most_beyond(count, self.quantile, self.confidence).unwrap_or(count)
    }

    /// Which quantile is the tail.
    pub fn quantile(&self) -> f64 {
        self.quantile
    }

    /// Fewest samples that bound the tail from above.
    pub fn least(&self) -> usize {
        interval::least_for_upper_end(self.quantile, self.confidence).max(LEAST)
    }

    /// What a sample says; None if it is empty.
    pub fn summary(&self, sample: &[f64]) -> Option<Summary> {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Summary {
            count: sorted.len(),
            mean: interval::mean_of_series(sample, self.confidence)?,
            tail: interval::quantile(&sorted, self.quantile, self.confidence)?,
            clusters: modality::clusters(&sorted),
        })
    }

    /// What the samples of every batch size say.
    pub fn known(&self, samples: &Samples) -> Known {
        let known = samples.iter();
        known
            .filter_map(|(&size, sample)| Some((size, self.summary(sample)?)))
            .collect()
    }

    /// Further samples that a batch size needs, by the rule that intervals narrow with the square root of their number; 0 once it is known. What
    /// the first few say of their own spread is no ground for an estimate.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an estimate: it is positive and saturates"
    )]
    pub fn missing(&self, known: &Summary) -> usize {
        if known.count < LEAST {
            return self.least() - known.count;
        }
        let tail = known.tail.high.map_or(0.0, |high| high / known.tail.value - 1.0);
        let growth = (known.mean.relative() / self.precision).max(tail / self.tail_precision);
        let needed = (growth.powi(2) * known.count as f64).ceil() as usize;
        needed.max(self.least()).saturating_sub(known.count)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// 10 or 12 by chance: mean 11, deviation close to 1, so that half the interval is about 1.96 / sqrt(n).
    fn heads_and_tails(count: usize) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(2);
        let mut coin = || if random.bool() { 10.0 } else { 12.0 };
        (0..count).map(|_| coin()).collect()
    }

    #[test]
    fn the_number_of_missing_samples_is_that_of_the_square_root_rule() {
        // 1 % of 11 is reached at n = (1.96 / 0.11)^2 = 318; the 90th percentile needs 36 samples for its upper end.
        let goal = Goal::new(0.01, 0.3, 0.9, 0.95).unwrap();
        let missing = goal.missing(&goal.summary(&heads_and_tails(98)).unwrap());
        assert!((200..=240).contains(&missing), "{missing}");
        assert_eq!(goal.missing(&goal.summary(&heads_and_tails(800)).unwrap()), 0);
    }

    #[test]
    fn certainty_at_the_start_is_not_believed() {
        let goal = Goal::new(0.5, 0.5, 0.99, 0.95).unwrap();
        assert_eq!(goal.least(), 368, "0.99^368 is the first below 0.025");
        assert_eq!(goal.missing(&goal.summary(&[1.0; 5]).unwrap()), 363);
        assert_eq!(goal.missing(&goal.summary(&[1.0; 368]).unwrap()), 0);
        let one = goal.summary(&[1.0]).unwrap();
        assert_eq!(goal.missing(&one), 367);
    }

    #[test]
    fn a_part_is_between_nothing_and_all() {
        let error = Goal::new(0.05, 1.0, 0.99, 0.95).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tail precision 1 must be between 0 and 1, both excluded"
        );
        assert!(Goal::new(f64::NAN, 0.1, 0.99, 0.95).is_err());
    }
}
