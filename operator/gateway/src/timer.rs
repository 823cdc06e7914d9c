//! The gateway's clock: nanoseconds since the process began to serve, and waits until such a time.
//!
//! The one place that knows where time comes from. It stands on tokio's clock, so that tests can pause it; its sleeps wake about 1 ms late on
//! Linux, which a more precise source behind the same two methods will mend.

use std::{future, time::Duration};

use harmonybatch_dispatch::Nanos;
use tokio::time::Instant;

/// A clock that starts at 0 when it is made. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    epoch: Instant,
}

impl Timer {
    /// Starts a clock.
    #[expect(
        clippy::new_without_default,
        reason = "starting a clock is an act, not a default"
    )]
    pub fn new() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// Time since the clock was started.
    pub fn now(self) -> Nanos {
        nanos(self.epoch.elapsed())
    }

    /// Waits until `at`; forever where there is none.
    pub async fn until(self, at: Option<Nanos>) {
        match at.and_then(|at| self.epoch.checked_add(Duration::from_nanos(at))) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => future::pending().await,
        }
    }
}

/// A span in the unit of [`harmonybatch_dispatch`].
pub(crate) fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}
