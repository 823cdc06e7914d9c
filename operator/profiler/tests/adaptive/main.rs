//! A measurement of what the rest does not tell against one of the whole grid, of runtimes whose laws are known, in virtual time: what it takes, whether its curves are
//! true at points that it has not measured, and what plans from them cost.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and counts are small"
)]

mod compared;
mod plans;
mod runtime;

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use compared::{Compared, compared};
use harmonybatch_api::quantity::Cpu;
use harmonybatch_profiler::design::Grid;
use harmonybatch_profiler::fit::form::Form;
use harmonybatch_profiler::limits::Wanted;
use harmonybatch_profiler::measure::{End, Plan, measure};
use harmonybatch_profiler::samples::Samples;
use runtime::{Law, Measured, Quiet, Runtime, Slowed, goal, measured};

/// CPU seconds of a batch, on a straight line.
fn line(rows: u32) -> f64 {
    0.010 + 0.008 * f64::from(rows)
}

const SHARED: Slowed = Slowed::Shared { fixed: 0.004 };

/// Work in a straight line over the rows.
const STRAIGHT: [Law; 5] = [
    Law {
        name: "straight line",
        work: line,
        slowed: SHARED,
        noise: 0.05,
    },
    Law {
        name: "straight line, noisy",
        work: line,
        slowed: SHARED,
        noise: 0.2,
    },
    Law {
        name: "straight line, exponential in the limit",
        work: line,
        slowed: Slowed::Exponential,
        noise: 0.05,
    },
    Law {
        name: "straight line, quota for one thread",
        work: line,
        slowed: Slowed::Quota { parallelism: 1.0 },
        noise: 0.05,
    },
    Law {
        name: "straight line, quota for 1.7 CPUs, noisy",
        work: |rows| 0.006 + 0.012 * f64::from(rows),
        slowed: Slowed::Quota { parallelism: 1.7 },
        noise: 0.1,
    },
];

const STEP: Law = Law {
    name: "a step after 5 rows",
    work: |rows| line(rows) * if rows > 5 { 1.4 } else { 1.0 },
    slowed: SHARED,
    noise: 0.05,
};

const PADDED: Law = Law {
    name: "padded to a multiple of 4 rows",
    work: |rows| line(rows.next_multiple_of(4)),
    slowed: SHARED,
    noise: 0.05,
};

const CURVED: Law = Law {
    name: "rows to the power of 0.8",
    work: |rows| 0.015 * f64::from(rows).powf(0.8),
    slowed: SHARED,
    noise: 0.05,
};

const FOUR: &[u64] = &[250, 500, 1000, 2000];
const EIGHT: &[u64] = &[250, 500, 750, 1000, 1500, 2000, 3000, 4000];

fn in_full(measured: &Measured) -> Vec<u32> {
    let fits = measured.fit.cpu.iter();
    fits.filter(|fit| fit.interpolated.is_none())
        .map(|fit| fit.batch)
        .collect()
}

/// Means at all points, measured or not, against the law, and how often batches that nobody has measured exceed the bound.
fn check_truth(law: Law, limits: &[u64], measured: &Measured, seed: u64) {
    const BATCHES: u32 = 1_000;
    for fit in &measured.fit.cpu {
        for &millis in limits {
            let vcpu = Cpu::from_millis(millis).vcpu();
            let off = fit.mean.mean(vcpu) / law.mean(fit.batch, vcpu) - 1.0;
            // Each is known within 5 % in 95 of 100 cases.
            assert!(
                off.abs() < 0.07,
                "{}: batch {} at {vcpu}: {off}",
                law.name,
                fit.batch
            );
            let mut runtime = Runtime::new(law, vcpu, seed);
            let slack = match fit.tail.form() {
                Form::Throttled => 1.03,
                Form::Hyperbolic | Form::Exponential => 1.0,
            };
            let bound = fit.tail.bound(vcpu) * slack;
            let beyond = (0..BATCHES).filter(|_| runtime.seconds(fit.batch) > bound);
            let beyond = beyond.count() as f64 / f64::from(BATCHES);
            // The 99th percentile: 1 %, and three standard errors of its own.
            assert!(
                beyond < 0.02,
                "{}: batch {} at {vcpu}: {beyond}",
                law.name,
                fit.batch
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_straight_line_takes_a_third_of_the_grid_and_is_true_where_nothing_was_measured() {
    for law in STRAIGHT {
        let Compared { full, adaptive, .. } = compared(law, FOUR, 8, 1).await;
        assert_eq!(in_full(&adaptive), [1, 8], "{}", law.name);
        let form = |measured: &Measured| measured.fit.choice.as_ref().unwrap().form;
        assert_eq!(form(&adaptive), form(&full), "{}", law.name);
        let time = adaptive.seconds / full.seconds;
        assert!(time < 1.0 / 3.0, "{}: {time} of the time", law.name);
        // Two of eight sizes, and what checks the others. Where a quota makes small batches so noisy that they alone need more than the percentile's 368, they are
        // more of the grid's batches than of its time.
        let batches = adaptive.batches as f64 / full.batches as f64;
        let most = if law.name.ends_with("CPUs, noisy") {
            0.4
        } else {
            1.0 / 3.0
        };
        assert!(batches < most, "{}: {batches} of the batches", law.name);
        check_truth(law, FOUR, &adaptive, 77);
    }
}

#[tokio::test(start_paused = true)]
async fn of_eight_limits_half_are_left_out_where_four_tell_them() {
    for law in [STRAIGHT[0], STRAIGHT[3], CURVED] {
        let Compared { full, adaptive, .. } = compared(law, EIGHT, 16, 1).await;
        assert!(
            adaptive.samples.len() <= 5,
            "{}: {}",
            law.name,
            adaptive.samples.len()
        );
        let (time, batches) = (
            adaptive.seconds / full.seconds,
            adaptive.batches as f64 / full.batches as f64,
        );
        assert!(time < 0.2 && batches < 0.2, "{}: {time}, {batches}", law.name);
        check_truth(law, EIGHT, &adaptive, 78);
    }
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_every_step_are_measured_in_full() {
    for (law, max_batch, sizes) in [
        (STEP, 8, &[1, 5, 6, 8][..]),
        (STEP, 16, &[1, 5, 6, 16]),
        (PADDED, 8, &[1, 4, 5, 8]),
        (PADDED, 16, &[1, 4, 5, 8, 9, 12, 13, 16]),
    ] {
        let measured = measured(law, FOUR, max_batch, Grid::Adaptive, 5).await;
        assert_eq!(in_full(&measured), sizes, "{}", law.name);
        check_truth(law, FOUR, &measured, 79);
    }
}

/// Where two measurements of the whole grid give plans whose costs differ, so may a third one.
#[tokio::test(start_paused = true)]
async fn plans_cost_the_same() {
    for law in [STRAIGHT[0], STRAIGHT[2], STRAIGHT[3], STRAIGHT[4], STEP, CURVED] {
        let compared = compared(law, FOUR, 8, 2).await;
        for (full, adaptive) in compared.costs() {
            assert_eq!(full.1, adaptive.1, "{}: as many are served", law.name);
            let off = adaptive.0 / full.0 - 1.0;
            assert!(off.abs() < 0.055, "{}: {off}", law.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stopped_is_gone_on_with_and_nothing_is_measured_twice() {
    let (law, limit) = (STEP, Cpu::from_millis(2000));
    let wanted = Wanted {
        limits: FOUR.iter().map(|&millis| Cpu::from_millis(millis)).collect(),
        max_batch: 8,
        grid: Grid::Adaptive,
        goal: goal(),
    };
    let plan = Plan {
        max_batch: 8,
        goal: goal(),
        budget: Duration::MAX,
        warm_up: 0,
        turn: Duration::ZERO,
        pauses: false,
        seed: 1,
        grid: Grid::Adaptive,
        limits: wanted.at_least(),
        elsewhere: Vec::new(),
    };
    let mut whole = Samples::new();
    let mut runtime = Runtime::new(law, limit.vcpu(), 3);
    measure(&mut runtime, &plan, &mut whole, &mut Quiet, pending())
        .await
        .unwrap();
    let mut parts = Samples::new();
    let mut runtime = Runtime::new(law, limit.vcpu(), 3);
    let mut stops = 0;
    loop {
        let stop = tokio::time::sleep(Duration::from_secs(5));
        let end = measure(&mut runtime, &plan, &mut parts, &mut Quiet, stop)
            .await
            .unwrap();
        let all = [(limit, parts.clone())].into();
        let next = wanted.next(&all, &BTreeSet::new());
        if end == End::Known {
            assert_eq!(next, Some(Cpu::from_millis(250)), "the next limit");
            break;
        }
        assert_eq!(next, Some(limit), "it is gone on with");
        stops += 1;
    }
    assert!(stops > 3, "{stops}");
    let count = |samples: &Samples| samples.values().map(Vec::len).sum::<usize>() as f64;
    let more = count(&parts) / count(&whole);
    assert!((0.95..1.05).contains(&more), "{more}");
}

/// What the README says.
#[tokio::test(start_paused = true)]
#[ignore = "all laws on all grids several times take minutes: cargo test -p harmonybatch-profiler --test adaptive -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "it is run for what it prints")]
async fn how_much_is_measured_and_how_far_costs_are_off() {
    const SEEDS: std::ops::Range<u64> = 10..14;
    for (limits, max_batch) in [(FOUR, 8), (FOUR, 16), (EIGHT, 16)] {
        for law in STRAIGHT.into_iter().chain([CURVED, STEP, PADDED]) {
            let mut all = Vec::new();
            for seed in SEEDS {
                all.push(compared(law, limits, max_batch, seed).await);
            }
            println!(
                "{} limits, {max_batch} sizes, {}: {}",
                limits.len(),
                law.name,
                compared::told(&all)
            );
        }
    }
}
