//! The accept loop, with the timers that a server on a network needs, and the drain: readiness goes first, then no new
//! connections, then the answers in flight.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::service::Service;

/// Connections open at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// From the first byte of a request's head to its last, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a drain goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// How long requests are still taken after the signal, because callers learn late that this server leaves.
    pub(crate) linger: Duration,
    /// How long answers in flight may take after that.
    pub(crate) limit: Duration,
}

/// SIGTERM and SIGINT. Handlers are installed even as process 1, where the kernel has no default action for them.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}

/// Serves until a signal has been followed by a drain, or the engine fails.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    mut signals: Signals,
    drain: Drain,
) -> anyhow::Result<()> {
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(&listener, &service, &connections) => (),
        why = service.worker.failure() => anyhow::bail!(why),
        () = signals.next() => (),
    }
    tracing::info!("draining");
    service.drain();
    tokio::select! {
        () = accept(&listener, &service, &connections) => (),
        // Callers that have not heard yet still come, and nothing tells when all have: for so long they are served.
        () = sleep(drain.linger) => (),
        () = signals.next() => anyhow::bail!("stopped by a second signal"),
    }
    drop(listener);
    let left = connections.count();
    tokio::select! {
        done = timeout(drain.limit, connections.shutdown()) => {
            done.with_context(|| format!("{left} connections did not end within {:?}", drain.limit))?;
        }
        () = signals.next() => anyhow::bail!("stopped by a second signal"),
    }
    tracing::info!("drained");
    Ok(())
}

/// Never ends: a failed accept concerns one connection.
async fn accept(listener: &TcpListener, service: &Arc<Service>, connections: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                // Nothing tells when a file descriptor is free again.
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and complete when they are written.
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(service);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    let service = Arc::clone(&service);
                    async move { service.answer(request).await }
                }),
            );
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}
