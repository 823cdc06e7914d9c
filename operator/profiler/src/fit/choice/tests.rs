use super::*;

const LIMITS: [f64; 7] = [0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0];

/// Means at all limits, known to this part.
fn known(law: impl Fn(f64) -> f64, to: f64) -> Means {
    Means {
        observations: LIMITS.iter().map(|&vcpu| (vcpu, law(vcpu))).collect(),
        known_to: vec![to; LIMITS.len()],
        after_idle: AfterIdle::NOTHING,
    }
}

/// What is chosen for 1 and 2 rows of a law, the second taking half as long again.
fn chosen(law: impl Fn(f64) -> f64, clusters: bool) -> (Form, Reason) {
    let sizes = [known(&law, 0.0), known(|vcpu| 1.5 * law(vcpu), 0.0)];
    let choice = Choice::of(&sizes, clusters);
    (choice.form, choice.reason)
}

#[test]
fn the_form_that_made_the_latencies_is_chosen() {
    for clusters in [false, true] {
        for (form, found) in [
            (Form::Hyperbolic, chosen(|vcpu| 0.02 / vcpu + 0.03, clusters)),
            (Form::Throttled, chosen(|vcpu| 0.02 / vcpu.min(0.9), clusters)),
            (
                Form::Exponential,
                chosen(|vcpu| 0.5 * (-vcpu / 0.3).exp() + 0.02, clusters),
            ),
        ] {
            assert_eq!(found, (form, Reason::Error));
        }
    }
}

/// In proportion to 1 / vCPU both two-coefficient forms are the same curve at the limits left out.
#[test]
fn of_equal_forms_the_one_that_knows_of_clusters_is_chosen_where_there_are_any() {
    let law = |vcpu: f64| 0.02 / vcpu;
    assert_eq!(chosen(law, true), (Form::Throttled, Reason::Clusters));
    let (form, reason) = chosen(law, false);
    assert_eq!(reason, Reason::LeastOfEqual);
    assert_eq!(form.coefficients(), 2);
}

/// A hundredth of the latency that no limit changes makes the hyperbola the better form, but not where the means are known to a tenth only.
#[test]
fn a_difference_within_the_noise_of_the_means_is_none() {
    let law = |vcpu: f64| 0.02 / vcpu + 0.0005;
    assert_eq!(chosen(law, true), (Form::Hyperbolic, Reason::Error));
    let noisy = Choice::of(&[known(law, 0.1)], true);
    assert_eq!((noisy.form, noisy.reason), (Form::Throttled, Reason::Clusters));
    // What is shown is the error itself.
    assert!(noisy.scores[0].error() < noisy.scores[1].error() && noisy.scores[2].error() > 0.1);
}

/// Latency that no limit changes is in all forms; the exponential has a coefficient more.
#[test]
fn of_equal_forms_none_with_more_coefficients_is_chosen() {
    let (form, reason) = chosen(|_| 0.02, false);
    assert_eq!((form.coefficients(), reason), (2, Reason::LeastOfEqual));
}

/// The line through 1 / vCPU = 10 and 2.5 and the latencies there is at 5 what the middle one is predicted to be.
#[test]
fn an_error_is_that_of_the_limit_left_out() {
    let of = |observations: [Observation; 3]| {
        let means = Means {
            observations: observations.to_vec(),
            ..known(|_| 1.0, 0.1)
        };
        left_out(Form::Hyperbolic, &means)
    };
    let found = of([(0.1, 0.2), (0.2, 0.12), (0.4, 0.08)]);
    // 0.08 + (5 - 2.5) (0.2 - 0.08) / (10 - 2.5) = 0.12.
    assert_eq!(found.len(), 1);
    assert!(found[0] < 1e-9, "{found:?}");
    let off = of([(0.1, 0.2), (0.2, 0.1), (0.4, 0.08)]);
    assert!((off[0] - 0.2).abs() < 1e-9, "{off:?}");
}
