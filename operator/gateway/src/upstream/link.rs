//! A connection to a replica, by what is spoken over it.

use std::{io, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
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

/// The sending end of a connection.
#[derive(Debug)]
pub(super) enum Link {
    Http1(http1::SendRequest<Chunks>),
    Grpc(http2::SendRequest<Chunks>),
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
        // Either connection's task ends with the sender, or with the peer.
        Ok(match transport {
            Transport::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.map_err(refused)?;
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Transport::Grpc => {
                let handshake = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .handshake(stream)
                    .await;
                let (sender, connection) = handshake.map_err(refused)?;
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

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Grpc(sender) => sender.is_closed(),
        }
    }

    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Grpc(sender) => sender.ready().await,
        }
    }

    pub(super) async fn try_send(
        &mut self,
        request: Request<Chunks>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Chunks>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Grpc(sender) => sender.try_send_request(request).await,
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
