//! Pods for batches that run in parallel, where every batch finds a function of its own.

use statrs::distribution::{ContinuousCDF, Normal};

/// How many pods must be ready so that a batch finds a free one with probability `percentile`.
///
/// Batches in service at a time, were there always a free pod, are Poisson with mean `busy` (M/G/infinity);
/// batches leave more regularly than a Poisson stream, so this is on the safe side.
pub(super) fn replicas_for_parallel_batches(busy: f64, percentile: f64) -> u32 {
    /// Above this mean the normal approximation is exact to a fraction of a replica.
    const MANY: f64 = 500.0;
    /// No finite number of pods is enough for every single batch.
    const STRICTEST: f64 = 0.9999;
    /// With fewer pods than are busy in the mean a queue would only grow, however few requests must be in time; the
    /// median of a Poisson law is at most ln 2 below its mean.
    const LAXEST: f64 = 0.5;
    let percentile = percentile.clamp(LAXEST, STRICTEST);
    if busy > MANY {
        let deviations = Normal::standard().inverse_cdf(percentile).max(0.0);
        let replicas = (busy + deviations * busy.sqrt()).ceil() + 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, saturates"
        )]
        return replicas as u32;
    }
    let mut in_service = 0_u32;
    let mut probability = (-busy).exp();
    let mut at_most = probability;
    while at_most < percentile {
        in_service += 1;
        probability *= busy / f64::from(in_service);
        at_most += probability;
    }
    in_service + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_for_parallel_batches_follow_the_poisson_quantile() {
        // P(N <= 2) = 0.9856 and P(N <= 3) = 0.9982 for mean 0.5.
        assert_eq!(replicas_for_parallel_batches(0.5, 0.98), 3);
        assert_eq!(replicas_for_parallel_batches(0.5, 0.99), 4);
        assert_eq!(replicas_for_parallel_batches(1e-9, 0.99), 1);
        // Both sides of the switch to the normal approximation agree within one pod in a hundred.
        let (below, above) = (
            replicas_for_parallel_batches(499.9, 0.99),
            replicas_for_parallel_batches(500.1, 0.99),
        );
        assert!(above.abs_diff(below) <= 5, "{below} {above}");
        assert_eq!(replicas_for_parallel_batches(1e300, 1.0), u32::MAX);
        // Whatever the percentile, the load is served.
        for busy in [0.1, 0.9, 6.4, 99.5, 499.0, 1e4] {
            assert!(f64::from(replicas_for_parallel_batches(busy, 1e-9)) > busy);
        }
    }
}
