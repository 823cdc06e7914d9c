//! How often something may be said: an overload, or a runtime that fails, shall not cost more by being told.

use std::sync::atomic::{AtomicU64, Ordering};

use harmonybatch_dispatch::Nanos;

const SECOND: Nanos = 1_000_000_000;

/// So many lines of a second. Threads that begin a second together may write a few more, or leave out a few without counting them.
#[derive(Debug)]
pub(crate) struct Throttle {
    most: u64,
    /// Which second it is, from 1, so that the first one is new.
    second: AtomicU64,
    lines: AtomicU64,
    left_out: AtomicU64,
}

impl Throttle {
    pub(crate) fn new(most: u64) -> Self {
        Self {
            most,
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Whether there is room for one more line, and then how many were left out since the last one.
    pub(crate) fn admits(&self, now: Nanos) -> Option<u64> {
        let second = 1 + now / SECOND;
        if self.second.load(Ordering::Relaxed) != second {
            self.second.store(second, Ordering::Relaxed);
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < self.most {
            Some(self.left_out.swap(0, Ordering::Relaxed))
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_says_how_many_there_were_more() {
        let throttle = Throttle::new(2);
        let told = |at: Nanos| [(); 5].map(|()| throttle.admits(at));
        assert_eq!(told(0), [Some(0), Some(0), None, None, None]);
        assert_eq!(told(SECOND), [Some(3), Some(0), None, None, None]);
        assert_eq!(told(2 * SECOND - 1), [None; 5]);
        assert_eq!(throttle.admits(9 * SECOND), Some(8));
    }
}
