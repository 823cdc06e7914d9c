//! Poisson arrivals: independent, exponentially distributed gaps.

use std::time::Duration;

/// The gaps between the arrivals of one application. Equal seeds give equal gaps.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(fastrand::Rng);

impl Arrivals {
    /// Applications of one run have streams of their own: `application` is mixed into the seed.
    pub(crate) fn new(seed: u64, application: usize) -> Self {
        let mut seeds = fastrand::Rng::with_seed(seed);
        let mut seed = seeds.u64(..);
        for _ in 0..application {
            seed = seeds.u64(..);
        }
        Self(fastrand::Rng::with_seed(seed))
    }

    /// The time to the next arrival at `rate` per second: `-ln(U) / rate` with `U` in `(0, 1]`.
    pub(crate) fn gap(&mut self, rate: f64) -> Duration {
        let uniform = 1.0 - self.0.f64();
        Duration::try_from_secs_f64(-uniform.ln() / rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_and_the_variance_of_an_exponential() {
        let (rate, count) = (20.0, 100_000_u32);
        let mut arrivals = Arrivals::new(1, 0);
        let gaps = (0..count)
            .map(|_| arrivals.gap(rate).as_secs_f64())
            .collect::<Vec<_>>();
        let mean = gaps.iter().sum::<f64>() / f64::from(count);
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / f64::from(count);
        // Standard errors are 1/sqrt(n) = 0.3 % of the mean and sqrt(8/n) = 0.9 % of the variance: four of each.
        assert!((mean * rate - 1.0).abs() < 0.0127, "mean {mean}");
        assert!(
            (variance * rate * rate - 1.0).abs() < 0.036,
            "variance {variance}"
        );
    }

    #[test]
    fn counts_in_a_window_have_a_variance_equal_to_their_mean() {
        const WINDOWS: u32 = 20_000;
        let mut arrivals = Arrivals::new(2, 0);
        let mut counts = vec![0_u32; WINDOWS as usize];
        let mut at = Duration::ZERO;
        loop {
            at += arrivals.gap(5.0);
            let Some(count) = usize::try_from(at.as_secs())
                .ok()
                .and_then(|second| counts.get_mut(second))
            else {
                break;
            };
            *count += 1;
        }
        let windows = f64::from(WINDOWS);
        let mean = counts.iter().map(|count| f64::from(*count)).sum::<f64>() / windows;
        let variance = counts
            .iter()
            .map(|count| (f64::from(*count) - mean).powi(2))
            .sum::<f64>()
            / windows;
        assert!((mean - 5.0).abs() < 0.07, "{mean}");
        assert!((variance / mean - 1.0).abs() < 0.05, "{variance} for {mean}");
    }

    #[test]
    fn applications_have_streams_of_their_own_and_seeds_repeat_them() {
        let gaps = |seed, application| {
            let mut arrivals = Arrivals::new(seed, application);
            (0..10).map(|_| arrivals.gap(1.0)).collect::<Vec<_>>()
        };
        assert_eq!(gaps(3, 1), gaps(3, 1));
        assert_ne!(gaps(3, 0), gaps(3, 1));
        assert_ne!(gaps(3, 0), gaps(4, 0));
    }
}
