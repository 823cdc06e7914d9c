//! The spans of requests.

use std::sync::Arc;

use harmonybatch_dispatch::Nanos;
use http::{HeaderMap, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

use super::{Tracer, context, wall};
use crate::{
    batcher::Sent,
    config::Target,
    protocol::{Cause, grpc::Code},
    timer::Timer,
};

/// What a caller asks for, as OpenTelemetry's conventions for HTTP and RPC name it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// A request of REST, by the template of its path and the version of HTTP.
    Http {
        route: &'static str,
        version: &'static str,
    },
    /// A call of `inference.GRPCInferenceService`.
    Grpc,
}

/// A request that is sampled. Copies are the same span.
#[derive(Clone, Debug)]
pub struct RequestSpan {
    context: Context,
    timer: Timer,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) target: Option<&'a Target>,
    pub(crate) rows: Option<u32>,
    pub(crate) received: usize,
    pub(crate) answered: usize,
    pub(crate) status: StatusCode,
    pub(crate) is_grpc: bool,
    pub(crate) cause: Option<Cause>,
    pub(crate) sent: Option<Sent>,
    pub(crate) forwarded: Option<&'static str>,
}

impl Tracer {
    /// Begins the span of a request for inference, where it is sampled.
    pub(crate) fn request(
        &self,
        operation: Operation,
        headers: &HeaderMap,
        started: Nanos,
    ) -> Option<RequestSpan> {
        let inner = self.0.as_deref()?;
        let parent = context::extract(headers);
        if !inner.sampling.samples(parent.as_ref()) {
            return None;
        }
        let (name, attributes) = match operation {
            Operation::Http { route, version } => (
                format!("POST {route}").into(),
                vec![
                    KeyValue::new("http.request.method", "POST"),
                    KeyValue::new("http.route", route),
                    KeyValue::new("network.protocol.version", version),
                ],
            ),
            Operation::Grpc => (
                "inference.GRPCInferenceService/ModelInfer".into(),
                vec![
                    KeyValue::new("rpc.system", "grpc"),
                    KeyValue::new("rpc.service", "inference.GRPCInferenceService"),
                    KeyValue::new("rpc.method", "ModelInfer"),
                ],
            ),
        };
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let builder = inner
            .tracer
            .span_builder::<std::borrow::Cow<'static, str>>(name)
            .with_kind(SpanKind::Server)
            .with_start_time(inner.wall(started))
            .with_attributes(attributes);
        let span = inner.tracer.build_with_context(builder, &parent);
        Some(RequestSpan {
            context: Context::new().with_span(span),
            timer: inner.timer,
        })
    }

    /// Passes a request's trace on to whoever gets the headers; also that it is not sampled, which is not decided twice.
    pub(crate) fn pass_on(&self, span: Option<&RequestSpan>, headers: &mut HeaderMap) {
        if self.0.is_none() {
            return;
        }
        match span {
            Some(span) => context::inject(&span.span_context(), headers),
            None if context::extract(headers).is_none_or(|caller| caller.is_sampled()) => {
                context::inject(&context::unsampled(), headers);
            }
            None => {}
        }
    }
}

impl RequestSpan {
    /// What tells it from others.
    pub(crate) fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    /// For spans that are its children.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// It was whole, and waits for its batch.
    pub(crate) fn queued(&self, at: Nanos) {
        let at = wall(self.timer, at);
        self.context
            .span()
            .add_event_with_timestamp("queued", at, Vec::new());
    }

    /// It left in a batch.
    pub(super) fn sent(&self, at: Nanos, batch_id: &str, batch: &SpanContext) {
        let at = wall(self.timer, at);
        let attributes = vec![KeyValue::new("harmonybatch.batch.id", batch_id.to_owned())];
        let span = self.context.span();
        span.add_event_with_timestamp("sent", at, attributes);
        span.add_link(batch.clone(), Vec::new());
    }

    /// Ends it.
    pub(crate) fn end(&self, ended: Ended<'_>) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut attributes = vec![
            KeyValue::new("http.request.body.size", number(ended.received)),
            KeyValue::new("http.response.body.size", number(ended.answered)),
        ];
        attributes.push(if ended.is_grpc {
            KeyValue::new("rpc.grpc.status_code", Code::of(ended.status) as i64)
        } else {
            KeyValue::new("http.response.status_code", i64::from(ended.status.as_u16()))
        });
        if let Some(Target { group, member, .. }) = ended.target {
            let mut name = |key, name: &Arc<str>| attributes.push(KeyValue::new(key, name.clone()));
            name("harmonybatch.namespace", &group.key.namespace);
            name("harmonybatch.app", &member.app);
            name("harmonybatch.group", &group.key.name);
        }
        if let Some(rows) = ended.rows {
            attributes.push(KeyValue::new("harmonybatch.rows", i64::from(rows)));
        }
        if let Some(sent) = ended.sent {
            attributes.push(KeyValue::new("harmonybatch.batch.id", sent.batch.to_string()));
            attributes.push(KeyValue::new("harmonybatch.batch.rows", number(sent.rows)));
        }
        if let Some(forwarded) = ended.forwarded {
            attributes.push(KeyValue::new("harmonybatch.forwarded", forwarded));
        }
        let span = self.context.span();
        if let Some(cause) = ended.cause {
            attributes.push(KeyValue::new("error.type", cause.name()));
            // By OpenTelemetry's conventions a server's span is in error only where the fault is not the caller's.
            if ended.status.is_server_error() {
                span.set_status(Status::error(cause.name()));
            }
        }
        span.set_attributes(attributes);
        span.end();
    }
}
