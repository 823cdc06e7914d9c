//! The way of spans to a collector: OTLP over HTTP, many at a time, by a task of its own.
//!
//! Spans wait in a bounded queue: ending one never blocks, and is never waited for. The SDK's own batch processors either keep a thread, on which the
//! gateway's HTTP client does not run, or are experimental, and neither says how many spans it dropped.

use std::{sync::Arc, time::Duration};

use http::Uri;
use opentelemetry::{Context, KeyValue, trace::TracerProvider as _};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_rustls::rustls::crypto::ring;

use super::{
    Inner, Settings, Tracer,
    collector::{Heeding, Rejected},
};
use crate::timer::Timer;

/// Spans that wait to be exported: some MiB.
const QUEUE: usize = 4096;
/// Spans of one export.
const MOST: usize = 512;
/// The longest that an export may take, repeats included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How seldom it is said that exports fail.
const SAID_EVERY: Duration = Duration::from_mins(1);
/// Requests of a batch that its span links to: the largest batch size.
const LINKS: u32 = 1024;

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is none.
    #[error("the endpoint of the traces is no URL of HTTP")]
    Endpoint,
    /// The authorities that a collector's certificate is held against cannot be read.
    #[error("cannot read the system's certificate authorities")]
    Authorities(#[source] std::io::Error),
    /// The exporter refuses its settings.
    #[error("cannot make the exporter of traces")]
    Exporter(#[from] ExporterBuildError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label's values")]
enum Outcome {
    exported,
    failed,
    dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// What became of spans. Clones count together.
#[derive(Clone, Debug)]
pub struct SpanCounts {
    exported: Counter,
    failed: Counter,
    dropped: Counter,
}

impl SpanCounts {
    /// All zero, in this registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let family: Family<Labels, Counter> = Family::default();
        registry.register("spans", "Spans of traces, by what became of them", family.clone());
        let of = |outcome| family.get_or_create_owned(&Labels { outcome });
        Self {
            exported: of(Outcome::exported),
            failed: of(Outcome::failed),
            dropped: of(Outcome::dropped),
        }
    }
}

/// Hands ended spans to the task that exports them.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that exports spans.
#[derive(Debug)]
pub(crate) struct Exporting {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    rejected: Rejected,
    delay: Duration,
    counts: SpanCounts,
    /// When it was said last that an export failed.
    said: Option<Instant>,
}

/// A tracer, and the task that exports its spans.
pub(crate) fn start(
    settings: &Settings,
    timer: Timer,
    counts: SpanCounts,
) -> Result<(Tracer, Exporting), Error> {
    let rejected = Rejected::default();
    let mut exporter = exporter(&settings.endpoint, &rejected)?;
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which the builder reads, win.
    let named = Resource::builder().build();
    let unnamed = named
        .get(&"service.name".into())
        .is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let own = unnamed.then(|| KeyValue::new("service.name", "harmonybatch-gateway"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder()
        .with_attributes(own.into_iter().chain([version]))
        .build();
    exporter.set_resource(&resource);
    let (spans, waiting) = mpsc::channel(QUEUE);
    let provider = SdkTracerProvider::builder()
        // What is not sampled is not made at all.
        .with_sampler(Sampler::AlwaysOn)
        .with_max_links_per_span(LINKS)
        .with_resource(resource)
        .with_span_processor(Queue {
            spans,
            dropped: counts.dropped.clone(),
        })
        .build();
    let inner = Inner {
        tracer: provider.tracer("harmonybatch-gateway"),
        sampling: settings.sampling,
        timer,
    };
    let exporting = Exporting {
        spans: waiting,
        exporter,
        rejected,
        delay: settings.delay,
        counts,
        said: None,
    };
    Ok((Tracer(Some(Arc::new(inner))), exporting))
}

/// OTLP over HTTP. OTEL_EXPORTER_OTLP_HEADERS, which may hold a token, is read by the exporter itself and seen by nobody else.
fn exporter(base: &str, rejected: &Rejected) -> Result<SpanExporter, Error> {
    let endpoint = format!("{}/v1/traces", base.trim_end_matches('/'));
    let uri: Uri = endpoint.parse().map_err(|_| Error::Endpoint)?;
    let builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(TIMEOUT);
    let builder = match uri.scheme_str() {
        Some("http") => {
            let client = HyperClient::with_default_connector(TIMEOUT, None);
            builder.with_http_client(Heeding::new(client, rejected.clone()))
        }
        Some("https") => {
            let connector = hyper_rustls::HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(ring::default_provider())
                .map_err(Error::Authorities)?
                .https_only()
                .enable_http1()
                .build();
            let client = HyperClient::new(connector, TIMEOUT, None);
            builder.with_http_client(Heeding::new(client, rejected.clone()))
        }
        _ => return Err(Error::Endpoint),
    };
    Ok(builder.build()?)
}

impl Exporting {
    /// Exports what ends until `stop` is true, and then what still waits.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::pin!(stopped);
        let mut spans = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                () = gather(&mut self.spans, &mut spans, self.delay) => {}
            }
            if spans.is_empty() {
                return;
            }
            self.export(std::mem::take(&mut spans)).await;
        }
        self.spans.close();
        while !spans.is_empty() || self.spans.recv_many(&mut spans, MOST).await > 0 {
            self.export(std::mem::take(&mut spans)).await;
        }
    }

    async fn export(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        let exported = self.exporter.export(spans).await;
        let lost = match exported {
            Ok(()) => self.rejected.take().min(count),
            Err(_) => count,
        };
        self.counts.exported.inc_by(count - lost);
        self.counts.failed.inc_by(lost);
        if lost == 0 {
            return;
        }
        let error = exported.err().map(|error| error.to_string());
        let error = error.unwrap_or_else(|| "the collector rejected them".to_owned());
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(%error, spans = lost, "spans could not be exported");
        }
    }
}

/// Waits for a span and for those that end soon after it. Empty where there will be none any more.
async fn gather(waiting: &mut mpsc::Receiver<SpanData>, spans: &mut Vec<SpanData>, delay: Duration) {
    spans.extend(waiting.recv().await);
    let others = async {
        while spans.len() < MOST {
            let Some(span) = waiting.recv().await else { return };
            spans.push(span);
        }
    };
    let _ = tokio::time::timeout(delay, others).await;
}
