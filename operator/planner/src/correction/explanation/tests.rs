//! Factors that are found against closed forms, where there are such: of a replica that is never idle, and of one that always is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::fixture::platform;
use crate::latency::profiled;
use crate::profile::{CpuLatency, ModelProfile, Throttled};
use crate::units::{BatchSize, Percentile, Rate, Seconds, Vcpu};

const PERIOD: f64 = 0.1;
const PARALLELISM: f64 = 1.0;
/// So rarely that nobody meets anybody, and so often that no replica is ever idle.
const RARELY: f64 = 1e-3;
const ALWAYS: f64 = 1e3;

/// 15 ms of one CPU and 5 ms a row.
fn curve(rows: u32, factor: f64) -> Throttled {
    let work = 0.015 + 0.005 * f64::from(rows);
    Throttled::new(work * factor, PARALLELISM, PERIOD).unwrap()
}

fn group(millis: u32, batch_size: u32, billing: Billing) -> Option<UnderQuota> {
    let size = |rows| BatchSize::new(rows).unwrap();
    let entry = |rows| CpuLatency {
        batch: size(rows),
        mean: curve(rows, 1.0).into(),
        max: curve(rows, 1.0).into(),
    };
    let profile = ModelProfile::new((1..=8).map(entry).collect(), vec![], size(8)).unwrap();
    let device = Device::Cpu {
        vcpu: Vcpu::from_millis(millis).unwrap(),
    };
    let member = crate::diff::MemberOutline {
        app: "search".to_owned(),
        slo: Seconds::new(1.0).unwrap(),
        percentile: Percentile::new(99.0).unwrap(),
        rate: Rate::new(2.0).unwrap(),
        max_wait: Seconds::ZERO,
        latency_bound: None,
        cost_per_second: None,
    };
    let running = GroupOutline {
        name: "deep-aaaaa".to_owned(),
        device: device.clone(),
        batch_size: size(batch_size),
        dispatch: Dispatch::Eager,
        replicas: 1,
        members: vec![member],
        cost_per_second: 0.0,
    };
    let platform = platform(billing);
    UnderQuota::new(
        &platform,
        &profiled(&platform, &profile, &device).unwrap(),
        &running,
    )
}

/// The factor that explains batches of one size of this mean.
fn factor(under: &mut UnderQuota, rate: f64, rows: u32, mean: f64) -> f64 {
    let seen = Rows {
        rows,
        count: 400,
        mean,
    };
    let expected = under.explain(rate, &[seen], &mut 1_000).unwrap()[0];
    assert!(expected.error < 0.05 && expected.dependence > 0.0, "{expected:?}");
    mean / expected.mean
}

fn check(under: &mut UnderQuota, rate: f64, rows: u32, mean: f64, expected: f64, tolerance: f64) {
    let found = factor(under, rate, rows, mean);
    assert!(
        (found / expected - 1.0).abs() < tolerance,
        "{rows} rows at {rate}: {found} for {expected}"
    );
}

#[test]
fn a_replica_that_is_never_idle_takes_so_many_times_as_long() {
    let mut under = group(500, 1, Billing::PerReplica).unwrap();
    // Beyond what is played, too.
    for times in [0.05, 0.3, 0.5, 1.0, 1.2, 2.0, 3.7, 9.0] {
        let mean = curve(1, times).mean(0.5);
        // As many batches as fit into the time of 20,000 requests, of which all but the first and the last period are whole.
        check(&mut under, ALWAYS, 1, mean, times, 5e-3);
    }
}

#[test]
fn a_replica_that_is_always_idle_takes_the_mean_over_all_phases() {
    let mut under = group(500, 1, Billing::PerReplica).unwrap();
    for times in [0.3, 0.5, 1.0, 1.2, 2.0] {
        // What fits in the quota of 50 ms takes its own time.
        check(&mut under, RARELY, 1, 0.02 * times, times, 1e-3);
    }
    for times in [2.4, 3.1, 3.7] {
        // At random phases of the period, of which 20,000 batches tell the mean to some 0.4 %. Beyond 2.5 a batch needs two quotas: between two steps of the factor
        // the mean has a jump.
        let mean = curve(1, times).mean_after_idle(0.5);
        check(&mut under, RARELY, 1, mean, times, 0.02);
    }
}

#[test]
fn sizes_that_do_not_occur_where_the_group_is_played_are_told_by_the_others() {
    let mut under = group(500, 8, Billing::PerReplica).unwrap();
    for times in [0.5, 1.0, 1.6] {
        // Single requests never make a batch of five rows, nor do many ever leave one of less than eight.
        check(
            &mut under,
            RARELY,
            5,
            curve(5, times).mean_after_idle(0.5),
            times,
            0.01,
        );
        check(&mut under, ALWAYS, 5, curve(5, times).mean(0.5), times, 0.02);
    }
}

#[test]
fn what_may_be_played_is_bounded_and_nothing_of_it_is_lost() {
    let seen = [Rows {
        rows: 1,
        count: 400,
        mean: 0.045,
    }];
    let mut at_once = group(500, 1, Billing::PerReplica).unwrap();
    let mut budget = 1_000;
    let expected = at_once.explain(20.0, &seen, &mut budget).unwrap();
    let needed = 1_000 - budget;
    assert!((4..40).contains(&needed), "{needed}");
    // Seen again, it costs nothing.
    assert_eq!(at_once.explain(20.0, &seen, &mut 0), Some(expected.clone()));
    let mut bit_by_bit = group(500, 1, Billing::PerReplica).unwrap();
    let mut looks = 1;
    while bit_by_bit.explain(20.0, &seen, &mut 3).is_none() {
        looks += 1;
    }
    assert_eq!(looks, needed.div_ceil(3));
    assert_eq!(bit_by_bit.explain(20.0, &seen, &mut 0), Some(expected));
}

#[test]
fn where_no_quota_is_played_nothing_is() {
    assert!(group(500, 8, Billing::PerInvocation).is_none());
    assert!(group(1_000, 8, Billing::PerReplica).is_none());
    let mut under = group(500, 1, Billing::PerReplica).unwrap();
    let seen = |rows, mean| [Rows { rows, count: 9, mean }];
    for (rate, seen) in [
        (f64::NAN, seen(1, 0.02)),
        (0.0, seen(1, 0.02)),
        (2.0, seen(0, 0.02)),
        (2.0, seen(9, 0.02)),
        (2.0, seen(1, 0.0)),
        (2.0, seen(1, f64::NAN)),
    ] {
        assert_eq!(under.explain(rate, &seen, &mut 1_000), None);
    }
    assert_eq!(under.explain(2.0, &[], &mut 1_000), None);
}
