//! What counts of arrivals say of their rate: an estimate, and how far the truth may be from it.
//!
//! The number of requests of a Poisson process in a window has its mean for its variance, and its square root has the variance 1/4 whatever
//! the mean is (Anscombe 1948). So a count `n` bounds the mean by `(sqrt(n + 3/8) - z/2)^2` from below and `(sqrt(n + 3/8) + z/2)^2` from
//! above, `z` standard errors away. Arrivals in bursts scatter more: their counts say as much as a Poisson count smaller by the
//! index of dispersion.

use harmonybatch_planner::Burst;
use harmonybatch_planner::units::{Rate, Seconds};

/// What arrived in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// How long it was looked at.
    pub(crate) seconds: f64,
    /// Requests: they come independently of each other, the rows of one together.
    pub(crate) requests: f64,
    /// Rows of those.
    pub(crate) rows: f64,
}

/// How requests scatter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Scatter {
    /// Each comes for itself.
    #[default]
    Poisson,
    /// At `factor` times the mean rate during bursts, which hold half of all requests.
    Bursts {
        /// How many times the mean rate.
        factor: f64,
        /// Mean length of a burst in seconds.
        duration: f64,
    },
}

impl Scatter {
    /// Index of dispersion of the count in a window, as the planner has it: 1 for arrivals that come each for itself.
    fn dispersion(self, rate: f64, seconds: f64) -> f64 {
        let Self::Bursts { factor, duration } = self else {
            return 1.0;
        };
        let burst = Seconds::new(duration)
            .ok()
            .and_then(|duration| Burst::new(factor, duration).ok());
        let seen = Rate::new(rate).ok().zip(Seconds::new(seconds).ok());
        // An application's burst has been looked at, and no window with a request in it has no rate.
        burst
            .zip(seen)
            .map_or(1.0, |(burst, (rate, seconds))| burst.dispersion(rate, seconds))
    }
}

impl Seen {
    /// Both windows.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            requests: self.requests + other.requests,
            rows: self.rows + other.rows,
        }
    }

    /// This window without a part of it.
    pub(crate) fn without(self, part: Self) -> Self {
        Self {
            seconds: self.seconds - part.seconds,
            requests: self.requests - part.requests,
            rows: self.rows - part.rows,
        }
    }

    /// Rows per second.
    pub(crate) fn rate(self) -> f64 {
        self.rows / self.seconds
    }

    /// Requests of a Poisson process that would say as much.
    fn independent(self, scatter: Scatter) -> f64 {
        if self.requests <= 0.0 {
            return 0.0;
        }
        self.requests / scatter.dispersion(self.requests / self.seconds, self.seconds)
    }

    /// The rate that the truth is above but for `errors` standard errors.
    pub(crate) fn lower(self, scatter: Scatter, errors: f64) -> f64 {
        let count = self.independent(scatter);
        if count <= 0.0 {
            return 0.0;
        }
        self.rate() * ((count + 0.375).sqrt() - errors / 2.0).max(0.0).powi(2) / count
    }

    /// The rate that the truth is below but for `errors` standard errors.
    pub(crate) fn upper(self, scatter: Scatter, errors: f64) -> f64 {
        let count = self.independent(scatter);
        // Of a window without requests nobody knows how many rows one has.
        let weight = if count > 0.0 { self.rows / count } else { 1.0 };
        ((count + 0.375).sqrt() + errors / 2.0).powi(2) * weight / self.seconds
    }

    /// The estimate and one standard error more.
    pub(crate) fn with_margin(self, scatter: Scatter) -> f64 {
        let count = self.independent(scatter);
        self.rate() * (1.0 + 1.0 / count.max(1.0).sqrt())
    }

    /// How many standard errors this window's rate of requests is above that of another.
    pub(crate) fn above(self, other: Self, scatter: Scatter) -> f64 {
        let both = self.and(other);
        let dispersion = scatter.dispersion(both.requests / both.seconds, self.seconds);
        let variance = |seen: Self| dispersion * seen.requests / seen.seconds.powi(2);
        let deviation = (variance(self) + variance(other)).sqrt();
        if deviation.is_nan() || deviation <= 0.0 {
            return 0.0;
        }
        (self.requests / self.seconds - other.requests / other.seconds) / deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Random;

    fn seen(seconds: f64, requests: f64) -> Seen {
        Seen {
            seconds,
            requests,
            rows: requests,
        }
    }

    /// The probability that a Poisson count of this mean is at least `count`, summed term by term.
    fn at_least(count: u32, mean: f64) -> f64 {
        let mut term = (-mean).exp();
        let mut below = 0.0;
        for k in 0..count {
            below += term;
            term *= mean / f64::from(k + 1);
        }
        1.0 - below
    }

    #[test]
    fn a_true_rate_is_outside_its_bounds_as_rarely_as_a_normal_law_says() {
        // Beyond 3 standard errors of a normal law lie 0.00135; the square root is not quite normal where counts are small.
        for (mean, allowed) in [
            (2.0, 0.007),
            (5.0, 0.007),
            (20.0, 0.003),
            (60.0, 0.002),
            (300.0, 0.002),
        ] {
            let mut refuted = 0;
            while seen(1.0, f64::from(refuted)).lower(Scatter::Poisson, 3.0) <= mean {
                refuted += 1;
            }
            let wrong = at_least(refuted, mean);
            assert!(wrong < allowed, "{mean}: {wrong}");
            let mut held = 0;
            while seen(1.0, f64::from(held)).upper(Scatter::Poisson, 3.0) < mean {
                held += 1;
            }
            let wrong = 1.0 - at_least(held, mean);
            assert!(wrong < allowed, "{mean}: {wrong}");
        }
    }

    #[test]
    fn rows_of_one_request_are_one_piece_of_evidence() {
        let single = seen(100.0, 50.0);
        let batches = Seen {
            rows: 400.0,
            ..single
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(batches.rate(), 4.0);
        close(
            batches.lower(Scatter::Poisson, 3.0),
            8.0 * single.lower(Scatter::Poisson, 3.0),
        );
        close(
            batches.upper(Scatter::Poisson, 3.0),
            8.0 * single.upper(Scatter::Poisson, 3.0),
        );
        assert!(seen(600.0, 0.0).upper(Scatter::Poisson, 1.5) > 0.0);
    }

    #[test]
    fn bursts_scatter_as_their_simulation_does() {
        let (factor, duration, rate, window) = (4.0, 30.0, 2.0, 100.0);
        let mut random = Random::seeded(7);
        let (mut in_burst, mut left) = (false, random.exponential(1.0 / (duration * (2.0 * factor - 1.0))));
        let (mut sum, mut squares) = (0.0, 0.0);
        let windows = 20_000;
        for _ in 0..windows {
            let (mut count, mut clock) = (0.0, 0.0);
            while clock < window {
                let spent = f64::min(left, window - clock);
                let speed = if in_burst {
                    factor * rate
                } else {
                    factor / (2.0 * factor - 1.0) * rate
                };
                count += random.poisson(speed * spent);
                clock += spent;
                left -= spent;
                if left <= 0.0 {
                    in_burst = !in_burst;
                    let mean = if in_burst {
                        duration
                    } else {
                        duration * (2.0 * factor - 1.0)
                    };
                    left = random.exponential(1.0 / mean);
                }
            }
            sum += count;
            squares += count * count;
        }
        let mean = sum / f64::from(windows);
        let variance = squares / f64::from(windows) - mean * mean;
        let expected = Scatter::Bursts { factor, duration }.dispersion(rate, window);
        assert!((mean / (rate * window) - 1.0).abs() < 0.03, "{mean}");
        // The variance of so many windows is known to some 3 %.
        assert!(
            (variance / mean / expected - 1.0).abs() < 0.1,
            "{} {expected}",
            variance / mean
        );
    }
}
