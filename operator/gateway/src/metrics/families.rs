//! The Prometheus families of the whole process.

use std::sync::Arc;

use harmonybatch_dispatch::Nanos;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    conversions::ConversionMetrics,
    group::GroupMetrics,
    labels::{CauseLabels, cause_labels},
    scrape::Scrape,
};
use crate::{
    batcher::Table,
    config::Key,
    listener::{Refusals, Reloads},
    protocol::Cause,
    trace::SpanCounts,
};

const PREFIX: &str = "harmonybatch_gateway";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    errors: Family<CauseLabels, Counter>,
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

impl Metrics {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "one per process, made on purpose")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut metrics = Self {
            errors: Family::default(),
            conversions: ConversionMetrics::register(&mut registry),
            spans: SpanCounts::register(&mut registry),
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
            "errors",
            "Requests that got no answer, by why; without an application where none was found",
            self.errors.clone(),
        );
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

    /// The counts of one group.
    pub fn group(&self, group: &Key) -> GroupMetrics {
        GroupMetrics::new(group.clone(), self.conversions.clone())
    }

    /// A request got no answer; `app` is one that is not forgotten.
    pub fn error(&self, app: Option<&Key>, cause: Cause) {
        self.errors.get_or_create(&cause_labels(app, cause)).inc();
    }

    /// Forgets an application that is gone.
    pub fn forget_app(&self, app: &Key) {
        for cause in Cause::ALL {
            self.errors.remove(&cause_labels(Some(app), cause));
        }
    }

    /// All of them in the text form of OpenMetrics.
    pub fn encode(&self, table: Arc<Table>, now: Nanos) -> Result<String, std::fmt::Error> {
        let mut of_table = Registry::with_prefix(PREFIX);
        of_table.register_collector(Box::new(Scrape { table, now }));
        let mut text = String::new();
        text::encode_registry(&mut text, &of_table)?;
        text::encode_registry(&mut text, &self.registry)?;
        text::encode_eof(&mut text)?;
        Ok(text)
    }
}
