//! One request of a caller, from its path to its answer.

mod elsewhere;
mod grpc;
mod metadata;
mod parts;
mod record;

use std::{
    borrow::Borrow,
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use harmonybatch_dispatch::Nanos;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::watch;

use record::{Forwarded, Record};

use crate::{
    access::Access,
    batcher::{Answered, Submission, Table},
    blocking,
    body::Chunks,
    config::{Key, RouteError, Target},
    listener::BodyError,
    memory::{Budget, Exhausted, Held},
    metrics::{AppStats, Metrics},
    peers::Peers,
    protocol::{self, Answer, ApiError, Cause, Endpoint, Meter},
    timer::Timer,
    trace::Tracer,
    upstream::Upstream,
};

/// Says which batch a request was in, for whoever asks what became of it.
const BATCH_HEADER: HeaderName = HeaderName::from_static("harmonybatch-batch");
/// Says how many rows shared the batch that an answer came from.
const BATCH_ROWS_HEADER: &str = "harmonybatch-batch-rows";
const SERVER: &str = "harmonybatch";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

/// What runtimes said of their models, by group and version, and when.
pub type KnownMetadata = HashMap<(Key, Option<String>), (Nanos, Bytes)>;

/// Answers callers.
#[derive(Debug)]
pub struct Service<U> {
    /// Replaced as the configuration changes.
    pub table: watch::Receiver<Arc<Table>>,
    /// Whether the gateway is going: answers then end their connections.
    pub draining: watch::Receiver<bool>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// For metadata; batches go through the table.
    pub upstream: U,
    /// The other gateways.
    pub peers: Arc<Peers>,
    /// The clock.
    pub timer: Timer,
    /// Longest body, in bytes.
    pub body_limit: usize,
    /// Memory for bodies.
    pub memory: Budget,
    /// What runtimes said of their models.
    pub metadata: Mutex<KnownMetadata>,
    /// Spans of requests.
    pub tracer: Tracer,
    /// The access log.
    pub access: Access,
}

impl<U: Upstream> Service<U> {
    /// Answers one request of a caller, here or by the gateway that owns its group.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Chunks>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        // HTTP/2 has a frame for it, which the listener sends.
        let may_close = request.version() < Version::HTTP_2;
        let mut record = Record::begin(self, &request);
        let mut response = match self.elsewhere(&request) {
            // On the heap, like all that is rare: what every request is moved with shall be small.
            Some(target) => Box::pin(self.hand_on(request, &target, &mut record)).await,
            None => self.serve(request, &mut record).await,
        };
        record.end(&mut response);
        if may_close && *self.draining.borrow() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Answers one request that another gateway handed on.
    pub async fn answer_here<B>(&self, request: Request<B>) -> Response<Chunks>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let mut record = Record::begin(self, &request);
        record.forwarded(Forwarded::In);
        let mut response = self.serve(request, &mut record).await;
        record.end(&mut response);
        response
    }

    /// Answers one request, whoever owns its group.
    async fn serve<B>(&self, request: Request<B>, record: &mut Record<'_>) -> Response<Chunks>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        if grpc::is_call(request.headers()) {
            return Box::pin(self.answer_call(request, record)).await;
        }
        self.try_answer(request, record)
            .await
            .unwrap_or_else(ApiError::into_response)
    }

    async fn try_answer<B>(
        &self,
        request: Request<B>,
        record: &mut Record<'_>,
    ) -> Result<Response<Chunks>, ApiError>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let (head, body) = request.into_parts();
        let route = protocol::locate(&head.method, head.uri.path())?;
        record.rest(&route, &head.headers);
        if route.app.is_none() && route.endpoint == Endpoint::ServerLive {
            return Ok(json(StatusCode::OK, &serde_json::json!({ "live": true })));
        }
        let host = if route.app.is_none() {
            Some(host(&head.uri, &head.headers)?)
        } else {
            None
        };
        let target = self.target(route.app, host)?;
        record.found(&target);
        match route.endpoint {
            Endpoint::Infer { model, version } => {
                target.check_model(model).map_err(|error| route_error(&error))?;
                let header_length = header_length(&head.headers)?;
                if head
                    .headers
                    .get(header::CONTENT_ENCODING)
                    .is_some_and(|encoding| encoding != "identity")
                {
                    let message = "content-encoding: send the body as it is";
                    return Err(ApiError::new(Cause::Unsupported, message));
                }
                let (body, mut memory) = self.read_for(&target, body).await?;
                record.read(body.len());
                let arrival = self.timer.now();
                let request = self.converted(&target, &mut memory, body.len(), |_| match header_length {
                    Some(length) => protocol::Request::read_binary(&body, length),
                    None => protocol::Request::read(&body),
                })?;
                let (model, version) = (model.to_owned(), version.map(ToOwned::to_owned));
                let submission = Submission {
                    request,
                    model,
                    version,
                    arrival,
                    deadline: None,
                    memory,
                    span: record.span(),
                };
                let answered = self.infer(&target, route.app, host, submission, record).await;
                answered.map(rest_answer)
            }
            Endpoint::ServerMetadata => Ok(json(
                StatusCode::OK,
                &serde_json::json!({ "name": SERVER, "version": VERSION, "extensions": EXTENSIONS }),
            )),
            Endpoint::ServerLive => Ok(json(StatusCode::OK, &serde_json::json!({ "live": true }))),
            Endpoint::ServerReady => Ok(json(
                readiness(&target),
                &serde_json::json!({ "ready": is_ready(&target) }),
            )),
            Endpoint::ModelReady { model } => {
                target.check_model(model).map_err(|error| route_error(&error))?;
                Ok(json(
                    readiness(&target),
                    &serde_json::json!({ "name": model, "ready": is_ready(&target) }),
                ))
            }
            Endpoint::ModelMetadata { model, version } => {
                target.check_model(model).map_err(|error| route_error(&error))?;
                let metadata = Box::pin(self.metadata(&target, model, version)).await?;
                Ok(json(StatusCode::OK, &metadata.into()))
            }
        }
    }

    /// The request of a body of so many bytes in its runtime's encoding, with the memory that it holds then.
    fn converted(
        &self,
        target: &Target,
        memory: &mut Held,
        bytes: usize,
        read: impl FnOnce(&mut Meter) -> Result<protocol::Request, protocol::BadRequest>,
    ) -> Result<protocol::Request, ApiError> {
        let mut meter = Meter::new(self.timer);
        let converted = blocking::through(bytes, || {
            read(&mut meter).and_then(|mut request| {
                request.convert(target.group.wire, &mut meter)?;
                Ok(request)
            })
        });
        self.metrics.conversions.observe(&meter);
        let request = converted?;
        memory.grow_to(request.size()).map_err(|Exhausted| exhausted())?;
        Ok(request)
    }

    /// The application that a request is for.
    fn target(&self, app: Option<(&str, &str)>, host: Option<&str>) -> Result<Target, ApiError> {
        let table = self.table.borrow();
        if !table.loaded {
            let message = "the gateway has no configuration yet";
            return Err(ApiError::new(Cause::NotReady, message).retry_after(Duration::from_secs(1)));
        }
        find(&table, app, host)
            .cloned()
            .map_err(|error| route_error(&error))
    }

    /// Brings a request into the queue of its group.
    fn enter<S: Borrow<Submission>, W>(
        &self,
        app: Option<(&str, &str)>,
        host: Option<&str>,
        submission: S,
        submit: impl FnOnce(&Table, &Target, S) -> Result<W, ApiError>,
    ) -> Result<(Arc<AppStats>, W), ApiError> {
        // Found and checked again: the configuration may have changed while the body came. The table is held until the request is in its queue.
        let table = self.table.borrow();
        let target = find(&table, app, host).map_err(|error| route_error(&error))?;
        let model = target.check_model(&submission.borrow().model);
        model.map_err(|error| route_error(&error))?;
        let unavailable = || ApiError::new(Cause::NotReady, "the application is being set up");
        let stats = table.app_stats(target).cloned().ok_or_else(unavailable)?;
        stats.arrived(submission.borrow().request.rows(), self.timer.now());
        let waiter = submit(&table, target, submission).inspect_err(|_| stats.refused(self.timer.now()))?;
        Ok((stats, waiter))
    }

    /// Hands the request to its group and waits.
    async fn infer(
        &self,
        target: &Target,
        app: Option<(&str, &str)>,
        host: Option<&str>,
        submission: Submission,
        record: &mut Record<'_>,
    ) -> Result<Answered, ApiError> {
        if let Some(parts) = parts::parts(target, &submission.request)? {
            return self.infer_parts(app, host, submission, parts, record).await;
        }
        let (arrival, rows) = (submission.arrival, submission.request.rows());
        let (stats, waiter) = self.enter(app, host, submission, Table::submit)?;
        record.queued(arrival, rows, &waiter);
        let admitted = Admitted {
            stats,
            arrival,
            timer: self.timer,
            ended: false,
        };
        let answer = waiter.answer(self.timer).await;
        admitted.end(
            answer
                .as_ref()
                .map_or_else(|error| error.status, |_| StatusCode::OK),
        );
        answer
    }

    /// The whole body of a request for an application; one that finds no memory counts as refused.
    async fn read_for<B>(&self, target: &Target, body: B) -> Result<(Bytes, Held), ApiError>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        self.read(body).await.inspect_err(|error| {
            if error.status == StatusCode::SERVICE_UNAVAILABLE
                && let Some(stats) = self.table.borrow().past_app_stats(target)
            {
                stats.refused(self.timer.now());
            }
        })
    }

    /// The whole body, within its bound of size, and the memory that it holds. The listener holds its time.
    async fn read<B>(&self, body: B) -> Result<(Bytes, Held), ApiError>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let limit = self.body_limit;
        let too_large = || {
            let message = format!("the body is longer than {limit} bytes");
            ApiError::new(Cause::TooLarge, message)
        };
        let announced = body.size_hint().lower();
        let announced = usize::try_from(announced)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or_else(too_large)?;
        let mut body = pin!(body);
        // The announced length is trusted for so much at once.
        let mut whole = BytesMut::with_capacity(announced.min(1 << 20));
        let mut memory = self.memory.hold();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Into::into);
            let frame = frame.map_err(body_error)?;
            if let Ok(data) = frame.into_data() {
                if whole.len() + data.len() > limit {
                    return Err(too_large());
                }
                memory
                    .grow_to(whole.len() + data.len())
                    .map_err(|Exhausted| exhausted())?;
                whole.extend_from_slice(&data);
            }
        }
        Ok((whole.freeze(), memory))
    }
}

/// An answer as REST has it.
fn rest_answer(answered: Answered) -> Response<Chunks> {
    let Answer { body, header_length } = answered.answer;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let content_type = if let Some(length) = header_length {
        headers.insert(protocol::HEADER_LENGTH, HeaderValue::from(length));
        "application/octet-stream"
    } else {
        "application/json"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(BATCH_ROWS_HEADER, HeaderValue::from(answered.batch_rows));
    response
}

/// Counts what becomes of a request that was let in, also where its caller leaves and this is dropped.
struct Admitted {
    stats: Arc<AppStats>,
    arrival: Nanos,
    timer: Timer,
    ended: bool,
}

impl Admitted {
    fn end(mut self, status: StatusCode) {
        self.ended = true;
        self.stats.answered(status, self.arrival, self.timer.now());
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.ended {
            self.stats.left(self.arrival, self.timer.now());
        }
    }
}

fn find<'a>(
    table: &'a Table,
    app: Option<(&str, &str)>,
    host: Option<&str>,
) -> Result<&'a Target, RouteError> {
    match app {
        Some((namespace, app)) => table.routes.by_app(namespace, app),
        None => table.routes.by_host(host.unwrap_or_default()),
    }
}

fn route_error(error: &RouteError) -> ApiError {
    match error {
        RouteError::NotReady { .. } => {
            ApiError::new(Cause::NotReady, error).retry_after(Duration::from_secs(2))
        }
        RouteError::OtherModel { .. } => ApiError::new(Cause::UnknownModel, error),
        _ => ApiError::new(Cause::UnknownApp, error),
    }
}

fn body_error(error: BodyError) -> ApiError {
    let status = error.status();
    let cause = match status {
        StatusCode::REQUEST_TIMEOUT => Cause::BodySlow,
        StatusCode::PAYLOAD_TOO_LARGE => Cause::TooLarge,
        _ => Cause::Malformed,
    };
    ApiError::new(cause, error).with_status(status)
}

/// The host that a request names; exactly one.
fn host<'a>(uri: &'a Uri, headers: &'a http::HeaderMap) -> Result<&'a str, ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(ApiError::bad_request("host: is there twice"));
    }
    let named = first
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| ApiError::bad_request("host: is not a name"))?;
    // RFC 9112, section 3.2.2: of an absolute-form target its own authority counts. One that differs is a trick.
    match (uri.authority(), named) {
        (Some(authority), Some(named)) if !authority.as_str().eq_ignore_ascii_case(named) => {
            Err(ApiError::bad_request("host: differs from the request's target"))
        }
        (Some(authority), _) => Ok(authority.as_str()),
        (None, Some(named)) => Ok(named),
        (None, None) => Err(ApiError::bad_request("host: is missing")),
    }
}

/// What a body says of the JSON that it begins with.
fn header_length(headers: &http::HeaderMap) -> Result<Option<usize>, ApiError> {
    let mut values = headers.get_all(protocol::HEADER_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    match length.filter(|_| values.next().is_none()) {
        Some(length) => Ok(Some(length)),
        None => Err(ApiError::bad_request(format!(
            "{}: must be one number of bytes",
            protocol::HEADER_LENGTH
        ))),
    }
}

fn exhausted() -> ApiError {
    let message = "the gateway holds as many requests as its memory allows";
    ApiError::new(Cause::Memory, message).retry_after(Duration::from_secs(1))
}

fn is_ready(target: &Target) -> bool {
    !target.group.endpoints.is_empty()
}

fn readiness(target: &Target) -> StatusCode {
    if is_ready(target) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Chunks> {
    let mut response = Response::new(Chunks::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
