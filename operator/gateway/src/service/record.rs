//! What is known of one request: its error's cause for the metrics, its span, its line of the access log, and the batch that its caller is told of.

use std::sync::Arc;

use harmonybatch_dispatch::Nanos;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::sync::watch;

use super::{BATCH_HEADER, Service};
use crate::{
    access::{Access, Line},
    batcher::{Progress, Sent, Table, Waiter},
    body::Chunks,
    config::{Key, Target},
    metrics::Metrics,
    protocol::{Cause, Endpoint, Route, grpc::StatusLine},
    timer::Timer,
    trace::{Ended, Operation, RequestSpan, Tracer},
};

/// One request, from its head to its answer; one that is dropped before its answer was left by its caller.
pub(super) struct Record<'a> {
    metrics: &'a Metrics,
    table: &'a watch::Receiver<Arc<Table>>,
    access: &'a Access,
    tracer: &'a Tracer,
    timer: Timer,
    started: Nanos,
    method: &'static str,
    version: Version,
    route: &'static str,
    is_grpc: bool,
    target: Option<Target>,
    received: usize,
    rows: Option<u32>,
    queued: Option<Nanos>,
    progress: Option<Arc<Progress>>,
    span: Option<RequestSpan>,
    forwarded: Option<Forwarded>,
    ended: bool,
}

/// Where a request came from, or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// Another gateway handed it on.
    In,
    /// Another gateway answered it.
    Out,
}

impl Forwarded {
    fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl<'a> Record<'a> {
    /// Of a request whose head is there.
    pub(super) fn begin<U, B>(service: &'a Service<U>, request: &Request<B>) -> Self {
        Self {
            metrics: &service.metrics,
            table: &service.table,
            access: &service.access,
            tracer: &service.tracer,
            timer: service.timer,
            started: service.timer.now(),
            method: known(request.method()),
            version: request.version(),
            route: "unknown",
            is_grpc: false,
            target: None,
            received: 0,
            rows: None,
            queued: None,
            progress: None,
            span: None,
            forwarded: None,
            ended: false,
        }
    }

    pub(super) fn forwarded(&mut self, forwarded: Forwarded) {
        self.forwarded = Some(forwarded);
    }

    /// It is one of REST.
    pub(super) fn rest(&mut self, route: &Route<'_>, headers: &HeaderMap) {
        self.route = name(&route.endpoint);
        if let Endpoint::Infer { version, .. } = route.endpoint {
            let operation = Operation::Http {
                route: template(route.app.is_some(), version.is_some()),
                version: if self.version < Version::HTTP_2 {
                    "1.1"
                } else {
                    "2"
                },
            };
            self.trace(operation, headers);
        }
    }

    /// It is one of gRPC.
    pub(super) fn call(&mut self, route: &'static str, is_infer: bool, headers: &HeaderMap) {
        self.is_grpc = true;
        self.route = route;
        if is_infer {
            self.trace(Operation::Grpc, headers);
        }
    }

    /// Begins its span, unless it has one: what no other gateway takes is looked at again.
    fn trace(&mut self, operation: Operation, headers: &HeaderMap) {
        if self.span.is_none() {
            self.span = self.tracer.request(operation, headers, self.started);
        }
    }

    /// Its application is known.
    pub(super) fn found(&mut self, target: &Target) {
        self.target = Some(target.clone());
    }

    /// Its body is there.
    pub(super) fn read(&mut self, bytes: usize) {
        self.received = bytes;
    }

    /// Its span, where it is sampled.
    pub(super) fn span(&self) -> Option<RequestSpan> {
        self.span.clone()
    }

    /// It waits for its batch.
    pub(super) fn queued(&mut self, arrival: Nanos, rows: u32, waiter: &Waiter) {
        self.rows = Some(rows);
        self.queued = Some(arrival);
        self.progress = Some(waiter.progress().clone());
        if let Some(span) = &self.span {
            span.queued(arrival);
        }
    }

    /// Passes its trace on with it.
    pub(super) fn pass_on(&self, headers: &mut HeaderMap) {
        self.tracer.pass_on(self.span.as_ref(), headers);
    }

    /// It is answered. The caller is told which batch it was in.
    pub(super) fn end(mut self, response: &mut Response<Chunks>) {
        let sent = self.sent();
        if let Some(batch) = sent.and_then(|sent| HeaderValue::try_from(sent.batch.to_string()).ok()) {
            response.headers_mut().insert(BATCH_HEADER, batch);
        }
        let headers = response.headers();
        // An error of gRPC has its status in its head.
        let line = self.is_grpc.then(|| StatusLine::read(headers)).flatten();
        let status = line.map_or(response.status(), |line| line.code.as_http());
        let cause = (!status.is_success()).then(|| Cause::of(headers)).flatten();
        self.tell(Some(status), cause, response.body().len(), sent);
    }

    fn sent(&self) -> Option<Sent> {
        self.progress.as_ref().and_then(|progress| progress.sent())
    }

    fn tell(
        &mut self,
        status: Option<StatusCode>,
        cause: Option<Cause>,
        answered: usize,
        sent: Option<Sent>,
    ) {
        self.ended = true;
        if let Some(cause) = cause
            && self.forwarded != Some(Forwarded::Out)
        {
            self.count(cause);
        }
        let forwarded = self.forwarded.map(Forwarded::name);
        self.access.write(
            &Line {
                method: self.method,
                route: self.route,
                protocol: self.protocol(),
                target: self.target.as_ref(),
                status,
                cause,
                rows: self.rows,
                received: self.received,
                answered,
                started: self.started,
                queued: self.queued,
                sent,
                forwarded,
                span: self.span.as_ref(),
            },
            self.timer,
        );
        if let Some(span) = &self.span {
            let status = status.unwrap_or(Cause::Left.status());
            span.end(Ended {
                target: self.target.as_ref(),
                rows: self.rows,
                received: self.received,
                answered,
                status,
                is_grpc: self.is_grpc,
                cause,
                sent,
                forwarded,
            });
        }
    }

    /// Counts an error. The table is held meanwhile, so that nothing is counted of an application that has been forgotten.
    fn count(&self, cause: Cause) {
        let table = self.table.borrow();
        let app = self.target.as_ref().map(|target| Key {
            namespace: target.group.key.namespace.clone(),
            name: target.member.app.clone(),
        });
        self.metrics
            .error(app.filter(|app| table.knows(app)).as_ref(), cause);
    }

    fn protocol(&self) -> &'static str {
        match (self.is_grpc, self.version) {
            (true, _) => "grpc",
            (false, Version::HTTP_2) => "h2",
            (false, _) => "http/1.1",
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(None, Some(Cause::Left), 0, self.sent());
        }
    }
}

/// A method by its name, if it is one that everybody knows: others are whatever a caller writes.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

fn name(endpoint: &Endpoint<'_>) -> &'static str {
    match endpoint {
        Endpoint::ServerMetadata => "server_metadata",
        Endpoint::ServerLive => "server_live",
        Endpoint::ServerReady => "server_ready",
        Endpoint::ModelMetadata { .. } => "model_metadata",
        Endpoint::ModelReady { .. } => "model_ready",
        Endpoint::Infer { .. } => "infer",
    }
}

/// The path of a request for inference, without the names in it.
fn template(names_app: bool, names_version: bool) -> &'static str {
    match (names_app, names_version) {
        (false, false) => "/v2/models/{model}/infer",
        (false, true) => "/v2/models/{model}/versions/{version}/infer",
        (true, false) => "/{namespace}/{app}/v2/models/{model}/infer",
        (true, true) => "/{namespace}/{app}/v2/models/{model}/versions/{version}/infer",
    }
}
