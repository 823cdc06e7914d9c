//! What the server counts: batches and rows, so that a test sees whether requests were batched. `/stats` as JSON, `/metrics`
//! in the OpenMetrics text format.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

/// Rows of a batch: each size that the samples plan for, then powers of two.
const ROWS: [f64; 9] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0];
/// Seconds: from a batch of one on a whole core to a batch of many on a tenth of one.
const SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Counters since the start of the process.
pub(crate) struct Statistics {
    registry: Registry,
    batches: Counter,
    rows: Counter,
    largest: Gauge<i64, AtomicI64>,
    failed: Counter,
    refused: Counter,
    abandoned: Counter,
    batch_rows: Histogram,
    inference: Histogram,
    /// Batches of 1, 2, ... rows.
    sizes: Box<[AtomicU64]>,
    /// Nanoseconds in which the engine has computed.
    computed: AtomicU64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    batches: u64,
    rows: u64,
    largest: i64,
    failed: u64,
    refused: u64,
    abandoned: u64,
    /// Batches of 1, 2, ... rows.
    sizes: Vec<u64>,
    /// In which the engine has computed.
    computed_seconds: f64,
}

impl Statistics {
    /// Of an engine whose batches have at most so many rows.
    pub(crate) fn new(max_batch: usize) -> Self {
        let mut registry = Registry::with_prefix("runtime");
        let (batches, rows, largest) = (Counter::default(), Counter::default(), Gauge::default());
        let (failed, refused, abandoned) = (Counter::default(), Counter::default(), Counter::default());
        let (batch_rows, inference) = (Histogram::new(ROWS), Histogram::new(SECONDS));
        registry.register("batches", "Batches answered", batches.clone());
        registry.register("rows", "Rows answered", rows.clone());
        registry.register(
            "largest_batch",
            "Rows of the largest batch answered",
            largest.clone(),
        );
        registry.register(
            "batches_failed",
            "Batches that the engine failed on",
            failed.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests answered with an error",
            refused.clone(),
        );
        registry.register(
            "batches_abandoned",
            "Batches whose caller left before their turn",
            abandoned.clone(),
        );
        registry.register("batch_rows", "Rows of a batch", batch_rows.clone());
        registry.register_with_unit(
            "inference",
            "Time of an inference",
            Unit::Seconds,
            inference.clone(),
        );
        Self {
            registry,
            batches,
            rows,
            largest,
            failed,
            refused,
            abandoned,
            batch_rows,
            inference,
            sizes: std::iter::repeat_with(AtomicU64::default)
                .take(max_batch)
                .collect(),
            computed: AtomicU64::default(),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        reason = "rows of a batch"
    )]
    pub(crate) fn inferred(&self, rows: usize, elapsed: Duration) {
        self.batches.inc();
        self.rows.inc_by(rows as u64);
        // Only the engine's thread writes, so nothing comes between reading and setting.
        self.largest.set(self.largest.get().max(rows as i64));
        self.batch_rows.observe(rows as f64);
        self.inference.observe(elapsed.as_secs_f64());
        if let Some(size) = self.sizes.get(rows.saturating_sub(1)) {
            size.fetch_add(1, Ordering::Relaxed);
        }
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.computed.fetch_add(elapsed, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.inc();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn abandoned(&self) {
        self.abandoned.inc();
    }

    pub(crate) fn json(&self) -> Vec<u8> {
        let snapshot = Snapshot {
            batches: self.batches.get(),
            rows: self.rows.get(),
            largest: self.largest.get(),
            failed: self.failed.get(),
            refused: self.refused.get(),
            abandoned: self.abandoned.get(),
            sizes: self
                .sizes
                .iter()
                .map(|size| size.load(Ordering::Relaxed))
                .collect(),
            computed_seconds: Duration::from_nanos(self.computed.load(Ordering::Relaxed)).as_secs_f64(),
        };
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text.into_bytes(),
            Err(error) => format!("# {error}\n").into_bytes(),
        }
    }
}
