//! What the controller counts about itself.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// Which reconciler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reconciler {
    /// `plan`, `serve` or `observe`.
    pub(crate) reconciler: &'static str,
}

/// Which reconciler failed, and with which variant of its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Failure {
    /// `plan`, `serve` or `observe`.
    pub(crate) reconciler: &'static str,
    /// The error's variant, as in events.
    pub(crate) reason: &'static str,
}

/// The controller's metric families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    duration: Family<Reconciler, Histogram>,
    failures: Family<Failure, Counter>,
    plan_seconds: Histogram,
    groups: Gauge,
    waiting_to_leave: Gauge,
}

impl Metrics {
    /// Makes the families and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // A reconcile is a handful of calls: 5 ms where nothing changed, up to the limit of 60 s where the API hangs.
        let reconcile = || Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let metrics = Self {
            duration: Family::new_with_constructor(reconcile),
            failures: Family::default(),
            // A plan of three applications takes milliseconds, one of hundreds seconds.
            plan_seconds: Histogram::new([0.001, 0.01, 0.1, 1.0, 10.0]),
            groups: Gauge::default(),
            waiting_to_leave: Gauge::default(),
        };
        registry.register_with_unit(
            "reconcile",
            "Time that one reconcile took",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "reconcile_failures",
            "Reconciles that failed, by reason",
            metrics.failures.clone(),
        );
        registry.register_with_unit(
            "plan",
            "Time that the search for one plan took",
            Unit::Seconds,
            metrics.plan_seconds.clone(),
        );
        registry.register("groups", "Groups in the current plans", metrics.groups.clone());
        registry.register(
            "groups_waiting_to_leave",
            "Groups that no plan wants and that gateways still use",
            metrics.waiting_to_leave.clone(),
        );
        metrics
    }

    /// Times a reconcile until the guard is dropped.
    pub(crate) fn time(&self, reconciler: &'static str) -> Timer {
        let histogram = self.duration.get_or_create(&Reconciler { reconciler }).clone();
        Timer {
            histogram,
            started: Instant::now(),
        }
    }

    /// Counts a reconcile that failed.
    pub(crate) fn failed(&self, reconciler: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { reconciler, reason }).inc();
    }

    /// Notes how long a search took.
    pub(crate) fn planned(&self, took: Duration) {
        self.plan_seconds.observe(took.as_secs_f64());
    }

    /// Notes how many groups the plans want, and how many others still wait to be deleted.
    pub(crate) fn groups(&self, wanted: usize, leaving: usize) {
        self.groups.set(i64::try_from(wanted).unwrap_or(i64::MAX));
        self.waiting_to_leave
            .set(i64::try_from(leaving).unwrap_or(i64::MAX));
    }
}

/// Observes the time since it was made when it is dropped.
pub(crate) struct Timer {
    histogram: Histogram,
    started: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe(self.started.elapsed().as_secs_f64());
    }
}
