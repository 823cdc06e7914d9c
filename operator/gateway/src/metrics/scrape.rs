//! The families of applications and groups, which a scrape makes of their counts: who is in the table has its series, and nobody else.

use std::{fmt, sync::Arc, time::Duration};

use harmonybatch_dispatch::Nanos;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{
    app::AppStats,
    count::Reading,
    group::GroupMetrics,
    labels::{
        BatchFailure, OUTCOMES, REASONS, SIZES, app_labels, failure_labels, group_labels, outcome_labels,
        reason_labels, size_labels,
    },
};
use crate::{
    batcher::{GroupStats, Table},
    config::Key,
    sync::atomic::Ordering::Acquire,
};

/// Nanoseconds in a second, the unit of all families of times.
const SECOND: f64 = 1e9;

/// A family's name and help, with the way to its numbers.
type Numbers<T> = (&'static str, &'static str, fn(&T) -> u64);

/// What is read.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) table: Arc<Table>,
    pub(super) now: Nanos,
}

/// One family, into which series are written.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn count(&mut self, labels: &impl EncodeLabelSet, count: u64) -> fmt::Result {
        let mut series = self.0.encode_family(labels)?;
        series.encode_counter::<NoLabelSet, u64, u64>(&count, None)
    }

    fn seconds(&mut self, labels: &impl EncodeLabelSet, seconds: f64) -> fmt::Result {
        let mut series = self.0.encode_family(labels)?;
        series.encode_counter::<NoLabelSet, f64, f64>(&seconds, None)
    }

    fn gauge(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }

    fn histogram(&mut self, labels: &impl EncodeLabelSet, reading: &Reading) -> fmt::Result {
        let count = reading.buckets.iter().map(|(_, count)| count).sum();
        let mut series = self.0.encode_family(labels)?;
        series.encode_histogram::<NoLabelSet>(reading.sum, count, &reading.buckets, None)
    }
}

fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    kind: MetricType,
    name: &'a str,
    help: &str,
) -> Result<Family<'a>, fmt::Error> {
    // As the registry writes it.
    let help = format!("{help}.");
    encoder.encode_descriptor(name, &help, None, kind).map(Family)
}

impl Scrape {
    /// A family with series of every application.
    fn of_apps(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (kind, name, help): (MetricType, &str, &str),
        write: impl Fn(&mut Family<'_>, &Key, &AppStats) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = family(encoder, kind, name, help)?;
        let mut apps = self.table.all_app_stats();
        apps.try_for_each(|(app, stats)| write(&mut family, app, stats))
    }

    /// A family with series of every group.
    fn of_groups(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (kind, name, help): (MetricType, &str, &str),
        write: impl Fn(&mut Family<'_>, &Key, &GroupStats, &GroupMetrics) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = family(encoder, kind, name, help)?;
        let mut groups = self.table.group_stats();
        groups.try_for_each(|(group, stats, metrics)| write(&mut family, group, stats, metrics))
    }

    fn apps(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        use MetricType::{Counter, Gauge, Histogram};
        let rows = (Counter, "rows", "Rows that arrived in well-formed requests");
        self.of_apps(encoder, rows, |family, app, stats| {
            family.count(&app_labels(app), stats.rows.get())
        })?;
        let latency = (
            Histogram,
            "request_duration_seconds",
            "From a request's last byte to its answer",
        );
        self.of_apps(encoder, latency, |family, app, stats| {
            family.histogram(&app_labels(app), &stats.latency.read(SECOND))
        })?;
        let wait = (
            Histogram,
            "queue_wait_seconds",
            "From a request's last byte to its batch's start",
        );
        self.of_apps(encoder, wait, |family, app, stats| {
            family.histogram(&app_labels(app), &stats.wait.read(SECOND))
        })?;
        let outcomes = (Counter, "requests", "Requests by what became of them");
        self.of_apps(encoder, outcomes, |family, app, stats| {
            OUTCOMES.into_iter().try_for_each(|(outcome, label)| {
                family.count(
                    &outcome_labels(app, label),
                    stats.outcomes[outcome as usize].get(),
                )
            })
        })?;
        let spoilers = (
            Counter,
            "spoiling_requests",
            "Requests that spoiled a batch and failed alone",
        );
        self.of_apps(encoder, spoilers, |family, app, stats| {
            family.count(&app_labels(app), stats.spoilers.get())
        })?;
        let apart = (
            Gauge,
            "app_set_apart",
            "1 while an application's requests are batched by themselves because they keep spoiling batches",
        );
        self.of_apps(encoder, apart, |family, app, stats| {
            family.gauge(&app_labels(app), u64::from(stats.is_apart(self.now)))
        })
    }

    fn batches(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        use MetricType::{Counter, Histogram};
        let batches = (Counter, "batches", "Batches by what made them ready");
        self.of_groups(encoder, batches, |family, group, _, metrics| {
            let mut counts = REASONS.into_iter().zip(&metrics.batches);
            counts.try_for_each(|(reason, count)| family.count(&reason_labels(group, reason), count.get()))
        })?;
        let failed = (
            Counter,
            "failed_batches",
            "Batches that were sent and gave no answers, by why",
        );
        self.of_groups(encoder, failed, |family, group, _, metrics| {
            BatchFailure::ALL.into_iter().try_for_each(|failure| {
                let count = &metrics.failed_batches[failure as usize];
                family.count(&failure_labels(group, failure), count.get())
            })
        })?;
        let rows = (Histogram, "batch_rows", "Rows of a batch");
        self.of_groups(encoder, rows, |family, group, _, metrics| {
            family.histogram(&group_labels(group), &metrics.batch_rows.read(1.0))
        })?;
        let upstream = (
            Histogram,
            "upstream_duration_seconds",
            "A batch's time at its replica",
        );
        self.of_groups(encoder, upstream, |family, group, _, metrics| {
            family.histogram(&group_labels(group), &metrics.upstream.read(SECOND))
        })?;
        self.answered(encoder)?;
        let lateness = (
            Histogram,
            "dispatch_lateness_seconds",
            "From a batch's being ready to its start, without a wait for a replica",
        );
        self.of_groups(encoder, lateness, |family, group, _, metrics| {
            family.histogram(&group_labels(group), &metrics.lateness.read(SECOND))
        })
    }

    /// A size has its series from its first batch on.
    fn answered(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let answered = |metrics: &'_ GroupMetrics| {
            let sizes = metrics.answered.get();
            let counts = sizes.map(|sizes| {
                sizes
                    .each_ref()
                    .map(|size| (size.batches.get(), size.nanoseconds.get()))
            });
            let sizes = SIZES.into_iter().zip(counts.into_iter().flatten());
            sizes.filter(|(_, (batches, _))| *batches > 0)
        };
        let batches = (
            MetricType::Counter,
            "answered_batches",
            "Batches that were answered at the first attempt, by rows up to a power of two",
        );
        self.of_groups(encoder, batches, |family, group, _, metrics| {
            answered(metrics)
                .try_for_each(|(size, (batches, _))| family.count(&size_labels(group, size), batches))
        })?;
        let seconds = (
            MetricType::Counter,
            "answered_batch_seconds",
            "Their time at their replicas",
        );
        self.of_groups(encoder, seconds, |family, group, _, metrics| {
            answered(metrics).try_for_each(|(size, (_, nanoseconds))| {
                let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
                family.seconds(&size_labels(group, size), seconds)
            })
        })
    }

    fn replicas(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        use MetricType::{Counter, Gauge};
        let counts: [Numbers<GroupMetrics>; 3] = [
            (
                "replica_unreachable",
                "Connections to replicas that failed",
                |metrics| metrics.unreachable.get(),
            ),
            (
                "retries",
                "Calls beside the first one of a batch: parts of batches that failed",
                |metrics| metrics.retries.get(),
            ),
            (
                "retries_denied",
                "Calls that were not made again because the retry budget was spent",
                |metrics| metrics.retries_denied.get(),
            ),
        ];
        for (name, help, count) in counts {
            self.of_groups(encoder, (Counter, name, help), |family, group, _, metrics| {
                family.count(&group_labels(group), count(metrics))
            })?;
        }
        let gauges: [Numbers<GroupStats>; 3] = [
            ("queued_rows", "Rows that wait", |stats| {
                stats.queued_rows.load(Acquire)
            }),
            ("in_flight_batches", "Batches that replicas work on", |stats| {
                stats.in_flight.load(Acquire) as u64
            }),
            ("ready_endpoints", "Replicas that are ready", |stats| {
                stats.endpoints.load(Acquire) as u64
            }),
        ];
        for (name, help, value) in gauges {
            self.of_groups(encoder, (Gauge, name, help), |family, group, stats, _| {
                family.gauge(&group_labels(group), value(stats))
            })?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.apps(&mut encoder)?;
        self.batches(&mut encoder)?;
        self.replicas(&mut encoder)
    }
}
