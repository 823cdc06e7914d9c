//! The controller's own HTTP side: `/metrics`, `/livez`, `/readyz`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to send its request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Connections served at once; a probe and a scrape need two.
const CONNECTIONS: usize = 64;

/// Answers probes and scrapes until the task is dropped. `ready` becomes true once every watch has delivered its first list.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    ready: watch::Receiver<bool>,
) -> Infallible {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed, so this only waits.
        let slot = Arc::clone(&slots).acquire_owned().await.ok();
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a probe failed");
                // Nothing tells when a file descriptor is free again.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (registry, ready) = (Arc::clone(&registry), ready.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = respond(request.method(), request.uri().path(), &registry, *ready.borrow());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a probe's connection broke");
            }
            drop(slot);
        });
    }
}

/// Binds before anything else starts, so that a taken address is told at once.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn respond(method: &Method, path: &str, registry: &Registry, ready: bool) -> Response<Full<Bytes>> {
    let text = |status: StatusCode, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        );
        response
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if ready => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the first lists have not arrived\n".to_owned(),
        ),
        "/metrics" => {
            let mut body = String::new();
            match encode(&mut body, registry) {
                Ok(()) => text(StatusCode::OK, body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("encode: {error}\n")),
            }
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "known paths: /livez, /readyz, /metrics\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_watches_and_liveness_does_not() {
        let registry = Registry::default();
        let check = |path: &str, ready: bool, expected: StatusCode| {
            assert_eq!(
                respond(&Method::GET, path, &registry, ready).status(),
                expected,
                "{path} {ready}"
            );
        };
        check("/readyz", false, StatusCode::SERVICE_UNAVAILABLE);
        check("/readyz", true, StatusCode::OK);
        check("/livez", false, StatusCode::OK);
        check("/metrics", false, StatusCode::OK);
        check("/else", true, StatusCode::NOT_FOUND);
        assert_eq!(
            respond(&Method::POST, "/metrics", &registry, true).status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
