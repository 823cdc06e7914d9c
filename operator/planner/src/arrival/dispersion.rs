//! How bursty arrivals are: the index of dispersion of their counts, and the bursts that have the same.
//!
//! The index of dispersion of a window is the variance of the number of arrivals in it by their mean (Cox and Lewis, 1966):
//! 1 for Poisson arrivals whatever the window, more for bursts, and the longer the window the more until it is longer than they are.

use super::process::{Burst, Trace};
use crate::units::{Rate, Seconds};

/// Arrivals counted in windows of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dispersion {
    /// Length of a window.
    pub window: Seconds,
    /// How many windows were counted, one after the other.
    pub windows: u32,
    /// Variance of the counts by their mean.
    pub index: f64,
}

impl Dispersion {
    /// What the index of Poisson arrivals is below in all but one of 4,300 such counts: a quantile of chi-squared by its degrees of freedom, one fewer
    /// than there are windows (Wilson and Hilferty, 1931).
    pub fn poisson_bound(&self) -> f64 {
        const DEVIATIONS: f64 = 3.5;
        let part = 2.0 / (9.0 * f64::from(self.windows.saturating_sub(1).max(1)));
        (1.0 - part + DEVIATIONS * part.sqrt()).powi(3)
    }
}

impl Trace {
    /// The index of dispersion of the counts in windows of this length, from the first arrival on; none where fewer than two fit into the
    /// trace, or more than a hundred million.
    pub fn dispersion(&self, window: Seconds) -> Option<Dispersion> {
        let fit = (self.period() / window.get()).floor();
        if !(2.0..=1e8).contains(&fit) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a hundred million"
        )]
        let windows = fit as u32;
        let windows_each = self.period() / window.get();
        // Windows without an arrival add nothing to either sum.
        let (mut sum, mut squares) = (0.0, 0.0);
        let mut parts = self
            .parts()
            .iter()
            .map(|part| (part * windows_each).floor())
            .peekable();
        while let Some(place) = parts.next_if(|place| *place < fit) {
            let mut count = 1.0;
            while parts.next_if(|other| *other <= place).is_some() {
                count += 1.0;
            }
            sum += count;
            squares += count * count;
        }
        let mean = sum / fit;
        let variance = (squares - sum * mean) / (fit - 1.0);
        Some(Dispersion {
            window,
            windows,
            index: variance / mean,
        })
    }

    /// The index at windows that double, from one that holds two arrivals in the mean to one that fits twenty times.
    pub fn dispersions(&self) -> Vec<Dispersion> {
        const FEWEST_ARRIVALS: f64 = 2.0;
        const FEWEST_WINDOWS: f64 = 20.0;
        let least = FEWEST_ARRIVALS / self.rate();
        let longest = self.period() / FEWEST_WINDOWS;
        std::iter::successors(Some(least), |window| Some(window * 2.0))
            .take_while(|window| *window <= longest)
            .filter_map(|window| self.dispersion(Seconds::new(window).ok()?))
            .collect()
    }
}

/// A burst by what its counts depend on: the squared coefficient of variation of its rate, and for how long the rate is like itself. With factor `F`
/// and mean duration `D`, a rate of `F` times the mean for the share `1 / (2 F)` of the time and of `F / (2 F - 1)` for the rest has
/// `variation = (F - 1)^2 / (2 F - 1)`, and the two states are left at rates that sum to `1 / memory = 2 F / ((2 F - 1) D)`.
#[derive(Debug, Clone, Copy)]
struct Modulation {
    variation: f64,
    memory: f64,
}

impl Modulation {
    fn of(burst: &Burst) -> Self {
        let factor = burst.factor();
        Self {
            variation: (factor - 1.0).powi(2) / (2.0 * factor - 1.0),
            memory: burst.duration().get() * (1.0 - 0.5 / factor),
        }
    }

    /// The burst, where it is one.
    fn burst(self) -> Option<Burst> {
        let above = 1.0 + self.variation;
        let factor = (above + (above * self.variation).sqrt()).min(Burst::LARGEST_FACTOR);
        Burst::new(factor, Seconds::clamped(self.memory / (1.0 - 0.5 / factor))).ok()
    }

    /// What the index in a window is above 1, for one arrival a second and a variation of one: Heffes and Lucantoni (1986),
    /// `2 memory (1 - (1 - exp(-window / memory)) / (window / memory))`.
    fn excess(memory: f64, window: f64) -> f64 {
        let times = window / memory;
        if times < 1e-4 {
            // The difference of nearly equal numbers, by its series.
            return window * (1.0 - times / 3.0);
        }
        2.0 * memory * (1.0 + (-times).exp_m1() / times)
    }
}

impl Burst {
    /// The index of dispersion of the counts in a window, of an application of this rate.
    pub fn dispersion(&self, rate: Rate, window: Seconds) -> f64 {
        let Modulation { variation, memory } = Modulation::of(self);
        1.0 + rate.get() * variation * Modulation::excess(memory, window.get())
    }

    /// The burst whose indices at this rate are next to those that were seen: least squares of relative errors, over a grid of memories between a
    /// quarter of the shortest window and the longest, with the variation in closed form for each. Bursts that are longer than the longest window cannot be told
    /// from a rate that drifts.
    ///
    /// None where no index is above what Poisson arrivals show.
    pub fn fitted(rate: Rate, seen: &[Dispersion]) -> Option<Self> {
        /// From one memory of the grid to the next.
        const STEP: f64 = 1.02;
        if seen.iter().all(|seen| seen.index <= seen.poisson_bound()) {
            return None;
        }
        let largest = (Self::LARGEST_FACTOR - 1.0).powi(2) / (2.0 * Self::LARGEST_FACTOR - 1.0);
        let shortest = seen
            .iter()
            .map(|seen| seen.window.get())
            .fold(f64::INFINITY, f64::min)
            / 4.0;
        let longest = seen.iter().map(|seen| seen.window.get()).fold(0.0, f64::max);
        let fit = |memory: f64| {
            // Each window by its own index: the error of an index is in proportion to it. One below 1 is of arrivals more regular than any burst, and counts as 1.
            let terms = || {
                seen.iter().map(|seen| {
                    let index = seen.index.max(1.0);
                    let slope = rate.get() * Modulation::excess(memory, seen.window.get());
                    (slope / index, (index - 1.0) / index)
                })
            };
            let (along, slopes) = terms().fold((0.0, 0.0), |(along, slopes), (slope, excess)| {
                (along + slope * excess, slopes + slope * slope)
            });
            let variation = (along / slopes).clamp(0.0, largest);
            let error: f64 = terms()
                .map(|(slope, excess)| (slope * variation - excess).powi(2))
                .sum();
            (error, Modulation { variation, memory })
        };
        std::iter::successors(Some(shortest), |memory| Some(memory * STEP))
            .take_while(|memory| *memory <= longest * STEP)
            .map(fit)
            .filter(|(error, _)| error.is_finite())
            .min_by(|(a, _), (b, _)| a.total_cmp(b))
            .and_then(|(_, modulation)| modulation.burst())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn seconds(value: f64) -> Seconds {
        Seconds::new(value).unwrap()
    }

    #[test]
    fn counts_are_those_of_whole_windows() {
        // Nine arrivals in a period of 9 s. In windows of 2 s: 3, 1, 0, 4, and one that is left over.
        let trace = Trace::new(&[0.0, 0.5, 1.9, 2.0, 6.0, 6.0, 7.0, 7.9, 8.0]).unwrap();
        assert!((trace.period() - 9.0).abs() < 1e-12);
        let seen = trace.dispersion(seconds(2.0)).unwrap();
        // Mean 2, variance (1 + 1 + 4 + 4) / 3.
        assert_eq!(seen.windows, 4);
        assert!((seen.index - 10.0 / 6.0).abs() < 1e-12, "{seen:?}");
        assert!(trace.dispersion(seconds(4.0)).is_some());
        for window in [4.6, 1e6, 1e-9, 0.0] {
            assert_eq!(trace.dispersion(seconds(window)), None, "{window}");
        }
    }

    /// In the rates of Heffes and Lucantoni (1986): `l1`, `l2`, left at `s1`, `s2`.
    #[test]
    fn the_index_of_bursts_is_the_closed_form() {
        for (rate, factor, duration) in [
            (1.0, 4.0, 50.0),
            (30.0, 1.5, 2.0),
            (0.2, 20.0, 1.0),
            (5.0, 1000.0, 600.0),
        ] {
            let burst = Burst::new(factor, seconds(duration)).unwrap();
            let (l1, l2) = (factor * rate, 0.5 * rate / (1.0 - 0.5 / factor));
            let (s1, s2) = (1.0 / duration, 0.5 / factor / (1.0 - 0.5 / factor) / duration);
            let sum: f64 = s1 + s2;
            let limit = 2.0 * (l1 - l2).powi(2) * s1 * s2 / (sum.powi(2) * (l1 * s2 + l2 * s1));
            for window in [0.1, 1.0, 30.0, 1e5] {
                let expected = 1.0 + limit * (1.0 - (1.0 - (-sum * window).exp()) / (sum * window));
                let found = burst.dispersion(Rate::new(rate).unwrap(), seconds(window));
                assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn a_fit_to_exact_indices_gives_the_burst_back() {
        for (rate, factor, duration) in [(5.0, 4.0, 10.0), (20.0, 1.4, 3.0), (2.0, 50.0, 30.0)] {
            let burst = Burst::new(factor, seconds(duration)).unwrap();
            let rate = Rate::new(rate).unwrap();
            let seen: Vec<Dispersion> = [0.5, 2.0, 8.0, 32.0, 128.0]
                .map(|window| Dispersion {
                    window: seconds(window),
                    windows: 10_000,
                    index: burst.dispersion(rate, seconds(window)),
                })
                .to_vec();
            let found = Burst::fitted(rate, &seen).unwrap();
            // As near as the grid of memories is: one in a hundred.
            assert!(
                (found.factor() / factor - 1.0).abs() < 0.02,
                "{found:?} is not {burst:?}"
            );
            assert!(
                (found.duration().get() / duration - 1.0).abs() < 0.03,
                "{found:?} is not {burst:?}"
            );
        }
    }

    #[test]
    fn what_no_burst_can_be_is_the_largest() {
        let seen = |window: f64, index: f64| Dispersion {
            window: seconds(window),
            windows: 1000,
            index,
        };
        let rate = Rate::new(1.0).unwrap();
        let most = Burst::fitted(rate, &[seen(1.0, 1e12), seen(10.0, 1e12)]).unwrap();
        assert!((most.factor() - Burst::LARGEST_FACTOR).abs() < 1e-6, "{most:?}");
        assert_eq!(Burst::fitted(rate, &[]), None);
        // Clusters that come by the clock, in long windows always as many: no burst is like that, but they are not taken for none.
        assert!(Burst::fitted(rate, &[seen(1.0, 9.0), seen(20.0, 0.01)]).is_some());
        // As regular as a clock.
        assert_eq!(Burst::fitted(rate, &[seen(1.0, 0.0), seen(10.0, 0.0)]), None);
    }

    /// Chi-squared of 19 and of 999 degrees of freedom at 1 - 2.326e-4, from its incomplete gamma function: 48.29 and 1162.99.
    #[test]
    fn poisson_counts_are_below_their_bound() {
        for (windows, expected) in [(20, 48.29 / 19.0), (1000, 1162.99 / 999.0)] {
            let bound = Dispersion {
                window: seconds(1.0),
                windows,
                index: 1.0,
            }
            .poisson_bound();
            assert!((bound / expected - 1.0).abs() < 0.01, "{bound} is not {expected}");
        }
    }
}
