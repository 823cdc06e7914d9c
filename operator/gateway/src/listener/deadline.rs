//! Waits that mostly move on before their end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A wait that is set for every request, and almost never comes to its end: setting it to a later time than before costs no timer of the runtime. The one
/// that it has goes off early then, and goes on.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Ends at this time, whatever it was set to.
    pub(super) fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Never ends.
    pub(super) fn clear(&mut self) {
        self.at = None;
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(context));
        while timer.deadline() < at {
            timer.as_mut().reset(at);
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(())
    }
}

/// hyper's clock where something of ours holds the time: none of its waits ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endless;

impl hyper::rt::Timer for Endless {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(*self)
    }

    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(*self)
    }
}

impl Future for Endless {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl hyper::rt::Sleep for Endless {}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_the_time_that_was_set_last() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut deadline = Deadline::default();
        for (sets, end) in [(&[10][..], 10), (&[40, 20], 20), (&[30, 60], 60), (&[50], 60)] {
            for seconds in sets {
                deadline.set(after(*seconds));
                assert!(
                    poll_fn(|context| Poll::Ready(deadline.poll(context)))
                        .await
                        .is_pending()
                        || *seconds < 60
                );
            }
            poll_fn(|context| deadline.poll(context)).await;
            assert_eq!(Instant::now(), after(end));
        }
        deadline.clear();
        let never = tokio::time::timeout(Duration::from_hours(1), poll_fn(|context| deadline.poll(context)));
        assert!(never.await.is_err());
    }
}
