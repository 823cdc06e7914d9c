//! Replay: arrivals at the times of a trace, again and again.

use std::sync::Arc;

use super::arrivals::Marks;
use super::random::Random;
use crate::arrival::Trace;

/// A trace with its time scaled, each arrival given to one of the members that it stands for.
#[derive(Debug, Clone)]
pub(super) struct Replay {
    random: Random,
    marks: Marks,
    trace: Arc<Trace>,
    /// Ticks of one round.
    period: f64,
    /// Ticks at which the present round began.
    began: f64,
    next: usize,
}

impl Replay {
    /// Arrivals with a mean gap in ticks.
    pub(super) fn new(seed: u64, trace: Arc<Trace>, mean_gap: f64, marks: Marks) -> Self {
        Self {
            random: Random::seeded(seed),
            marks,
            period: trace.arrivals() * mean_gap,
            trace,
            began: 0.0,
            next: 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks are below 2^61"
    )]
    pub(super) fn next(&mut self) -> (u64, u32) {
        let parts = self.trace.parts();
        if self.next == parts.len() {
            self.next = 0;
            self.began += self.period;
        }
        let part = parts.get(self.next).copied().unwrap_or(0.0);
        self.next += 1;
        let member = self.marks.draw(&mut self.random);
        ((self.began + part * self.period).round() as u64, member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_comes_back_as_it_was_and_then_again() {
        // Ten seconds from the first arrival to the last, and a mean gap of 2.5 s: a round of 12.5 s.
        let times = [3.0, 4.25, 4.25, 9.5, 13.0];
        let trace = Trace::new(&times).map(Arc::new);
        let Ok(trace) = trace else {
            unreachable!("the times are in order");
        };
        let played = |mean_gap: f64, count: usize| -> Vec<u64> {
            let mut replay = Replay::new(1, Arc::clone(&trace), mean_gap, Marks::new(&[0], &[1.0]));
            (0..count).map(|_| replay.next().0).collect()
        };
        let second = 1_000_000_000;
        let as_it_was = [0, 1_250_000_000, 1_250_000_000, 6_500_000_000, 10 * second];
        let again = [12_500_000_000, 13_750_000_000, 13_750_000_000, 19 * second];
        let expected: Vec<u64> = as_it_was.iter().chain(&again).copied().collect();
        assert_eq!(played(2.5e9, 9), expected);
        // Twice the rate: half the time.
        assert_eq!(played(1.25e9, 5), as_it_was.map(|tick| tick / 2));
    }
}
