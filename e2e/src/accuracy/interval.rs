//! How well a figure of a run is known.
//!
//! Latencies of requests that wait for each other are no independent sample. The run is cut into blocks that are long beside a batch and a
//! queue, and blocks are drawn with replacement (block bootstrap; Künsch, Annals of Statistics 17, 1989): the interval holds 95 % of what
//! the figure is of such runs.

/// Blocks of a run.
const BLOCKS: usize = 40;
/// Runs that are drawn.
const DRAWN: usize = 1000;
/// On each side of the interval.
const TAIL: f64 = 0.025;

/// A figure and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The mean of values in order of time; none of an empty run.
#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 requests")]
pub(super) fn mean(values: &[f64]) -> Option<Estimate> {
    estimate(values, |values| values.iter().sum::<f64>() / values.len() as f64)
}

/// The smallest value that at least `part` of the values do not exceed, of values in order of time; none of an empty run.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rank within the run"
)]
pub(super) fn quantile(values: &[f64], part: f64) -> Option<Estimate> {
    estimate(values, |values| {
        let rank = (part * values.len() as f64).ceil() as usize;
        let (_, value, _) = values.select_nth_unstable_by(rank.max(1) - 1, f64::total_cmp);
        *value
    })
}

fn estimate(values: &[f64], of: impl Fn(&mut [f64]) -> f64) -> Option<Estimate> {
    if values.is_empty() {
        return None;
    }
    let blocks: Vec<&[f64]> = values.chunks(values.len().div_ceil(BLOCKS)).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut drawn = Vec::with_capacity(values.len() + values.len() / BLOCKS);
    let mut figures: Vec<f64> = (0..DRAWN)
        .map(|_| {
            drawn.clear();
            for _ in 0..blocks.len() {
                drawn.extend_from_slice(blocks[random.usize(..blocks.len())]);
            }
            of(&mut drawn)
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a place among the runs drawn"
    )]
    let cut = (TAIL * DRAWN as f64) as usize;
    Some(Estimate {
        value: of(&mut values.to_vec()),
        low: figures[cut],
        high: figures[DRAWN - 1 - cut],
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::ops::RangeInclusive;

    use super::*;

    /// Exponential values: mean 1, 99th percentile ln(100).
    fn independent(seed: u64, count: usize) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count).map(|_| -(1.0 - random.f64()).ln()).collect()
    }

    /// Of 100 runs, those whose interval holds the truth.
    fn holds(truth: f64, of: impl Fn(u64) -> Estimate) -> usize {
        (0..100)
            .filter(|&seed| {
                let found = of(seed);
                (found.low..=found.high).contains(&truth)
            })
            .count()
    }

    /// 95 are expected; three standard deviations of the binomial are 6.5, and intervals of few blocks are a little narrow.
    const HELD: RangeInclusive<usize> = 85..=100;

    #[test]
    fn intervals_hold_the_truth_of_independent_values() {
        let means = holds(1.0, |seed| mean(&independent(seed, 800)).unwrap());
        assert!(HELD.contains(&means), "{means}");
        let quantiles = holds(10_f64.ln(), |seed| {
            quantile(&independent(seed, 800), 0.9).unwrap()
        });
        assert!(HELD.contains(&quantiles), "{quantiles}");
    }

    #[test]
    fn values_that_follow_each_other_are_known_less_well() {
        // A first-order autoregression with coefficient 0.8: the mean varies sqrt(1.8 / 0.2) = 3 times as much as that of independent values.
        let related = |seed| {
            let mut level = 0.0;
            let step = |shock: f64| {
                level = 0.8 * level + 0.6 * (shock - 1.0);
                1.0 + level
            };
            independent(seed, 1600).into_iter().map(step).collect::<Vec<_>>()
        };
        let held = holds(1.0, |seed| mean(&related(seed)).unwrap());
        assert!(HELD.contains(&held), "{held}");
    }

    #[test]
    fn a_run_without_requests_has_no_figure() {
        assert_eq!(mean(&[]), None);
        assert_eq!(quantile(&[], 0.99), None);
        assert_eq!(
            quantile(&[3.0, 1.0, 2.0], 0.5).map(|found| found.value),
            Some(2.0)
        );
    }
}
