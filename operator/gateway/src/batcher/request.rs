//! A request on its way through a queue, and the caller's end of it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_dispatch::Nanos;
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::{Key, MemberConfig},
    metrics::AppStats,
    protocol::{ApiError, MergeKey, Request},
};

/// What others may see of a group's task.
#[derive(Debug, Default)]
pub struct GroupStats {
    /// Rows that wait, those on their way to the task included.
    pub queued_rows: AtomicU64,
    /// Bytes that those rows hold.
    pub queued_bytes: AtomicUsize,
    /// Batches that replicas work on.
    pub in_flight: AtomicUsize,
    /// Replicas that are listed as ready.
    pub endpoints: AtomicUsize,
    /// Why a replica could not be reached, last.
    failure: Mutex<Option<Arc<str>>>,
}

impl GroupStats {
    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        // A request is in flight before it no longer waits, so this order misses none.
        self.queued_rows.load(Ordering::Acquire) == 0 && self.in_flight.load(Ordering::Acquire) == 0
    }

    pub(super) fn set_failure(&self, failure: Option<Arc<str>>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn failure(&self) -> Option<Arc<str>> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A request to be answered.
#[derive(Debug)]
pub struct Submission {
    /// The request.
    pub request: Request,
    /// The model as the caller named it.
    pub model: String,
    /// The version in the caller's path.
    pub version: Option<String>,
    /// When its last byte was there.
    pub arrival: Nanos,
}

/// An answer with what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The caller's answer.
    pub body: Bytes,
    /// Rows of the batch that it came from.
    pub batch_rows: u32,
}

/// Room that a waiting request takes in its group's and its application's counts, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    group: Arc<GroupStats>,
    app: Arc<AppStats>,
    rows: u64,
    bytes: usize,
}

impl Room {
    pub(super) fn take(group: Arc<GroupStats>, app: Arc<AppStats>, request: &Request) -> Self {
        let (rows, bytes) = (u64::from(request.rows()), request.size());
        group.queued_rows.fetch_add(rows, Ordering::AcqRel);
        group.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        app.queued_rows.fetch_add(rows, Ordering::AcqRel);
        Self {
            group,
            app,
            rows,
            bytes,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.group.queued_rows.fetch_sub(self.rows, Ordering::AcqRel);
        self.group.queued_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.app.queued_rows.fetch_sub(self.rows, Ordering::AcqRel);
    }
}

/// A request in a queue or a batch.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) id: u64,
    /// The application, by namespace and name.
    pub(super) app: Key,
    pub(super) member: Arc<MemberConfig>,
    pub(super) stats: Arc<AppStats>,
    pub(super) submission: Submission,
    pub(super) key: MergeKey,
    pub(super) deadline: Nanos,
    /// `None` once it is in a batch.
    pub(super) room: Option<Room>,
    pub(super) sent: Arc<AtomicBool>,
    reply: oneshot::Sender<Result<Answered, ApiError>>,
}

impl Queued {
    /// A request and its caller's end.
    pub(super) fn new(
        id: u64,
        app: Key,
        member: Arc<MemberConfig>,
        stats: Arc<AppStats>,
        submission: Submission,
    ) -> (Self, oneshot::Receiver<Result<Answered, ApiError>>) {
        let (reply, answer) = oneshot::channel();
        let key = MergeKey::new(&submission.request, submission.version.as_deref());
        let deadline = submission
            .arrival
            .saturating_add(crate::timer::nanos(member.timeout));
        let sent = Arc::default();
        (
            Self {
                id,
                app,
                member,
                stats,
                submission,
                key,
                deadline,
                room: None,
                sent,
                reply,
            },
            answer,
        )
    }

    pub(super) fn rows(&self) -> u32 {
        self.submission.request.rows()
    }

    /// Takes room in a group's counts, when it enters the group's queue.
    pub(super) fn make_wait(&mut self, group: &Arc<GroupStats>) {
        self.sent.store(false, Ordering::Release);
        self.room = Some(Room::take(
            group.clone(),
            self.stats.clone(),
            &self.submission.request,
        ));
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self, now: Nanos) -> bool {
        self.reply.is_closed() || self.deadline <= now
    }

    /// Tells the caller. One that has left is told nothing.
    pub(super) fn answer(self, answer: Result<Answered, ApiError>) {
        drop(self.room);
        let _ = self.reply.send(answer);
    }
}

/// The caller's end of a request. Dropped before the answer came, it takes the request out of its queue.
#[derive(Debug)]
pub struct Waiter {
    pub(super) id: u64,
    pub(super) deadline: Nanos,
    pub(super) timeout: Duration,
    pub(super) group: Arc<GroupStats>,
    pub(super) sent: Arc<AtomicBool>,
    pub(super) answer: oneshot::Receiver<Result<Answered, ApiError>>,
    pub(super) left: mpsc::UnboundedSender<u64>,
    pub(super) answered: bool,
}

impl Waiter {
    /// The answer, or an error when the request's timeout is over.
    pub async fn answer(mut self, timer: crate::timer::Timer) -> Result<Answered, ApiError> {
        let answer = tokio::select! {
            biased;
            answer = &mut self.answer => answer.ok(),
            () = timer.until(Some(self.deadline)) => {
                return Err(self.overdue());
            }
        };
        self.answered = true;
        answer.unwrap_or_else(|| {
            Err(ApiError::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "the gateway could not finish the request",
            ))
        })
    }

    /// Says what the time went to.
    fn overdue(&self) -> ApiError {
        let timeout = self.timeout;
        if self.sent.load(Ordering::Acquire) {
            let message =
                format!("no answer within the timeout of {timeout:?}: the runtime was still at work");
            return ApiError::new(http::StatusCode::GATEWAY_TIMEOUT, message);
        }
        if self.group.endpoints.load(Ordering::Acquire) == 0 {
            let message = format!("no replica became ready within the timeout of {timeout:?}");
            return ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, message)
                .retry_after(Duration::from_secs(1));
        }
        if let Some(failure) = self.group.failure() {
            let message = format!("no replica could be reached within the timeout of {timeout:?}: {failure}");
            return ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, message)
                .retry_after(Duration::from_secs(1));
        }
        let message = format!("no replica was free within the timeout of {timeout:?}");
        ApiError::new(http::StatusCode::GATEWAY_TIMEOUT, message)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.answered {
            // The task may be gone, and the request with it.
            let _ = self.left.send(self.id);
        }
    }
}
