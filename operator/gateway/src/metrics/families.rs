//! The Prometheus families.

use std::sync::{Arc, Mutex, atomic::AtomicU64 as AtomicF64};
use std::time::Duration;

use harmonybatch_dispatch::{Nanos, Reason};
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{
    app::{AppStats, seconds},
    conversions::ConversionMetrics,
    labels::{
        AppLabels, BatchFailure, CauseLabels, FailureLabels, GroupLabels, OUTCOMES, OutcomeLabels, REASONS,
        ReasonLabels, SIZES, SizeLabels, app_labels, cause_labels, failure_labels, group_labels,
        outcome_labels, reason_labels, size_labels,
    },
    window::Window,
};
use crate::{
    admission::{Bucket, Drain, Overload},
    batcher::Table,
    config::Key,
    listener::{Refusals, Reloads},
    protocol::{Cause, Meter},
    sync::atomic::{AtomicU64, Ordering::Acquire},
    throttle::Throttle,
    trace::SpanCounts,
};

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Batches whose callers had their answers of the first attempt, and their time, by size.
#[derive(Clone, Debug, Default)]
struct Answered {
    batches: Family<SizeLabels, Counter>,
    seconds: Family<SizeLabels, Counter<f64, AtomicF64>>,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rows: Family<AppLabels, Counter>,
    errors: Family<CauseLabels, Counter>,
    latency: Histograms<AppLabels>,
    wait: Histograms<AppLabels>,
    outcomes: Family<OutcomeLabels, Counter>,
    batches: Family<ReasonLabels, Counter>,
    failed_batches: Family<FailureLabels, Counter>,
    batch_rows: Histograms<GroupLabels>,
    upstream: Histograms<GroupLabels>,
    answered: Answered,
    lateness: Histograms<GroupLabels>,
    unreachable: Family<GroupLabels, Counter>,
    retries: Family<GroupLabels, Counter>,
    retries_denied: Family<GroupLabels, Counter>,
    spoilers: Family<AppLabels, Counter>,
    apart: Family<AppLabels, Gauge>,
    queued_rows: Family<GroupLabels, Gauge>,
    in_flight: Family<GroupLabels, Gauge>,
    endpoints: Family<GroupLabels, Gauge>,
    /// The cost of conversions, of all groups together.
    pub conversions: ConversionMetrics,
    /// Requests handed on to the gateways that own their groups.
    pub forwarded: Counter,
    /// Those that came back without an answer.
    pub forward_failures: Counter,
    /// Connections that callers have open.
    pub connections: Gauge,
    /// What the callers' listener refused.
    pub refusals: Refusals,
    /// What became of changed certificates.
    pub tls_reloads: Reloads,
    /// What became of spans.
    pub spans: SpanCounts,
}

/// Counts of one group.
#[derive(Debug)]
pub struct GroupMetrics {
    /// Which group's.
    pub(crate) group: Key,
    /// How often it is said that a batch failed, and that a replica could not be reached: each once a second.
    pub(crate) failed_said: Throttle,
    pub(crate) unreachable_said: Throttle,
    batches: [Counter; 3],
    /// By the number of [`BatchFailure`].
    failed_batches: [Counter; 5],
    batch_rows: Histogram,
    upstream: Histogram,
    answered: Answered,
    lateness: Histogram,
    /// Connections to replicas that failed.
    pub unreachable: Counter,
    /// Parts of failed batches that were sent again.
    pub retries: Counter,
    /// Those that the budget had nothing left for.
    pub retries_denied: Counter,
    conversions: ConversionMetrics,
}

/// 1 ms to 65 s, by doubling: SLOs lie between 10 ms and 60 s, and doubling tells a kept one from a missed one well enough beside the exact counts.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

/// 50 us to 51 ms: what a timer and a scheduler cost.
fn delays() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 11))
}

/// 1 to 1024, the largest batch size.
fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 11))
}

impl Metrics {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "one per process, made on purpose")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("harmonybatch_gateway");
        let mut metrics = Self {
            rows: Family::default(),
            errors: Family::default(),
            latency: Family::new_with_constructor(latencies),
            wait: Family::new_with_constructor(latencies),
            outcomes: Family::default(),
            batches: Family::default(),
            failed_batches: Family::default(),
            batch_rows: Family::new_with_constructor(sizes),
            upstream: Family::new_with_constructor(latencies),
            answered: Answered::default(),
            lateness: Family::new_with_constructor(delays),
            unreachable: Family::default(),
            retries: Family::default(),
            retries_denied: Family::default(),
            spoilers: Family::default(),
            apart: Family::default(),
            conversions: ConversionMetrics::register(&mut registry),
            spans: SpanCounts::register(&mut registry),
            queued_rows: Family::default(),
            in_flight: Family::default(),
            endpoints: Family::default(),
            forwarded: Counter::default(),
            forward_failures: Counter::default(),
            connections: Gauge::default(),
            refusals: Refusals::default(),
            tls_reloads: Reloads::default(),
            registry,
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "rows",
            "Rows that arrived in well-formed requests",
            self.rows.clone(),
        );
        registry.register(
            "errors",
            "Requests that got no answer, by why; without an application where none was found",
            self.errors.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a request's last byte to its answer",
            self.latency.clone(),
        );
        registry.register(
            "queue_wait_seconds",
            "From a request's last byte to its batch's start",
            self.wait.clone(),
        );
        registry.register(
            "requests",
            "Requests by what became of them",
            self.outcomes.clone(),
        );
        registry.register("batches", "Batches by what made them ready", self.batches.clone());
        registry.register(
            "failed_batches",
            "Batches that were sent and gave no answers, by why",
            self.failed_batches.clone(),
        );
        registry.register("batch_rows", "Rows of a batch", self.batch_rows.clone());
        registry.register(
            "upstream_duration_seconds",
            "A batch's time at its replica",
            self.upstream.clone(),
        );
        registry.register(
            "answered_batches",
            "Batches that were answered at the first attempt, by rows up to a power of two",
            self.answered.batches.clone(),
        );
        registry.register(
            "answered_batch_seconds",
            "Their time at their replicas",
            self.answered.seconds.clone(),
        );
        registry.register(
            "dispatch_lateness_seconds",
            "From a batch's being ready to its start, without a wait for a replica",
            self.lateness.clone(),
        );
        registry.register(
            "replica_unreachable",
            "Connections to replicas that failed",
            self.unreachable.clone(),
        );
        registry.register(
            "retries",
            "Calls beside the first one of a batch: parts of batches that failed",
            self.retries.clone(),
        );
        registry.register(
            "retries_denied",
            "Calls that were not made again because the retry budget was spent",
            self.retries_denied.clone(),
        );
        registry.register(
            "spoiling_requests",
            "Requests that spoiled a batch and failed alone",
            self.spoilers.clone(),
        );
        registry.register(
            "app_set_apart",
            "1 while an application's requests are batched by themselves because they keep spoiling batches",
            self.apart.clone(),
        );
        registry.register("queued_rows", "Rows that wait", self.queued_rows.clone());
        registry.register(
            "in_flight_batches",
            "Batches that replicas work on",
            self.in_flight.clone(),
        );
        registry.register(
            "ready_endpoints",
            "Replicas that are ready",
            self.endpoints.clone(),
        );
        self.register_callers();
    }

    /// What is counted of callers and of other gateways, whatever the application.
    fn register_callers(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "forwarded_requests",
            "Requests handed on to the gateways that own their groups",
            self.forwarded.clone(),
        );
        registry.register(
            "forward_failures",
            "Requests that came back from there without an answer",
            self.forward_failures.clone(),
        );
        registry.register("connections", "Connections of callers", self.connections.clone());
        self.refusals.register(registry);
        self.tls_reloads.register(registry);
    }

    /// The counts of one application; `window` are those of its past, where it has one.
    pub fn app(&self, app: &Key, slo: Duration, window: Option<Arc<Mutex<Window>>>, now: Nanos) -> AppStats {
        let labels = app_labels(app);
        AppStats {
            queued_rows: AtomicU64::new(0),
            yielding_rows: AtomicU64::new(0),
            bucket: Bucket::default(),
            drain: Drain::default(),
            overload: Overload::default(),
            slo,
            rows: self.rows.get_or_create_owned(&labels),
            spoilers: self.spoilers.get_or_create_owned(&labels),
            apart_until: AtomicU64::new(0),
            latency: self.latency.get_or_create_owned(&labels),
            wait: self.wait.get_or_create_owned(&labels),
            outcomes: OUTCOMES
                .map(|(_, outcome)| self.outcomes.get_or_create_owned(&outcome_labels(app, outcome))),
            window: window.unwrap_or_else(|| Arc::new(Mutex::new(Window::new(now)))),
        }
    }

    /// The counts of one group.
    pub fn group(&self, group: &Key) -> GroupMetrics {
        let labels = group_labels(group);
        GroupMetrics {
            group: group.clone(),
            failed_said: Throttle::new(1),
            unreachable_said: Throttle::new(1),
            batches: REASONS.map(|reason| self.batches.get_or_create_owned(&reason_labels(group, reason))),
            failed_batches: BatchFailure::ALL.map(|failure| {
                self.failed_batches
                    .get_or_create_owned(&failure_labels(group, failure))
            }),
            batch_rows: self.batch_rows.get_or_create_owned(&labels),
            upstream: self.upstream.get_or_create_owned(&labels),
            answered: self.answered.clone(),
            lateness: self.lateness.get_or_create_owned(&labels),
            unreachable: self.unreachable.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            retries_denied: self.retries_denied.get_or_create_owned(&labels),
            conversions: self.conversions.clone(),
        }
    }

    /// A request got no answer; `app` is one that is not forgotten.
    pub fn error(&self, app: Option<&Key>, cause: Cause) {
        self.errors.get_or_create(&cause_labels(app, cause)).inc();
    }

    /// Forgets an application that is gone.
    pub fn forget_app(&self, app: &Key) {
        let labels = app_labels(app);
        self.rows.remove(&labels);
        self.spoilers.remove(&labels);
        self.apart.remove(&labels);
        self.latency.remove(&labels);
        self.wait.remove(&labels);
        for (_, outcome) in OUTCOMES {
            self.outcomes.remove(&outcome_labels(app, outcome));
        }
        for cause in Cause::ALL {
            self.errors.remove(&cause_labels(Some(app), cause));
        }
    }

    /// Forgets a group that is gone.
    pub fn forget_group(&self, group: &Key) {
        let labels = group_labels(group);
        for reason in REASONS {
            self.batches.remove(&reason_labels(group, reason));
        }
        for failure in BatchFailure::ALL {
            self.failed_batches.remove(&failure_labels(group, failure));
        }
        self.batch_rows.remove(&labels);
        self.upstream.remove(&labels);
        for size in SIZES {
            let labels = size_labels(group, size);
            self.answered.batches.remove(&labels);
            self.answered.seconds.remove(&labels);
        }
        self.lateness.remove(&labels);
        self.unreachable.remove(&labels);
        self.retries.remove(&labels);
        self.retries_denied.remove(&labels);
        self.queued_rows.remove(&labels);
        self.in_flight.remove(&labels);
        self.endpoints.remove(&labels);
    }

    /// All of them in the text form of OpenMetrics.
    pub fn encode(&self, table: &Table, now: Nanos) -> Result<String, std::fmt::Error> {
        for (app, stats) in table.all_app_stats() {
            let labels = app_labels(app);
            self.apart
                .get_or_create(&labels)
                .set(i64::from(stats.is_apart(now)));
        }
        for (group, stats) in table.group_stats() {
            let labels = group_labels(group);
            let set = |family: &Family<GroupLabels, Gauge>, value: u64| {
                family
                    .get_or_create(&labels)
                    .set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            set(&self.queued_rows, stats.queued_rows.load(Acquire));
            set(&self.in_flight, stats.in_flight.load(Acquire) as u64);
            set(&self.endpoints, stats.endpoints.load(Acquire) as u64);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl GroupMetrics {
    /// A batch of `rows` left at `now`; it was ready and a replica was free `since`.
    pub fn observe_batch(&self, reason: Reason, rows: u64, since: Nanos, now: Nanos) {
        let reason = match reason {
            Reason::Full => 0,
            Reason::MaxWait => 1,
            Reason::Eager => 2,
        };
        self.batches[reason].inc();
        self.batch_rows
            .observe(u32::try_from(rows).map_or(f64::MAX, f64::from));
        self.lateness.observe(seconds(now.saturating_sub(since)));
    }

    /// A batch gave its callers no answers.
    pub fn failed(&self, failure: BatchFailure) {
        self.failed_batches[failure as usize].inc();
    }

    /// A batch's conversions cost this.
    pub fn observe_conversions(&self, meter: &Meter) {
        self.conversions.observe(meter);
    }

    /// A batch of so many rows was answered at the first attempt, after `service`.
    pub fn observe_answered(&self, rows: u32, service: Nanos) {
        let labels = size_labels(&self.group, rows);
        self.answered.batches.get_or_create(&labels).inc();
        self.answered
            .seconds
            .get_or_create(&labels)
            .inc_by(seconds(service));
    }

    /// A batch was with its replica from `started` to `ended`.
    pub fn observe_upstream(&self, started: Nanos, ended: Nanos) {
        self.upstream.observe(seconds(ended.saturating_sub(started)));
    }
}
