//! CPU work of a batch under a quota: what a simulation needs to play the kernel's bandwidth controller.
//!
//! The mean is that of the profile's mean curve, so that a replica that is never idle takes the profile's mean latency. The largest is that of the curve of the
//! maximum, but no more than what the maximum leaves room for: nothing that is played takes longer than the longest latency that a plan is
//! made with. Between the two the law is that of latencies elsewhere ([`Spread`]): uniform around the mean, up to the largest. CPUs that a
//! batch keeps busy are those of the mean curve, which every limit has a part in.

use super::{Spread, cpu};
use crate::correction::Correction;
use crate::profile::Throttled;

/// CPU work of a batch of one size under a limit, in CPU seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    /// Of the mean work.
    curve: Throttled,
    vcpu: f64,
    /// The least that a batch needs, as the law assumes it.
    pub(crate) least: f64,
    /// The most; at least the mean.
    pub(crate) most: f64,
    /// How work lies between these.
    pub(crate) spread: Spread,
}

impl Work {
    /// Of a mean curve, with no more work than `largest` CPU seconds, nor than a latency of `max` seconds has room for.
    pub(crate) fn new(curve: Throttled, largest: f64, max: f64, vcpu: f64) -> Self {
        let mean = curve.work();
        let most = largest.min(curve.work_within(max, vcpu)).max(mean);
        let (least, spread) = cpu::spread(mean, most);
        Self {
            curve,
            vcpu,
            least,
            most,
            spread,
        }
    }

    /// The same with its latencies corrected: what takes so many times longer has so many times the work. `max` is the corrected maximum.
    pub(super) fn corrected(self, correction: Correction, max: f64) -> Self {
        let curve = self.curve.times(correction.mean());
        let largest = self.most * correction.max();
        Self::new(curve, largest, max.max(curve.bound(self.vcpu)), self.vcpu)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.curve.work()
    }

    /// CPUs that a batch keeps busy.
    pub(crate) fn parallelism(&self) -> f64 {
        self.curve.parallelism()
    }

    /// The limit in vCPU.
    pub(crate) fn vcpu(&self) -> f64 {
        self.vcpu
    }

    /// Between two quotas, in seconds.
    pub(crate) fn period(&self) -> f64 {
        self.curve.period()
    }

    /// The latency in seconds that no batch of the mean work exceeds.
    pub(super) fn bound(&self) -> f64 {
        self.curve.bound(self.vcpu)
    }

    /// The probability of the most work under [`Spread::TwoPoints`].
    pub(crate) fn chance_of_most(&self) -> f64 {
        super::chance_of_longest(self.mean(), self.least, self.most)
    }
}
