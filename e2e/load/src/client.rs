//! The HTTP client: one pool of connections to the target, whatever the Host.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::plan::App;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers are a few KiB a row.
const BODY_LIMIT: usize = 16 << 20;

/// Sends requests to one address. A request that found its pooled connection closed before a byte was written goes out on
/// another one, as with any client; nothing that may have reached the server is sent twice.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    target: String,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Client {
    pub(crate) fn new(target: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self {
            target: target.into(),
            pool,
        }
    }

    /// Asks for an inference; the status and the body of the answer, or the chain of errors that kept it away.
    pub(crate) async fn infer(&self, app: &App, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!(
                "http://{}{}/v2/models/{}/infer",
                self.target, app.path, app.model
            ))
            .header(HOST, &app.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| chain(&error))?;
        self.exchange(request).await
    }

    /// Whether a path answers with 200.
    pub(crate) async fn is_ok(&self, path: &str) -> bool {
        let request = Request::builder()
            .uri(format!("http://{}{path}", self.target))
            .body(Full::default());
        let Ok(request) = request else { return false };
        self.exchange(request)
            .await
            .is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let response = self.pool.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
        Ok((
            status,
            body.map_err(|error| format!("the answer ended early: {}", chain(&*error)))?
                .to_bytes(),
        ))
    }
}

/// An error with its causes, because the outermost one only says that the client failed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
