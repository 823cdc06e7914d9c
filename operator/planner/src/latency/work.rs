//! CPU work of a batch under a quota: what a simulation needs to play the kernel's bandwidth controller.
//!
//! The mean is that of the profile's mean curve, so that a replica that is never idle takes the profile's mean latency. The largest is that of the curve of the
//! maximum, but no more than what the maximum leaves room for: nothing that is played takes longer than the longest latency that a plan is
//! made with. Most batches need about the same, and a few much more (interrupts, cold caches, neighbours on the machine): the law is
//! [`Spread::Skewed`], the least work and an exponential part that one in a hundred batches has whole, or, where the most is so far away that this would begin at next to nothing, that
//! one in a hundred has and the others have not. A law with as many large batches as small ones would play
//! far more stops than there are, since two large ones in a period are what spends a quota. CPUs that a batch keeps busy are those of the mean curve, which every limit
//! has a part in. A batch that finds the replica idle needs so much more, whatever was drawn for it.

use super::{Spread, cpu};
use crate::profile::{AfterIdle, Throttled};

/// CPU work of a batch of one size under a limit, in CPU seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    /// Of the mean work.
    curve: Throttled,
    /// Of the work that the longest latency is made with.
    longest: Throttled,
    vcpu: f64,
    /// What a batch needs beyond that finds the replica idle.
    pub(crate) after_idle: AfterIdle,
    /// The least that a batch needs, as the law assumes it.
    pub(crate) least: f64,
    /// The most; at least the mean.
    pub(crate) most: f64,
    /// How work lies between these.
    pub(crate) spread: Spread,
}

impl Work {
    /// Of a mean curve and that of the maximum, with no more work than a latency of the [bound](Self::bound) has room for, both of batches that follow another
    /// at once.
    pub(crate) fn new(curve: Throttled, longest: Throttled, vcpu: f64, after_idle: AfterIdle) -> Self {
        let mean = curve.work();
        let bound = longest.bound(vcpu).max(curve.bound(vcpu));
        let most = longest.work().min(curve.work_within(bound, vcpu)).max(mean);
        let (least, spread) = law(mean, most);
        Self {
            curve,
            longest,
            vcpu,
            after_idle,
            least,
            most,
            spread,
        }
    }

    /// The same with so many times the work in the mean and at most, of which its latencies follow.
    pub(crate) fn times(self, mean: f64, most: f64) -> Self {
        let (curve, longest) = (self.curve.times(mean), self.longest.times(most));
        Self::new(curve, longest, self.vcpu, self.after_idle)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.curve.work()
    }

    /// The mean latency in seconds of batches that begin after a long idle time.
    pub(crate) fn mean_after_idle(self) -> f64 {
        self.curve.plus(self.after_idle.work()).mean_after_idle(self.vcpu)
    }

    /// CPUs that a batch keeps busy.
    pub(crate) fn parallelism(&self) -> f64 {
        self.curve.parallelism()
    }

    /// The limit in vCPU, less what is lost by each stop.
    pub(crate) fn vcpu(&self) -> f64 {
        self.curve.left_of(self.vcpu)
    }

    /// CPU seconds that each stop costs.
    pub(crate) fn lost_by_stop(&self) -> f64 {
        (self.vcpu - self.vcpu()) * self.period()
    }

    /// Between two quotas, in seconds.
    pub(crate) fn period(&self) -> f64 {
        self.curve.period()
    }

    /// The mean latency in seconds on a replica that is never idle.
    pub(crate) fn never_idle(self) -> f64 {
        self.curve.mean(self.vcpu)
    }

    /// The latency in seconds that no batch exceeds, whatever is left of the quota when it begins: that of the mean work at least, as two separate fits do not promise, and after idle time.
    pub(crate) fn bound(&self) -> f64 {
        let bound = |curve: Throttled| curve.plus(self.after_idle.work()).bound(self.vcpu);
        bound(self.longest).max(bound(self.curve))
    }

    /// The most work, times what gives a longest latency of no less than so many seconds.
    pub(crate) fn factor_reaching(&self, seconds: f64) -> f64 {
        let longest = self.longest.plus(self.after_idle.work());
        longest.work_reaching(seconds, self.vcpu) / longest.work()
    }

    /// The probability of the most work under [`Spread::TwoPoints`].
    pub(crate) fn chance_of_most(&self) -> f64 {
        super::chance_of_longest(self.mean(), self.least, self.most)
    }
}

/// The least work, and how it lies up to the most, which one in a hundred batches has. The exponential part's mean, cut at c of its own means, is `1 - exp(-c)` of
/// them, so that the mean of all is `mean`. Where that would begin at next to nothing, what is so far from the mean is no tail of the same work but another
/// event, such as a neighbour's turn on the CPU, and all others have the same.
fn law(mean: f64, most: f64) -> (f64, Spread) {
    const SHORTEST: f64 = 0.3;
    const RARE: f64 = 0.01;
    let drawn = 1.0 - (-Spread::CUT).exp();
    let skewed = mean - drawn * (most - mean) / (Spread::CUT - drawn);
    let rare = (mean - RARE * most) / (1.0 - RARE);
    if skewed >= SHORTEST * mean {
        (skewed, Spread::Skewed)
    } else if rare >= SHORTEST * mean {
        (rare, Spread::TwoPoints)
    } else {
        cpu::spread(mean, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of `least + (most - least) min(X, c) / c` with X exponential of mean 1 is `least + (most - least) (1 - exp(-c)) / c`; one in a hundred
    /// has the most.
    #[test]
    fn the_law_of_work_has_the_mean_and_the_hundredth() {
        const TOLERANCE: f64 = 1e-12;
        for (mean, most) in [(0.004, 0.004), (0.004, 0.005), (0.004, 0.0075), (0.1, 0.3)] {
            let (least, spread) = law(mean, most);
            assert_eq!(spread, Spread::Skewed, "{mean} and {most}");
            let found = least + (most - least) * 0.99 / 100_f64.ln();
            assert!((found / mean - 1.0).abs() < TOLERANCE, "{found} for {mean}");
            assert!(0.0 < least && least <= mean);
        }
        // Where no least work would be left: 0.99 * least + 0.01 * most is the mean.
        for (mean, most) in [(0.004, 0.015), (0.001_22, 0.005_083)] {
            let (least, spread) = law(mean, most);
            assert_eq!(spread, Spread::TwoPoints, "{mean} and {most}");
            assert!(
                ((0.99 * least + 0.01 * most) / mean - 1.0).abs() < TOLERANCE,
                "{least} for {mean}"
            );
        }
        // A mean of which one batch in a hundred makes most is that of none.
        assert_eq!(law(0.001, 0.09), (0.000_5, Spread::TwoPoints));
    }

    /// Whatever the time, so much work may take it, and one percent less may not, but where any work at all waits for as long.
    #[test]
    fn the_work_that_reaches_a_time_is_the_least_that_does() {
        for (parallelism, vcpu) in [(1.0, 0.3), (1.0, 0.9), (2.0, 0.5), (0.6, 0.6), (1.0, 2.0)] {
            let curve = |work| Throttled::new(work, parallelism, 0.1);
            for thousandths in 1..1_500 {
                let time = f64::from(thousandths) / 1e3;
                let least = curve(1.0)
                    .map(|any| any.work_reaching(time, vcpu))
                    .unwrap_or_default();
                let reaches =
                    |work: f64| curve(work).is_ok_and(|curve| curve.bound(vcpu) >= time * (1.0 - 1e-9));
                assert!(reaches(least.max(1e-9)), "{time} under {vcpu}: {least}");
                assert!(
                    least == 0.0 || !reaches(0.99 * least),
                    "{time} under {vcpu}: {least}"
                );
            }
        }
    }
}
