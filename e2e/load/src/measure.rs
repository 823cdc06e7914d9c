//! Latency of one endpoint, one batch at a time: what a replica costs under sustained load.

use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::exchange::{Exchange, Nonces};
use crate::plan::App;

/// A single batch that takes longer is a failure.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Batches that are sent first and not counted.
    pub warm_up: u32,
    /// Most batches that are counted.
    pub iterations: u32,
    /// No further batch is sent after this time, once [`Effort::least`] are counted.
    pub time: Duration,
    /// Fewest batches that are counted.
    pub least: u32,
}

/// Latencies of one batch size, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// CPU limit under which this was measured, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vcpu: Option<f64>,
    /// Rows of a batch.
    pub batch: usize,
    /// Batches counted.
    pub iterations: u32,
    /// Mean latency.
    pub mean_ms: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// Longest latency.
    pub max_ms: f64,
}

/// Why a measurement failed: an answer was missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("batch of {batch}: {what}")]
pub struct MeasureError {
    /// Rows of the batch.
    pub batch: usize,
    /// What came instead of an answer.
    pub what: String,
}

/// An endpoint to measure.
#[derive(Debug)]
pub struct Endpoint {
    client: Client,
    app: App,
    nonces: Nonces,
}

impl Endpoint {
    /// Addresses `target` (`host:port`) as `app` says: Host, path, model and columns.
    pub fn new(target: impl Into<String>, app: App) -> Self {
        Self {
            client: Client::new(target),
            app,
            nonces: Nonces::new(1),
        }
    }

    /// Whether the server says that it is ready.
    pub async fn is_ready(&self) -> bool {
        timeout(TIMEOUT, self.client.is_ok("/v2/health/ready"))
            .await
            .unwrap_or(false)
    }

    /// Sends batches of `batch` rows one after the other.
    pub async fn measure(&mut self, batch: usize, effort: Effort) -> Result<Measurement, MeasureError> {
        for _ in 0..effort.warm_up {
            self.once(batch).await?;
        }
        let (started, mut latencies) = (Instant::now(), Vec::new());
        while latencies.len() < effort.iterations.max(1) as usize
            && (latencies.len() < effort.least as usize || started.elapsed() < effort.time)
        {
            latencies.push(self.once(batch).await?);
        }
        latencies.sort_unstable();
        let iterations = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
        let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
        Ok(Measurement {
            vcpu: None,
            batch,
            iterations,
            mean_ms: millis(latencies.iter().sum::<Duration>()) / f64::from(iterations),
            p50_ms: millis(latencies[latencies.len() / 2]),
            max_ms: latencies.last().copied().map_or(0.0, millis),
        })
    }

    async fn once(&mut self, batch: usize) -> Result<Duration, MeasureError> {
        let failed = |what: String| MeasureError { batch, what };
        self.app.rows = batch;
        let exchange = Exchange::new(&self.app, self.nonces.take(batch));
        let body = exchange.request();
        let started = Instant::now();
        let answer = timeout(TIMEOUT, self.client.infer(&self.app, body)).await;
        let (status, body) = answer
            .map_err(|_| failed(format!("no answer within {TIMEOUT:?}")))?
            .map_err(failed)?;
        let latency = started.elapsed();
        if status != StatusCode::OK {
            return Err(failed(format!(
                "status {status}: {}",
                String::from_utf8_lossy(&body)
            )));
        }
        exchange.check(&body).map_err(failed)?;
        Ok(latency)
    }
}
