//! What is counted of one group.

use std::sync::OnceLock;

use harmonybatch_dispatch::{Nanos, Reason};

use super::{
    conversions::ConversionMetrics,
    count::{Count, Delays, Latencies, Sizes},
    labels::{BatchFailure, SIZES},
};
use crate::{config::Key, protocol::Meter, throttle::Throttle};

/// Batches of about one size whose callers had their answers of the first attempt.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) batches: Count,
    /// Their time at their replicas.
    pub(super) nanoseconds: Count,
}

/// Counts of one group.
#[derive(Debug)]
pub struct GroupMetrics {
    /// Which group's.
    pub(crate) group: Key,
    /// How often it is said that a batch failed, and that a replica could not be reached: each once a second.
    pub(crate) failed_said: Throttle,
    pub(crate) unreachable_said: Throttle,
    /// By the place of their reason in [`super::labels::REASONS`].
    pub(super) batches: [Count; 3],
    /// By the number of [`BatchFailure`].
    pub(super) failed_batches: [Count; 5],
    pub(super) batch_rows: Sizes,
    pub(super) upstream: Latencies,
    /// By the place of their rows in [`SIZES`]: none before the first one.
    pub(super) answered: OnceLock<Box<[Answered; SIZES.len()]>>,
    pub(super) lateness: Delays,
    /// Connections to replicas that failed.
    pub unreachable: Count,
    /// Parts of failed batches that were sent again.
    pub retries: Count,
    /// Those that the budget had nothing left for.
    pub retries_denied: Count,
    conversions: ConversionMetrics,
}

impl GroupMetrics {
    /// All zero; what conversions cost is added to that of all groups.
    pub(super) fn new(group: Key, conversions: ConversionMetrics) -> Self {
        Self {
            group,
            failed_said: Throttle::new(1),
            unreachable_said: Throttle::new(1),
            batches: Default::default(),
            failed_batches: Default::default(),
            batch_rows: Sizes::default(),
            upstream: Latencies::default(),
            answered: OnceLock::new(),
            lateness: Delays::default(),
            unreachable: Count::default(),
            retries: Count::default(),
            retries_denied: Count::default(),
            conversions,
        }
    }

    /// A batch of `rows` left at `now`; it was ready and a replica was free `since`.
    pub fn observe_batch(&self, reason: Reason, rows: u64, since: Nanos, now: Nanos) {
        let reason = match reason {
            Reason::Full => 0,
            Reason::MaxWait => 1,
            Reason::Eager => 2,
        };
        self.batches[reason].inc();
        self.batch_rows.observe(rows);
        self.lateness.observe(now.saturating_sub(since));
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
        let sizes = self.answered.get_or_init(Box::default);
        let size = SIZES.iter().position(|size| rows <= *size);
        let answered = &sizes[size.unwrap_or(SIZES.len() - 1)];
        answered.batches.inc();
        answered.nanoseconds.add(service);
    }

    /// A batch was with its replica from `started` to `ended`.
    pub fn observe_upstream(&self, started: Nanos, ended: Nanos) {
        self.upstream.observe(ended.saturating_sub(started));
    }
}
