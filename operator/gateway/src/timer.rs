//! The gateway's clock: nanoseconds since the process began to serve, and waits until such a time.
//!
//! The one place that knows where time comes from. [`Timer::new`] stands on tokio's clock, which tests pause and whose sleeps wake 1 ms late on
//! Linux, as it counts in milliseconds; [`Timer::precise`] gives its [`Alarm`]s a timer of the operating system each. A batch that shall leave after
//! 2 ms needs one; a caller's timeout of seconds does not.

mod alarm;

use std::{future, time::Duration};

use harmonybatch_dispatch::Nanos;
use tokio::time::Instant;

pub use alarm::Alarm;

/// A clock that starts at 0 when it is made. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    epoch: Instant,
    precise: bool,
}

impl Timer {
    /// Starts a clock on tokio's time.
    #[expect(
        clippy::new_without_default,
        reason = "starting a clock is an act, not a default"
    )]
    pub fn new() -> Self {
        Self {
            epoch: Instant::now(),
            precise: false,
        }
    }

    /// Starts a clock whose alarms are as exact as the operating system's. Not for paused time.
    pub fn precise() -> Self {
        Self {
            precise: true,
            ..Self::new()
        }
    }

    /// Time since the clock was started.
    pub fn now(self) -> Nanos {
        nanos(self.epoch.elapsed())
    }

    /// Waits until `at`, to the millisecond; forever where there is none.
    pub async fn until(self, at: Option<Nanos>) {
        match at.and_then(|at| self.epoch.checked_add(Duration::from_nanos(at))) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => future::pending().await,
        }
    }

    /// A wait that is made once and set many times.
    pub fn alarm(self) -> Alarm {
        Alarm::new(self)
    }
}

/// A span in the unit of [`harmonybatch_dispatch`].
pub(crate) fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}
