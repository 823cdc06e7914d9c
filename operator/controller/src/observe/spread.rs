//! How bursty an application's rows came over the last hour, and which `spec.burst` is as bursty.
//!
//! Gateways add up the squares of the rows in windows of several lengths. With the rows in all and the number of windows that makes each variance, hence the
//! index of dispersion. A group's requests are counted by the one gateway that owns it: where that changed within the hour, one window may be cut in two.

use std::collections::BTreeMap;

use harmonybatch_api::inference_app::Burst;
use harmonybatch_api::quantity::Duration;
use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{self as planner, Dispersion};

use super::figures::two_digits;
use crate::gateways::ObservedApp;

/// Windows of a length that tell how their rows vary: before, one decides.
const FEWEST_WINDOWS: f64 = 20.0;
/// Rows that tell how bursty they are.
const FEWEST_ROWS: f64 = 200.0;

/// The sums of all gateways.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    rows: u64,
    /// The longest span that a gateway saw.
    seconds: f64,
    /// By the length of a window in seconds.
    squares: BTreeMap<u64, u64>,
}

impl Spread {
    /// Adds what one gateway saw.
    pub(super) fn add(&mut self, seen: &ObservedApp) {
        self.rows += seen.rows;
        self.seconds = self.seconds.max(seen.span_seconds);
        for (length, squares) in &seen.dispersion {
            let sum = self.squares.entry(*length).or_default();
            *sum = sum.saturating_add(*squares);
        }
    }

    /// The index of dispersion in windows of a minute, once enough of them were seen.
    pub(super) fn of_a_minute(&self) -> Option<f64> {
        let indices = self.indices();
        let minute = indices.iter().find(|seen| seen.window.get() >= 60.0);
        minute.map(|seen| seen.index)
    }

    /// The burst whose indices are next to these, to two digits; none where they are those of Poisson arrivals, or too little was seen.
    pub(super) fn burst(&self) -> Option<Burst> {
        #[expect(clippy::cast_precision_loss, reason = "rows of an hour are far below 2^53")]
        let rate = Rate::new(self.rows as f64 / self.seconds).ok()?;
        let fitted = planner::Burst::fitted(rate, &self.indices())?;
        // Two digits of a factor near 1 may be 1, which is none.
        let factor = fitted.factor().max(1.1);
        let duration: f64 = two_digits(fitted.duration().get()).parse().ok()?;
        Some(Burst {
            factor: two_digits(factor),
            duration: Duration::from_secs_f64(duration)?.to_string(),
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rows and windows of an hour"
    )]
    fn indices(&self) -> Vec<Dispersion> {
        let rows = self.rows as f64;
        if rows < FEWEST_ROWS {
            return Vec::new();
        }
        let index = |(&length, &squares): (&u64, &u64)| {
            let windows = (self.seconds / length as f64).floor();
            let mean = rows / windows;
            let variance = (squares as f64 - rows * mean) / (windows - 1.0);
            (windows >= FEWEST_WINDOWS).then_some(Dispersion {
                window: Seconds::new(length as f64).ok()?,
                windows: windows as u32,
                index: (variance / mean).max(0.0),
            })
        };
        self.squares.iter().filter_map(index).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::fixtures::Random;

    const LENGTHS: [u64; 4] = [1, 5, 20, 60];

    /// What a gateway that saw these rows, one entry a second, would tell.
    fn seen(rows: &[u64]) -> ObservedApp {
        let squares = |length: u64| {
            let windows = rows.chunks(usize::try_from(length).unwrap());
            windows.map(|window| window.iter().sum::<u64>().pow(2)).sum()
        };
        ObservedApp {
            span_seconds: f64::from(u32::try_from(rows.len()).unwrap()),
            rows: rows.iter().sum(),
            dispersion: LENGTHS.map(|length| (length, squares(length))).to_vec(),
            ..ObservedApp::default()
        }
    }

    fn spread(rows: &[u64]) -> Spread {
        let mut spread = Spread::default();
        spread.add(&seen(rows));
        spread
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    fn hour(mut mean: impl FnMut(u64) -> f64) -> Vec<u64> {
        let mut random = Random::seeded(11);
        (0..3600)
            .map(|second| random.poisson(mean(second)) as u64)
            .collect()
    }

    #[test]
    fn the_index_is_variance_by_mean() {
        // 10 rows in every other minute: mean 5 a minute, variance 25 * 60 / 59.
        let rows: Vec<u64> = (0..3600)
            .map(|second| 10 * u64::from(second % 120 == 7))
            .collect();
        let found = spread(&rows).of_a_minute().unwrap();
        assert!((found - 5.0 * 60.0 / 59.0).abs() < 1e-9, "{found}");
    }

    #[test]
    fn poisson_rows_have_no_burst_and_few_rows_no_figure() {
        let poisson = spread(&hour(|_| 5.0));
        assert_eq!(poisson.burst(), None);
        let index = poisson.of_a_minute().unwrap();
        // Of sixty windows: 1 +- 3 sqrt(2 / 59).
        assert!((index - 1.0).abs() < 0.55, "{index}");
        let few = spread(&hour(|_| 0.01));
        assert_eq!((few.burst(), few.of_a_minute()), (None, None));
        let short = spread(&[50; 19]);
        assert_eq!((short.burst(), short.of_a_minute()), (None, None));
        assert_eq!(Spread::default().burst(), None);
    }

    #[test]
    fn bursts_are_found_in_the_sums_of_all_gateways() {
        // Half of all rows in 10 s of every 80 s: four times the mean rate.
        let rows = hour(|second| if second % 80 < 10 { 20.0 } else { 20.0 / 7.0 });
        let found = spread(&rows).burst().unwrap();
        let factor: f64 = found.factor.parse().unwrap();
        // Bursts as regular as these are less so over long windows than any that come at random.
        assert!((2.0..8.0).contains(&factor), "{found:?}");
        let (first, second) = rows.split_at(1800);
        let apart: Vec<u64> = first
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, 1800))
            .collect();
        let behind: Vec<u64> = std::iter::repeat_n(0, 1800)
            .chain(second.iter().copied())
            .collect();
        let mut sum = spread(&apart);
        sum.add(&seen(&behind));
        assert_eq!(sum, spread(&rows));
    }
}
