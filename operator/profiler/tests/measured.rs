//! A real network under real CPU quotas: the demo runtime with 16 layers of 2,048 neurons, on one thread, at eight limits of the kernel's
//! bandwidth controller (period 100 ms), in batches of 1 and 2 rows that followed each other in random order. Measured with `harmonybatch profile` on
//! a shared virtual machine (AMD EPYC, 2 cores, kernel 6.18) on 2026-11-26, both programs built without optimisation; of each size the first 130
//! batches are kept.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use harmonybatch_profiler::fit::after_idle::AfterIdle;
use harmonybatch_profiler::fit::choice::Reason;
use harmonybatch_profiler::fit::form::Form;
use harmonybatch_profiler::fit::throttled::BEYOND_PERIODS;
use harmonybatch_profiler::fit::{self, Fit};
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::judge::{self, Kind};
use harmonybatch_profiler::points::{Point, points};
use harmonybatch_profiler::samples;

fn goal() -> Goal {
    Goal::new(0.15, 0.5, 0.9, 0.95).unwrap()
}

/// All eight limits, but those left out.
fn measured(left_out: &[u32]) -> Vec<Point> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/measured");
    let limits = [100, 200, 300, 400, 500, 700, 850, 1000];
    let files: Vec<_> = limits
        .into_iter()
        .filter(|limit| !left_out.contains(limit))
        .map(|limit| samples::read(&folder.join(format!("deep-{limit}.jsonl"))).unwrap())
        .collect();
    points(&files, goal()).unwrap()
}

fn throttled(points: &[Point], form: Form) -> Vec<String> {
    let found = judge::problems(points, goal(), Some(form));
    let found = found.iter().filter(|problem| problem.kind() == Kind::Throttled);
    found.map(ToString::to_string).collect()
}

#[test]
fn the_throttled_form_is_chosen_and_explains_every_pair_of_clusters() {
    let points = measured(&[]);
    let clusters = points
        .iter()
        .filter(|point| point.summary.clusters.is_some())
        .count();
    assert!(clusters >= 8, "{clusters} of 16 points have two clusters");
    let choice = fit::fit(&points, AfterIdle::NOTHING, goal())
        .unwrap()
        .choice
        .unwrap();
    assert_eq!(choice.form, Form::Throttled, "{choice:?}");
    assert!(
        matches!(choice.reason, Reason::Error | Reason::Clusters),
        "{choice:?}"
    );
    assert_eq!(choice.scores[0].form, Form::Throttled, "{choice:?}");
    assert_eq!(throttled(&points, Form::Throttled), Vec::<String>::new());
    assert_eq!(throttled(&points, Form::Exponential).len(), clusters);
}

#[test]
fn no_measured_percentile_exceeds_the_bound() {
    let points = measured(&[]);
    let Fit { cpu, .. } = fit::fit(&points, AfterIdle::NOTHING, goal()).unwrap();
    for point in &points {
        let entry = cpu.iter().find(|entry| entry.batch == point.batch).unwrap();
        let (bound, vcpu) = (entry.tail.bound(point.vcpu().unwrap()), point.vcpu().unwrap());
        let high = point.summary.tail.high.unwrap();
        assert!(
            bound * (1.0 + BEYOND_PERIODS) >= high,
            "{point}: {high} above {bound}"
        );
        // A bound that is far off at all limits would be of no use: the mean alone knows half of it.
        assert!(
            bound >= entry.mean.mean(vcpu) && bound < 4.0 * entry.mean.mean(vcpu),
            "{point}: {bound}"
        );
    }
}

/// Means here are known to 4 to 20 percent: twice the interval, and what the noise of the others adds.
#[test]
fn limits_that_were_not_fitted_are_predicted() {
    for limit in [200, 300, 400, 500, 700, 850] {
        let Fit { cpu, .. } = fit::fit(&measured(&[limit]), AfterIdle::NOTHING, goal()).unwrap();
        let vcpu = f64::from(limit) / 1e3;
        for point in measured(&[]).iter().filter(|point| point.vcpu() == Some(vcpu)) {
            let entry = cpu.iter().find(|entry| entry.batch == point.batch).unwrap();
            let off = entry.mean.mean(vcpu) / point.summary.mean.value - 1.0;
            assert!(
                off.abs() < 2.0 * point.summary.mean.relative() + 0.05,
                "{point}: {off}"
            );
        }
    }
}
