//! Traces: a span a request, a span a batch, and the links between them.
//!
//! A request for inference is a SERVER span, from its head to its answer, whose parent is what the caller's `traceparent` names (W3C Trace Context,
//! [`context`]). It has the events `queued` and `sent`. A batch is a CLIENT span, from its departure to the end of its replica's work, linked to the
//! requests in it as they are to it, and its replica is told of it as its callers told of theirs. A batch of one request is a child of that request; one
//! of several belongs to none of their traces more than to another, so it begins its own. It is sampled if any of its requests is.
//!
//! Whether a request is sampled is decided here before anything is made for it ([`Sampling`]): a request that is not costs one look at a header. Where
//! traces are off, [`Tracer`] is an empty option. Ended spans go through a bounded queue to a task ([`export`]), and where that is full they are dropped
//! and counted.
//!
//! Spans hold names of the configuration, numbers, and words from fixed lists. Of what a caller sends they have its trace's ids and `tracestate` alone.

mod batch;
mod collector;
mod context;
mod export;
mod request;
mod sampling;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use harmonybatch_dispatch::Nanos;
pub use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::trace::SdkTracer;

pub(crate) use batch::{BatchSpan, Departure};
pub(crate) use context::inject;
pub(crate) use export::start;
pub use export::{Error, SpanCounts};
pub use request::RequestSpan;
pub(crate) use request::{Ended, Operation};
pub use sampling::{Sampler, Sampling};

use crate::timer::Timer;

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Base of the collector's URL, to which `/v1/traces` is added: `http://collector.example:4318`.
    pub endpoint: String,
    /// Which requests are sampled.
    pub sampling: Sampling,
    /// Longest time for which a span waits for others to go out with it.
    pub delay: Duration,
}

/// Makes spans; nothing where traces are off. Copies make spans of the same traces.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    sampling: Sampling,
    timer: Timer,
}

impl Inner {
    /// A time of the gateway's clock as the world's clocks have it.
    fn wall(&self, at: Nanos) -> SystemTime {
        wall(self.timer, at)
    }
}

fn wall(timer: Timer, at: Nanos) -> SystemTime {
    let now = opentelemetry::time::now();
    let ago = Duration::from_nanos(timer.now().saturating_sub(at));
    now.checked_sub(ago).unwrap_or(now)
}
