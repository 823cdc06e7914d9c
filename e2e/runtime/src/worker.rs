//! The thread that owns the engine. Batches come through a bounded queue and run one after the other, as on one core or one
//! share of a GPU; a caller that left before its turn is skipped.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::{Answer, Batch, Engine};
use crate::protocol::Refusal;
use crate::statistics::Statistics;

/// Where the engine is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Loading,
    Ready,
    Failed(String),
}

struct Job {
    batch: Batch,
    answer: oneshot::Sender<Result<Answer, Refusal>>,
}

/// The queue to the thread.
#[derive(Clone)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    state: watch::Receiver<State>,
}

impl Worker {
    /// Starts the thread, which loads the engine and then serves it. `queue` batches may wait.
    pub(crate) fn start<E, L>(load: L, queue: usize, statistics: Arc<Statistics>) -> std::io::Result<Self>
    where
        E: Engine,
        L: FnOnce() -> anyhow::Result<E> + Send + 'static,
    {
        let (jobs, waiting) = mpsc::channel(queue);
        let (progress, state) = watch::channel(State::Loading);
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || match load() {
                Ok(engine) => {
                    progress.send_replace(State::Ready);
                    serve(engine, waiting, &statistics);
                }
                Err(error) => {
                    progress.send_replace(State::Failed(format!("{error:#}")));
                }
            })?;
        Ok(Self { jobs, state })
    }

    pub(crate) fn is_ready(&self) -> bool {
        *self.state.borrow() == State::Ready
    }

    /// Ends when the engine can serve no more: it did not load, or its thread is gone.
    pub(crate) async fn failure(&self) -> String {
        let mut state = self.state.clone();
        loop {
            if let State::Failed(why) = &*state.borrow_and_update() {
                return why.clone();
            }
            if state.changed().await.is_err() {
                return "the engine's thread ended".to_owned();
            }
        }
    }

    /// Runs a batch when its turn comes.
    pub(crate) async fn infer(&self, batch: Batch) -> Result<Answer, Refusal> {
        if !self.is_ready() {
            return Err(Refusal::NotReady);
        }
        let (answer, answered) = oneshot::channel();
        self.jobs
            .try_send(Job { batch, answer })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refusal::Busy(self.jobs.max_capacity()),
                mpsc::error::TrySendError::Closed(_) => Refusal::NotReady,
            })?;
        answered
            .await
            .unwrap_or_else(|_| Err(Refusal::Failed("the engine's thread ended".to_owned())))
    }
}

fn serve(mut engine: impl Engine, mut waiting: mpsc::Receiver<Job>, statistics: &Statistics) {
    while let Some(Job { batch, answer }) = waiting.blocking_recv() {
        if answer.is_closed() {
            statistics.abandoned();
            continue;
        }
        let (rows, started) = (batch.rows, Instant::now());
        let result = engine
            .infer(batch)
            .map_err(|error| Refusal::Failed(format!("{error:#}")));
        match &result {
            Ok(_) => statistics.inferred(rows, started.elapsed()),
            Err(error) => {
                statistics.failed();
                tracing::error!(rows, %error, "a batch failed");
            }
        }
        // A caller that left during the inference needs no answer.
        let _ = answer.send(result);
    }
}
