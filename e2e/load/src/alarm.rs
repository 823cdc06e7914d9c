//! Waits that end on time. Tokio's timers go off more than a millisecond late, which a report would take for the server's; a timerfd does not.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// A wait that is set again and again by one task.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// None where the system has no more descriptors: late is better than never.
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Alarm {
    /// Must be made within a runtime.
    pub(crate) fn new() -> Self {
        Self { timer: made().ok() }
    }

    /// Waits until then. Loses nothing when it is dropped before its end.
    pub(crate) async fn until(&mut self, at: Instant) {
        match &self.timer {
            Some(timer) if until(timer, at).await.is_ok() => {}
            _ => sleep_until(at).await,
        }
    }
}

fn made() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let descriptor = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
    #[expect(
        deprecated,
        reason = "sound for an OwnedFd, which stays the same open descriptor for as long as it is owned; what replaces it is unsafe for all"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

async fn until(timer: &AsyncFd<OwnedFd>, at: Instant) -> io::Result<()> {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(left),
        };
        rustix::time::timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut ready = timer.readable().await?;
        match rustix::io::read(ready.get_inner(), &mut [0; 8]) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: span.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_that_was_dropped_does_not_end_the_next_one_early() {
        let mut alarm = Alarm::new();
        assert!(alarm.timer.is_some());
        let soon = Instant::now() + Duration::from_millis(5);
        // Set, and dropped at its first wait.
        assert!(
            tokio::time::timeout(Duration::ZERO, alarm.until(soon))
                .await
                .is_err()
        );
        let later = Instant::now() + Duration::from_millis(30);
        alarm.until(later).await;
        assert!(Instant::now() >= later);
        alarm.until(soon).await;
    }
}
