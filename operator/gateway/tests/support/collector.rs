//! A collector of OpenTelemetry that keeps what it is sent.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use harmonybatch_gateway::trace::{Sampler, Sampling, Settings};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch};

use super::soon;

/// OTLP over HTTP.
pub struct Collector {
    pub address: SocketAddr,
    exports: watch::Receiver<Vec<ExportTraceServiceRequest>>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::start_rejecting(0).await
    }

    /// One that rejects so many spans of its first export.
    pub async fn start_rejecting(spans: i64) -> Self {
        let rejected = Arc::new(AtomicI64::new(spans));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, exports) = watch::channel(Vec::new());
        let taken = Arc::new(taken);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (taken, rejected) = (taken.clone(), rejected.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (taken, rejected) = (taken.clone(), rejected.clone());
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                        let body = request.into_body().collect().await?.to_bytes();
                        let export = ExportTraceServiceRequest::decode(body).unwrap();
                        taken.send_modify(|exports| exports.push(export));
                        let partial = ExportTracePartialSuccess {
                            rejected_spans: rejected.swap(0, Ordering::SeqCst),
                            error_message: String::new(),
                        };
                        let partial_success = (partial.rejected_spans > 0).then_some(partial);
                        let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer))))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, exports }
    }

    /// Settings that send it spans at once.
    pub fn settings(&self, sampler: Sampler, ratio: f64) -> Settings {
        Settings {
            endpoint: format!("http://{}", self.address),
            sampling: Sampling::new(sampler, ratio),
            delay: Duration::from_millis(1),
        }
    }

    /// What came.
    pub fn exports(&self) -> Vec<ExportTraceServiceRequest> {
        self.exports.borrow().clone()
    }

    /// The spans that came.
    pub fn spans(&self) -> Vec<Span> {
        let exports = self.exports();
        let resources = exports.into_iter().flat_map(|export| export.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Waits until so many spans have come in all.
    pub async fn until_spans(&self, count: usize) -> Vec<Span> {
        let mut exports = self.exports.clone();
        soon(async {
            while self.spans().len() < count {
                exports.changed().await.unwrap();
            }
        })
        .await;
        self.spans()
    }
}

/// Attributes as text.
pub fn attributes(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        (attribute.key.clone(), value.map(text).unwrap_or_default())
    });
    attributes.collect()
}
