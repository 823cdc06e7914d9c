//! Requests of more rows than a batch may have.
//!
//! No runtime sees more rows at a time than its group's batch size: a larger request is handed to its group in parts, each a request like others, and is
//! answered when all of them are. They share its fate: it is let in as one, and where a part gets no answer it gets none, its other parts leave their
//! queue, and it is told once. That a part may have been with the runtime then is why the requests of models that are not `idempotent`
//! are not parted: these pass alone, as they are.

use futures::future::try_join_all;
use http::StatusCode;

use super::{Admitted, Service, record::Record};
use crate::{
    batcher::{Answered, Submission},
    blocking,
    config::Target,
    protocol::{self, ApiError, Cause, JoinError, Meter, Request},
    upstream::Upstream,
};

/// Most parts of a request: each costs memory beyond its rows.
const MOST: u32 = 1024;

/// The parts of a request, where it has to be handed on in some.
///
/// # Errors
/// Where they would be too many.
pub(super) fn parts(target: &Target, request: &Request) -> Result<Option<Vec<Request>>, ApiError> {
    let (rows, batch_size) = (request.rows(), target.group.batch_size);
    if rows <= batch_size || !target.group.idempotent {
        return Ok(None);
    }
    let most = batch_size.saturating_mul(MOST);
    if rows > most {
        let message = format!(
            "the request has {rows} rows, at most {most} may be: {MOST} batches of group {}",
            target.group.key.name
        );
        return Err(ApiError::new(Cause::TooLarge, message));
    }
    let divided = blocking::through(request.size(), || request.divide(batch_size));
    // Cannot fail: its data was checked when it was read. It would pass alone.
    let divided = divided.inspect_err(
        |error| tracing::error!(group = %target.group.key, %error, "a request could not be parted"),
    );
    Ok(divided.ok())
}

impl<U: Upstream> Service<U> {
    /// Hands the parts of a request to its group, waits for all of them, and joins their answers.
    pub(super) async fn infer_parts(
        &self,
        app: Option<(&str, &str)>,
        host: Option<&str>,
        whole: Submission,
        parts: Vec<Request>,
        record: &mut Record<'_>,
    ) -> Result<Answered, ApiError> {
        let (arrival, rows) = (whole.arrival, whole.request.rows());
        let rows_of_parts: Vec<u32> = parts.iter().map(Request::rows).collect();
        let (stats, waiters) = self.enter(app, host, &whole, |table, target, whole| {
            table.submit_parts(target, whole, parts)
        })?;
        // The last one leaves last, mostly: its batch is the one that is told of.
        if let Some(last) = waiters.last() {
            record.queued(arrival, rows, last);
        }
        let admitted = Admitted {
            stats,
            arrival,
            timer: self.timer,
            ended: false,
        };
        let answers = try_join_all(waiters.into_iter().map(|waiter| waiter.answer(self.timer))).await;
        let answer = answers.and_then(|answers| self.join(answers, &rows_of_parts, &whole));
        admitted.end(
            answer
                .as_ref()
                .map_or_else(|error| error.status, |_| StatusCode::OK),
        );
        answer
    }

    fn join(&self, answers: Vec<Answered>, rows: &[u32], whole: &Submission) -> Result<Answered, ApiError> {
        let batch_rows = answers.last().map_or(0, |answered| answered.batch_rows);
        let size = answers.iter().map(|answered| answered.answer.body.len()).sum();
        let answers = answers.into_iter().map(|answered| answered.answer);
        let answers = answers.zip(rows.iter().copied()).collect();
        let mut meter = Meter::new(self.timer);
        let joined = blocking::through(size, || {
            protocol::join(answers, &whole.request, &whole.model, &mut meter)
        });
        self.metrics.conversions.observe(&meter);
        let answer = joined.map_err(|error| {
            let cause = match error {
                JoinError::Unwritable(_) => Cause::Unwritable,
                JoinError::Answer(_) | JoinError::Differ(_) => Cause::InvalidAnswer,
            };
            ApiError::new(cause, error)
        })?;
        Ok(Answered { answer, batch_rows })
    }
}
