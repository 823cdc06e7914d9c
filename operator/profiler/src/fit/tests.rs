#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::exponential::Exponential;
use super::throttled::Throttled;
use super::*;
use crate::points::tests::{cpu, goal, gpu, point};

const LIMITS: [u64; 8] = [250, 500, 750, 1000, 1500, 2000, 3000, 4000];

#[expect(clippy::cast_precision_loss, reason = "a few thousand millis")]
fn vcpu(millis: u64) -> f64 {
    millis as f64 / 1e3
}

/// Three hundred samples within a tenth of a mean, evenly: their own mean is within 0.34 % of it in 95 of 100 cases.
fn around(mean: f64, random: &mut fastrand::Rng) -> Vec<f64> {
    (0..300).map(|_| mean * (0.9 + 0.2 * random.f64())).collect()
}

fn exact(law: impl Fn(f64) -> f64) -> Vec<Observation> {
    LIMITS
        .iter()
        .map(|&millis| (vcpu(millis), law(vcpu(millis))))
        .collect()
}

fn exponential_of(curve: Curve) -> Exponential {
    let Curve::Exponential(curve) = curve else {
        panic!("{curve:?}");
    };
    curve
}

/// VGG-19 on CPU in the paper, batch 1, and two more.
const KNOWN: [Exponential; 3] = [
    Exponential {
        alpha: 1.826_07,
        beta: 0.528_37,
        gamma: 0.180_154,
    },
    Exponential {
        alpha: 0.4,
        beta: 0.11,
        gamma: 0.02,
    },
    Exponential {
        alpha: 0.05,
        beta: 1.7,
        gamma: 0.001,
    },
];

#[test]
fn coefficients_without_noise_are_recovered_to_four_digits() {
    const DIGITS: f64 = 1e-4;
    for known in KNOWN {
        let found = exponential::through(&exact(|vcpu| known.at(vcpu))).unwrap();
        for (found, known) in [
            (found.alpha, known.alpha),
            (found.beta, known.beta),
            (found.gamma, known.gamma),
        ] {
            assert!((found / known - 1.0).abs() < DIGITS, "{found:?} {known}");
        }
    }
}

proptest! {
    /// With 8 limits, 300 samples each within a tenth of the mean: the curve is within 2 % of the truth from the smallest to the largest
    /// limit, beta within 10 %, and alpha and gamma within 10 %. Coefficients are such that the limits show both ends of the curve: its fall
    /// is at least as much as what remains, and is over at the largest limit.
    #[test]
    fn coefficients_are_recovered_from_noisy_samples(
        alpha in 0.2..3.0, beta in 0.3..1.0, part in 0.05..0.5, seed in any::<u64>()
    ) {
        let known = Exponential { alpha, beta, gamma: alpha * part };
        let mut random = fastrand::Rng::with_seed(seed);
        let points: Vec<Point> = LIMITS
            .iter()
            .map(|&millis| point(cpu(millis), 1, &around(known.at(vcpu(millis)), &mut random)))
            .collect();
        let found = fit(&points, AfterIdle::NOTHING, goal()).unwrap();
        let mean = exponential_of(found.cpu[0].mean);
        for millis in (250..=4000).step_by(50) {
            let off = mean.at(vcpu(millis)) / known.at(vcpu(millis)) - 1.0;
            prop_assert!(off.abs() < 0.02, "{off} at {millis}: {mean:?} for {known:?}");
        }
        prop_assert!((mean.beta / beta - 1.0).abs() < 0.1, "{mean:?} for {known:?}");
        prop_assert!((mean.alpha / alpha - 1.0).abs() < 0.1, "{mean:?} for {known:?}");
        prop_assert!((mean.gamma / known.gamma - 1.0).abs() < 0.1, "{mean:?} for {known:?}");
        prop_assert!(found.error() < 0.05, "{}", found.error());
        // The tail is above the true 90th percentile, which is 1.08 of the mean, in 97 of 100 cases, and three standard errors (of 0.0035) below it
        // in none; no sample is above 1.1 of the mean.
        let tail = exponential_of(found.cpu[0].tail);
        for millis in LIMITS {
            let ratio = tail.at(vcpu(millis)) / known.at(vcpu(millis));
            prop_assert!((1.069..1.13).contains(&ratio), "{ratio} at {millis}: {tail:?} for {known:?}");
        }
    }

    /// A line through 8 sizes: both coefficients within 5 % of the larger of the two parts.
    #[test]
    fn a_gpus_coefficients_are_recovered_from_noisy_samples(
        per_row in 0.5e-3..5e-3, fixed in 0.5e-3..5e-3, seed in any::<u64>()
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let points: Vec<Point> = (1..=8)
            .map(|batch| point(gpu(), batch, &around(per_row * f64::from(batch) + fixed, &mut random)))
            .collect();
        let found = fit(&points, AfterIdle::NOTHING, goal()).unwrap();
        let line = found.gpu[0].mean;
        let scale = 0.05 * f64::max(per_row, fixed);
        prop_assert!((line.slope - per_row).abs() < scale, "{line:?}");
        prop_assert!((line.fixed - fixed).abs() < scale, "{line:?}");
        prop_assert!(found.error() < 0.03, "{}", found.error());
    }

    /// Whatever the latencies are, coefficients are what the planner takes, and the tail's curve is above them all.
    #[test]
    fn coefficients_are_physical_whatever_was_measured(latencies in prop::collection::vec(1e-6..1e3_f64, 4..8)) {
        let observed: Vec<Observation> = latencies.iter().zip(LIMITS).map(|(&seconds, millis)| (vcpu(millis), seconds)).collect();
        for form in Form::ALL {
            let (mean, tail) = (form.through(&observed, AfterIdle::NOTHING).unwrap(), form.above(&observed, AfterIdle::NOTHING).unwrap());
            let short_of = if form == Form::Throttled { 1.0 + throttled::BEYOND_PERIODS } else { 1.0 };
            for &(vcpu, seconds) in &observed {
                prop_assert!(mean.mean(vcpu) > 0.0 && mean.mean(vcpu + 0.1) <= mean.mean(vcpu) * (1.0 + 1e-12), "{mean:?}");
                prop_assert!(tail.bound(vcpu + 0.1) <= tail.bound(vcpu) * (1.0 + 1e-12), "{tail:?}");
                prop_assert!(tail.bound(vcpu) >= seconds / short_of * (1.0 - 1e-8), "{tail:?} at {vcpu}");
            }
        }
        for curve in [exponential::through(&observed).unwrap(), exponential::above(&observed).unwrap()] {
            prop_assert!(curve.alpha >= 0.0 && curve.gamma >= 0.0 && curve.alpha.is_finite(), "{curve:?}");
            prop_assert!(curve.beta >= 0.03 && curve.at(0.25) > 0.0, "{curve:?}");
        }
    }
}

/// The line through 20 at 1 row and 44 at 3 has 32 at 2 rows, where 30 was measured; the fit's own errors at the three are smaller.
#[test]
fn the_error_is_that_of_the_point_left_out() {
    let observed = [(1.0, 20.0), (2.0, 30.0), (3.0, 44.0)];
    let found = error(&observed, |some| {
        line::through(some).map(|line| move |x| line.at(x))
    });
    assert!((found - (32.0 / 30.0 - 1.0)).abs() < 1e-9, "{found}");
}

/// Latency that rises with the CPU limit and falls again.
#[test]
fn another_law_has_a_large_error() {
    let points: Vec<Point> = LIMITS
        .iter()
        .map(|&millis| {
            point(
                cpu(millis),
                1,
                &[0.01 + 0.02 * (3.0 * vcpu(millis)).sin().powi(2); 40],
            )
        })
        .collect();
    let error = fit(&points, AfterIdle::NOTHING, goal()).unwrap().error();
    assert!(error > 0.1, "{error}");
}

#[test]
fn a_throttled_curve_without_noise_is_recovered_wherever_its_corner_is() {
    const DIGITS: f64 = 1e-9;
    for parallelism in [0.25, 0.65, 1.0, 1.7, 4.0] {
        let known = Throttled {
            work: 0.0123,
            parallelism,
            after_idle: AfterIdle::NOTHING,
        };
        let found = throttled::through(&exact(|vcpu| known.mean(vcpu)), AfterIdle::NOTHING).unwrap();
        assert!(
            (found.work / known.work - 1.0).abs() < DIGITS,
            "{found:?} {known:?}"
        );
        for &(vcpu, seconds) in &exact(|vcpu| known.mean(vcpu)) {
            assert!(
                (found.mean(vcpu) / seconds - 1.0).abs() < DIGITS,
                "{found:?} {known:?}"
            );
        }
    }
}

/// Some limits say nothing of the corner between two of them: the best fit is at least as good as any of a fine grid.
#[test]
fn no_coefficients_of_a_grid_are_better_than_those_found() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..40 {
        let known = Throttled {
            work: 0.005 + 0.1 * random.f64(),
            parallelism: 0.2 + 4.0 * random.f64(),
            after_idle: AfterIdle::NOTHING,
        };
        let observed: Vec<Observation> = exact(|vcpu| known.mean(vcpu))
            .into_iter()
            .map(|(vcpu, seconds)| (vcpu, seconds * (0.9 + 0.2 * random.f64())))
            .collect();
        let of = |curve: Throttled| squares(&observed, |vcpu| curve.mean(vcpu));
        let found = of(throttled::through(&observed, AfterIdle::NOTHING).unwrap());
        for work in (0..100).map(|step| known.work * (0.8 + 0.004 * f64::from(step))) {
            for parallelism in (0..100).map(|step| 0.25 * 16.0_f64.powf(f64::from(step) / 99.0)) {
                let other = of(Throttled {
                    work,
                    parallelism,
                    after_idle: AfterIdle::NOTHING,
                });
                assert!(found <= other * (1.0 + 1e-9), "{found} {other} {known:?}");
            }
        }
    }
}

#[test]
fn too_little_to_fit_says_what_is_missing() {
    let three: Vec<Point> = LIMITS[..3]
        .iter()
        .map(|&millis| point(cpu(millis), 1, &[0.1; 40]))
        .collect();
    assert_eq!(
        fit(&three, AfterIdle::NOTHING, goal()).unwrap_err().to_string(),
        "batch 1 is measured at 3 CPU limits (cpu 250m, cpu 500m, cpu 750m): 4 CPU limits are needed, for three coefficients and an error: \
         measure the endpoint at others and give all files with --merge"
    );
    let only_second: Vec<Point> = LIMITS
        .iter()
        .map(|&millis| point(cpu(millis), 2, &[0.1; 40]))
        .collect();
    assert!(matches!(
        fit(&only_second, AfterIdle::NOTHING, goal()),
        Err(FitError::TooFewLimits { batch: 1, .. })
    ));
    let two = [point(gpu(), 1, &[0.1; 40]), point(gpu(), 2, &[0.1; 40])];
    assert!(matches!(
        fit(&two, AfterIdle::NOTHING, goal()),
        Err(FitError::TooFewSizes { sizes: 2, .. })
    ));
    assert_eq!(fit(&[], AfterIdle::NOTHING, goal()), Err(FitError::Empty));
}
