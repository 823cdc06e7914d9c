//! What a simulation counts, and what may be concluded from it.

use crate::arrival::Load;

/// Buckets of the latency histogram of a member, from zero to its SLO.
const BUCKETS: usize = 256;

/// Counts of one member.
#[derive(Debug, Clone)]
pub(crate) struct MemberTally {
    pub(crate) served: u64,
    pub(crate) late: u64,
    /// Sum of the latencies, in ticks.
    latency: f64,
    /// Counts by latency as a part of the SLO; empty where nobody asked for latencies.
    histogram: Vec<u32>,
    /// In ticks.
    pub(super) slo: u64,
    /// Buckets in a tick.
    scale: f64,
}

impl MemberTally {
    fn new(slo: u64, with_latencies: bool) -> Self {
        Self {
            served: 0,
            late: 0,
            latency: 0.0,
            histogram: if with_latencies {
                vec![0; BUCKETS]
            } else {
                Vec::new()
            },
            slo,
            #[expect(
                clippy::cast_precision_loss,
                reason = "SLOs are below 2^53 ticks, or need no such precision"
            )]
            scale: BUCKETS as f64 / (slo as f64 + 1.0),
        }
    }

    /// Mean latency in ticks.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(crate) fn mean(&self) -> f64 {
        self.latency / self.served.max(1) as f64
    }

    /// The latency in ticks that a share of the requests keeps, if that is within the SLO.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.served as f64;
        let width = self.slo as f64 / BUCKETS as f64;
        let mut counted = 0.0;
        let mut upper = 0.0;
        for &count in &self.histogram {
            let more = f64::from(count);
            if counted + more >= wanted && more > 0.0 {
                return Some(upper + width * (wanted - counted) / more);
            }
            counted += more;
            upper += width;
        }
        None
    }
}

/// Counts of a simulation.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) members: Vec<MemberTally>,
    pub(crate) batches: u64,
    pub(crate) rows: u64,
    /// Ticks that replicas were busy, summed over replicas.
    pub(crate) busy: f64,
    /// Ticks of one CPU that batches needed, where a quota is played.
    pub(crate) cpu_time: f64,
    /// Late requests of all members, and those of the blocks that are complete.
    late: u64,
    blocks: Vec<f64>,
    /// For each member the first one of its stream of arrivals; empty where all are of one stream.
    streams: Vec<usize>,
}

/// What a tally says about the promises of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every member keeps its percentile.
    Kept,
    /// Some member does not.
    Broken,
    /// More arrivals are needed to tell.
    Open,
}

/// How sure a verdict must be: standard deviations of a normal error, one-sided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Confidence(pub(crate) f64);

impl Tally {
    pub(crate) fn new(slos: &[u64], with_latencies: bool) -> Self {
        Self {
            members: slos
                .iter()
                .map(|&slo| MemberTally::new(slo, with_latencies))
                .collect(),
            batches: 0,
            rows: 0,
            busy: 0.0,
            cpu_time: 0.0,
            late: 0,
            blocks: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// Says which members are of one stream of arrivals ([`super::arrivals::streams`]).
    pub(super) fn of_streams(self, streams: Vec<usize>) -> Self {
        Self { streams, ..self }
    }

    /// One answered request.
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies are below 2^53 ticks, or need no such precision"
    )]
    pub(crate) fn count(&mut self, member: u32, latency: u64) {
        let tally = &mut self.members[member as usize];
        tally.served += 1;
        if latency > tally.slo {
            tally.late += 1;
            self.late += 1;
        } else if !tally.histogram.is_empty() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and below the number of buckets but for rounding"
            )]
            let bucket = (latency as f64 * tally.scale) as usize;
            tally.histogram[bucket.min(BUCKETS - 1)] += 1;
        }
        tally.latency += latency as f64;
    }

    /// Ends a block of arrivals; blocks of equal length show how late requests cluster.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(crate) fn end_block(&mut self) {
        let before: f64 = self.blocks.iter().sum();
        self.blocks.push(self.late as f64 - before);
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// How much more the number of late requests varies than that of independent events: variance of the blocks'
    /// counts over their mean, at least 1.
    #[expect(clippy::cast_precision_loss, reason = "few blocks")]
    fn clustering(&self) -> f64 {
        let count = self.blocks.len() as f64;
        let mean = self.blocks.iter().sum::<f64>() / count.max(1.0);
        if count < 2.0 || mean <= 0.0 {
            return 1.0;
        }
        let square = |block: &f64| (block - mean) * (block - mean);
        let variance = self.blocks.iter().map(square).sum::<f64>() / (count - 1.0);
        (variance / mean).max(1.0)
    }

    /// Whether the members keep their percentiles, where the evidence is clear enough.
    pub(crate) fn verdict(&self, loads: &[Load], confidence: Confidence) -> Verdict {
        let clustering = self.clustering();
        let mut all_kept = true;
        self.judge(loads, |miss, own, pooled| {
            let upper = own
                .upper(clustering, confidence)
                .min(pooled.upper(clustering, confidence));
            all_kept &= upper <= miss;
            own.lower(clustering, confidence) <= miss
        })
        .map_or(Verdict::Broken, |()| {
            if all_kept { Verdict::Kept } else { Verdict::Open }
        })
    }

    /// Whether the members keep their percentiles as far as counted, however weak the evidence.
    pub(crate) fn as_counted(&self, loads: &[Load]) -> bool {
        self.judge(loads, |miss, own, pooled| own.share().min(pooled.share()) <= miss)
            .is_some()
    }

    /// Whether, after a part `seen` of the run, some member would not be sure to keep its percentile at the end although the rest went a
    /// little better (half a standard deviation of what was seen) than this part.
    pub(crate) fn will_stay_open(&self, loads: &[Load], seen: f64, confidence: Confidence) -> bool {
        let clustering = self.clustering();
        self.judge(loads, |miss, own, pooled| {
            // Of a run that is 1/seen times as long with as many late requests in proportion, the bound is that of a weaker clustering.
            let at_end = |count: Count| {
                count
                    .improved(clustering, 0.5)
                    .upper(clustering * seen, confidence)
            };
            at_end(own).min(at_end(pooled)) <= miss
        })
        .is_none()
    }

    /// The share of each member's requests within its SLO, or that of its and all tighter members' if it is larger: it
    /// is no less in truth, and a rare member's own count says little.
    pub(crate) fn attainments(&self) -> Vec<f64> {
        self.counts()
            .map(|(own, pooled)| 1.0 - own.share().min(pooled.share()))
            .collect()
    }

    /// Each member's own counts, and those of it and all tighter members of its stream, whose share of late requests is
    /// an upper bound of its own (see [`super::arrivals::leaders`]).
    fn counts(&self) -> impl Iterator<Item = (Count, Count)> + '_ {
        let mut pools = vec![Count { served: 0, late: 0 }; self.members.len()];
        self.members.iter().enumerate().map(move |(member, tally)| {
            let own = Count {
                served: tally.served,
                late: tally.late,
            };
            let pool = &mut pools[self.streams.get(member).copied().unwrap_or(0)];
            pool.served += own.served;
            pool.late += own.late;
            (own, *pool)
        })
    }

    /// Asks `keeps` about every member: the share of its requests that may be late, its own counts, and those that
    /// bound them.
    fn judge(&self, loads: &[Load], mut keeps: impl FnMut(f64, Count, Count) -> bool) -> Option<()> {
        loads
            .iter()
            .zip(self.counts())
            .all(|(load, (own, pooled))| keeps(load.miss, own, pooled))
            .then_some(())
    }
}

/// Late requests among those served.
#[derive(Debug, Clone, Copy)]
struct Count {
    served: u64,
    late: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
impl Count {
    /// Fewer requests than this say little: as many are taken to have been in time.
    const FEW: u64 = 200;

    fn share(self) -> f64 {
        self.late as f64 / self.served.max(Self::FEW) as f64
    }

    /// With as many late requests less as some standard deviations of their number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and less than before"
    )]
    fn improved(self, clustering: f64, deviations: f64) -> Self {
        let late = self.late as f64;
        let less = deviations * (clustering * late).sqrt();
        Self {
            late: (late - less).max(0.0) as u64,
            ..self
        }
    }

    /// The score bounds of a Poisson mean with `late / clustering` independent events.
    fn bound(self, clustering: f64, deviations: f64) -> f64 {
        if self.served == 0 {
            return if deviations > 0.0 { 1.0 } else { 0.0 };
        }
        let events = self.late as f64 / clustering;
        let half = deviations * deviations / 2.0;
        let spread = deviations * (events + half / 2.0).sqrt();
        clustering * (events + half + spread) / self.served as f64
    }

    fn upper(self, clustering: f64, confidence: Confidence) -> f64 {
        self.bound(clustering, confidence.0)
    }

    fn lower(self, clustering: f64, confidence: Confidence) -> f64 {
        self.bound(clustering, -confidence.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_late_is_bounded_by_the_rule_of_the_score() {
        // z^2 = 5.43 events cannot be excluded at z = 2.33.
        let count = Count {
            served: 1000,
            late: 0,
        };
        assert!((count.upper(1.0, Confidence(2.33)) - 5.4289e-3).abs() < 1e-6);
        assert!(count.lower(1.0, Confidence(2.33)).abs() < 1e-12);
    }

    /// After a quarter of a run 250 of 25,000 are late, one in a hundred. At its end 1,000 of 100,000 would be, of which a percent is not sure; 200, or
    /// 800 of 100,000, have the bound 0.8 % + 2.33 sqrt(800) / 100,000 + ... = 0.87 %.
    #[test]
    fn a_run_is_given_up_where_its_end_would_not_tell() {
        let loads = [Load {
            slo: 1.0,
            rate: 1.0,
            miss: 0.01,
            process: crate::arrival::Process::Poisson,
        }];
        let after_a_quarter = |late: u64| {
            let mut tally = Tally::new(&[10], false);
            for block in 0..10 {
                (0..2_500).for_each(|row| tally.count(0, if row < late / 10 { 11 } else { 1 }));
                tally.end_block();
                assert_eq!(tally.blocks(), block + 1);
            }
            tally.will_stay_open(&loads, 0.25, Confidence(2.33))
        };
        assert!(!after_a_quarter(200));
        assert!(after_a_quarter(250));
    }

    #[test]
    fn clusters_widen_the_bounds() {
        let count = Count {
            served: 10_000,
            late: 100,
        };
        assert!(count.upper(4.0, Confidence(2.0)) > count.upper(1.0, Confidence(2.0)));
        assert!(count.lower(4.0, Confidence(2.0)) < count.lower(1.0, Confidence(2.0)));
        let mut tally = Tally::new(&[10], false);
        for block in [0, 8, 0, 8] {
            (0..block).for_each(|_| tally.count(0, 11));
            tally.end_block();
        }
        // Mean 4, variance 64/3.
        assert!((tally.clustering() - 16.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_lie_within_a_bucket() {
        let mut tally = Tally::new(&[1000], true);
        (1..=1000).for_each(|latency| tally.count(0, latency));
        let median = tally.members[0].quantile(0.5).unwrap_or(0.0);
        assert!((median - 500.0).abs() < 5.0, "{median}");
        assert!((tally.members[0].mean() - 500.5).abs() < 1e-9);
    }
}
