//! What batches under a quota say of a profile that is right, or too slow or too fast: a runtime is played tick by tick, and all that is told of it is what
//! gateways tell.

use std::collections::BTreeMap;

use harmonybatch_planner::units::{BatchSize, Percentile, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    Batches, Billing, Bucket, Correction, CpuLatency, Device, Dispatch, Estimate, GroupOutline,
    MemberOutline, ModelProfile, Platform, Profiled, Rows, Throttled, UnderQuota, profiled,
};

use crate::fixture::platform;
use crate::quota::{Controller, PERIOD, UNITS, seconds};
use crate::random::Random;

/// What came in so many seconds, each second.
const SPAN: f64 = 120.0;
const RATE: f64 = 20.0;

/// The most work of a batch, in means of it.
const SCATTER: f64 = 1.3;

/// What serves: millis of vCPU, CPUs that a batch keeps busy in hundredths, replicas, and rows of a full batch.
#[derive(Debug, Clone, Copy)]
struct Scene {
    millis: u32,
    speed: u32,
    replicas: u32,
    batch_size: u32,
    /// The part of its time that a runtime would be busy if all batches were full.
    utilization: f64,
    /// How many times the work of its profile the runtime needs.
    factor: f64,
}

impl Scene {
    fn vcpu(&self) -> f64 {
        f64::from(self.millis) / 1e3
    }

    /// CPU seconds of so many rows as they are: two rows' work for the batch itself.
    fn work(&self, rows: u32) -> f64 {
        let of_row = self.utilization * self.vcpu() * f64::from(self.replicas * self.batch_size)
            / (RATE * f64::from(2 + self.batch_size));
        of_row * f64::from(2 + rows)
    }

    fn profile(&self) -> ModelProfile {
        let entry = |rows: u32| {
            let curve = |times: f64| {
                let work = times * self.work(rows) / self.factor;
                Throttled::new(work, f64::from(self.speed) / 100.0, PERIOD)
                    .unwrap()
                    .into()
            };
            CpuLatency {
                batch: BatchSize::new(rows).unwrap(),
                mean: curve(1.0),
                max: curve(SCATTER),
            }
        };
        let sizes = (1..=self.batch_size).map(entry).collect();
        ModelProfile::new(sizes, vec![], BatchSize::new(self.batch_size).unwrap()).unwrap()
    }

    fn device(&self) -> Device {
        Device::Cpu {
            vcpu: Vcpu::from_millis(self.millis).unwrap(),
        }
    }

    fn group(&self) -> GroupOutline {
        GroupOutline {
            name: "deep-aaaaa".to_owned(),
            device: self.device(),
            batch_size: BatchSize::new(self.batch_size).unwrap(),
            dispatch: Dispatch::Eager,
            replicas: self.replicas,
            members: vec![MemberOutline {
                app: "search".to_owned(),
                slo: Seconds::new(1.0).unwrap(),
                percentile: Percentile::new(99.0).unwrap(),
                // What was declared has nothing to do with what comes.
                rate: Rate::new(3.0).unwrap(),
                max_wait: Seconds::ZERO,
                latency_bound: None,
                cost_per_second: None,
            }],
            cost_per_second: 0.0,
        }
    }

    /// Requests that come each for itself; work that is uniform around its mean.
    fn play(&self, seed: u64) -> Seen {
        let mut random = Random::seeded(seed);
        let (mut arrivals, mut clock) = (Vec::new(), random.exponential(RATE));
        while clock < SPAN {
            arrivals.push(ticks(clock));
            clock += random.exponential(RATE);
        }
        let new = || Controller::new(u64::from(self.millis), u64::from(self.speed));
        let mut replicas: Vec<Controller> = (0..self.replicas).map(|_| new()).collect();
        let mut told = Seen::default();
        let mut next = 0;
        while let Some(&first) = arrivals.get(next) {
            let replica = replicas.iter_mut().min_by_key(|replica| replica.now).unwrap();
            replica.idle_until(first);
            let waiting = arrivals[next..]
                .iter()
                .take_while(|arrival| **arrival <= replica.now);
            let rows = u32::try_from(waiting.take(self.batch_size as usize).count()).unwrap();
            next += rows as usize;
            let work = self.work(rows) * (1.0 + 0.3 * (2.0 * random.unit() - 1.0));
            let taken = replica.run(units(work));
            told.count(rows, seconds(to_f64(taken)), seconds(to_f64(replica.now)));
        }
        told
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some minutes"
)]
fn ticks(time: f64) -> u64 {
    (time / seconds(1.0)) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "of one batch"
)]
fn units(work: f64) -> u64 {
    (work / seconds(1.0) * UNITS as f64).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "some minutes, some thousands")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

/// What a gateway tells of batches.
#[derive(Debug, Default)]
struct Seen {
    times: BTreeMap<u32, Vec<f64>>,
    /// When the first batch was over, and the last one.
    span: Option<(f64, f64)>,
}

impl Seen {
    fn count(&mut self, rows: u32, time: f64, now: f64) {
        self.times.entry(rows).or_default().push(time);
        let first = self.span.map_or(now, |(first, _)| first);
        self.span = Some((first, now));
    }

    fn rate(&self) -> f64 {
        let (first, last) = self.span.unwrap();
        let rows: u64 = self
            .rows()
            .iter()
            .map(|rows| u64::from(rows.rows) * rows.count)
            .sum();
        to_f64(rows) / (last - first)
    }

    fn rows(&self) -> Vec<Rows> {
        let rows = self.times.iter().map(|(rows, times)| Rows {
            rows: *rows,
            count: times.len() as u64,
            mean: times.iter().sum::<f64>() / to_f64(times.len() as u64),
        });
        rows.collect()
    }

    fn batches(&self, known: &[Profiled], under: &mut UnderQuota) -> Vec<Batches> {
        let rows = self.rows();
        let expected = under.explain(self.rate(), &rows, &mut 1_000).unwrap();
        let batches = rows.iter().zip(expected).map(|(seen, expected)| {
            let times = &self.times[&seen.rows];
            let squares: f64 = times.iter().map(|time| (time - seen.mean).powi(2)).sum();
            let spread = times.iter().map(|time| Bucket {
                least: time * 16.0 / 17.0,
                most: time * 17.0 / 16.0,
                count: 1,
            });
            Batches {
                expected,
                longest: known[seen.rows as usize - 1].longest(),
                answered: seen.count,
                mean: seen.mean,
                variance: squares / to_f64(seen.count),
                spread: spread.collect(),
                overdue: vec![],
            }
        });
        batches.collect()
    }
}

fn on(platform: &Platform, scene: &Scene) -> (Vec<Profiled>, UnderQuota) {
    let known = profiled(platform, &scene.profile(), &scene.device()).unwrap();
    let under = UnderQuota::new(platform, &known, &scene.group()).unwrap();
    (known, under)
}

/// Short batches and long ones, of one thread and two, alone and in batches of four.
const SERVING: [(u32, u32, u32, u32); 5] = [
    (500, 100, 1, 1),
    (300, 100, 3, 1),
    (400, 200, 2, 1),
    (500, 100, 1, 4),
    (800, 100, 2, 4),
];

/// Calls with each way of serving, at this utilization of a runtime of this factor.
fn each(utilization: f64, factor: f64, mut look: impl FnMut(&Scene, &Seen, &Estimate)) {
    let platform = platform(Billing::PerReplica);
    for (millis, speed, replicas, batch_size) in SERVING {
        let scene = Scene {
            millis,
            speed,
            replicas,
            batch_size,
            utilization,
            factor,
        };
        let (known, mut under) = on(&platform, &scene);
        for seed in 1..=3 {
            let told = scene.play(seed);
            let estimate = Estimate::of(&told.batches(&known, &mut under));
            look(&scene, &told, &estimate);
        }
    }
}

/// Standard errors that an estimate is off by at most; of 180 that are normal one in eight sets has one that is further off than three.
const ERRORS: f64 = 3.0;

/// Whether it is within what its noise explains, and that is little.
fn is_found(estimate: &Estimate, factor: f64) -> bool {
    let off = (estimate.mean() / factor).ln();
    estimate.error() < 0.04 && off.abs() < ERRORS * estimate.error()
}

#[test]
fn two_minutes_tell_a_slower_runtime_at_every_utilization() {
    for utilization in [0.2, 0.5, 0.8] {
        for factor in [1.2, 2.0] {
            each(utilization, factor, |scene, seen, estimate| {
                assert!(is_found(estimate, factor), "{scene:?}: {estimate:?}");
                let correction = Correction::default().after(estimate, true).unwrap();
                let off = (correction.mean() / factor).ln();
                assert!(
                    off.abs() < (ERRORS + 1.0) * estimate.error(),
                    "{scene:?}: {correction:?}"
                );
                assert!(covers(scene, correction, seen), "{scene:?}: {correction:?}");
            });
        }
    }
}

#[test]
fn they_tell_a_faster_one() {
    for utilization in [0.2, 0.5, 0.8] {
        each(utilization, 0.5, |scene, seen, estimate| {
            assert!(is_found(estimate, 0.5), "{scene:?}: {estimate:?}");
            let correction = Correction::default().after(estimate, true).unwrap();
            // Times are known to a sixteenth, which is more of the work of a batch that mostly waits. By so much less is saved.
            assert!(
                (0.49..0.65).contains(&correction.mean()),
                "{scene:?}: {correction:?}"
            );
            assert!(covers(scene, correction, seen), "{scene:?}: {correction:?}");
        });
    }
}

#[test]
fn a_runtime_as_fast_as_its_profile_is_not_corrected() {
    for utilization in [0.2, 0.5, 0.8] {
        each(utilization, 1.0, |scene, _, estimate| {
            let off = estimate.mean().ln();
            assert!(
                is_found(estimate, 1.0) && off.abs() < 0.03,
                "{scene:?}: {estimate:?}"
            );
            assert_eq!(Correction::default().after(estimate, true), None, "{scene:?}");
        });
    }
}

/// More comes than can be served, so that no replica is ever idle and what is served says so.
#[test]
fn a_runtime_that_cannot_keep_up_is_found_as_well() {
    for factor in [1.0, 2.0] {
        each(1.5, factor, |scene, _, estimate| {
            let off = (estimate.mean() / factor).ln();
            assert!(off.abs() < 0.04, "{scene:?}: {estimate:?}");
        });
    }
}

/// Whether the corrected maximum of every size that occurred often is no less than the 99 % quantile of what was seen.
fn covers(scene: &Scene, correction: Correction, seen: &Seen) -> bool {
    seen.times
        .iter()
        .filter(|(_, times)| times.len() >= 100)
        .all(|(rows, times)| {
            let mut sorted = times.clone();
            sorted.sort_by(f64::total_cmp);
            let quantile = sorted[sorted.len() * 99 / 100];
            let work = SCATTER * scene.work(*rows) / scene.factor * correction.max();
            let longest = Throttled::new(work, f64::from(scene.speed) / 100.0, PERIOD).unwrap();
            longest.bound(scene.vcpu()) >= quantile * (1.0 - 1e-3)
        })
}
