//! Connections of callers: accepted, bounded, timed, and at the end closed without losing a request.

mod patient;
mod version;

use std::{convert::Infallible, error::Error, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use patient::Patient;
use version::Version;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest wait for a request's head, and longest idle time of a kept connection.
    pub header_timeout: Duration,
    /// Most bytes of a request's head.
    pub header_size: usize,
    /// Longest wait for a caller to take a part of its answer.
    pub write_timeout: Duration,
    /// Most connections at a time; further ones are closed at once.
    pub connections: usize,
    /// Most requests at a time on a connection of HTTP/2.
    pub streams: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            header_size: 64 << 10,
            write_timeout: Duration::from_secs(30),
            connections: 10_000,
            streams: 256,
        }
    }
}

/// Where a listener counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Open connections.
    pub open: Gauge,
    /// Connections closed at once.
    pub refused: Counter,
}

/// Answers every request with `answer` until `stop` is true; then accepts no more, lets every connection finish the request that it has, and
/// returns when the last one is closed. HTTP/1.1, and HTTP/2 where the caller begins with it.
pub async fn serve<A, F, B>(
    listener: TcpListener,
    bounds: Bounds,
    counts: Counts,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let answer = Arc::new(answer);
    let of_connections = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= bounds.connections => {
                    counts.refused.inc();
                }
                Ok((stream, _)) => {
                    let open = Open::new(counts.open.clone());
                    let connection = connection(stream, bounds, of_connections.clone(), answer.clone());
                    connections.spawn(async move {
                        let _open = open;
                        // A caller that breaks off, or sends what is no HTTP, has been answered by hyper as far as it can be.
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: some will be closed soon.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection<A, F, B>(
    stream: TcpStream,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
    answer: Arc<A>,
) -> io::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let stream = Patient::new(stream, bounds.write_timeout);
    let (version, stream) = tokio::select! {
        biased;
        detected = tokio::time::timeout(bounds.header_timeout, version::detect(stream)) => detected??,
        () = stopped(&mut stop) => return Ok(()),
    };
    let stream = TokioIo::new(stream);
    match version {
        Version::Http1 => drive(http1(bounds).serve_connection(stream, service), stop).await,
        Version::Http2 => drive(http2(bounds).serve_connection(stream, service), stop).await,
    }
}

fn http1(bounds: Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_header_size(bounds.header_size)
        // Holds a head; bodies are read past it.
        .max_buf_size(bounds.header_size.max(64 << 10));
    builder
}

fn http2(bounds: Bounds) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(u32::try_from(bounds.header_size).unwrap_or(u32::MAX));
    builder
}

/// Serves a connection to its end, which comes as soon as its requests are answered where `stop` becomes true.
async fn drive<C>(connection: C, mut stop: watch::Receiver<bool>) -> io::Result<()>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        result = connection.as_mut() => return result.map_err(io::Error::other),
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(io::Error::other)
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
