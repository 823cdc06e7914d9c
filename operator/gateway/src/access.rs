//! The access log: one line a request.
//!
//! A line is an event of the target `access`, so that the process's own log decides on its form and place. It holds names of the configuration, numbers,
//! and words from fixed lists, and nothing else of what a caller sends. It is not built where it is not written.

use std::{sync::Arc, time::Duration};

use harmonybatch_dispatch::Nanos;
use http::StatusCode;

use crate::{
    batcher::Sent, config::Target, protocol::Cause, throttle::Throttle, timer::Timer, trace::RequestSpan,
};

/// Most lines of a second where only errors are logged: an overload shall not cost more by being told. `errors` counts them all.
const MOST_ERRORS: u64 = 100;

/// Which requests have a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Those that got no answer, up to 100 a second.
    Errors,
    /// All.
    All,
}

/// Writes the lines. Clones write one log.
#[derive(Clone, Debug)]
pub struct Access {
    log: AccessLog,
    errors: Arc<Throttle>,
}

impl Default for Access {
    fn default() -> Self {
        Self::new(AccessLog::default())
    }
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) protocol: &'static str,
    pub(crate) target: Option<&'a Target>,
    /// Of gRPC, as REST has it; none where the caller has left.
    pub(crate) status: Option<StatusCode>,
    pub(crate) cause: Option<Cause>,
    pub(crate) rows: Option<u32>,
    pub(crate) received: usize,
    pub(crate) answered: usize,
    pub(crate) started: Nanos,
    /// When its last byte was there, where it waited for a batch.
    pub(crate) queued: Option<Nanos>,
    pub(crate) sent: Option<Sent>,
    /// `in`: by another gateway; `out`: to one.
    pub(crate) forwarded: Option<&'static str>,
    pub(crate) span: Option<&'a RequestSpan>,
}

/// A request that the listener refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) protocol: &'static str,
    pub(crate) status: StatusCode,
    /// Why, as the metric `refusals` has it.
    pub(crate) refusal: &'static str,
    pub(crate) answered: usize,
}

impl Access {
    /// Of these requests.
    pub fn new(log: AccessLog) -> Self {
        Self {
            log,
            errors: Arc::new(Throttle::new(MOST_ERRORS)),
        }
    }

    /// Writes the line of a request, which ends now, if it has one.
    pub(crate) fn write(&self, line: &Line<'_>, timer: Timer) {
        if self.log == AccessLog::Off || (self.log == AccessLog::Errors && line.cause.is_none()) {
            return;
        }
        let now = timer.now();
        if self.admits(now) {
            line.write(now);
        }
    }

    /// Writes the line of a request that the listener refuses. What it asked for was not read, or is not trusted.
    pub(crate) fn refused(&self, refused: &Refused, timer: Timer) {
        if self.log != AccessLog::Off && self.admits(timer.now()) {
            tracing::info!(
                target: "access",
                protocol = refused.protocol,
                status = refused.status.as_u16(),
                cause = Cause::Refused.name(),
                refusal = refused.refusal,
                bytes_out = refused.answered,
            );
        }
    }

    /// Whether there is room for one more.
    fn admits(&self, now: Nanos) -> bool {
        self.log == AccessLog::All || self.errors.admits(now).is_some()
    }
}

impl Line<'_> {
    fn write(&self, now: Nanos) {
        let group = self.target.map(|target| &*target.group);
        let wait = self.queued.zip(self.sent);
        let trace = self.span.map(RequestSpan::span_context);
        tracing::info!(
            target: "access",
            method = self.method,
            route = self.route,
            protocol = self.protocol,
            namespace = group.map(|group| &*group.key.namespace),
            app = self.target.map(|target| &*target.member.app),
            group = group.map(|group| &*group.key.name),
            status = self.status.map(|status| status.as_u16()),
            cause = self.cause.map(Cause::name),
            rows = self.rows,
            bytes_in = self.received,
            bytes_out = self.answered,
            duration_ms = milliseconds(now.saturating_sub(self.started)),
            wait_ms = wait.map(|(queued, sent)| milliseconds(sent.at.saturating_sub(queued))),
            batch = self.sent.map(|sent| tracing::field::display(sent.batch)),
            batch_rows = self.sent.map(|sent| sent.rows),
            forwarded = self.forwarded,
            trace_id = trace.map(|trace| tracing::field::display(trace.trace_id())),
        );
    }
}

/// To the microsecond.
fn milliseconds(span: Nanos) -> f64 {
    let microseconds = Duration::from_nanos(span).as_micros();
    u32::try_from(microseconds).map_or(f64::MAX, f64::from) / 1000.0
}
