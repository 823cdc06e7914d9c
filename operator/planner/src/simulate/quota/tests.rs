#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::{Look, Outcome, Pace, Setup, simulate};
use super::*;
use crate::arrival::{Load, Process, Traces};
use crate::latency::{Service, Spread, Work};
use crate::plan::Dispatch;
use crate::profile::{AfterIdle, Throttled};

/// Seconds and ticks: 100 ms of nanoseconds.
const PERIOD: f64 = 0.1;
const TICKS: f64 = 1e9;

/// Mean and largest work in CPU seconds, CPUs, and the limit: less than a quota, about one, and many; one thread, two, and one that also waits.
const CASES: [(f64, f64, f64, f64); 10] = [
    (0.004_87, 0.005_5, 1.0, 0.1),
    (0.031_37, 0.045, 1.0, 0.5),
    (0.049_3, 0.049_3, 1.0, 0.5),
    (0.050_7, 0.07, 1.0, 0.5),
    (0.331_7, 0.5, 1.0, 0.7),
    (0.088_3, 0.3, 1.0, 0.95),
    (0.061_3, 0.08, 2.0, 1.3),
    (0.417_9, 0.417_9, 2.0, 0.25),
    (0.011_4, 0.017_2, 0.634, 0.2),
    (0.024_7, 0.03, 0.65, 0.65),
];

/// The service of one row under a quota that is played.
fn service(case: (f64, f64, f64, f64)) -> Service {
    service_with(case, 0.0)
}

/// The same with so much work more after idle time.
fn service_with((mean_work, largest, parallelism, vcpu): (f64, f64, f64, f64), after_idle: f64) -> Service {
    let curve = |work| Throttled::new(work, parallelism, PERIOD).unwrap();
    let after_idle = AfterIdle::new(after_idle, 1e-6).unwrap();
    let work = Work::new(curve(mean_work), curve(largest), vcpu, after_idle);
    let (mean, max) = (curve(mean_work).mean(vcpu), work.bound());
    Service {
        mean,
        max,
        // What would be drawn were no quota played, and is not.
        least: 0.0,
        spread: Spread::TwoPoints,
        after_idle: AfterIdle::NOTHING,
        work: Some(work),
        run_cost: 0.0,
    }
}

/// What one replica does with single requests.
fn played(service: Service, rate: f64, arrivals: u64, pace: Pace) -> Outcome {
    let load = Load {
        slo: 1e4,
        rate,
        miss: 0.01,
        process: Process::Poisson,
    };
    let setup = Setup {
        loads: &[load],
        traces: &Traces::default(),
        service: &[service],
        replicas: 1,
        dispatch: Dispatch::Eager,
        waits: None,
    };
    let look = Look {
        seed: 5,
        arrivals,
        block: arrivals,
        early: None,
        last: None,
        with_latencies: true,
        pace,
        late_requests: 20.0,
    };
    simulate(&setup, &look)
}

/// Mean seconds of a batch.
#[expect(clippy::cast_precision_loss, reason = "a small count")]
fn mean_service(outcome: &Outcome) -> f64 {
    outcome.tally.busy / outcome.tally.batches as f64 / outcome.ticks
}

#[test]
fn a_replica_that_is_never_idle_takes_the_mean_of_the_profile() {
    for case in CASES {
        let service = service(case);
        // So that not even the shortest batches leave it idle.
        let outcome = played(service, 4.0 / service.mean, 200_000, Pace::Drawn);
        let found = mean_service(&outcome) / service.mean;
        // The deviation of uniform work is 0.41 of its mean at most, that of two points 1.6 in these cases: of 50,000 batches 0.7 %.
        assert!(
            outcome.tally.batches > 45_000,
            "{case:?}: {}",
            outcome.tally.batches
        );
        let spread = service.work.unwrap();
        let tolerance = if spread.spread == Spread::Uniform {
            5e-3
        } else {
            2e-2
        };
        assert!((found - 1.0).abs() < tolerance, "{case:?}: {found}");
    }
}

/// Whatever is drawn: all periods are used to the last of their quotas, but for the first and the last one.
#[test]
fn batches_that_follow_each_other_use_every_quota() {
    for (_, largest, parallelism, vcpu) in CASES {
        let mut random = Random::seeded(9);
        let mut quotas = Quotas::new(vcpu, 100_000_000, 1, &mut random);
        let (mut now, mut work) = (0, 0.0);
        for _ in 0..10_000 {
            let needed = random.unit() * largest * TICKS;
            now += quotas.run(0, now, needed, quotas.speed(parallelism)).0;
            work += needed;
        }
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let off = now as f64 - work / vcpu;
        assert!(
            off.abs() <= PERIOD * TICKS,
            "{parallelism} {vcpu}: {off} of {now}"
        );
    }
}

#[test]
fn batches_after_long_idle_times_take_the_mean_over_all_phases() {
    for (work, _, parallelism, vcpu) in CASES {
        for penalty in [0.0, 0.3 * work] {
            let service = service_with((work, work, parallelism, vcpu), penalty);
            let curve = Throttled::new(work + penalty, parallelism, PERIOD).unwrap();
            // One in ten thousand finds another one before it.
            let outcome = played(service, 1e-4 / service.max, 100_000, Pace::Drawn);
            let (found, expected) = (mean_service(&outcome), curve.mean_after_idle(vcpu));
            // Latencies differ by a period at most: 0.3 of it is more than their deviation.
            assert!(
                (found - expected).abs() < 4.0 * 0.3 * PERIOD / 100_000_f64.sqrt() + 1e-4 * service.max,
                "{work} and {penalty} on {parallelism} under {vcpu}: {found} for {expected}"
            );
        }
    }
}

/// A controller that knows nothing but steps of 10 us: what runs in a step is no more than is left, and at a period's end all is there again.
struct Steps {
    quota: f64,
    phase: u64,
    now: u64,
    left: f64,
}

const STEP: u64 = 10_000;
const STEPS: u64 = 10_000;

impl Steps {
    fn step(&mut self, wanted: f64) -> f64 {
        if self.now % STEPS == self.phase {
            self.left = self.quota;
        }
        let done = wanted.min(self.left);
        self.left -= done;
        self.now += 1;
        done
    }
}

#[test]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few thousand periods"
)]
fn a_controller_that_is_played_step_by_step_takes_as_long() {
    for (_, largest, parallelism, vcpu) in CASES {
        let mut random = Random::seeded(3);
        let mut quotas = Quotas::new(vcpu, STEP * STEPS, 1, &mut random);
        let phase = (random.unit() * STEPS as f64) as u64 % STEPS;
        quotas.replicas[0].refill_at = phase * STEP;
        let mut steps = Steps {
            quota: quotas.quota,
            phase,
            now: 0,
            left: quotas.quota,
        };
        let (mut stopped, mut idle) = (0, 0);
        for _ in 0..1_500 {
            // Half of them follow at once, others after anything up to two periods.
            let pause = (random.unit() - 0.5).max(0.0) * 4.0 * STEPS as f64;
            for _ in 0..pause as u64 {
                steps.step(0.0);
                idle += 1;
            }
            let work = random.unit() * largest * TICKS;
            let begun = steps.now;
            let mut needed = work;
            while needed > 1e-6 {
                needed -= steps.step(needed.min(parallelism * STEP as f64));
            }
            let expected = (steps.now - begun) * STEP;
            let (found, stopped_times) = quotas.run(0, begun * STEP, work, quotas.speed(parallelism));
            // The last step ends after the batch.
            assert!(
                (found..=found + STEP + 2).contains(&expected),
                "{parallelism} under {vcpu}, {work}: {found} for {expected}"
            );
            let is_longer = found as f64 > work / parallelism + 1e3;
            assert_eq!(
                stopped_times > 0,
                is_longer,
                "{parallelism} under {vcpu}, {work}: {stopped_times} stops"
            );
            stopped += u64::from(is_longer);
            let bound = Throttled::new(work / TICKS, parallelism, PERIOD)
                .unwrap()
                .bound(vcpu);
            assert!(found as f64 <= bound * TICKS + 2.0, "{found} above {bound}");
        }
        assert!(
            idle > 0 && (stopped > 0) == (vcpu < parallelism),
            "{parallelism} under {vcpu}"
        );
    }
}

/// What was stopped needs more when it goes on: of a replica that is never idle the mean is that of the profile all the same, step by step.
#[test]
#[expect(clippy::cast_precision_loss, reason = "a few thousand periods")]
fn what_stops_cost_is_in_the_mean_of_the_profile() {
    const BATCHES: u32 = 300;
    let after_idle = AfterIdle::new(0.002, 0.03).unwrap();
    for (mean_work, _, parallelism, vcpu) in CASES {
        let curve = Throttled::new(mean_work, parallelism, PERIOD)
            .unwrap()
            .with_after_idle(after_idle);
        let mut steps = Steps {
            quota: vcpu * PERIOD * TICKS,
            phase: 0,
            now: 0,
            left: 0.0,
        };
        for _ in 0..BATCHES {
            let (mut needed, mut stood_still) = (mean_work * TICKS, 0_u64);
            while needed > 1e-6 {
                let wanted = needed.min(parallelism * STEP as f64);
                if stood_still > 0 && (steps.left > 0.0 || steps.now.is_multiple_of(STEPS)) {
                    needed += after_idle.after((stood_still * STEP) as f64 / TICKS) * TICKS;
                    stood_still = 0;
                }
                let done = steps.step(wanted);
                needed -= done;
                stood_still = if done > 0.0 { 0 } else { stood_still + 1 };
            }
        }
        let found = (steps.now * STEP) as f64 / TICKS / f64::from(BATCHES);
        let expected = curve.mean(vcpu);
        // A period more or less of them all, and the steps at the end of each batch and each quota.
        let tolerance = PERIOD / f64::from(BATCHES) + 3.0 * STEP as f64 / TICKS + 0.01 * expected;
        assert!(
            (found - expected).abs() < tolerance,
            "{mean_work} on {parallelism} under {vcpu}: {found} for {expected}"
        );
    }
}

/// The largest work at the worst moment takes as long as the longest batch of a plan, which is what every batch takes at the slowest pace.
#[test]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few thousand periods"
)]
fn no_batch_takes_longer_than_the_slowest() {
    for case in CASES {
        let service = service(case);
        let work = service.work.unwrap();
        assert!(work.most <= case.1 * (1.0 + 1e-12) && work.least > 0.0 && work.least <= case.0);
        let mut random = Random::seeded(2);
        let mut quotas = Quotas::new(work.vcpu(), 100_000_000, 1, &mut random);
        let speed = quotas.speed(work.parallelism());
        let mut longest = 0;
        let mut now = 0;
        for _ in 0..20_000 {
            now += (random.unit() * 2e8) as u64 / 4;
            // All but a little of the quota, then at once the batch that is looked at.
            let before = random.unit() * work.vcpu() * 1e8;
            now += quotas.run(0, now, before, speed).0;
            let (taken, _) = quotas.run(0, now, work.most * TICKS, speed);
            longest = longest.max(taken);
            now += taken;
        }
        let most = service.max * TICKS;
        assert!(longest as f64 <= most + 2.0, "{case:?}: {longest} above {most}");
        assert!(
            longest as f64 >= 0.98 * most,
            "{case:?}: {longest} far from {most}"
        );
        let slowest = mean_service(&played(service, 0.1, 1_000, Pace::Slowest));
        assert!((slowest / service.max - 1.0).abs() < 1e-6);
    }
}

/// At little use of it a plan no longer supposes that others have spent a quota; two replicas meet their period's ends at moments of their own.
#[test]
fn a_quota_of_which_little_is_used_stops_little() {
    let service = service((0.02, 0.02, 1.0, 0.5));
    let mean = |rate: f64| mean_service(&played(service, rate, 100_000, Pace::Drawn));
    // Alone 20 ms; of a replica that is never idle 40 ms.
    let (idle, some, busy) = (mean(0.25), mean(10.0), mean(24.0));
    assert!((idle - 0.02).abs() < 1e-4, "{idle}");
    assert!(idle < some && some < busy && busy < 0.04, "{idle} {some} {busy}");
}

/// Seconds of batches of each size that followed each other in random order under a quota of the kernel's (`profiler/tests/measured.rs`).
const MEASURED: [(f64, &str); 4] = [
    (
        0.1,
        include_str!("../../../../profiler/tests/measured/deep-100.jsonl"),
    ),
    (
        0.2,
        include_str!("../../../../profiler/tests/measured/deep-200.jsonl"),
    ),
    (
        0.3,
        include_str!("../../../../profiler/tests/measured/deep-300.jsonl"),
    ),
    (
        0.4,
        include_str!("../../../../profiler/tests/measured/deep-400.jsonl"),
    ),
];

/// Mean work, largest work and CPUs of batches of 1 and 2 rows, as the profiler's fit finds them in all eight files, with a 95 % quantile for `max`.
const FITTED: [(f64, f64, f64); 2] = [(0.011_4, 0.017_2, 0.633_5), (0.015_1, 0.020_0, 0.709_5)];

fn measured(samples: &str, rows: usize) -> Vec<f64> {
    let of_rows = format!("{{\"batch\":{rows},\"seconds\":");
    let seconds = |line: &str| line.strip_prefix(&of_rows)?.strip_suffix('}')?.parse().ok();
    samples.lines().filter_map(seconds).collect()
}

/// The largest of the smallest nine tenths, and the mean.
#[expect(clippy::cast_precision_loss, reason = "a small count")]
fn ninth_tenth_and_mean(mut latencies: Vec<f64>) -> (f64, f64) {
    latencies.sort_by(f64::total_cmp);
    let mean = latencies.iter().sum::<f64>() / latencies.len() as f64;
    (latencies[latencies.len() * 9 / 10], mean)
}

/// Of 44 to 130 batches a size, which in two clusters tell their mean to 5 to 11 %.
#[test]
#[expect(clippy::cast_precision_loss, reason = "ticks of one batch")]
fn real_batches_under_a_real_quota_take_as_long() {
    let (mut found_means, mut expected_means) = (0.0, 0.0);
    for (vcpu, samples) in MEASURED {
        let mut random = Random::seeded(4);
        let mut quotas = Quotas::new(vcpu, 100_000_000, 1, &mut random);
        let mut taken = [Vec::new(), Vec::new()];
        let mut now = 0;
        for _ in 0..40_000 {
            let rows = usize::from(random.unit() > 0.5);
            let (mean, largest, parallelism) = FITTED[rows];
            let work = (2.0 * mean - largest) + 2.0 * (largest - mean) * random.unit();
            let (latency, _) = quotas.run(0, now, work * TICKS, quotas.speed(parallelism));
            taken[rows].push(latency as f64 / TICKS);
            now += latency;
        }
        for (rows, latencies) in (1..).zip(taken) {
            let (found, found_mean) = ninth_tenth_and_mean(latencies);
            let (expected, expected_mean) = ninth_tenth_and_mean(measured(samples, rows));
            assert!(
                (found / expected - 1.0).abs() < 0.08,
                "{rows} rows under {vcpu}: {found} for {expected}"
            );
            found_means += found_mean;
            expected_means += expected_mean;
        }
    }
    let off = found_means / expected_means - 1.0;
    assert!(off.abs() < 0.05, "{off}");
}
