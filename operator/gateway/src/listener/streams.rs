//! Requests of a connection of HTTP/2, each a task of its own, which ends where its caller does not take the answer.
//!
//! HTTP/2 has windows, so a caller can stop one answer without stopping the connection: writing to it goes on, and [`Patient`](super::patient::Patient)
//! sees nothing.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::refusal::{Refusal, Refusals};

/// When an answer last went on; nothing before it began.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Option<Instant>>);

tokio::task_local! {
    static PROGRESS: Arc<Progress>;
}

impl Progress {
    /// That of the stream whose task asks.
    pub(super) fn of_this_stream() -> Option<Arc<Self>> {
        PROGRESS.try_with(Clone::clone).ok()
    }

    /// The answer goes on.
    pub(super) fn made(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the answer did not go on for so long.
    async fn stalled(&self, patience: Duration) {
        loop {
            let last = self.last();
            sleep_until(last.unwrap_or_else(Instant::now) + patience).await;
            if last.is_some() && self.last() == last {
                return;
            }
        }
    }
}

/// Runs the tasks.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) patience: Duration,
    pub(super) refusals: Refusals,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Self { patience, refusals } = self.clone();
        let progress = Arc::new(Progress::default());
        let stalled = progress.clone();
        tokio::spawn(PROGRESS.scope(progress, async move {
            let stream = pin!(stream);
            tokio::select! {
                biased;
                _ = stream => {}
                // The stream is dropped, which resets it.
                () = stalled.stalled(patience) => refusals.count(Refusal::AnswerStalled),
            }
        }));
    }
}
