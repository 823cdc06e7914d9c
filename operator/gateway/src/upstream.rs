//! Calls to replicas: HTTP/1.1, or gRPC over HTTP/2, over one kept connection a replica, as at most one batch is in flight there.
//!
//! The connection travels with the call: the batcher lends it out with a batch and gets it back when the batch is done, so that nothing is shared.

mod link;
mod receive;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::time::Instant;

use crate::{
    body::Chunks,
    config::Wake,
    protocol::{HEADER_LENGTH, Wire, grpc},
    trace::{self, SpanContext},
};
use link::Link;

/// A connection that was idle for longer is not used again: servers close idle ones, many after 5 s, and a request that meets such a close is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(3);

/// Tells a runtime of REST for how many milliseconds anybody will wait for its answer; gRPC has a header of its own.
const REMAINING_HEADER: &str = "harmonybatch-remaining-ms";

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Replica {
    /// A ready replica.
    Endpoint(SocketAddr),
    /// The address that wakes the group.
    Wake(Wake),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path, as it stands in the request line.
    pub path: String,
    /// The whole body.
    pub body: Chunks,
    /// Bytes of JSON that the body begins with, where binary tensors follow.
    pub header_length: Option<usize>,
    /// How it travels.
    pub transport: Transport,
    /// Whether the replica may be asked the same thing twice.
    pub idempotent: bool,
    /// How long anybody will wait for the answer, from now; the replica is told, and may stop then.
    pub remaining: Option<Duration>,
    /// What the replica's work is a part of.
    pub trace: Option<SpanContext>,
}

/// How a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// As a request of HTTP/1.1.
    Http1,
    /// As a call of gRPC, over HTTP/2 without TLS.
    Grpc,
}

impl From<Wire> for Transport {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Json | Wire::Binary => Self::Http1,
            Wire::Grpc => Self::Grpc,
        }
    }
}

/// A whole answer. One over gRPC has the status and the body that it would have over HTTP, or its message where it is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// Bytes of JSON that the body begins with, where binary tensors follow.
    pub header_length: Option<usize>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made: the replica has seen nothing of the call, and it can be made again.
    #[error("cannot connect to the replica: {0}")]
    Connect(Arc<str>),
    /// The connection broke when the replica may have seen the call.
    #[error("the replica broke off: {0}")]
    Broken(Arc<str>),
}

/// What carries calls to replicas. A trait, so that the batcher runs on a simulated one in tests.
pub trait Upstream: Clone + Send + Sync + 'static {
    /// What is kept between two calls to one replica.
    type Connection: Send + 'static;

    /// Makes one call, over the given connection if it still lives. A connection that can be used again comes back.
    fn call(
        &self,
        replica: &Replica,
        connection: Option<Self::Connection>,
        call: Call,
    ) -> impl Future<Output = (Option<Self::Connection>, Result<Reply, UpstreamError>)> + Send;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpUpstream;

/// A kept connection.
#[derive(Debug)]
pub struct HttpConnection {
    link: Link,
    idle_since: Instant,
}

impl Upstream for HttpUpstream {
    type Connection = HttpConnection;

    async fn call(
        &self,
        replica: &Replica,
        connection: Option<HttpConnection>,
        call: Call,
    ) -> (Option<HttpConnection>, Result<Reply, UpstreamError>) {
        match exchange(replica, connection, call).await {
            Ok((link, reply)) => {
                let kept = link.map(|link| HttpConnection {
                    link,
                    idle_since: Instant::now(),
                });
                (kept, Ok(reply))
            }
            Err(error) => (None, Err(error)),
        }
    }
}

type Exchange = (Option<Link>, Reply);

async fn exchange(
    replica: &Replica,
    connection: Option<HttpConnection>,
    call: Call,
) -> Result<Exchange, UpstreamError> {
    let transport = call.transport;
    let kept = connection.filter(|connection| {
        connection.idle_since.elapsed() < IDLE_LIMIT
            && connection.link.transport() == transport
            && !connection.link.is_closed()
    });
    let mut perhaps_seen = false;
    if let Some(HttpConnection { mut link, .. }) = kept
        && link.ready().await.is_ok()
    {
        match link.try_send(request(replica, &call)?).await {
            Ok(response) => return receive::receive(link, response).await,
            Err(mut error) => {
                perhaps_seen = error.take_message().is_none();
                let error = error.into_error();
                if perhaps_seen && !(call.idempotent && link::is_close(&error)) {
                    return Err(broken(&error));
                }
            }
        }
    }
    // Over a fresh connection, the second time too: a replica that closes an idle connection just as a call is made has most likely seen nothing of
    // it, and what is idempotent, as inference is, may be repeated (RFC 9112, section 9.3.1).
    match Box::pin(exchange_afresh(replica, &call)).await {
        // Perhaps the call itself brought the replica down: it shall not do so to the next one.
        Err(UpstreamError::Connect(reason)) if perhaps_seen => Err(UpstreamError::Broken(reason)),
        decided => decided,
    }
}

async fn exchange_afresh(replica: &Replica, call: &Call) -> Result<Exchange, UpstreamError> {
    let request = request(replica, call)?;
    let mut link = Link::connect(replica, call.transport).await?;
    match link.try_send(request).await {
        Ok(response) => receive::receive(link, response).await,
        Err(mut error) => {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            Err(if unsent {
                UpstreamError::Connect(describe(&error))
            } else {
                broken(&error)
            })
        }
    }
}

fn request(replica: &Replica, call: &Call) -> Result<Request<Chunks>, UpstreamError> {
    let host = match replica {
        Replica::Endpoint(address) => address.to_string(),
        Replica::Wake(wake) => wake.authority.to_string(),
    };
    let mut request = Request::builder().method(call.method.clone());
    request = match (call.transport, call.header_length) {
        (Transport::Grpc, _) => request
            .uri(format!("http://{host}{}", call.path))
            .header(header::TE, HeaderValue::from_static("trailers"))
            .header(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE)),
        (Transport::Http1, Some(length)) => request
            .uri(call.path.as_str())
            .header(header::HOST, host)
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            )
            .header(HEADER_LENGTH, length),
        (Transport::Http1, None) if call.body.is_empty() => {
            request.uri(call.path.as_str()).header(header::HOST, host)
        }
        (Transport::Http1, None) => request
            .uri(call.path.as_str())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    };
    if let Some(remaining) = call.remaining {
        // gRPC takes at most eight digits: a day and more, where no caller waits for longer than an hour.
        let milliseconds = remaining.as_millis().clamp(1, 99_999_999);
        request = match call.transport {
            Transport::Grpc => request.header(grpc::TIMEOUT, format!("{milliseconds}m")),
            Transport::Http1 => request.header(REMAINING_HEADER, milliseconds.to_string()),
        };
    }
    if let (Some(trace), Some(headers)) = (&call.trace, request.headers_mut()) {
        trace::inject(trace, headers);
    }
    request
        .body(call.body.clone())
        .map_err(|error| UpstreamError::Broken(error.to_string().into()))
}

fn broken(error: &hyper::Error) -> UpstreamError {
    UpstreamError::Broken(describe(error))
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> Arc<str> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_told_how_long_anybody_waits() {
        let replica = Replica::Endpoint(SocketAddr::from(([10, 0, 0, 1], 8080)));
        let headers = |transport, remaining| {
            let call = Call {
                method: Method::POST,
                path: "/v2/models/net/infer".to_owned(),
                body: Chunks::from("{}"),
                header_length: None,
                transport,
                idempotent: true,
                remaining,
                trace: None,
            };
            request(&replica, &call).map(|request| request.headers().clone())
        };
        let waits = Some(Duration::from_millis(1500));
        for (transport, name, value) in [
            (Transport::Http1, REMAINING_HEADER, "1500"),
            (Transport::Grpc, grpc::TIMEOUT, "1500m"),
        ] {
            assert!(headers(transport, waits).is_ok_and(|headers| headers[name] == value));
            assert!(headers(transport, None).is_ok_and(|headers| !headers.contains_key(name)));
        }
    }
}
