//! One batch: merged, sent, cut, answered.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use harmonybatch_dispatch::Nanos;
use http::Method;

use super::{
    isolation::PartId,
    replicas::Conduct,
    request::{Answered, GroupStats, Queued},
};
use crate::{
    blocking,
    metrics::{BatchFailure, GroupMetrics},
    protocol::{self, Addressee, Answer, ApiError, Cause, MergeError, Meter, Unwritable, Wire},
    timer::{Timer, nanos},
    trace::BatchSpan,
    upstream::{Call, Replica, Reply, Upstream, UpstreamError},
};

/// Longest time for which a replica that missed the last deadline of its batch is left to finish it and gets no other. One that takes longer has
/// most likely hung, and would be lost for good: its connection is closed, by which most runtimes stop, and it is tried again.
const LINGER: Duration = Duration::from_secs(30);

/// A count of batches in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<GroupStats>);

impl InFlight {
    pub(super) fn new(stats: Arc<GroupStats>) -> Self {
        stats.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(stats)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a batch says of its runtime's speed. A part of another one says nothing, nor one that wakes a replica, which takes as long as a pod's start.
struct Clock<'a> {
    rows: u32,
    started: Nanos,
    /// When the last caller stops waiting.
    give_up: Option<Nanos>,
    stats: &'a GroupStats,
    metrics: &'a GroupMetrics,
}

impl<'a> Clock<'a> {
    fn new(requests: &[Queued], started: Nanos, stats: &'a GroupStats, metrics: &'a GroupMetrics) -> Self {
        Self {
            rows: requests.iter().map(Queued::rows).fold(0, u32::saturating_add),
            started,
            give_up: requests.iter().map(|queued| queued.deadline).max(),
            stats,
            metrics,
        }
    }

    /// The replica's word was there at `now`.
    fn replied(&self, end: &End, now: Nanos) {
        /// Part of the time that it was given after which a runtime that gives no answer has stopped for its sake.
        const NEARLY_ALL: f64 = 0.9;
        let service = now.saturating_sub(self.started);
        let given = self.give_up.map(|give_up| give_up.saturating_sub(self.started));
        let given = given.map(|given| nanos(Duration::from_nanos(given).mul_f64(NEARLY_ALL)));
        match end {
            End::Answered => {
                self.stats.service_times.answered(self.rows, service, now);
                self.metrics.observe_answered(self.rows, service);
            }
            // It is told for how long anybody waits, and may stop just before.
            End::Failed { .. } if given.is_some_and(|given| given <= service) => self.overdue(now),
            End::Failed { .. } | End::Told | End::Unsent(..) => {}
        }
    }

    /// Nobody waits for it any more.
    fn overdue(&self, now: Nanos) {
        let waited = now.saturating_sub(self.started);
        self.stats.service_times.overdue(self.rows, waited, now);
    }
}

/// Tells a batch from others, as its replica and its callers are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchId(u64);

impl BatchId {
    /// The batch of this number.
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "batch-{}", self.0)
    }
}

/// A batch with all that its task needs.
pub(super) struct Batch<U: Upstream> {
    pub(super) id: BatchId,
    pub(super) span: Option<BatchSpan>,
    pub(super) requests: Vec<Queued>,
    /// It is a part of a batch that was refused.
    pub(super) part: Option<PartId>,
    pub(super) runtime_model: Arc<str>,
    pub(super) idempotent: bool,
    pub(super) wire: Wire,
    pub(super) replica: Replica,
    pub(super) connection: Option<U::Connection>,
    pub(super) upstream: U,
    pub(super) timer: Timer,
    pub(super) metrics: Arc<GroupMetrics>,
    pub(super) in_flight: InFlight,
}

/// What comes back to the group's task.
pub(super) struct Done<C> {
    pub(super) replica: Replica,
    pub(super) connection: Option<C>,
    pub(super) conduct: Conduct,
    pub(super) part: Option<PartId>,
    /// How long it was with its replica.
    pub(super) service: Nanos,
    pub(super) end: End,
    /// Ends when the task has taken note.
    pub(super) in_flight: InFlight,
}

impl<C> Done<C> {
    /// There was no call to make.
    fn unmade(replica: Replica, connection: Option<C>, part: Option<PartId>, in_flight: InFlight) -> Self {
        Self {
            replica,
            connection,
            conduct: Conduct::Answered,
            part,
            service: 0,
            end: End::Told,
            in_flight,
        }
    }
}

/// What became of a batch's requests.
pub(super) enum End {
    /// All have their answers.
    Answered,
    /// They were told why there is none.
    Told,
    /// The replica was not reached, and has seen nothing of them.
    Unsent(Vec<Queued>, Arc<str>),
    /// It was reached, and gave nothing that they could be answered with: the group's task says what becomes of them.
    Failed {
        requests: Vec<Queued>,
        failure: BatchFailure,
        /// What they are told if that is the end.
        error: ApiError,
    },
}

impl End {
    /// Why there were no answers.
    fn cause(&self) -> Option<Cause> {
        match self {
            Self::Answered => None,
            Self::Told => Some(Cause::TimeoutRuntime),
            Self::Unsent(..) => Some(Cause::Unreachable),
            Self::Failed { failure, .. } => Some(failure.cause()),
        }
    }
}

impl<U: Upstream> Batch<U> {
    /// Carries the batch out. Ends when the replica is done with it, which may be after the callers have their answers.
    pub(super) async fn run(self) -> Done<U::Connection> {
        let Self {
            id,
            span,
            requests,
            part,
            runtime_model,
            idempotent,
            wire,
            replica,
            connection,
            upstream,
            timer,
            metrics,
            in_flight,
        } = self;
        let batch_id = id.to_string();
        let mut meter = Meter::new(timer);
        let sizes = requests.iter().map(|queued| queued.submission.request.size());
        let size = sizes.sum();
        let requests = blocking::through(size, || converted(requests, wire, &mut meter));
        let call = blocking::through(size, || {
            call(&batch_id, &runtime_model, &requests, wire, idempotent)
        });
        let call = match call {
            Ok(call) => call,
            Err(error) => {
                // Cannot be, unless nobody is left.
                if let Some(span) = span {
                    span.end(Some(Cause::Internal));
                }
                refuse(requests, &ApiError::new(Cause::Internal, error));
                return Done::unmade(replica, connection, part, in_flight);
            }
        };
        // Behind the last deadline nobody waits for the answer.
        let give_up = requests.iter().map(|queued| queued.deadline).max();
        let started = timer.now();
        let stats = in_flight.0.clone();
        let first_attempt = part.is_none() && matches!(replica, Replica::Endpoint(_));
        let clock = first_attempt.then(|| Clock::new(&requests, started, &stats, &metrics));
        let remaining = give_up.map(|give_up| Duration::from_nanos(give_up.saturating_sub(started)));
        let trace = span.as_ref().map(|span| span.context().clone());
        let call = Call {
            remaining,
            trace,
            ..call
        };
        let (connection, conduct, end) = {
            let mut call = pin!(upstream.call(&replica, connection, call));
            tokio::select! {
                biased;
                (connection, reply) = call.as_mut() => {
                    let replied = timer.now();
                    let conduct = conduct(&reply);
                    let end = if let Err(UpstreamError::Connect(reason)) = reply {
                        End::Unsent(requests, reason)
                    } else {
                        let size = reply.as_ref().map_or(0, |reply| reply.body.len());
                        blocking::through(size, || {
                            answer(&batch_id, requests, reply, wire, &mut meter, &metrics, timer.now())
                        })
                    };
                    if let Some(clock) = &clock {
                        clock.replied(&end, replied);
                    }
                    (connection, conduct, end)
                }
                () = timer.until(give_up) => {
                    let error = ApiError::new(Cause::TimeoutRuntime, "the runtime did not answer in time");
                    note(&batch_id, requests.len(), BatchFailure::Overdue, &metrics, timer.now());
                    if let Some(clock) = &clock {
                        clock.overdue(timer.now());
                    }
                    refuse(requests, &error);
                    let lost = timer.now().saturating_add(nanos(LINGER));
                    tokio::select! {
                        biased;
                        (connection, reply) = call => (connection, conduct(&reply), End::Told),
                        () = timer.until(Some(lost)) => (None, Conduct::Lost, End::Told),
                    }
                }
            }
        };
        if let Some(span) = span {
            span.end(end.cause());
        }
        metrics.observe_conversions(&meter);
        let ended = timer.now();
        if !matches!(end, End::Unsent(..)) {
            metrics.observe_upstream(started, ended);
        }
        Done {
            replica,
            connection,
            conduct,
            part,
            service: ended.saturating_sub(started),
            end,
            in_flight,
        }
    }
}

fn conduct(reply: &Result<Reply, UpstreamError>) -> Conduct {
    match reply {
        Ok(reply) if reply.status.is_server_error() => Conduct::Failed,
        Ok(_) => Conduct::Answered,
        Err(_) => Conduct::Lost,
    }
}

/// The call that all requests make together.
fn call(
    batch_id: &str,
    runtime_model: &str,
    requests: &[Queued],
    wire: Wire,
    idempotent: bool,
) -> Result<Call, MergeError> {
    let refs: Vec<_> = requests.iter().map(|queued| &queued.submission.request).collect();
    let version = requests
        .first()
        .and_then(|queued| queued.submission.version.as_deref());
    let to = Addressee {
        id: batch_id,
        model: runtime_model,
        version,
    };
    let message = protocol::merge(&to, &refs, wire)?;
    Ok(Call {
        method: Method::POST,
        path: wire.infer_path(runtime_model, version),
        body: message.body,
        header_length: message.header_length,
        transport: wire.into(),
        idempotent,
        remaining: None,
        trace: None,
    })
}

/// Those of the requests that the runtime's encoding can write; the others are told. They were converted when they came, so that only a runtime
/// that has changed its encoding since leaves anything to do.
fn converted(requests: Vec<Queued>, wire: Wire, meter: &mut Meter) -> Vec<Queued> {
    let converted =
        requests.into_iter().filter_map(
            |mut queued| match queued.submission.request.convert(wire, meter) {
                Ok(()) => Some(queued),
                Err(error) => {
                    queued.answer(Err(error.into()));
                    None
                }
            },
        );
    converted.collect()
}

/// Gives every caller its part, if all can be given theirs.
fn answer(
    batch_id: &str,
    requests: Vec<Queued>,
    reply: Result<Reply, UpstreamError>,
    wire: Wire,
    meter: &mut Meter,
    metrics: &GroupMetrics,
    now: Nanos,
) -> End {
    let batch_rows = requests.iter().map(Queued::rows).fold(0, u32::saturating_add);
    match judge(batch_id, &requests, reply, wire, meter) {
        Ok(answers) => {
            for (queued, answer) in requests.into_iter().zip(answers) {
                let answered = answer.map(|answer| Answered { answer, batch_rows });
                queued.answer(answered.map_err(|error| ApiError::new(Cause::Unwritable, error)));
            }
            End::Answered
        }
        Err((failure, error)) => {
            note(batch_id, requests.len(), failure, metrics, now);
            End::Failed {
                requests,
                failure,
                error,
            }
        }
    }
}

/// Counts a batch that failed, and says so once a second.
fn note(batch_id: &str, requests: usize, failure: BatchFailure, metrics: &GroupMetrics, now: Nanos) {
    metrics.failed(failure);
    if let Some(left_out) = metrics.failed_said.admits(now) {
        tracing::warn!(
            group = %metrics.group,
            batch = batch_id,
            requests,
            cause = failure.cause().name(),
            left_out,
            "a batch failed"
        );
    }
}

/// Gives every caller the same error.
pub(super) fn refuse(requests: Vec<Queued>, error: &ApiError) {
    for queued in requests {
        queued.answer(Err(error.clone()));
    }
}

/// The callers' answers, or the error that all of them get if nobody looks closer. What the runtime says may quote its input: only a caller that was
/// alone in the batch is told.
fn judge(
    batch_id: &str,
    requests: &[Queued],
    reply: Result<Reply, UpstreamError>,
    wire: Wire,
    meter: &mut Meter,
) -> Result<Vec<Result<Answer, Unwritable>>, (BatchFailure, ApiError)> {
    let failed = |failure: BatchFailure, message: String| (failure, ApiError::new(failure.cause(), message));
    let alone = requests.len() == 1;
    let reply = reply.map_err(|error| failed(BatchFailure::Broken, error.to_string()))?;
    let status = reply.status;
    if !status.is_success() {
        let failure = if status.is_client_error() {
            BatchFailure::ClientError
        } else {
            BatchFailure::ServerError
        };
        let code = status.as_u16();
        let message = match (alone, failure) {
            (true, BatchFailure::ClientError) => {
                format!("the runtime refused the request: {}", said(&reply))
            }
            (true, _) => format!("the runtime answered {code}: {}", said(&reply)),
            (false, _) => format!("the runtime answered {code} to the batch"),
        };
        let (failure, error) = failed(failure, message);
        let is_its_own = alone && failure == BatchFailure::ClientError;
        return Err((
            failure,
            if is_its_own {
                error.with_status(status)
            } else {
                error
            },
        ));
    }
    let parts: Vec<_> = requests
        .iter()
        .map(|queued| (&queued.submission.request, queued.submission.model.as_str()))
        .collect();
    protocol::split(&reply.body, reply.header_length, wire, batch_id, &parts, meter).map_err(|error| {
        let message = if alone {
            error.to_string()
        } else {
            "the runtime's answer to the batch is not valid".to_owned()
        };
        failed(BatchFailure::Invalid, message)
    })
}

/// The protocol's error text, or the beginning of whatever else there is.
fn said(reply: &Reply) -> String {
    let error = serde_json::from_slice::<serde_json::Value>(&reply.body).ok();
    let error = error.and_then(|body| Some(body.get("error")?.as_str()?.to_owned()));
    let text = error
        .unwrap_or_else(|| String::from_utf8_lossy(&reply.body[..reply.body.len().min(512)]).into_owned());
    text.chars().take(512).collect()
}

/// Numbers batches.
#[derive(Debug)]
pub(super) struct BatchIds(AtomicU64);

impl Default for BatchIds {
    /// From anywhere on, so that two gateways, or one before and after a restart, do not give two batches one number.
    fn default() -> Self {
        Self(AtomicU64::new(fastrand::u64(..1 << 48)))
    }
}

impl BatchIds {
    pub(super) fn next(&self) -> BatchId {
        BatchId::new(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// How long a request waited for its batch.
pub(super) fn wait(queued: &Queued, now: Nanos) -> Nanos {
    now.saturating_sub(queued.submission.arrival)
}
