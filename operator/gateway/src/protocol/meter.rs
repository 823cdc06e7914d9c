//! What conversions between the encodings cost.

use harmonybatch_dispatch::Nanos;

use crate::timer::Timer;

/// What is converted into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Direction {
    RequestToRaw,
    RequestToJson,
    AnswerToRaw,
    AnswerToJson,
    AnswerToTyped,
}

impl Direction {
    /// All of them, by number.
    pub const ALL: [Self; 5] = [
        Self::RequestToRaw,
        Self::RequestToJson,
        Self::AnswerToRaw,
        Self::AnswerToJson,
        Self::AnswerToTyped,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestToRaw => "request_to_raw",
            Self::RequestToJson => "request_to_json",
            Self::AnswerToRaw => "answer_to_raw",
            Self::AnswerToJson => "answer_to_json",
            Self::AnswerToTyped => "answer_to_typed",
        }
    }
}

/// What one direction has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time.
    pub time: Nanos,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Adds up the cost of the conversions of one request or batch.
#[derive(Debug)]
pub struct Meter {
    timer: Timer,
    costs: [Cost; 5],
}

impl Meter {
    /// Nothing yet, by this clock.
    pub fn new(timer: Timer) -> Self {
        Self {
            timer,
            costs: [Cost::default(); 5],
        }
    }

    /// Every direction with its cost.
    pub fn costs(&self) -> impl Iterator<Item = (Direction, Cost)> {
        Direction::ALL.into_iter().zip(self.costs)
    }

    pub(super) fn measure<T>(&mut self, direction: Direction, bytes: usize, work: impl FnOnce() -> T) -> T {
        let started = self.timer.now();
        let result = work();
        let cost = &mut self.costs[direction as usize];
        cost.time += self.timer.now().saturating_sub(started);
        cost.bytes += bytes as u64;
        result
    }
}
