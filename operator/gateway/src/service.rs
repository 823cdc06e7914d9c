//! One request of a caller, from its path to its answer.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use harmonybatch_dispatch::Nanos;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use tokio::sync::watch;

use crate::{
    batcher::{Submission, Table},
    config::{Key, RouteError, Target},
    listener::BodyError,
    memory::{Budget, Exhausted, Held},
    metrics::{AppStats, Metrics},
    protocol::{self, ApiError, Endpoint},
    timer::{Timer, nanos},
    upstream::{Call, Replica, Upstream},
};

/// Says how many rows shared the batch that an answer came from.
const BATCH_ROWS_HEADER: &str = "harmonybatch-batch-rows";
/// Announces a body of the binary tensor extension.
const BINARY_HEADER: &str = "inference-header-content-length";
/// Models do not change under a group's name, but a runtime may load late.
const METADATA_AGE: Nanos = 60 * 1_000_000_000;
/// Most answers that are kept: callers may ask for any version, and a runtime may have something to say of each.
const METADATA_ENTRIES: usize = 1024;
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// The clock.
    pub timer: Timer,
    /// Longest body, in bytes.
    pub body_limit: usize,
    /// Longest time that a body may take to come.
    pub body_timeout: Duration,
    /// Memory for bodies.
    pub memory: Budget,
    /// What runtimes said of their models.
    pub metadata: Mutex<KnownMetadata>,
}

impl<U: Upstream> Service<U> {
    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes, Error = BodyError>,
    {
        // HTTP/2 has a frame for it, which the listener sends.
        let may_close = request.version() < Version::HTTP_2;
        let mut response = self
            .try_answer(request)
            .await
            .unwrap_or_else(ApiError::into_response);
        if may_close && *self.draining.borrow() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn try_answer<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, ApiError>
    where
        B: Body<Data = Bytes, Error = BodyError>,
    {
        let (head, body) = request.into_parts();
        let route = protocol::locate(&head.method, head.uri.path())?;
        if route.app.is_none() && route.endpoint == Endpoint::ServerLive {
            return Ok(json(StatusCode::OK, &serde_json::json!({ "live": true })));
        }
        let host = if route.app.is_none() {
            Some(host(&head.uri, &head.headers)?)
        } else {
            None
        };
        let target = self.target(route.app, host)?;
        match route.endpoint {
            Endpoint::Infer { model, version } => {
                target.check_model(model).map_err(|error| route_error(&error))?;
                if head.headers.contains_key(BINARY_HEADER) {
                    let message = format!("{BINARY_HEADER}: binary tensors are not supported, send JSON");
                    return Err(ApiError::bad_request(message));
                }
                if head
                    .headers
                    .get(header::CONTENT_ENCODING)
                    .is_some_and(|encoding| encoding != "identity")
                {
                    let message = "content-encoding: send the body as it is";
                    return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
                }
                let (body, memory) = self.read(body).await.inspect_err(|error| {
                    if error.status == StatusCode::SERVICE_UNAVAILABLE
                        && let Some(stats) = self.table.borrow().app_stats(&target)
                    {
                        stats.refused(self.timer.now());
                    }
                })?;
                let arrival = self.timer.now();
                let request = protocol::Request::read(&body).inspect_err(|_| {
                    if let Some(stats) = self.table.borrow().app_stats(&target) {
                        stats.malformed();
                    }
                })?;
                let (model, version) = (model.to_owned(), version.map(ToOwned::to_owned));
                self.infer(
                    route.app,
                    host,
                    Submission {
                        request,
                        model,
                        version,
                        arrival,
                        memory,
                    },
                )
                .await
            }
            Endpoint::ServerMetadata => Ok(json(
                StatusCode::OK,
                &serde_json::json!({ "name": "harmonybatch", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }),
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
                self.metadata(&target, model, version).await
            }
        }
    }

    /// The application that a request is for.
    fn target(&self, app: Option<(&str, &str)>, host: Option<&str>) -> Result<Target, ApiError> {
        let table = self.table.borrow();
        if !table.loaded {
            let message = "the gateway has no configuration yet";
            return Err(
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(1))
            );
        }
        find(&table, app, host).cloned().map_err(|error| {
            self.metrics.unrouted.inc();
            route_error(&error)
        })
    }

    /// Hands the request to its group and waits.
    async fn infer(
        &self,
        app: Option<(&str, &str)>,
        host: Option<&str>,
        submission: Submission,
    ) -> Result<Response<Full<Bytes>>, ApiError> {
        let (arrival, rows) = (submission.arrival, submission.request.rows());
        let (stats, waiter) = {
            // Found and checked again: the configuration may have changed while the body came. The table is held until the request is in its queue.
            let table = self.table.borrow();
            let target = find(&table, app, host).map_err(|error| route_error(&error))?;
            let model = target.check_model(&submission.model);
            model.map_err(|error| route_error(&error))?;
            let unavailable =
                || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the application is being set up");
            let stats = table.app_stats(target).ok_or_else(unavailable)?;
            stats.arrived(rows, self.timer.now());
            let waiter = table
                .submit(target, submission)
                .inspect_err(|_| stats.refused(self.timer.now()))?;
            (stats, waiter)
        };
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
        let answered = answer?;
        let mut response = Response::new(Full::new(answered.body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(BATCH_ROWS_HEADER, HeaderValue::from(answered.batch_rows));
        Ok(response)
    }

    /// The whole body, within its bounds of size and time, and the memory that it holds.
    async fn read<B>(&self, body: B) -> Result<(Bytes, Held), ApiError>
    where
        B: Body<Data = Bytes, Error = BodyError>,
    {
        let limit = self.body_limit;
        let too_large = || {
            let message = format!("the body is longer than {limit} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let announced = body.size_hint().lower();
        let announced = usize::try_from(announced)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or_else(too_large)?;
        let mut body = pin!(body);
        let whole = async {
            // The announced length is trusted for so much at once.
            let mut whole = BytesMut::with_capacity(announced.min(1 << 20));
            let mut memory = self.memory.hold();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| ApiError::new(error.status(), error))?;
                if let Ok(data) = frame.into_data() {
                    if whole.len() + data.len() > limit {
                        return Err(too_large());
                    }
                    memory.grow_to(whole.len() + data.len()).map_err(|Exhausted| {
                        let message = "the gateway holds as many requests as its memory allows";
                        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
                            .retry_after(Duration::from_secs(1))
                    })?;
                    whole.extend_from_slice(&data);
                }
            }
            Ok((whole.freeze(), memory))
        };
        let deadline = self.timer.now().saturating_add(nanos(self.body_timeout));
        tokio::select! {
            biased;
            whole = whole => whole,
            () = self.timer.until(Some(deadline)) => {
                let message = format!("the body did not come within {:?}", self.body_timeout);
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }

    /// What the runtime says of its model, under the name that the caller uses.
    async fn metadata(
        &self,
        target: &Target,
        model: &str,
        version: Option<&str>,
    ) -> Result<Response<Full<Bytes>>, ApiError> {
        let key = (target.group.key.clone(), version.map(ToOwned::to_owned));
        let now = self.timer.now();
        let known = self
            .metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let body = if let Some((_, body)) = known.filter(|(at, _)| now.saturating_sub(*at) < METADATA_AGE) {
            body
        } else {
            let body = self.fetch_metadata(target, version).await?;
            let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
            metadata.retain(|_, (at, _)| now.saturating_sub(*at) < METADATA_AGE);
            if metadata.len() >= METADATA_ENTRIES {
                metadata.clear();
            }
            metadata.insert(key, (now, body.clone()));
            body
        };
        let invalid = |error: serde_json::Error| {
            ApiError::new(
                StatusCode::BAD_GATEWAY,
                format!("the runtime's metadata is not JSON: {error}"),
            )
        };
        let mut metadata: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&body).map_err(invalid)?;
        metadata.insert("name".to_owned(), model.into());
        Ok(json(StatusCode::OK, &metadata.into()))
    }

    async fn fetch_metadata(&self, target: &Target, version: Option<&str>) -> Result<Bytes, ApiError> {
        let unavailable = |message: String| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(1))
        };
        let endpoint = target.group.endpoints.first().copied();
        let replica = endpoint
            .map(Replica::Endpoint)
            .ok_or_else(|| unavailable("no replica is ready".to_owned()))?;
        let version = version.map_or_else(String::new, |version| format!("/versions/{version}"));
        let path = format!("/v2/models/{}{version}", target.group.runtime_model);
        // On a connection of its own: the group's task knows nothing of it, and its batches do not wait for it here.
        let call = self.upstream.call(
            &replica,
            None,
            Call {
                method: Method::GET,
                path,
                body: Bytes::new(),
            },
        );
        let answer = tokio::time::timeout(METADATA_TIMEOUT, call).await;
        let (_, reply) = answer
            .map_err(|_| unavailable("the runtime did not say anything of the model in time".to_owned()))?;
        let reply = reply.map_err(|error| unavailable(error.to_string()))?;
        match reply.status {
            status if status.is_success() => Ok(reply.body),
            StatusCode::NOT_FOUND => Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "the runtime does not have this model or version",
            )),
            status => Err(ApiError::new(
                StatusCode::BAD_GATEWAY,
                format!("the runtime answered {}", status.as_u16()),
            )),
        }
    }
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
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error).retry_after(Duration::from_secs(2))
        }
        _ => ApiError::new(StatusCode::NOT_FOUND, error),
    }
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
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
