//! Calls to replicas: HTTP/1.1 over one kept connection a replica, as at most one batch is in flight there.
//!
//! The connection travels with the call: the batcher lends it out with a batch and gets it back when the batch is done, so that nothing is shared.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use crate::{body::Chunks, config::Wake, protocol::HEADER_LENGTH};

/// Longest wait for a TCP connection. Replicas are in the cluster: what takes longer is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that was idle for longer is not used again: servers close idle ones, many after 5 s, and a request that meets such a close is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(3);
/// Longest answer of a runtime.
const ANSWER_LIMIT: usize = 256 << 20;

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
}

/// A whole answer.
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
    sender: SendRequest<Chunks>,
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
            Ok((sender, reply)) => {
                let kept = sender.map(|sender| HttpConnection {
                    sender,
                    idle_since: Instant::now(),
                });
                (kept, Ok(reply))
            }
            Err(error) => (None, Err(error)),
        }
    }
}

type Exchange = (Option<SendRequest<Chunks>>, Reply);

async fn exchange(
    replica: &Replica,
    connection: Option<HttpConnection>,
    call: Call,
) -> Result<Exchange, UpstreamError> {
    let request = request(replica, call)?;
    let kept = connection
        .filter(|connection| connection.idle_since.elapsed() < IDLE_LIMIT && !connection.sender.is_closed());
    let mut perhaps_seen = false;
    if let Some(HttpConnection { mut sender, .. }) = kept
        && sender.ready().await.is_ok()
    {
        match sender.try_send_request(request.clone()).await {
            Ok(response) => return receive(sender, response).await,
            Err(mut error) => {
                perhaps_seen = error.take_message().is_none();
                let error = error.into_error();
                if perhaps_seen && !is_close(&error) {
                    return Err(broken(&error));
                }
            }
        }
    }
    // Over a fresh connection, the second time too: a replica that closes an idle connection just as a call is made has most likely seen nothing of
    // it, and what is idempotent, as inference is, may be repeated (RFC 9112, section 9.3.1).
    match exchange_afresh(replica, request).await {
        // Perhaps the call itself brought the replica down: it shall not do so to the next one.
        Err(UpstreamError::Connect(reason)) if perhaps_seen => Err(UpstreamError::Broken(reason)),
        decided => decided,
    }
}

async fn exchange_afresh(replica: &Replica, request: Request<Chunks>) -> Result<Exchange, UpstreamError> {
    let mut sender = connect(replica).await?;
    match sender.try_send_request(request).await {
        Ok(response) => receive(sender, response).await,
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

/// Whether the peer closed the connection before it answered anything.
fn is_close(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    error.is_incomplete_message()
        || io.is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
            )
        })
}

fn request(replica: &Replica, call: Call) -> Result<Request<Chunks>, UpstreamError> {
    let host = match replica {
        Replica::Endpoint(address) => address.to_string(),
        Replica::Wake(wake) => wake.authority.to_string(),
    };
    let mut request = Request::builder()
        .method(call.method)
        .uri(call.path)
        .header(header::HOST, host);
    if let Some(length) = call.header_length {
        request = request
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            )
            .header(HEADER_LENGTH, length);
    } else if !call.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
        .body(call.body)
        .map_err(|error| UpstreamError::Broken(error.to_string().into()))
}

async fn connect(replica: &Replica) -> Result<SendRequest<Chunks>, UpstreamError> {
    let stream = async {
        match replica {
            Replica::Endpoint(address) => TcpStream::connect(address).await,
            Replica::Wake(wake) => TcpStream::connect(wake.address()).await,
        }
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, stream).await;
    let stream = stream
        .map_err(|_| UpstreamError::Connect(format!("no connection within {CONNECT_TIMEOUT:?}").into()))?;
    let stream = stream.map_err(|error| UpstreamError::Connect(error.to_string().into()))?;
    stream
        .set_nodelay(true)
        .map_err(|error| UpstreamError::Connect(error.to_string().into()))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| UpstreamError::Connect(describe(&error)))?;
    // Ends with the sender, or with the peer.
    tokio::spawn(connection);
    Ok(sender)
}

async fn receive(
    sender: SendRequest<Chunks>,
    response: http::Response<hyper::body::Incoming>,
) -> Result<Exchange, UpstreamError> {
    let (head, mut incoming) = response.into_parts();
    let header_length = header_length(&head.headers)?;
    let too_long = || UpstreamError::Broken(format!("its answer is longer than {ANSWER_LIMIT} bytes").into());
    let expected = hyper::body::Body::size_hint(&incoming).exact().unwrap_or(0);
    let expected = usize::try_from(expected)
        .ok()
        .filter(|size| *size <= ANSWER_LIMIT)
        .ok_or_else(too_long)?;
    // The announced length is trusted for so much at once.
    let mut body = BytesMut::with_capacity(expected.min(16 << 20));
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
            if body.len() + data.len() > ANSWER_LIMIT {
                return Err(too_long());
            }
            body.extend_from_slice(&data);
        }
    }
    let reply = Reply {
        status: head.status,
        body: body.freeze(),
        header_length,
    };
    let sender = (!sender.is_closed()).then_some(sender);
    Ok((sender, reply))
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, UpstreamError> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let unreadable = || UpstreamError::Broken(format!("{HEADER_LENGTH} is no number of bytes").into());
    length.map(Some).ok_or_else(unreadable)
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
