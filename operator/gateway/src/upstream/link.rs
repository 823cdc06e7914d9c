//! A connection to a replica, by what is spoken over it.
//!
//! One of HTTP/1.1 has no task of its own: it goes on only while a call is made over it, within that call's task. So an answer is read by the task that wants
//! it, and not handed from one to another; that the replica closed an idle connection is seen when the next call begins.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Frame, Incoming},
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Replica, Transport, UpstreamError, describe};
use crate::body::Chunks;

/// Longest wait for a TCP connection. Replicas are in the cluster: what takes longer is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that a replica may send before we take them: one call is in flight, whose answer shall not wait for windows.
const WINDOW: u32 = 4 << 20;

/// A connection, over which one call at a time is made.
#[derive(Debug)]
pub(super) enum Link {
    Http1(Box<Http1>),
    Grpc(http2::SendRequest<Chunks>),
}

/// A connection of HTTP/1.1, both ends of which are here.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: http1::SendRequest<Chunks>,
    /// `None` once it has ended.
    connection: Option<http1::Connection<TokioIo<TcpStream>, Chunks>>,
}

impl Http1 {
    /// Lets the connection go on. It says by the sender, the response or its body what comes of it.
    fn proceed(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            self.connection = None;
        }
    }

    /// Waits for something that comes over the connection.
    async fn drive<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            // Nothing but the connection brings it, after which it is asked for again: nobody has to be woken.
            let mut unheard = Context::from_waker(Waker::noop());
            // Asked for first, as hyper reads a body only for whoever wants it.
            if let Poll::Ready(it) = wanted.as_mut().poll(&mut unheard) {
                return Poll::Ready(it);
            }
            self.proceed(context);
            wanted.as_mut().poll(if self.connection.is_some() {
                &mut unheard
            } else {
                context
            })
        })
        .await
    }
}

impl Link {
    pub(super) async fn connect(replica: &Replica, transport: Transport) -> Result<Self, UpstreamError> {
        let stream = async {
            match replica {
                Replica::Endpoint(address) => TcpStream::connect(address).await,
                Replica::Wake(wake) => TcpStream::connect(wake.address()).await,
            }
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, stream).await;
        let stream = stream.map_err(|_| {
            UpstreamError::Connect(format!("no connection within {CONNECT_TIMEOUT:?}").into())
        })?;
        let stream = stream.map_err(|error| UpstreamError::Connect(error.to_string().into()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| UpstreamError::Connect(error.to_string().into()))?;
        let refused = |error: hyper::Error| UpstreamError::Connect(describe(&error));
        let stream = TokioIo::new(stream);
        Ok(match transport {
            Transport::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.map_err(refused)?;
                Self::Http1(Box::new(Http1 {
                    sender,
                    connection: Some(connection),
                }))
            }
            Transport::Grpc => {
                let handshake = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .handshake(stream)
                    .await;
                let (sender, connection) = handshake.map_err(refused)?;
                // Ends with the sender, or with the peer. It has pings and windows to answer while no call is made.
                tokio::spawn(connection);
                Self::Grpc(sender)
            }
        })
    }

    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Http1(_) => Transport::Http1,
            Self::Grpc(_) => Transport::Grpc,
        }
    }

    /// Whether no call can be made any more, as far as was seen.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.connection.is_none() || http1.sender.is_closed(),
            Self::Grpc(sender) => sender.is_closed(),
        }
    }

    /// Waits until a call can be made.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(http1) => {
                // Sees whether the replica closed it meanwhile.
                poll_fn(|context| {
                    http1.proceed(context);
                    http1.sender.poll_ready(context)
                })
                .await
            }
            Self::Grpc(sender) => sender.ready().await,
        }
    }

    /// Makes a call, and waits for the head of its answer.
    pub(super) async fn try_send(
        &mut self,
        request: Request<Chunks>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Chunks>>> {
        match self {
            Self::Http1(http1) => {
                let response = http1.sender.try_send_request(request);
                http1.drive(response).await
            }
            Self::Grpc(sender) => sender.try_send_request(request).await,
        }
    }

    /// Waits for the next part of an answer's body.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        match self {
            Self::Http1(http1) => http1.drive(body.frame()).await,
            Self::Grpc(_) => body.frame().await,
        }
    }
}

/// Whether the peer closed the connection before it answered anything.
pub(super) fn is_close(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    let h2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    let io = io.or_else(|| h2?.get_io());
    let is_refused = h2.is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
            && matches!(
                error.reason(),
                Some(h2::Reason::NO_ERROR | h2::Reason::REFUSED_STREAM)
            )
    });
    error.is_incomplete_message()
        || is_refused
        || io.is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
            )
        })
}
