//! What batches of a runtime that is as fast as its profile, twice as fast or half as fast make of the profile.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::random::Random;

/// Bounds of a time as they are kept: each power of two of microseconds in 16 parts.
fn bucket(seconds: f64) -> (f64, f64) {
    let micros = seconds * 1e6;
    let width = 2.0_f64.powf(micros.log2().floor()) / 16.0;
    let least = (micros / width).floor() * width;
    (least / 1e6, (least + width) / 1e6)
}

/// What is kept of these times of batches of one size, and of those that were given up.
fn seen(expected: (f64, f64), times: &[f64], given_up: &[f64]) -> Batches {
    let number = count(times.len());
    let mean = times.iter().sum::<f64>() / number.max(1.0);
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let spread = sorted.iter().map(|time| {
        let (least, most) = bucket(*time);
        Bucket {
            least,
            most,
            count: 1,
        }
    });
    Batches {
        expected: Expected::new(expected.0),
        longest: Longest::of(expected.1),
        answered: times.len() as u64,
        mean,
        variance: squares / number.max(1.0),
        spread: spread.collect(),
        overdue: given_up.iter().map(|waited| (*waited, 1)).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "few")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Expected mean and maximum of a batch of so many rows: 20 ms and 2 ms a row, a maximum of 1.4 times that.
fn profile(rows: u32) -> (f64, f64) {
    let mean = 0.020 + 0.002 * f64::from(rows);
    (mean, 1.4 * mean)
}

/// A runtime that takes `factor` times its profile, uniformly around the mean up to the maximum, and gets batches of 1 to 8 rows.
struct Runtime {
    factor: f64,
    random: Random,
    times: BTreeMap<u32, Vec<f64>>,
}

impl Runtime {
    fn new(factor: f64, seed: u64) -> Self {
        Self {
            factor,
            random: Random::seeded(seed),
            times: BTreeMap::new(),
        }
    }

    /// Runs batches of so many rows in all.
    fn run(&mut self, rows: u32) {
        let mut left = rows;
        while left > 0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 8")]
            let size = ((8.0 * self.random.unit()).ceil() as u32).clamp(1, left.min(8));
            let (mean, max) = profile(size);
            let time = mean + (2.0 * self.random.unit() - 1.0) * (max - mean);
            self.times.entry(size).or_default().push(self.factor * time);
            left -= size;
        }
    }

    fn seen(&self) -> Vec<Batches> {
        self.times
            .iter()
            .map(|(rows, times)| seen(profile(*rows), times, &[]))
            .collect()
    }
}

/// Corrections after each ten seconds of six minutes at 20 rows a second, where batches are remembered for three.
fn followed(runtime: &mut Runtime) -> Vec<Correction> {
    let (mut correction, mut changed_at) = (Correction::default(), -18);
    (0..36)
        .map(|poll| {
            runtime.run(200);
            let held = poll - changed_at >= 18;
            if let Some(found) = correction.after(&Estimate::of(&runtime.seen()), held) {
                (correction, changed_at) = (found, poll);
            }
            correction
        })
        .collect()
}

#[test]
fn where_nothing_was_seen_the_profile_stands() {
    for nothing in [vec![], vec![seen(profile(1), &[], &[])]] {
        let estimate = Estimate::of(&nothing);
        assert_eq!(
            (estimate.batches(), estimate.mean().to_bits()),
            (0, 1.0_f64.to_bits())
        );
        assert_eq!(Correction::default().after(&estimate, true), None);
    }
    assert!(Correction::default().is_none() && Corrections::default().are_none());
}

#[test]
fn a_runtime_that_is_as_fast_as_its_profile_is_never_corrected() {
    for seed in 0..300 {
        let mut runtime = Runtime::new(1.0, seed);
        let corrections = followed(&mut runtime);
        assert!(
            corrections.iter().all(|correction| correction.is_none()),
            "seed {seed}: {corrections:?}"
        );
    }
}

#[test]
fn a_runtime_that_is_off_by_two_is_found_within_two_minutes_by_one_change_or_two() {
    for seed in 0..100 {
        for factor in [0.5, 2.0, 3.0] {
            let mut runtime = Runtime::new(factor, seed);
            let corrections = followed(&mut runtime);
            let said = || format!("factor {factor}, seed {seed}: {corrections:?}");
            // What is slower is found in the first minute, so that the second one is left for pods to start. What is faster waits until the maximum
            // is known: a mean that is lowered alone would stand for times that scatter more.
            let soon = corrections[2];
            if factor > 1.0 {
                let off = (soon.mean() / factor).ln();
                assert!((-0.1..0.2).contains(&off), "{}", said());
            } else {
                assert!(soon.is_none(), "{}", said());
            }
            // An error of two percent after 3,000 batches, and the steps of the correction.
            let last = corrections[35];
            assert!((last.mean() / factor).ln().abs() < 0.12, "{}", said());
            let mut changes = corrections.clone();
            changes.insert(0, Correction::default());
            changes.dedup();
            // Mostly one where it is slower, as what comes first has its margin.
            assert!(changes.len() <= 3, "{}", said());
            assert!(changes.len() > 1, "{}", said());
            if factor > 1.0 {
                assert!(
                    last.mean() > 0.94 * factor && last.max() > 0.94 * factor,
                    "{}",
                    said()
                );
            } else {
                // What is not sure to be shorter is not taken for it: within a bucket and the quantile's error.
                assert!((0.48..0.62).contains(&last.max()), "{}", said());
            }
        }
    }
}

#[test]
fn a_step_is_followed_by_few_changes() {
    let mut runtime = Runtime::new(1.0, 3);
    // As a window of three minutes slides over the step.
    let mut windows: Vec<BTreeMap<u32, Vec<f64>>> = Vec::new();
    let (mut correction, mut changed_at, mut changes) = (Correction::default(), -18, 0);
    for poll in 0..54 {
        runtime.factor = if poll < 18 { 1.0 } else { 2.0 };
        runtime.times.clear();
        runtime.run(200);
        windows.push(std::mem::take(&mut runtime.times));
        let mut times: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (rows, some) in windows.iter().rev().take(18).flatten() {
            times.entry(*rows).or_default().extend(some);
        }
        let batches: Vec<_> = times
            .iter()
            .map(|(rows, times)| seen(profile(*rows), times, &[]))
            .collect();
        let held = poll - changed_at >= 18;
        if let Some(found) = correction.after(&Estimate::of(&batches), held) {
            (correction, changed_at, changes) = (found, poll, changes + 1);
        }
    }
    assert!((correction.mean() / 2.0).ln().abs() < 0.12, "{correction:?}");
    assert!(changes <= 5, "{changes}");
}

#[test]
fn the_posterior_is_the_integral_of_prior_and_likelihood() {
    // 40 batches of 30 ms and a deviation of 9 ms, where 20 ms were expected.
    let batches = Batches {
        variance: 0.009_f64.powi(2),
        ..seen((0.020, 0.030), &[0.030; 40], &[])
    };
    let estimate = Estimate::of(&[batches]);
    let error_of_mean = 2.0 * 0.3 / 40.0_f64.sqrt();
    let (mut mass, mut first, mut second) = (0.0, 0.0, 0.0);
    for step in -40_000..40_000 {
        let log = f64::from(step) / 20_000.0;
        let density =
            (-0.5 * (log / 0.35).powi(2) - 0.5 * ((log - 1.5_f64.ln()) / error_of_mean).powi(2)).exp();
        mass += density;
        first += density * log;
        second += density * log * log;
    }
    let (mean, variance) = (first / mass, second / mass - (first / mass).powi(2));
    assert!((estimate.mean().ln() - mean).abs() < 1e-6, "{estimate:?} {mean}");
    assert!(
        (estimate.error() - variance.sqrt()).abs() < 1e-6,
        "{estimate:?} {variance}"
    );
}

#[test]
fn the_quantile_is_bounded_as_rarely_wrong_as_its_errors_say() {
    // Uniform between 0.5 and 1 of the maximum: the quantile 0.99 is at 0.995.
    let (mut above, mut below) = (0, 0);
    let runs = 1000;
    for seed in 0..runs {
        let mut random = Random::seeded(seed);
        let times: Vec<f64> = (0..1000).map(|_| 0.032 + 0.032 * random.unit()).collect();
        let exact = |time: &f64| Bucket {
            least: *time,
            most: *time,
            count: 1,
        };
        let mut batches = seen((0.048, 0.064), &times, &[]);
        batches.spread = times.iter().map(exact).collect();
        let estimate = Estimate::of(&[batches]);
        above += u32::from(estimate.surely_longest() > 0.995);
        below += u32::from(estimate.max(0.5) < 0.995);
    }
    // 2.3 % each of a normal law; a count of 10 in the mean is skewed.
    assert!(above < 45 && below < 45, "{above} {below} of {runs}");
}

#[test]
fn what_is_given_up_hides_nothing() {
    let expected = profile(8);
    // Eight times as slow as its profile, and nobody waits for more than six times as long: nothing is ever answered.
    let given_up = vec![6.0 * expected.0; 40];
    let estimate = Estimate::of(&[seen(expected, &[], &given_up)]);
    let found = Correction::default().after(&estimate, false);
    assert_eq!(found.map(Correction::mean), Some(4.0), "{estimate:?}");
    // Three times as slow, and half of the batches left their queue when hardly anybody waited any more.
    let answered = vec![3.0 * expected.0; 40];
    let hurried = vec![0.001; 40];
    let with = Estimate::of(&[seen(expected, &answered, &hurried)]);
    let without = Estimate::of(&[seen(expected, &answered, &[])]);
    assert!(with.mean() >= without.mean() && with.surely_longest() >= without.surely_longest());
    // Twice as fast, but for some that were given up: the maximum stays.
    let answered = vec![0.5 * expected.0; 2000];
    let fast = Estimate::of(&[seen(expected, &answered, &[])]);
    let sometimes = Estimate::of(&[seen(expected, &answered, &[2.0; 3])]);
    assert!(
        fast.max(0.5) < 0.6 && sometimes.max(0.5) >= 1.0,
        "{fast:?} {sometimes:?}"
    );
}

#[test]
fn one_cold_start_raises_nothing() {
    let (mean, max) = profile(4);
    let mut times = vec![mean; 300];
    times[0] = 40.0 * max;
    let estimate = Estimate::of(&[seen((mean, max), &times, &[])]);
    assert!(estimate.surely_longest() < 1.0, "{estimate:?}");
}

#[test]
fn a_part_of_a_correction_is_one_of_its_logarithm() {
    let correction = Correction::new(4.0, 2.0);
    assert_eq!(correction.fourths(0), Correction::default());
    assert_eq!(correction.fourths(2), Correction::new(2.0, 2.0_f64.sqrt()));
    assert_eq!(correction.fourths(4), correction);
}

fn any_times() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.000_1..5.0, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn factors_stay_within_their_bounds(
        numbers in prop::collection::vec(prop::num::f64::ANY, 6), answered in any::<u64>(), overdue in any::<u32>(), held in any::<bool>(),
    ) {
        let batches = Batches {
            expected: Expected::new(numbers[0]),
            longest: Longest::of(numbers[1]),
            answered,
            mean: numbers[2],
            variance: numbers[3],
            spread: vec![Bucket { least: numbers[4], most: numbers[5], count: answered }],
            overdue: vec![(numbers[5], u64::from(overdue))],
        };
        let estimate = Estimate::of(&[batches]);
        prop_assert!(estimate.mean().is_finite() && estimate.mean() > 0.0 && estimate.error() >= 0.0, "{estimate:?}");
        if let Some(found) = Correction::default().after(&estimate, held) {
            for factor in [found.mean(), found.max()] {
                prop_assert!((BOUNDS.0..=BOUNDS.1).contains(&factor), "{found:?}");
            }
        }
    }

    #[test]
    fn longer_times_never_make_a_smaller_factor(
        times in any_times(), given_up in prop::collection::vec(0.000_1..5.0, 0..20), longer in 1.0..4.0,
    ) {
        let scaled = |times: &[f64]| times.iter().map(|time| longer * time).collect::<Vec<_>>();
        let expected = (0.1, 0.2);
        let before = Estimate::of(&[seen(expected, &times, &given_up)]);
        let after = Estimate::of(&[seen(expected, &scaled(&times), &scaled(&given_up))]);
        let rounding = 1.0 - 1e-9;
        prop_assert!(after.mean() >= before.mean() * rounding, "{before:?} {after:?}");
        prop_assert!(after.surely_longest() >= before.surely_longest() * rounding);
        prop_assert!(after.max(after.mean()) >= before.max(before.mean()) * rounding);
        // Nor does one more that was given up.
        let more: Vec<f64> = given_up.iter().copied().chain([5.0]).collect();
        let more = Estimate::of(&[seen(expected, &times, &more)]);
        prop_assert!(more.surely_longest() >= before.surely_longest() * rounding);
    }

    #[test]
    fn a_maximum_is_not_below_what_was_measured(times in prop::collection::vec(0.000_1..1.0, 100..700), factor in 0.3..3.0) {
        let (mean, max) = (0.2, 0.4);
        let times: Vec<f64> = times.iter().map(|time| factor * time).collect();
        let estimate = Estimate::of(&[seen((mean, max), &times, &[])]);
        let mut sorted = times;
        sorted.sort_by(f64::total_cmp);
        // The quantile of the sample by its own definition; its bound is two errors of a count lower.
        let number = count(sorted.len());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = (0.99 * number - 2.0 * (number * 0.99 * 0.01).sqrt()).floor() as usize;
        let corrected = estimate.max(estimate.mean()) * max;
        prop_assert!(corrected >= bucket(sorted[rank - 1]).0 * (1.0 - 1e-9), "{estimate:?}");
        if corrected < max {
            let highest = 0.99 * number + 2.0 * (number * 0.99 * 0.01).sqrt() + 1.0;
            prop_assert!(highest <= number, "lowered on {number} times");
        }
    }
}
