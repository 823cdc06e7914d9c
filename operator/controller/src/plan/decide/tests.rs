//! When a plan that runs stays, and when it gives way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use harmonybatch_api::InferenceApp;

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
