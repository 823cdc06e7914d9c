//! What is remembered makes plans faster, and never different; what is stopped ends.

use std::collections::HashSet;

use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{App, Billing, PlanError, Session};

use crate::fixture::{MODELS, plan, request};
use crate::random::Random;

/// Applications that change one by one: a rate, an SLO, one more, one less.
fn changed(apps: &mut Vec<App>, step: usize, random: &mut Random) {
    let index = step % apps.len();
    match step % 4 {
        0 => apps[index].rate = Rate::new(random.log_uniform(0.05, 50.0)).unwrap(),
        1 => apps[index].slo = Seconds::new(random.log_uniform(0.2, 2.0)).unwrap(),
        2 => {
            let mut more = random.apps(1, (0.2, 2.0), (0.05, 50.0)).remove(0);
            more.name = format!("more-{step}");
            apps.push(more);
        }
        _ => drop(apps.remove(index)),
    }
}

#[test]
fn a_session_plans_what_a_new_one_plans() {
    for billing in [Billing::PerReplica, Billing::PerInvocation] {
        for model in &MODELS {
            let session = Session::new();
            let mut random = Random::seeded(0x0073_6573_7369_6f6e);
            let mut apps = random.apps(6, (0.2, 2.0), (0.05, 50.0));
            let mut seen = HashSet::new();
            for step in 0..6 {
                let request = request(billing, model, apps.clone());
                let found = session.plan_platform(&request).unwrap().plans;
                assert_eq!(
                    format!("{found:?}"),
                    format!("{:?}", plan(&request)),
                    "step {step}"
                );
                seen.insert(format!("{found:?}"));
                changed(&mut apps, step, &mut random);
            }
            assert!(
                seen.len() > 3,
                "the plans differ, or there was nothing to confuse"
            );
        }
    }
}

#[test]
fn models_with_the_same_applications_are_not_confused() {
    let session = Session::new();
    let apps = Random::seeded(3).apps(4, (0.3, 1.0), (1.0, 20.0));
    let requests = MODELS.map(|model| request(Billing::PerReplica, &model, apps.clone()));
    for request in requests.iter().chain(requests.iter().rev()) {
        assert_eq!(session.plan_platform(request).unwrap().plans, plan(request));
    }
}

#[test]
fn what_is_stopped_ends_and_stays_stopped() {
    let apps = Random::seeded(5).apps(3000, (0.2, 1.0), (0.05, 50.0));
    let request = request(Billing::PerReplica, &MODELS[2], apps);
    let session = Session::new();
    let stop = session.stop();
    assert!(!stop.is_requested());
    // Whenever it is noticed: before the search begins, or in the middle of it.
    let found = std::thread::scope(|scope| {
        let planning = scope.spawn(|| session.plan_platform(&request));
        stop.request();
        planning.join().unwrap()
    });
    assert_eq!(found, Err(PlanError::Stopped));
    assert_eq!(session.plan_platform(&request), Err(PlanError::Stopped));
    assert_eq!(
        session
            .explain(&request, "shop", MODELS[2].name, "app-0")
            .map(|it| it.plan),
        Err(PlanError::Stopped.into())
    );
}
