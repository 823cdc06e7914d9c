//! Waits that end to the tenth of a millisecond: a timerfd each, seen by the runtime's own epoll.
//!
//! A core that sleeps takes its time to wake: on a virtual machine 0.2 ms in the middle of a wait of 5 ms or more. So the timer goes off by [`LEAD`] early, and
//! what is left then is waited out awake, while other tasks have their turns.

use std::{io, os::fd::OwnedFd};

use harmonybatch_dispatch::Nanos;
use rustix::{
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::Timer;

/// What a wake-up may take, and so the most that a wait costs of CPU time.
const LEAD: Nanos = 150_000;

/// A wait that is set again and again by one task. Setting it to the time that it has costs nothing.
#[derive(Debug)]
pub struct Alarm {
    timer: Timer,
    precise: Option<Precise>,
}

#[derive(Debug)]
struct Precise {
    descriptor: AsyncFd<OwnedFd>,
    set_to: Option<Nanos>,
}

impl Alarm {
    pub(super) fn new(timer: Timer) -> Self {
        let precise = timer.precise.then(Precise::new).and_then(|made| {
            // Out of file descriptors, mostly: late is better than never.
            made.inspect_err(|error| tracing::warn!(%error, "no precise timer: batches may leave 1 ms late"))
                .ok()
        });
        Self { timer, precise }
    }

    /// Waits until `at`; forever where there is none. Loses nothing when it is dropped before its end.
    pub async fn until(&mut self, at: Option<Nanos>) {
        let (Some(at), Some(precise)) = (at, &mut self.precise) else {
            return self.timer.until(at).await;
        };
        if let Err(error) = precise.until(at, self.timer).await {
            tracing::warn!(%error, "the precise timer failed: batches may leave 1 ms late");
            self.precise = None;
            self.timer.until(Some(at)).await;
        }
    }
}

impl Precise {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "sound for an OwnedFd, which stays the same open descriptor for as long as it is owned; what replaces it is unsafe for all"
        )]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self {
            descriptor,
            set_to: None,
        })
    }

    async fn until(&mut self, at: Nanos, timer: Timer) -> io::Result<()> {
        loop {
            let left = at.saturating_sub(timer.now());
            if left == 0 {
                return Ok(());
            }
            if left <= LEAD {
                tokio::task::yield_now().await;
                continue;
            }
            if self.set_to != Some(at) {
                self.set(left - LEAD)?;
                self.set_to = Some(at);
            }
            let mut ready = self.descriptor.readable().await?;
            // What is read is the number of times that it went off, of this setting: an earlier setting's leaves nothing.
            match rustix::io::read(ready.get_inner(), &mut [0; 8]) {
                Ok(_) => self.set_to = None,
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn set(&self, left: Nanos) -> io::Result<()> {
        const SECOND: Nanos = 1_000_000_000;
        let to_timespec = |span: Nanos| Timespec {
            tv_sec: i64::try_from(span / SECOND).unwrap_or(i64::MAX),
            // Below a second.
            tv_nsec: i64::try_from(span % SECOND).unwrap_or_default(),
        };
        let once = Itimerspec {
            it_interval: to_timespec(0),
            it_value: to_timespec(left),
        };
        rustix::time::timerfd_settime(self.descriptor.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timer::nanos;

    const MILLISECOND: Nanos = 1_000_000;

    #[tokio::test]
    async fn an_alarm_never_goes_off_early_and_forgets_what_it_was_set_to() {
        let timer = Timer::precise();
        let mut alarm = timer.alarm();
        assert!(alarm.precise.is_some());
        // In the past, at once.
        alarm.until(Some(0)).await;
        for round in 1..20 {
            // Set to a time that passes while nobody waits, and to a later one that nobody waits for to its end.
            let (near, far) = (timer.now() + 100_000, timer.now() + 3600 * 1000 * MILLISECOND);
            for at in [near, far] {
                let waited = tokio::time::timeout(Duration::ZERO, alarm.until(Some(at))).await;
                assert!(waited.is_err() || timer.now() >= at);
            }
            let at = timer.now() + round * MILLISECOND / 4;
            alarm.until(Some(at)).await;
            let late = timer.now().checked_sub(at);
            assert!(
                late.is_some_and(|late| late < nanos(Duration::from_secs(10))),
                "{late:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn under_paused_time_alarms_are_the_runtimes() {
        let timer = Timer::new();
        let mut alarm = timer.alarm();
        alarm.until(Some(nanos(Duration::from_hours(1)))).await;
        assert_eq!(timer.now(), nanos(Duration::from_hours(1)));
        let never = tokio::time::timeout(Duration::from_hours(1), alarm.until(None)).await;
        assert!(never.is_err());
    }
}
