//! One batch: merged, sent, cut, answered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use harmonybatch_dispatch::Nanos;
use http::{Method, StatusCode};

use super::request::{Answered, GroupStats, Queued};
use crate::{
    metrics::GroupMetrics,
    protocol::{self, ApiError},
    timer::Timer,
    upstream::{Call, Replica, Reply, Upstream, UpstreamError},
};

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

/// A batch with all that its task needs.
pub(super) struct Batch<U: Upstream> {
    pub(super) id: u64,
    pub(super) requests: Vec<Queued>,
    pub(super) runtime_model: Arc<str>,
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
    /// The replica was not reached, and these have not been answered.
    pub(super) unsent: Option<(Vec<Queued>, Arc<str>)>,
    /// Ends when the task has taken note.
    pub(super) in_flight: InFlight,
}

impl<U: Upstream> Batch<U> {
    /// Carries the batch out.
    pub(super) async fn run(self) -> Done<U::Connection> {
        let Self {
            id,
            requests,
            runtime_model,
            replica,
            connection,
            upstream,
            timer,
            metrics,
            in_flight,
        } = self;
        let batch_id = format!("batch-{id}");
        let refs: Vec<_> = requests.iter().map(|queued| &queued.submission.request).collect();
        let body = protocol::merge(&batch_id, &refs);
        let version = requests
            .first()
            .and_then(|queued| queued.submission.version.as_deref());
        let version = version.map_or_else(String::new, |version| format!("/versions/{version}"));
        let path = format!("/v2/models/{runtime_model}{version}/infer");
        // Behind the last deadline nobody waits for the answer.
        let give_up = requests.iter().map(|queued| queued.deadline).max();
        let started = timer.now();
        let call = upstream.call(
            &replica,
            connection,
            Call {
                method: Method::POST,
                path,
                body,
            },
        );
        let (connection, reply) = tokio::select! {
            biased;
            reply = call => reply,
            () = timer.until(give_up) => (None, Err(UpstreamError::Broken("it did not answer in time".into()))),
        };
        if let Err(UpstreamError::Connect(reason)) = reply {
            return Done {
                replica,
                connection,
                unsent: Some((requests, reason)),
                in_flight,
            };
        }
        metrics.observe_upstream(started, timer.now());
        answer(&batch_id, requests, reply);
        Done {
            replica,
            connection,
            unsent: None,
            in_flight,
        }
    }
}

/// Gives every caller its part.
fn answer(batch_id: &str, requests: Vec<Queued>, reply: Result<Reply, UpstreamError>) {
    let batch_rows = requests.iter().map(Queued::rows).fold(0, u32::saturating_add);
    match judge(batch_id, &requests, reply) {
        Ok(bodies) => {
            for (queued, body) in requests.into_iter().zip(bodies) {
                queued.answer(Ok(Answered { body, batch_rows }));
            }
        }
        Err(error) => {
            for queued in requests {
                queued.answer(Err(error.clone()));
            }
        }
    }
}

/// The callers' answers, or the error that all of them get. A batch that the runtime refuses fails as a whole for now; finding the culprit belongs
/// here.
fn judge(
    batch_id: &str,
    requests: &[Queued],
    reply: Result<Reply, UpstreamError>,
) -> Result<Vec<protocol::Answer>, ApiError> {
    let bad_gateway = |message: String| ApiError::new(StatusCode::BAD_GATEWAY, message);
    let reply = reply.map_err(|error| bad_gateway(error.to_string()))?;
    if !reply.status.is_success() {
        let text = said(&reply);
        // What the runtime says of a lone request is said of that request.
        if reply.status.is_client_error() && requests.len() == 1 {
            return Err(ApiError::new(
                reply.status,
                format!("the runtime refused the request: {text}"),
            ));
        }
        return Err(bad_gateway(format!(
            "the runtime answered {}: {text}",
            reply.status.as_u16()
        )));
    }
    let parts: Vec<_> = requests
        .iter()
        .map(|queued| (&queued.submission.request, queued.submission.model.as_str()))
        .collect();
    protocol::split(&reply.body, batch_id, &parts).map_err(|error| bad_gateway(error.to_string()))
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
#[derive(Debug, Default)]
pub(super) struct BatchIds(AtomicUsize);

impl BatchIds {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) as u64
    }
}

/// How long a request waited for its batch.
pub(super) fn wait(queued: &Queued, now: Nanos) -> Nanos {
    now.saturating_sub(queued.submission.arrival)
}
