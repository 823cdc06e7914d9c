//! Routes: from a request to its answer. No route takes longer than its body's arrival plus the engine's turn.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use crate::protocol::{self, Refusal, Signature, VERSION};
use crate::statistics::Statistics;
use crate::worker::Worker;

const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What a body may have at least: 32 rows of 4096 numbers, and some air.
const SMALL_BODY: usize = 4 << 20;
/// Most characters of a number and what is around it.
const NUMBER: usize = 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What every connection shares.
pub(crate) struct Service {
    pub(crate) signature: Signature,
    pub(crate) worker: Worker,
    pub(crate) statistics: Arc<Statistics>,
    draining: AtomicBool,
}

/// What a path means, whatever the method.
enum Route {
    Server,
    Live,
    Ready,
    Model,
    Infer,
    Stats,
    Metrics,
}

impl Service {
    pub(crate) fn new(signature: Signature, worker: Worker, statistics: Arc<Statistics>) -> Self {
        Self {
            signature,
            worker,
            statistics,
            draining: AtomicBool::new(false),
        }
    }

    /// From now on not ready, and every answer asks its caller to close the connection.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.worker.is_ready()
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut response = self.respond(request).await.unwrap_or_else(|refusal| {
            self.statistics.refused();
            response(refusal.status(), JSON, refusal.body())
        });
        if self.draining.load(Ordering::Relaxed) {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn respond<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let route = self.route(request.uri().path())?;
        let expected = if matches!(route, Route::Infer) {
            Method::POST
        } else {
            Method::GET
        };
        if *request.method() != expected {
            return Err(Refusal::Method(request.method().to_string()));
        }
        let ok = |body| response(StatusCode::OK, JSON, body);
        Ok(match route {
            Route::Server => ok(protocol::server_metadata()),
            Route::Live => ok(br#"{"live":true}"#.to_vec()),
            Route::Ready if self.is_ready() => ok(br#"{"ready":true}"#.to_vec()),
            Route::Ready => return Err(Refusal::NotReady),
            Route::Model => ok(self.signature.metadata()),
            Route::Stats => ok(self.statistics.json()),
            Route::Metrics => response(StatusCode::OK, OPEN_METRICS, self.statistics.text()),
            Route::Infer => ok(self.infer(request).await?),
        })
    }

    fn route(&self, path: &str) -> Result<Route, Refusal> {
        let unknown = || Refusal::NotFound(path.to_owned());
        let segments = path.trim_matches('/').split('/').collect::<Vec<_>>();
        Ok(match segments.as_slice() {
            ["v2"] => Route::Server,
            ["v2", "health", "live"] => Route::Live,
            ["v2", "health", "ready"] => Route::Ready,
            ["stats"] => Route::Stats,
            ["metrics"] => Route::Metrics,
            ["v2", "models", model, rest @ ..] => {
                if *model != self.signature.model {
                    return Err(Refusal::NotFound(format!(
                        "model {model}; this server has {}",
                        self.signature.model
                    )));
                }
                match rest.strip_prefix(&["versions", VERSION]).unwrap_or(rest) {
                    [] => Route::Model,
                    ["ready"] => Route::Ready,
                    ["infer"] => Route::Infer,
                    _ => return Err(unknown()),
                }
            }
            _ => return Err(unknown()),
        })
    }

    async fn infer<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.headers().contains_key("inference-header-content-length") {
            return Err(Refusal::Binary);
        }
        let body = read(request.into_body(), body_limit(&self.signature)).await?;
        let (batch, reply) = protocol::Request::parse(&body, &self.signature)?.split();
        let answer = self.worker.infer(batch).await?;
        reply.body(&answer, &self.signature)
    }
}

/// Bytes of the largest batch of images or sequences.
fn body_limit(signature: &Signature) -> usize {
    let numbers = signature.max_batch.saturating_mul(signature.columns);
    numbers.saturating_mul(NUMBER).max(SMALL_BODY)
}

async fn read<B>(body: B, limit: usize) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Err(_) => Err(Refusal::SlowBody),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(limit)),
        Ok(Err(error)) => Err(Refusal::Malformed(error.to_string())),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
