//! When a plan that runs stays, and when it gives way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use harmonybatch_api::InferenceApp;
use harmonybatch_planner::{Correction, Corrections, Device};

use super::*;
use crate::fixtures;
use crate::plan::{Inputs, validate};

fn request(apps: &[InferenceApp]) -> (PlanRequest, Patience) {
    let inputs = Inputs {
        platforms: vec![fixtures::platform()],
        models: vec![fixtures::model()],
        apps: apps.to_vec(),
        ..Inputs::default()
    };
    let validated = validate(&inputs, &BTreeSet::new());
    (
        validated.requests["default"].clone(),
        validated.patience["default"],
    )
}

fn apps(rate: &str) -> Vec<InferenceApp> {
    vec![
        fixtures::app("search", "500ms", rate),
        fixtures::app("cart", "800ms", "10/s"),
    ]
}

/// With a session of its own: what is remembered changes nothing.
fn decided_again(
    request: &PlanRequest,
    last: Option<&Decided>,
    running: &[PlanOutline],
    patience: &Patience,
    now: Duration,
) -> Decided {
    decide_again(request, last, running, patience, now, &Session::new()).unwrap()
}

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn a_small_change_of_rates_keeps_what_runs_and_savings_wait_for_the_interval() {
    let (first, patience) = request(&apps("5/s"));
    assert_eq!(patience.min_interval, 10 * MINUTE);
    let decided = decided_again(&first, None, &[], &patience, Duration::ZERO);
    assert_eq!(
        *decided.plans,
        decide(&first).unwrap(),
        "the first plan is the planner's"
    );
    assert!(!decided.is_due(&first, &patience, 60 * MINUTE), "nothing new");

    let (jittered, _) = request(&apps("4.8/s"));
    assert!(decided.is_due(&jittered, &patience, MINUTE));
    let kept = decided_again(&jittered, Some(&decided), &[], &patience, MINUTE);
    assert_eq!(kept.plans, decided.plans, "planned for the higher rate still");
    assert!(!kept.is_due(&jittered, &patience, 2 * MINUTE));
    assert!(
        kept.is_due(&jittered, &patience, 10 * MINUTE),
        "savings are looked for now"
    );
    let later = decided_again(&jittered, Some(&kept), &[], &patience, 10 * MINUTE);
    assert_eq!(later.plans, decided.plans);
    assert!(!later.is_due(&jittered, &patience, 60 * MINUTE));
}

#[test]
fn a_new_controller_goes_on_with_what_runs() {
    let (asked, patience) = request(&apps("5/s"));
    let before = decided_again(&asked, None, &[], &patience, Duration::ZERO);
    let after = decided_again(&asked, None, &before.held, &patience, Duration::ZERO);
    assert_eq!(after.plans, before.plans);
}

#[test]
fn an_edit_takes_effect_at_once() {
    let (first, patience) = request(&apps("5/s"));
    let decided = decided_again(&first, None, &[], &patience, Duration::ZERO);
    let mut more = apps("5/s");
    more.push(fixtures::app("feed", "1s", "20/s"));
    let (more, _) = request(&more);
    let changed = decided_again(&more, Some(&decided), &[], &patience, MINUTE);
    assert!(changed.plans[0].place_of("feed").is_some());
    let (gone, _) = request(&apps("5/s")[..1]);
    let changed = decided_again(&gone, Some(&changed), &[], &patience, MINUTE);
    assert!(changed.plans[0].place_of("feed").is_none());
    assert!(changed.plans[0].place_of("search").is_some());
    let broken = platform_problem("100%");
    assert!(broken.contains("replan.minSaving"), "{broken}");
    assert!(platform_problem("5").contains("replan.minSaving"));
}

fn platform_problem(min_saving: &str) -> String {
    let mut platform = fixtures::platform();
    platform.spec.replan.min_saving = min_saving.to_owned();
    let inputs = Inputs {
        platforms: vec![platform],
        ..Inputs::default()
    };
    let validated = validate(&inputs, &BTreeSet::new());
    validated.problems.values().next().unwrap().message.clone()
}

#[test]
fn a_correction_takes_nobodys_service_away() {
    // At most 25 ms by the profile on the largest function, 27.5 ms with the headroom, and 5 ms of overhead: 66 ms are kept by a runtime twice as slow,
    // and by none that is 2.8 times or four times as slow.
    let apps = [
        fixtures::app("tight", "66ms", "5/s"),
        fixtures::app("cart", "800ms", "10/s"),
    ];
    let corrected = |factor: f64| {
        let corrections = Corrections {
            cpu: Correction::new(factor, factor),
            ..Corrections::default()
        };
        let inputs = Inputs {
            platforms: vec![fixtures::platform()],
            models: vec![fixtures::model()],
            apps: apps.to_vec(),
            corrections: [(("shop".to_owned(), "mlp".to_owned()), corrections)].into(),
            ..Inputs::default()
        };
        let validated = validate(&inputs, &BTreeSet::new());
        (
            validated.requests["default"].clone(),
            validated.patience["default"],
        )
    };
    let (as_written, patience) = corrected(1.0);
    let decided = decided_again(&as_written, None, &[], &patience, Duration::ZERO);
    assert_eq!(decided.plans[0].infeasible, []);
    // Who is new is refused by what is known: no promise is made that is not kept.
    let (slow, _) = corrected(4.0);
    let refused = decided_again(&slow, None, &[], &patience, Duration::ZERO);
    assert_eq!(refused.plans[0].infeasible[0].app, "tight");
    // Who is served stays served, on a function that is as fast as a part of the correction asks for.
    let after = decided_again(&slow, Some(&decided), &[], &patience, MINUTE);
    assert_eq!(after.plans[0].infeasible, []);
    let vcpu = |decided: &Decided| {
        let group = &decided.plans[0].groups[0];
        assert_eq!(group.members[0].app, "tight");
        match group.device {
            Device::Cpu { vcpu } => vcpu,
            Device::Gpu { .. } => unreachable!("the profile has no GPU"),
        }
    };
    let (before, then) = (vcpu(&decided), vcpu(&after));
    assert!(then > before, "{then} instead of {before}");
    // It is not looked for again and again.
    assert!(!after.is_due(&slow, &patience, 2 * MINUTE));
}

/// What a platform says of its headroom, read.
fn headroom(
    written: Option<&str>,
    billing: harmonybatch_api::inference_platform::Billing,
) -> Result<f64, String> {
    let mut platform = fixtures::platform();
    platform.spec.headroom = written.map(str::to_owned);
    platform.spec.billing = billing;
    let inputs = Inputs {
        platforms: vec![platform],
        models: vec![fixtures::model()],
        apps: apps("5/s"),
        ..Inputs::default()
    };
    let validated = validate(&inputs, &BTreeSet::new());
    match validated.problems.values().next() {
        Some(problem) => Err(problem.message.clone()),
        None => Ok(validated.requests["default"].platform.headroom().get()),
    }
}

#[test]
fn a_headroom_is_a_percentage_and_has_a_default_for_each_billing() {
    use harmonybatch_api::inference_platform::Billing::{PerInvocation, PerReplica};
    for (written, billing, read) in [
        (None, PerReplica, 0.1),
        (None, PerInvocation, 0.0),
        (Some("0%"), PerReplica, 0.0),
        (Some("10%"), PerInvocation, 0.1),
        (Some("12.5%"), PerReplica, 0.125),
        (Some("100%"), PerReplica, 1.0),
    ] {
        assert_eq!(headroom(written, billing), Ok(read), "{written:?}");
    }
    for bad in ["", "%", "10", "-5%", "10 %", "101%", "100.5%", "a tenth"] {
        assert_eq!(
            headroom(Some(bad), PerReplica),
            Err(format!(
                "headroom {bad:?} is not a headroom: write a percentage from 0% to 100%, such as 10%"
            ))
        );
    }
}

/// The fastest function takes 25 ms at most, and 5 ms are between: 31 ms can be kept with 4 % to spare (26 ms of 25), and 33 ms with 10 % (27.5 ms).
#[test]
fn who_is_refused_for_the_headroom_is_told_so() {
    let refused = |slo: &str, rate: &str| {
        let (asked, _) = request(&[fixtures::app("search", slo, rate)]);
        let plan = decide(&asked).unwrap().remove(0);
        refusal(&plan, &plan.infeasible[0])
    };
    let told = refused("31ms", "5/s");
    assert!(
        told.starts_with("slo.latency 31ms is below the fastest known configuration of model mlp (32.5"),
        "{told}"
    );
    assert!(
        told.ends_with(
            " with the platform's headroom of 10%); the nearest SLO that can be kept is 33ms, \
             or this one with a headroom of 3.9% at most"
        ),
        "{told}"
    );
    let told = refused("6ms", "5/s");
    assert!(
        told.ends_with("; the nearest SLO that can be kept is 33ms"),
        "{told}"
    );
    let told = refused("500ms", "1000000000/s");
    assert!(
        told.ends_with(" (with the platform's headroom of 10%, which may be lowered)"),
        "{told}"
    );
}
