//! What is counted of one application.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use harmonybatch_dispatch::Nanos;
use http::StatusCode;

use super::{
    count::{Count, Latencies},
    window::{AppObservation, Window},
};
use crate::{
    admission::{Bucket, Drain, Overload},
    config::Key,
    sync::atomic::{AtomicU64, Ordering},
    timer::nanos,
};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 2xx within the SLO.
    WithinSlo,
    /// 2xx after it, or the caller left after it.
    Late,
    /// Any other answer.
    Failed,
    /// Not admitted.
    Refused,
    /// The caller left before the SLO.
    Left,
}

/// Counts of one application, with its SLO.
#[derive(Debug)]
pub struct AppStats {
    /// Rows that wait in any group.
    pub queued_rows: AtomicU64,
    /// Those of them that are served behind others'.
    pub yielding_rows: AtomicU64,
    /// What it has sent.
    pub bucket: Bucket,
    /// How fast the rows leave that are served by its SLO.
    pub drain: Drain,
    /// Whether it has been served late for long.
    pub overload: Overload,
    /// In nanoseconds.
    slo: AtomicU64,
    pub(super) rows: Count,
    pub(super) spoilers: Count,
    apart_until: AtomicU64,
    pub(super) latency: Latencies,
    pub(super) wait: Latencies,
    /// By the number of [`Outcome`].
    pub(super) outcomes: [Count; 5],
    window: Mutex<Window>,
}

impl AppStats {
    /// All zero.
    pub fn new(slo: Duration, now: Nanos) -> Self {
        Self {
            queued_rows: AtomicU64::new(0),
            yielding_rows: AtomicU64::new(0),
            bucket: Bucket::default(),
            drain: Drain::default(),
            overload: Overload::default(),
            slo: AtomicU64::new(nanos(slo)),
            rows: Count::default(),
            spoilers: Count::default(),
            apart_until: AtomicU64::new(0),
            latency: Latencies::default(),
            wait: Latencies::default(),
            outcomes: Default::default(),
            window: Mutex::new(Window::new(now)),
        }
    }

    /// Its answers are held against this SLO from now on.
    pub fn set_slo(&self, slo: Duration) {
        self.slo.store(nanos(slo), Ordering::Release);
    }

    fn slo(&self) -> Nanos {
        self.slo.load(Ordering::Acquire)
    }

    /// Rows of a request that is well formed.
    pub fn arrived(&self, rows: u32, now: Nanos) {
        self.rows.add(u64::from(rows));
        self.with_window(|window| window.arrive(now, u64::from(rows)));
    }

    /// One of its requests spoiled a batch; where that has set the application apart, until when.
    pub fn spoiled(&self, apart_until: Option<Nanos>) {
        self.spoilers.inc();
        if let Some(until) = apart_until {
            self.apart_until.store(until, Ordering::Release);
        }
    }

    /// Whether its requests are batched by themselves now.
    pub fn is_apart(&self, now: Nanos) -> bool {
        self.apart_until.load(Ordering::Acquire) > now
    }

    /// How long a request waited for its batch.
    pub fn observe_wait(&self, wait: Nanos) {
        self.wait.observe(wait);
    }

    /// A request was not let in.
    pub fn refused(&self, now: Nanos) {
        self.end(Outcome::Refused, 0, now);
    }

    /// A request that was let in has been answered.
    pub fn answered(&self, status: StatusCode, arrival: Nanos, now: Nanos) {
        let latency = now.saturating_sub(arrival);
        let outcome = match status.is_success() {
            true if latency <= self.slo() => Outcome::WithinSlo,
            true => Outcome::Late,
            false => Outcome::Failed,
        };
        self.latency.observe(latency);
        self.end(outcome, latency, now);
    }

    /// The caller did not wait for the answer.
    pub fn left(&self, arrival: Nanos, now: Nanos) {
        let latency = now.saturating_sub(arrival);
        self.end(
            if latency <= self.slo() {
                Outcome::Left
            } else {
                Outcome::Late
            },
            latency,
            now,
        );
    }

    fn end(&self, outcome: Outcome, latency: Nanos, now: Nanos) {
        self.outcomes[outcome as usize].inc();
        self.with_window(|window| {
            window.count(now, |counts| {
                counts.admitted += u64::from(!matches!(outcome, Outcome::Refused | Outcome::Left));
                *match outcome {
                    Outcome::WithinSlo => &mut counts.within_slo,
                    Outcome::Late => &mut counts.late,
                    Outcome::Failed => &mut counts.failed,
                    Outcome::Refused => &mut counts.refused,
                    Outcome::Left => &mut counts.left,
                } += 1;
            });
            if matches!(outcome, Outcome::WithinSlo | Outcome::Late | Outcome::Failed) {
                window.observe(now, latency);
            }
        });
    }

    fn with_window(&self, change: impl FnOnce(&mut Window)) {
        change(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Its entry of `GET /observed`.
    pub fn observation(&self, app: &Key, now: Nanos) -> AppObservation {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (span_seconds, counts, latency) = window.sums(now);
        AppObservation {
            namespace: app.namespace.to_string(),
            app: app.name.to_string(),
            span_seconds,
            counts,
            arrived: window.arrived(),
            dispersion: window.dispersion(now),
            latency,
        }
    }
}
