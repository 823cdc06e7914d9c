//! The spans of batches.

use harmonybatch_dispatch::Nanos;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanContext, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::trace::Span;

use super::{RequestSpan, Tracer, context};
use crate::{batcher::BatchId, config::Key, protocol::Cause, upstream::Replica};

/// A batch that leaves for its replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'a> {
    pub(crate) id: BatchId,
    pub(crate) group: &'a Key,
    pub(crate) replica: &'a Replica,
    /// What made it ready.
    pub(crate) reason: &'static str,
    pub(crate) requests: usize,
    pub(crate) rows: u64,
    pub(crate) at: Nanos,
}

/// A batch on its way.
#[derive(Debug)]
pub(crate) struct BatchSpan {
    context: SpanContext,
    /// `None` where none of its requests is sampled.
    span: Option<Span>,
}

impl Tracer {
    /// Begins the span of a batch with these of its requests sampled; `None` where traces are off.
    pub(crate) fn batch<'a>(
        &self,
        departure: &Departure<'_>,
        sampled: impl Iterator<Item = &'a RequestSpan>,
    ) -> Option<BatchSpan> {
        let inner = self.0.as_deref()?;
        let sampled: Vec<&RequestSpan> = sampled.collect();
        let Some(first) = sampled.first() else {
            return Some(BatchSpan {
                context: context::unsampled(),
                span: None,
            });
        };
        let links = sampled
            .iter()
            .map(|request| Link::with_context(request.span_context()));
        let builder = inner
            .tracer
            .span_builder("batch")
            .with_kind(SpanKind::Client)
            .with_start_time(inner.wall(departure.at))
            .with_attributes(attributes(departure))
            .with_links(links.collect());
        let own = Context::new();
        let parent = if departure.requests == 1 {
            first.context()
        } else {
            &own
        };
        let span = inner.tracer.build_with_context(builder, parent);
        let (context, id) = (span.span_context().clone(), departure.id.to_string());
        for request in sampled {
            request.sent(departure.at, &id, &context);
        }
        Some(BatchSpan {
            context,
            span: Some(span),
        })
    }
}

fn attributes(departure: &Departure<'_>) -> Vec<KeyValue> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (address, port) = match departure.replica {
        Replica::Endpoint(endpoint) => (endpoint.ip().to_string(), endpoint.port()),
        Replica::Wake(wake) => match wake.authority.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(80)),
            None => (wake.authority.to_string(), 80),
        },
    };
    vec![
        KeyValue::new("harmonybatch.namespace", departure.group.namespace.clone()),
        KeyValue::new("harmonybatch.group", departure.group.name.clone()),
        KeyValue::new("harmonybatch.batch.id", departure.id.to_string()),
        KeyValue::new("harmonybatch.batch.rows", number(departure.rows)),
        KeyValue::new("harmonybatch.batch.requests", number(departure.requests as u64)),
        KeyValue::new("harmonybatch.batch.reason", departure.reason),
        KeyValue::new("server.address", address),
        KeyValue::new("server.port", i64::from(port)),
    ]
}

impl BatchSpan {
    /// What its replica is told.
    pub(crate) fn context(&self) -> &SpanContext {
        &self.context
    }

    /// Ends it; `cause` says why its requests have no answers.
    pub(crate) fn end(self, cause: Option<Cause>) {
        let Some(mut span) = self.span else { return };
        if let Some(cause) = cause {
            span.set_attribute(KeyValue::new("error.type", cause.name()));
            span.set_status(Status::error(cause.name()));
        }
        span.end();
    }
}
