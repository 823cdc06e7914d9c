//! A request on its way through a queue, and the caller's end of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use harmonybatch_dispatch::Nanos;

use super::BatchId;
use crate::{
    admission::{Drain, Standing},
    config::{Key, MemberConfig},
    memory::Held,
    metrics::{AppStats, ServiceTimes},
    protocol::{Answer, ApiError, Cause, MergeKey, Request},
    sync::{
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc, oneshot,
    },
    timer::nanos,
    trace::RequestSpan,
};

/// What others may see of a group's task.
#[derive(Debug, Default)]
pub struct GroupStats {
    /// Rows that wait, those on their way to the task included.
    pub queued_rows: AtomicU64,
    /// Rows that wait or are in a batch, until their callers are told.
    pub held_rows: AtomicU64,
    /// Bytes that waiting rows hold.
    pub queued_bytes: AtomicUsize,
    /// Batches that replicas work on.
    pub in_flight: AtomicUsize,
    /// Replicas that are listed as ready.
    pub endpoints: AtomicUsize,
    /// What a batch takes at its replica, smoothed; 0 before the first one.
    pub service: AtomicU64,
    /// What its batches took lately, by their rows.
    pub service_times: ServiceTimes,
    /// Rows that wait behind all others'.
    pub yielding_rows: AtomicU64,
    /// How fast these leave.
    pub yielding_drain: Drain,
    /// Why a replica could not be reached, last.
    failure: Mutex<Option<Arc<str>>>,
}

impl GroupStats {
    /// Whether nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.load() == (0, 0)
    }

    /// Rows that wait, and batches in flight. Never nothing while there is a request: one may go from one side to the other, and back where its
    /// replica could not be reached, so often that both are read as 0. It waits then.
    pub fn load(&self) -> (u64, usize) {
        // First, as a batch may be in flight for longer than its requests are held.
        let held = self.held_rows.load(Ordering::Acquire);
        let waiting = self.queued_rows.load(Ordering::Acquire);
        match self.in_flight.load(Ordering::Acquire) {
            0 if waiting == 0 => (held, 0),
            in_flight => (waiting, in_flight),
        }
    }

    /// A batch was with its replica for so long.
    pub(super) fn observe_service(&self, service: Nanos) {
        /// Of the last batch in the smoothed figure: a tenth.
        const PARTS: u64 = 10;
        // Only the group's task writes it.
        let before = self.service.load(Ordering::Acquire);
        let smoothed = match before {
            0 => service,
            before => before - before / PARTS + service / PARTS,
        };
        self.service.store(smoothed.max(1), Ordering::Release);
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
    /// When its caller stops waiting, where it says so.
    pub deadline: Option<Nanos>,
    /// What its body holds of the memory.
    pub memory: Held,
    /// Its span, where it is sampled.
    pub span: Option<RequestSpan>,
}

/// An answer with what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The caller's answer.
    pub answer: Answer,
    /// Rows of the batch that it came from.
    pub batch_rows: u32,
}

/// The group that a request waits in, as its caller's end sees it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) group: Arc<GroupStats>,
    /// Takes the numbers of requests whose callers left.
    pub(super) left: mpsc::UnboundedSender<u64>,
}

/// The batch that a request left in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub batch: BatchId,
    /// Its rows.
    pub rows: usize,
    /// When it left.
    pub at: Nanos,
}

/// What the two ends of a request share.
#[derive(Debug)]
pub(crate) struct Progress {
    /// It is in a batch.
    pub(super) sent: AtomicBool,
    /// The last batch that it was in, its rows, and when it left; no rows before the first.
    batch: AtomicU64,
    batch_rows: AtomicUsize,
    sent_at: AtomicU64,
    place: Mutex<Place>,
}

impl Progress {
    /// It leaves in a batch.
    pub(super) fn leave(&self, sent: Sent) {
        self.batch.store(sent.batch.number(), Ordering::Relaxed);
        self.sent_at.store(sent.at, Ordering::Relaxed);
        // Whoever sees the rows sees the others.
        self.batch_rows.store(sent.rows, Ordering::Release);
    }

    /// The last batch that it was in. Asked when it is at its end, so that no other one is written meanwhile.
    pub(crate) fn sent(&self) -> Option<Sent> {
        let rows = self.batch_rows.load(Ordering::Acquire);
        (rows > 0).then(|| Sent {
            batch: BatchId::new(self.batch.load(Ordering::Relaxed)),
            rows,
            at: self.sent_at.load(Ordering::Relaxed),
        })
    }

    fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Room that a request takes in its group's and its application's counts: while it waits, and, in its group's alone, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    group: Arc<GroupStats>,
    app: Arc<AppStats>,
    waits: bool,
    rows: u64,
    /// Rows that are served behind others': all or none.
    yielding: u64,
    bytes: usize,
}

impl Room {
    /// Of a request that waits.
    fn take(group: Arc<GroupStats>, app: Arc<AppStats>, request: &Request, standing: Standing) -> Self {
        let rows = u64::from(request.rows());
        group.held_rows.fetch_add(rows, Ordering::AcqRel);
        let mut room = Self {
            group,
            app,
            waits: false,
            rows,
            yielding: if standing == Standing::Yielding { rows } else { 0 },
            bytes: request.size(),
        };
        room.enter();
        room
    }

    /// It waits, perhaps again.
    fn enter(&mut self) {
        if std::mem::replace(&mut self.waits, true) {
            return;
        }
        self.app.yielding_rows.fetch_add(self.yielding, Ordering::AcqRel);
        self.group
            .yielding_rows
            .fetch_add(self.yielding, Ordering::AcqRel);
        self.group.queued_rows.fetch_add(self.rows, Ordering::AcqRel);
        self.group.queued_bytes.fetch_add(self.bytes, Ordering::AcqRel);
        self.app.queued_rows.fetch_add(self.rows, Ordering::AcqRel);
    }

    /// It does not wait any more.
    pub(super) fn leave(&mut self) {
        if !std::mem::take(&mut self.waits) {
            return;
        }
        self.group.queued_rows.fetch_sub(self.rows, Ordering::AcqRel);
        self.group.queued_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.app.queued_rows.fetch_sub(self.rows, Ordering::AcqRel);
        self.app.yielding_rows.fetch_sub(self.yielding, Ordering::AcqRel);
        self.group
            .yielding_rows
            .fetch_sub(self.yielding, Ordering::AcqRel);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.leave();
        self.group.held_rows.fetch_sub(self.rows, Ordering::AcqRel);
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
    /// On the heap, as requests are handed from one place to the next many times.
    pub(super) submission: Box<Submission>,
    pub(super) standing: Standing,
    pub(super) key: MergeKey,
    pub(super) deadline: Nanos,
    pub(super) room: Room,
    pub(super) progress: Arc<Progress>,
    reply: oneshot::Sender<Result<Answered, ApiError>>,
}

impl Queued {
    /// A request that enters the queue of a group, and its caller's end.
    pub(super) fn new(
        id: u64,
        app: Key,
        member: Arc<MemberConfig>,
        stats: Arc<AppStats>,
        submission: Submission,
        standing: Standing,
        place: Place,
    ) -> (Self, Waiter) {
        let (reply, answer) = oneshot::channel();
        let key = MergeKey::new(&submission.request, submission.version.as_deref());
        let arrival = submission.arrival;
        let latest = arrival.saturating_add(nanos(member.timeout));
        let deadline = submission.deadline.map_or(latest, |own| own.min(latest));
        let timeout = Duration::from_nanos(deadline.saturating_sub(arrival));
        let room = Room::take(place.group.clone(), stats.clone(), &submission.request, standing);
        let progress = Arc::new(Progress {
            sent: AtomicBool::new(false),
            batch: AtomicU64::new(0),
            batch_rows: AtomicUsize::new(0),
            sent_at: AtomicU64::new(0),
            place: Mutex::new(place),
        });
        let waiter = Waiter {
            id,
            deadline,
            timeout,
            progress: progress.clone(),
            answer,
            answered: false,
        };
        let queued = Self {
            id,
            app,
            member,
            stats,
            submission: Box::new(submission),
            standing,
            key,
            deadline,
            room,
            progress,
            reply,
        };
        (queued, waiter)
    }

    /// When it should be answered: arrival + SLO.
    pub(super) fn due(&self) -> Nanos {
        self.submission.arrival.saturating_add(nanos(self.member.slo))
    }

    pub(super) fn rows(&self) -> u32 {
        self.submission.request.rows()
    }

    /// Enters the queue of another group: whoever is told of the caller's leave is told there from now on.
    pub(super) fn move_to(&mut self, place: Place) {
        self.progress.sent.store(false, Ordering::Release);
        let (group, app) = (place.group.clone(), self.stats.clone());
        self.room = Room::take(group, app, &self.submission.request, self.standing);
        *self.progress.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Enters the group's queue again.
    pub(super) fn make_wait(&mut self) {
        self.progress.sent.store(false, Ordering::Release);
        self.room.enter();
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self, now: Nanos) -> bool {
        self.reply.is_closed() || self.deadline <= now
    }

    /// Tells the caller. One that has left is told nothing.
    pub(super) fn answer(mut self, answer: Result<Answered, ApiError>) {
        self.room.leave();
        let _ = self.reply.send(answer);
    }
}

/// The caller's end of a request. Dropped before the answer came, it takes the request out of its queue.
#[derive(Debug)]
pub struct Waiter {
    id: u64,
    deadline: Nanos,
    timeout: Duration,
    progress: Arc<Progress>,
    answer: oneshot::Receiver<Result<Answered, ApiError>>,
    answered: bool,
}

impl Waiter {
    /// How far the request has come.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

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
            // The task lets go of what is overdue, and may notice first.
            if timer.now() >= self.deadline {
                return Err(self.overdue());
            }
            let error = ApiError::new(Cause::Internal, "the gateway could not finish the request");
            Err(error.with_status(http::StatusCode::SERVICE_UNAVAILABLE))
        })
    }

    /// Says what the time went to.
    fn overdue(&self) -> ApiError {
        let timeout = self.timeout;
        if self.progress.sent.load(Ordering::Acquire) {
            let message =
                format!("no answer within the timeout of {timeout:?}: the runtime was still at work");
            return ApiError::new(Cause::TimeoutRuntime, message);
        }
        let group = self.progress.place().group;
        if group.endpoints.load(Ordering::Acquire) == 0 {
            let message = format!("no replica became ready within the timeout of {timeout:?}");
            return ApiError::new(Cause::NoReplica, message).retry_after(Duration::from_secs(1));
        }
        if let Some(failure) = group.failure() {
            let message = format!("no replica could be reached within the timeout of {timeout:?}: {failure}");
            return ApiError::new(Cause::Unreachable, message).retry_after(Duration::from_secs(1));
        }
        let message = format!("no replica was free within the timeout of {timeout:?}");
        ApiError::new(Cause::TimeoutQueue, message)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.answered {
            // Closed first: a task that hears of the leave before the request has come to it sees that nobody waits.
            self.answer.close();
            // The task may be gone, and the request with it.
            let _ = self.progress.place().left.send(self.id);
        }
    }
}
