//! The closed forms of latency under a CPU quota against a bandwidth controller that is played tick by tick.
//!
//! The player knows one rule of the kernel's: at every multiple of the period the group has its quota and no more, and its threads run
//! until that is spent. It is in whole ticks and whole units of CPU time, so that it shares no formula with what it checks.

use harmonybatch_planner::{CpuCurve, Throttled};

use crate::random::Random;

/// 20 microseconds each: a period is 100 ms.
const TICKS: u64 = 5_000;
pub(crate) const PERIOD: f64 = 0.1;
/// A CPU does so many units in a tick.
pub(crate) const UNITS: u64 = 100;

/// What stays between seconds and whole ticks.
const ROUNDING: f64 = 1e-4;

pub(crate) fn seconds(ticks: f64) -> f64 {
    ticks * PERIOD / 5_000.0
}

/// A replica under a quota, and its clock.
pub(crate) struct Controller {
    /// Units in each period.
    quota: u64,
    /// Units in each tick.
    speed: u64,
    pub(crate) now: u64,
    left: u64,
}

impl Controller {
    pub(crate) fn new(millis: u64, speed: u64) -> Self {
        let quota = millis * TICKS * UNITS / 1_000;
        Self {
            quota,
            speed,
            now: 0,
            left: quota,
        }
    }

    fn tick(&mut self, wanted: u64) -> u64 {
        let done = wanted.min(self.speed).min(self.left);
        self.left -= done;
        self.now += 1;
        if self.now.is_multiple_of(TICKS) {
            self.left = self.quota;
        }
        done
    }

    pub(crate) fn idle_until(&mut self, tick: u64) {
        while self.now < tick {
            self.tick(0);
        }
    }

    /// Ticks that a batch takes from now on.
    pub(crate) fn run(&mut self, mut work: u64) -> u64 {
        let begun = self.now;
        while work > 0 {
            work -= self.tick(work);
        }
        self.now - begun
    }
}

/// Work in CPU milliseconds, units a tick, and millis of vCPU: batches shorter than a quota, about as long, and much longer; of one
/// thread, two, and one that also waits for something else. Lengths are no simple parts of the quotas.
const CASES: [(f64, u64, u64); 12] = [
    (0.93, 100, 100),
    (4.87, 100, 500),
    (31.37, 100, 500),
    (49.3, 100, 500),
    (50.7, 100, 500),
    (73.1, 100, 300),
    (331.7, 100, 700),
    (88.3, 100, 950),
    (61.3, 200, 1_300),
    (417.9, 200, 250),
    (5.31, 65, 200),
    (24.7, 65, 400),
];

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small counts"
)]
fn case((work, speed, millis): (f64, u64, u64)) -> (Throttled, f64, Controller, u64) {
    let (in_second, speed_in_vcpu) = ((TICKS * UNITS) as f64 / PERIOD, speed as f64 / UNITS as f64);
    // Whole ticks, so that none is lost between batches that follow each other.
    let ticks = (work / 1e3 * in_second / speed as f64).round() as u64;
    let work = ticks * speed;
    let curve = Throttled::new(work as f64 / in_second, speed_in_vcpu, PERIOD).unwrap();
    (curve, millis as f64 / 1e3, Controller::new(millis, speed), work)
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a few periods")]
fn mean(latencies: &[u64]) -> f64 {
    seconds(latencies.iter().sum::<u64>() as f64 / latencies.len() as f64)
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a few periods")]
fn longest(latencies: &[u64]) -> f64 {
    seconds(*latencies.iter().max().unwrap() as f64)
}

#[test]
fn a_batch_after_idle_time_takes_the_mean_over_all_phases() {
    for parts in CASES {
        let (curve, vcpu, _, work) = case(parts);
        let latencies: Vec<u64> = (0..TICKS)
            .step_by(5)
            .map(|phase| {
                let mut replica = Controller::new(parts.2, parts.1);
                replica.idle_until(TICKS + phase);
                replica.run(work)
            })
            .collect();
        let (found, expected) = (mean(&latencies), curve.mean_after_idle(vcpu));
        assert!(
            (found - expected).abs() < ROUNDING,
            "{parts:?}: {found} for {expected}"
        );
        assert!(longest(&latencies) <= curve.bound(vcpu) + ROUNDING, "{parts:?}");
    }
}

#[test]
fn batches_without_a_pause_take_two_times_whose_mean_is_that_of_their_work() {
    for parts in CASES {
        let (curve, vcpu, mut replica, work) = case(parts);
        let latencies: Vec<u64> = (0..3_000).map(|_| replica.run(work)).collect();
        let (found, expected) = (mean(&latencies), curve.mean(vcpu));
        assert!(
            (found / expected - 1.0).abs() < 5e-3,
            "{parts:?}: {found} for {expected}"
        );
        let (least, most) = (curve.shortest(vcpu), curve.bound(vcpu));
        let near = |ticks: u64, expected: f64| {
            #[expect(clippy::cast_precision_loss, reason = "ticks of a few periods")]
            let seconds = seconds(ticks as f64);
            (seconds - expected).abs() < ROUNDING
        };
        assert!(
            latencies
                .iter()
                .all(|&each| near(each, least) || near(each, most)),
            "{parts:?}: {least} or {most}"
        );
        // The worst phase does come.
        assert!(latencies.iter().any(|&each| near(each, most)), "{parts:?}");
    }
}

/// However full the replica is, the mean of batches that arrive at random lies between those of the two ends, and none exceeds the bound.
#[test]
fn batches_at_random_take_between_the_means_of_an_idle_and_of_a_busy_replica() {
    for parts in CASES {
        let mut before = 0.0;
        for use_of_quota in [0.05, 0.4, 0.8, 0.95] {
            let (curve, vcpu, mut replica, work) = case(parts);
            let mut random = Random::seeded(3);
            let rate = use_of_quota / curve.mean(vcpu);
            let mut arrival = 0.0;
            let latencies: Vec<u64> = (0..1_500)
                .map(|_| {
                    arrival += random.exponential(rate);
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "ticks since the start"
                    )]
                    replica.idle_until((arrival / seconds(1.0)) as u64);
                    replica.run(work)
                })
                .collect();
            let found = mean(&latencies);
            let (low, high) = (curve.mean_after_idle(vcpu), curve.mean(vcpu));
            // 1,500 batches that differ by D tell their mean to a few hundredths of D.
            let noise = 0.05 * (curve.bound(vcpu) - curve.shortest(vcpu)) + ROUNDING;
            assert!(
                (low - noise..high + noise).contains(&found),
                "{parts:?} at {use_of_quota}: {found}, {low} to {high}"
            );
            assert!(
                found > before - noise,
                "{parts:?} at {use_of_quota}: {found} after {before}"
            );
            assert!(longest(&latencies) <= curve.bound(vcpu) + ROUNDING, "{parts:?}");
            before = found;
        }
    }
}

#[test]
fn more_cpu_slows_no_batch() {
    for parts in CASES {
        let (curve, ..) = case(parts);
        let all = |vcpu: f64| {
            [
                curve.mean(vcpu),
                curve.bound(vcpu),
                curve.mean_after_idle(vcpu),
                CpuCurve::from(curve).bound(vcpu),
            ]
        };
        let limits = (10..3_000_u32).map(|millis| f64::from(millis) / 1e3);
        for vcpu in limits {
            for (less, more) in all(vcpu).into_iter().zip(all(vcpu + 1e-3)) {
                assert!(
                    more > 0.0 && more <= less * (1.0 + 1e-12),
                    "{parts:?} at {vcpu}: {less} to {more}"
                );
            }
            let [mean, bound, after_idle, _] = all(vcpu);
            assert!(
                after_idle <= mean * (1.0 + 1e-12) && mean <= bound * (1.0 + 1e-12),
                "{parts:?} at {vcpu}"
            );
        }
    }
}

#[test]
fn coefficients_that_describe_no_latency_are_named() {
    for (work, parallelism, period, told) in [
        (
            0.0,
            1.0,
            0.1,
            "work 0 of a throttled latency must be above 0 and at most 1000000",
        ),
        (f64::NAN, 1.0, 0.1, "work NaN of"),
        (
            1.0,
            0.0,
            0.1,
            "parallelism 0 of a throttled latency must be between 0.001 and 10000",
        ),
        (
            1.0,
            1.0,
            100.0,
            "period 100 of a throttled latency must be between 0.001 and 1 seconds",
        ),
    ] {
        let error = Throttled::new(work, parallelism, period).unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
    let error = harmonybatch_planner::Hyperbolic::new(0.0, 0.0)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "work + fixed 0 of a hyperbolic latency must be above 0");
}
