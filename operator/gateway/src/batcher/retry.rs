//! How much more than once a group's runtime is asked.

use harmonybatch_dispatch::Nanos;

/// A thousandth of a call.
type Millicalls = u64;

const CALL: Millicalls = 1000;
/// A fifth of a call for every batch.
const PER_BATCH: Millicalls = 200;
/// Three calls a second: three millicalls in this many nanoseconds.
const NANOS_PER_THREE: Nanos = 1_000_000;
/// What ten seconds give a group whose batches are few.
const MOST: Millicalls = 30 * CALL;

/// Calls that a group may make beside one for each of its batches: a fifth of these and three a second, saved up over at most ten seconds. A runtime
/// that fails everything is so asked little more often than one that answers.
#[derive(Debug)]
pub(super) struct RetryBudget {
    saved: Millicalls,
    since: Nanos,
}

impl RetryBudget {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            saved: MOST,
            since: now,
        }
    }

    /// A batch is sent for the first time.
    pub(super) fn deposit(&mut self) {
        self.saved = (self.saved + PER_BATCH).min(MOST);
    }

    /// Takes one call, if there is one.
    pub(super) fn withdraw(&mut self, now: Nanos) -> bool {
        let earned = now.saturating_sub(self.since) / NANOS_PER_THREE;
        self.since += earned * NANOS_PER_THREE;
        self.saved = self.saved.saturating_add(3 * earned).min(MOST);
        let enough = self.saved >= CALL;
        if enough {
            self.saved -= CALL;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_fifth_of_the_batches_and_three_a_second() {
        let mut budget = RetryBudget::new(0);
        let mut spend = |now| {
            std::iter::repeat_with(|| budget.withdraw(now))
                .take_while(|taken| *taken)
                .count()
        };
        assert_eq!(spend(0), 30);
        let second = 1_000_000_000;
        // Three in a second; ten seconds are saved up at most.
        assert_eq!(spend(second + 1000), 3);
        assert_eq!(spend(3600 * second), 30);
        (0..50).for_each(|_| budget.deposit());
        let mut spend = |now| {
            std::iter::repeat_with(|| budget.withdraw(now))
                .take_while(|taken| *taken)
                .count()
        };
        assert_eq!(spend(3600 * second), 10);
    }
}
