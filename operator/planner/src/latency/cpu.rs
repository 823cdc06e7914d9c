//! CPU functions: two curves in the limit for each batch size, Eq. 1 and 2 of the paper or another form.
//!
//! Where every curve says what CPU work is done under one quota, a batch has that work besides, and under a limit that stops any of the sizes a
//! simulation plays the quota. The longest latency is then that of the mean work at the worst moment at least: a curve of the maximum that says less is
//! a fit's noise. A profile of several forms, or of two periods, has no one quota to play, and keeps the law of its latencies.

use super::work::Work;
use super::{Function, Service, Site, Spread};
use crate::platform::Platform;
use crate::profile::{ModelProfile, Throttled};

/// Every limit of the grid, with the batch sizes that the profile knows.
pub(super) fn functions(platform: &Platform, profile: &ModelProfile) -> Vec<Function> {
    let known = profile.cpu().len().min(profile.max_batch_size().get() as usize);
    let entries = &profile.cpu()[..known];
    let (Some(grid), false) = (platform.cpu(), entries.is_empty()) else {
        return Vec::new();
    };
    let throttled = profile.throttled();
    let quotas = throttled.as_ref().map(|pairs| &pairs[..known]);
    grid.sizes()
        .map(|vcpu| {
            let limit = vcpu.get();
            let price = limit * platform.prices().vcpu_second.get();
            let quotas = quotas.filter(|pairs| pairs.iter().any(|(mean, _)| limit < mean.parallelism()));
            let service = (0..)
                .zip(entries)
                .map(|(index, entry)| {
                    let mean = entry.mean.mean(limit);
                    let after_idle = profile.after_idle();
                    let in_seconds = entry.mean.seconds_of(1.0, limit);
                    let busy = entry.max.bound(limit).max(mean);
                    let work = quotas.map(|pairs| {
                        let (of_mean, of_max): (Throttled, Throttled) = pairs[index];
                        Work::new(of_mean, of_max, limit, after_idle)
                    });
                    let (least, spread) = law(mean, busy, entry.mean.least_stopped(limit));
                    let after_idle = after_idle.scaled(1.0, in_seconds);
                    Service {
                        mean,
                        max: work.map_or(busy + after_idle.work(), |work| work.bound().max(mean)),
                        after_idle,
                        least,
                        spread,
                        work,
                        run_cost: (mean + after_idle.work()) * price,
                    }
                })
                .collect();
            Function {
                site: Site::Cpu(vcpu),
                price,
                paid: price,
                service,
                expected: Vec::new(),
            }
        })
        .collect()
}

/// Under a quota that is not played a batch is stopped once more or not: two times, in the proportion that keeps the mean. Where the longer one is rare,
/// the shorter one would be all that a percentile sees, without what else makes batches differ, so that the common law is kept.
fn law(mean: f64, max: f64, least_stopped: Option<f64>) -> (f64, Spread) {
    const RARE: f64 = 0.05;
    match least_stopped {
        Some(least) if mean - least >= RARE * (max - least) => (least, Spread::TwoPoints),
        _ => spread(mean, max),
    }
}

/// Uniform around the mean, up to the maximum; where that would begin at next to nothing, half the mean or the maximum.
pub(super) fn spread(mean: f64, max: f64) -> (f64, Spread) {
    const SHORTEST: f64 = 0.3;
    let least = 2.0 * mean - max;
    if least >= SHORTEST * mean {
        (least, Spread::Uniform)
    } else {
        (0.5 * mean, Spread::TwoPoints)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::profile::{AfterIdle, CpuCurve, Exponential};

    /// 20 ms of one CPU under half of one need 0.4 of a quota of 50 ms: 4 in 10 batches wait 50 ms for the next period, and 40 ms are the
    /// mean. Of batches of 2 ms 1 in 25 waits, which is left to the common law; one whole CPU stops none.
    #[test]
    fn a_quota_stops_a_part_of_the_batches() {
        const TOLERANCE: f64 = 1e-9;
        let at = |work, vcpu| {
            let curve = Throttled::new(work, 1.0, 0.1).unwrap();
            let (mean, max) = (curve.mean(vcpu), curve.bound(vcpu));
            let (least, spread) = law(mean, max, CpuCurve::from(curve).least_stopped(vcpu));
            Service {
                mean,
                max,
                after_idle: AfterIdle::NOTHING,
                least,
                spread,
                work: None,
                run_cost: 0.0,
            }
        };
        let half = at(0.02, 0.5);
        assert_eq!(half.spread, Spread::TwoPoints);
        for (found, expected) in [
            (half.least, 0.02),
            (half.mean, 0.04),
            (half.max, 0.07),
            (half.chance_of_max(), 0.4),
        ] {
            assert!((found - expected).abs() < TOLERANCE, "{half:?}");
        }
        let short = at(0.002, 0.5);
        assert_eq!((short.least, short.spread), spread(short.mean, short.max));
        let whole = at(0.02, 1.0);
        assert_eq!((whole.mean, whole.max, whole.least), (0.02, 0.02, 0.02));
    }

    /// Eq. 1 with the VGG-19 coefficients at 1.65 vCPU, worked out by hand:
    /// `1.8260695578676214 * exp(-1.65 / 0.5283726420022545) + 0.18015427168547402`.
    #[test]
    fn eq_1_gives_the_published_curve() {
        const TOLERANCE: f64 = 1e-6;
        let mean = Exponential::new(
            1.826_069_557_867_621_4,
            0.528_372_642_002_254_5,
            0.180_154_271_685_474_02,
        );
        assert!(mean.is_ok_and(|mean| (mean.at(1.65) - 0.260_563_7).abs() < TOLERANCE));
    }
}
