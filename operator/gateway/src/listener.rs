//! Connections of callers: accepted, bounded, timed, strictly read, and at the end closed without losing a request.
//!
//! ```text
//! TCP -> (tls) -> patient -> version -> HTTP/1.1: gate (head, chunks) -> hyper -> screen -> service
//!                                   \-> HTTP/2:   hyper (streams)     ---------^
//! ```
//!
//! - [`bounds`](Bounds): how much and how long; [`refusal`](Refusal): why a caller is refused, for answers and metrics.
//! - `tls`: the certificate, which may change, and the callers' certificates, which may be required.
//! - `patient`: writes end when the caller takes nothing. `version`: which HTTP it is.
//! - `gate`: what of HTTP/1.1 may be read by hyper, which accepts more than the RFCs do. `screen`: what both versions must keep.
//! - `body`: bodies must keep coming, answers must keep going. `streams`: the same for the windows of HTTP/2.

mod body;
mod bounds;
mod chunks;
mod connection;
mod deadline;
mod exchange;
mod gate;
mod head;
mod patient;
mod peers;
mod refusal;
mod screen;
mod streams;
mod tls;
mod version;

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub use body::{BodyError, RequestBody};
pub use bounds::Bounds;
pub use connection::serve_stream;
pub use refusal::{Refusal, Refusals};
pub use tls::{Following, Reloads, Tls, TlsError, TlsFiles};

use peers::Peers;

/// Where a listener counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Open connections.
    pub open: Gauge,
    /// What was refused.
    pub refusals: Refusals,
}

/// The address that a request came from, among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub IpAddr);

/// Answers every request with `answer` until `stop` is true; then accepts no more, lets every connection finish the request that it has, and
/// returns when the last one is closed. HTTP/1.1, and HTTP/2 where the caller begins with it, over TLS where it is given.
pub async fn serve<A, F, B>(
    listener: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
    counts: Counts,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<RequestBody>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let answer = Arc::new(answer);
    let of_connections = stop.clone();
    let peers = Peers::default();
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        if connections.len() >= bounds.connections {
            counts.refusals.count(Refusal::Connections);
            continue;
        }
        let Some(place) = peers.enter(peer.ip(), bounds.peer_connections) else {
            counts.refusals.count(Refusal::PeerConnections);
            continue;
        };
        let open = Open::new(counts.open.clone());
        let (tls, refusals) = (tls.clone(), counts.refusals.clone());
        let (stop, answer) = (of_connections.clone(), answer.clone());
        let answer = Arc::new(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(Caller(peer.ip().to_canonical()));
            answer(request)
        });
        connections.spawn(async move {
            let _counted = (open, place);
            // A caller that breaks off, or sends what is no HTTP, has been answered as far as it can be.
            if let Err(error) = connection(stream, tls, bounds, refusals, stop, answer).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection<A, F, B>(
    stream: TcpStream,
    tls: Option<Tls>,
    bounds: Bounds,
    refusals: Refusals,
    mut stop: watch::Receiver<bool>,
    answer: Arc<A>,
) -> io::Result<()>
where
    A: Fn(Request<RequestBody>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return serve_stream(stream, bounds, refusals, stop, answer).await;
    };
    let handshake = tokio::select! {
        biased;
        shaken = tokio::time::timeout(bounds.handshake_timeout, tls.accept(stream)) => shaken,
        () = stopped(&mut stop) => return Ok(()),
    };
    match handshake.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(stream) => serve_stream(stream, bounds, refusals, stop, answer).await,
        Err(error) => {
            refusals.count(Refusal::Handshake);
            Err(error)
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of file descriptors, mostly: some will be closed soon.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Until `stop` is true, or nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Counts a connection until it is dropped.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
