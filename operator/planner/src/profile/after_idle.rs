//! What idle time costs: a batch that finds its replica idle takes longer than one that follows another at once.
//!
//! Meanwhile others had the caches, and the core slept. On real runtimes that is a fixed amount of CPU work more, whatever the batch size, and the longer the
//! idle time was the more of it: with `P` CPU seconds and a time constant `T`, a batch after an idle time `t` needs `P (1 - exp(-t / T))` more.
//! What a quota stops is idle as well, until the next period.

use super::ProfileError;

/// The work that idle time adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterIdle {
    work: f64,
    time_constant: f64,
}

impl AfterIdle {
    /// Idle time that costs nothing.
    pub const NOTHING: Self = Self {
        work: 0.0,
        time_constant: 1.0,
    };

    /// Takes the CPU seconds after a long idle time, at most an hour, and the time constant in seconds, above 0 and at most an hour.
    pub fn new(work: f64, time_constant: f64) -> Result<Self, ProfileError> {
        let error = |field, found, allowed| {
            Err(ProfileError::AfterIdle {
                field,
                found,
                allowed,
            })
        };
        if !(0.0..=3_600.0).contains(&work) {
            return error("work", work, "between 0 and 3600 seconds");
        }
        if !(1e-9..=3_600.0).contains(&time_constant) {
            return error("timeConstant", time_constant, "above 0 and at most 3600 seconds");
        }
        Ok(Self { work, time_constant })
    }

    /// CPU seconds after a long idle time.
    pub fn work(&self) -> f64 {
        self.work
    }

    /// In seconds.
    pub fn time_constant(&self) -> f64 {
        self.time_constant
    }

    /// CPU seconds after so many seconds of idle time.
    pub fn after(&self, idle: f64) -> f64 {
        self.work * -(-idle / self.time_constant).exp_m1()
    }

    /// The same in another unit of which a second has so many, and so many times as much of it.
    pub(crate) fn scaled(self, unit: f64, times: f64) -> Self {
        Self {
            work: self.work * unit * times,
            time_constant: self.time_constant * unit,
        }
    }
}

impl Default for AfterIdle {
    fn default() -> Self {
        Self::NOTHING
    }
}
