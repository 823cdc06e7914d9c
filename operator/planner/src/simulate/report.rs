//! What a plan does on a stream of requests: the figures that `harmonybatch simulate` prints.

use super::{Look, Observer, Outcome, Pace, Setup, mix, play};
use crate::app::ModelSet;
use crate::arrival::{Load, Process, Traces};
use crate::latency::{Catalogue, Function, Service};
use crate::plan::{Device, GroupPlan, Plan};
use crate::platform::{Billing, Platform};
use crate::profile::{CpuCurve, ModelProfile};
use crate::units::Seconds;

/// What to simulate a plan with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulation {
    /// Requests of each group.
    pub requests: u64,
    /// Another seed is another stream.
    pub seed: u64,
}

/// What one group of a plan did.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSimulation {
    /// Its applications, in the order of the plan's members.
    pub apps: Vec<AppSimulation>,
    /// Simulated time from the first request that counted to the last.
    pub seconds: f64,
    /// Batches by size: the first of one row, the last full.
    pub batches: Vec<u64>,
    /// Share of the replicas' time in which they ran a batch.
    pub utilization: f64,
    /// CPU seconds that batches needed, with what idle time and stops of a quota cost, where the profile says what work is.
    pub cpu_seconds: Option<f64>,
    /// Cost per second, in the platform's currency; where runs are billed, of the batches that were run.
    pub cost_per_second: f64,
}

/// What one application saw. Latencies contain the overhead and are exact to one percent; without a request they are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct AppSimulation {
    /// The application's name.
    pub app: String,
    /// Its requests.
    pub requests: u64,
    /// The share of them within the SLO, as a fraction.
    pub attainment: f64,
    /// Whether that is no less than its percentile.
    pub kept: bool,
    /// Mean latency.
    pub mean: Seconds,
    /// Median latency.
    pub p50: Seconds,
    /// 90th percentile of the latency.
    pub p90: Seconds,
    /// 99th percentile of the latency.
    pub p99: Seconds,
    /// Longest latency.
    pub max: Seconds,
    /// How its latencies are spread: ranges that hold at least one request each, shortest first.
    pub distribution: Vec<LatencyRange>,
}

/// The requests whose latency lies in a range that is a hundredth of itself wide, or narrower than anybody measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyRange {
    /// Lower end.
    pub from: Seconds,
    /// Upper end.
    pub to: Seconds,
    /// The share of all requests in it, as a fraction.
    pub share: f64,
}

impl AppSimulation {
    /// The latency that a share of its requests keeps: the middle of the range in which it lies.
    pub fn quantile(&self, share: f64) -> Seconds {
        let mut counted = 0.0;
        let reached = |range: &&LatencyRange| {
            counted += range.share;
            counted >= share
        };
        self.distribution.iter().find(reached).map_or(self.max, |range| {
            Seconds::clamped(f64::midpoint(range.from.get(), range.to.get()))
        })
    }

    /// The share of its requests that were answered within a latency; in the range that holds it, they are taken to be spread evenly.
    pub fn share_within(&self, latency: Seconds) -> f64 {
        let within = |range: &LatencyRange| {
            let width = range.to.get() - range.from.get();
            let part = if width > 0.0 {
                ((latency.get() - range.from.get()) / width).clamp(0.0, 1.0)
            } else {
                f64::from(u8::from(range.to <= latency))
            };
            part * range.share
        };
        self.distribution.iter().map(within).sum()
    }
}

impl GroupSimulation {
    /// Mean rows of a batch.
    pub fn mean_batch(&self) -> f64 {
        let rows: u64 = (1..).zip(&self.batches).map(|(rows, count)| rows * count).sum();
        let batches: u64 = self.batches.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
        let mean = rows as f64 / batches.max(1) as f64;
        mean
    }
}

/// Plays requests through every group of a plan: its members at the rates of `set` (their own where that does not have them), arrivals as `set` says. Batches take what
/// the profile says, without the platform's headroom, and requests wait for as long as the plan lets them. A group whose device the platform or the profile does not have is `None`.
pub fn simulate_plan(
    platform: &Platform,
    set: &ModelSet,
    plan: &Plan,
    simulation: Simulation,
) -> Vec<Option<GroupSimulation>> {
    let catalogue = Catalogue::new(platform, set.profile());
    let groups = (0_u64..).zip(&plan.groups);
    groups
        .map(|(index, group)| {
            let seed = mix(simulation.seed ^ mix(index));
            simulate_group(
                platform,
                &catalogue,
                set,
                group,
                Simulation { seed, ..simulation },
            )
        })
        .collect()
}

fn simulate_group(
    platform: &Platform,
    catalogue: &Catalogue,
    set: &ModelSet,
    group: &GroupPlan,
    simulation: Simulation,
) -> Option<GroupSimulation> {
    let same_device = |function: &&Function| function.site.device(platform) == group.device;
    let function = catalogue.functions.iter().find(same_device)?;
    let service = function.expected.get(..group.batch_size.get() as usize)?;
    let waits: Vec<f64> = group.members.iter().map(|member| member.max_wait.get()).collect();
    let mut traces = Traces::default();
    let overhead = platform.overhead().get();
    let loads: Vec<Load> = group
        .members
        .iter()
        .map(|member| {
            let app = set.apps().iter().find(|app| app.name == member.app);
            Load {
                slo: member.slo.get() - overhead,
                rate: app.map_or(member.rate, |app| app.rate).get(),
                miss: 1.0 - member.percentile.fraction(),
                process: app.map_or(Process::Poisson, |app| traces.add(&app.arrivals)),
            }
        })
        .collect();
    let setup = Setup {
        loads: &loads,
        traces: &traces,
        service,
        replicas: group.replicas,
        dispatch: group.dispatch,
        waits: Some(&waits),
    };
    let look = Look {
        seed: simulation.seed,
        arrivals: simulation.requests,
        block: simulation.requests.max(1),
        early: None,
        last: None,
        with_latencies: false,
        pace: Pace::Drawn,
        late_requests: 20.0,
    };
    let mut record = Record {
        latencies: vec![Latencies::default(); loads.len()],
        batches: vec![0; service.len()],
    };
    let outcome = play(&setup, &look, false, &mut record);
    let cost_per_second = match platform.billing() {
        Billing::PerReplica => function.price * f64::from(group.replicas),
        Billing::PerInvocation => {
            let fee = platform.prices().request.get();
            let runs = record.batches.iter().zip(service);
            #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
            let paid: f64 = runs
                .map(|(&count, service)| count as f64 * (service.run_cost + fee))
                .sum();
            paid / (outcome.span / outcome.ticks)
        }
    };
    Some(GroupSimulation {
        apps: apps(group, &record, &outcome, overhead),
        seconds: outcome.span / outcome.ticks,
        batches: record.batches,
        cpu_seconds: cpu_seconds(set.profile(), &group.device, service, &outcome),
        utilization: (outcome.tally.busy / outcome.span / f64::from(group.replicas.max(1))).min(1.0),
        cost_per_second,
    })
}

/// Where no quota is played nothing stops batches, and they keep as many CPUs busy as the profile says of those of one row.
fn cpu_seconds(
    profile: &ModelProfile,
    device: &Device,
    service: &[Service],
    outcome: &Outcome,
) -> Option<f64> {
    if matches!(device, Device::Gpu { .. }) {
        return None;
    }
    let ticks = if service.first()?.work.is_some() {
        outcome.tally.cpu_time
    } else {
        match profile.cpu().first()?.mean {
            CpuCurve::Throttled(mean) => outcome.tally.busy * mean.parallelism(),
            CpuCurve::Exponential(_) | CpuCurve::Hyperbolic(_) => return None,
        }
    };
    Some(ticks / outcome.ticks)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts below 2^53, latencies that need no such precision"
)]
fn apps(group: &GroupPlan, record: &Record, outcome: &Outcome, overhead: f64) -> Vec<AppSimulation> {
    let seen = outcome.tally.members.iter().zip(&record.latencies);
    group
        .members
        .iter()
        .zip(seen)
        .map(|(member, (tally, latencies))| {
            let seconds = |ticks: f64| Seconds::clamped(ticks / outcome.ticks + overhead);
            let quantile = |share| latencies.quantile(share).map_or(Seconds::ZERO, seconds);
            let attainment = 1.0 - tally.late as f64 / tally.served.max(1) as f64;
            AppSimulation {
                app: member.app.clone(),
                requests: tally.served,
                attainment,
                kept: attainment >= member.percentile.fraction(),
                mean: if tally.served > 0 {
                    seconds(tally.mean())
                } else {
                    Seconds::ZERO
                },
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                max: quantile(1.0),
                distribution: latencies.ranges(seconds),
            }
        })
        .collect()
}

/// Everything that a run is asked about.
struct Record {
    latencies: Vec<Latencies>,
    /// Batches of 1, 2, ... rows.
    batches: Vec<u64>,
}

impl Observer for Record {
    fn request(&mut self, member: u32, latency: u64) {
        self.latencies[member as usize].count(latency);
    }

    fn batch(&mut self, rows: u32, _service: u64) {
        self.batches[rows as usize - 1] += 1;
    }
}

/// Latencies by size, in buckets that are a hundredth wide: 64 for each doubling.
#[derive(Debug, Clone)]
struct Latencies {
    buckets: Vec<u64>,
    longest: u64,
    total: u64,
}

/// Bits of a latency below its first that tell buckets apart.
const FINE: u32 = 6;

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; ((u64::BITS - FINE + 1) << FINE) as usize],
            longest: 0,
            total: 0,
        }
    }
}

impl Latencies {
    fn count(&mut self, latency: u64) {
        self.buckets[Self::bucket(latency)] += 1;
        self.longest = self.longest.max(latency);
        self.total += 1;
    }

    /// Latencies below 64 ticks have a bucket each; a longer one drops all but its first seven bits.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
    fn bucket(latency: u64) -> usize {
        let dropped = (u64::BITS - latency.leading_zeros()).saturating_sub(FINE + 1);
        ((dropped as usize) << FINE) + (latency >> dropped) as usize
    }

    /// The middle of the bucket in which the quantile lies, in ticks; the longest is exact.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts below 2^53, latencies that need no such precision"
    )]
    fn quantile(&self, share: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        if share >= 1.0 {
            return Some(self.longest as f64);
        }
        let wanted = share * self.total as f64;
        let mut counted = 0.0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            counted += count as f64;
            if count > 0 && counted >= wanted {
                let (first, last) = Self::bounds(bucket);
                let width = last - first;
                return Some((first as f64 + width as f64 / 2.0).min(self.longest as f64));
            }
        }
        Some(self.longest as f64)
    }

    /// The shortest and the longest latency of a bucket.
    fn bounds(bucket: usize) -> (u64, u64) {
        let dropped = (bucket >> FINE).saturating_sub(1);
        let first = ((bucket - (dropped << FINE)) as u64) << dropped;
        (first, first + ((1_u64 << dropped) - 1))
    }

    /// The buckets that hold something; the last ends with the longest.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts below 2^53, latencies that need no such precision"
    )]
    fn ranges(&self, seconds: impl Fn(f64) -> Seconds) -> Vec<LatencyRange> {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled
            .map(|(bucket, &count)| {
                let (first, last) = Self::bounds(bucket);
                LatencyRange {
                    from: seconds(first as f64),
                    to: seconds(last.min(self.longest) as f64),
                    share: count as f64 / self.total as f64,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_one_percent() {
        for scale in [1_u64, 37, 1_000_000, 1 << 40] {
            let mut latencies = Latencies::default();
            (1..=1000).for_each(|latency| latencies.count(latency * scale));
            for (share, expected) in [(0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1000)] {
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let expected = (expected * scale) as f64;
                let found = latencies.quantile(share).unwrap_or(0.0);
                assert!(
                    (found / expected - 1.0).abs() < 0.01,
                    "{share} of {scale}: {found}"
                );
            }
        }
        assert_eq!(Latencies::default().quantile(0.5), None);
        let mut extremes = Latencies::default();
        extremes.count(0);
        extremes.count(u64::MAX);
        assert_eq!(extremes.quantile(0.5), Some(0.0));
    }

    #[test]
    fn the_distribution_holds_every_request_and_agrees_with_the_counts() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|latency| latencies.count(latency * 1000));
        let seen = AppSimulation {
            app: "search".to_owned(),
            requests: 1000,
            attainment: 1.0,
            kept: true,
            mean: Seconds::ZERO,
            p50: Seconds::ZERO,
            p90: Seconds::ZERO,
            p99: Seconds::ZERO,
            max: Seconds::ZERO,
            // A tick is a microsecond.
            distribution: latencies.ranges(|ticks| Seconds::clamped(ticks / 1e6)),
        };
        let within = |seconds| seen.share_within(Seconds::clamped(seconds));
        assert!(within(0.000_9) < 1e-12 && (within(1.0) - 1.0).abs() < 1e-12);
        // k of 1000 latencies of 1, 2, ... 1000 ms lie within k ms, but for the width of a range.
        for thousandths in [0.1, 0.25, 0.5, 0.9, 0.99] {
            assert!(
                (within(thousandths) - thousandths).abs() < 0.01,
                "{}",
                within(thousandths)
            );
            let quantile = seen.quantile(thousandths).get();
            assert!((quantile / thousandths - 1.0).abs() < 0.01, "{quantile}");
        }
    }
}
