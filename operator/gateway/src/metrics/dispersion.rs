//! How bursty the rows of an application come: the squares of their numbers in windows of several lengths, from which whoever asks has the variance of each.

use harmonybatch_dispatch::Nanos;
use serde::Serialize;

const SECOND: Nanos = 1_000_000_000;

/// Lengths of the windows in seconds. A minute, the slot of [`super::window`], is a multiple of each, so that no window lies in two slots.
pub(super) const LENGTHS: [u64; 4] = [1, 5, 20, 60];

/// A sum of squares for each of [`LENGTHS`].
pub(super) type Squares = [u64; LENGTHS.len()];

/// The sum of the squares of the rows in each window of so many seconds, by the length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Dispersion(Vec<(u64, u64)>);

impl Dispersion {
    pub(super) fn new(squares: Squares) -> Self {
        Self(LENGTHS.into_iter().zip(squares).collect())
    }
}

/// The windows that rows come into now: which since the clock's start, and the rows in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting([(u64, u64); LENGTHS.len()]);

impl Counting {
    /// Counts rows that came. Returns by how much they make the sums of squares larger.
    pub(super) fn arrive(&mut self, now: Nanos, rows: u64) -> Squares {
        let mut more = Squares::default();
        for ((length, (window, count)), more) in LENGTHS.into_iter().zip(&mut self.0).zip(&mut more) {
            let place = now / (length * SECOND);
            // What was counted late, after a row of the next window, begins that one anew: it happens to a few rows.
            if place != *window {
                (*window, *count) = (place, 0);
            }
            // (count + rows)^2 - count^2
            *more = rows.saturating_mul(count.saturating_mul(2).saturating_add(rows));
            *count = count.saturating_add(rows);
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_those_of_the_rows_of_each_window() {
        let mut counting = Counting::default();
        let mut sums = Squares::default();
        // Rows at tenths of a second. In seconds: 3 + 1, 2, 0, 4, .., 5 in the seventh and 1 in the 61st.
        for (tenths, rows) in [(0, 3), (9, 1), (10, 2), (31, 4), (69, 5), (600, 1)] {
            let more = counting.arrive(tenths * SECOND / 10, rows);
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        }
        let in_seconds = 16 + 4 + 16 + 25 + 1;
        let in_fives = 10 * 10 + 5 * 5 + 1;
        assert_eq!(sums, [in_seconds, in_fives, 15 * 15 + 1, 15 * 15 + 1]);
    }

    #[test]
    fn rows_beyond_reason_saturate() {
        let mut counting = Counting::default();
        counting.arrive(0, u64::MAX);
        assert_eq!(counting.arrive(0, u64::MAX), [u64::MAX; LENGTHS.len()]);
    }
}
