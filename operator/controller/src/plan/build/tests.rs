//! Numbers of plans, and what a group is built of.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use harmonybatch_api::inference_app::{self, Overflow};

use super::*;
use crate::fixtures;
use crate::plan::{Inputs, decide, validate};

fn built(apps: &[InferenceApp], existing: &[InferenceGroup]) -> ModelGroups {
    let inputs = Inputs {
        platforms: vec![fixtures::platform()],
        models: vec![fixtures::model()],
        apps: apps.to_vec(),
        ..Inputs::default()
    };
    let validated = validate(&inputs, &BTreeSet::new());
    let plan = decide(&validated.requests["default"]).unwrap().remove(0);
    let existing: Vec<&InferenceGroup> = existing.iter().collect();
    groups(&plan, &inputs.models[0], &validated.contracts, &existing, |_| {
        ServingMode::Deployment
    })
}

#[test]
fn a_group_is_the_contract_between_plan_serve_and_gateway() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let mut group = built(&apps, &[]).wanted.remove(0);
    // What the planner decides is the planner's to test: here only that all of it is passed on.
    let prediction = group.spec.prediction.take().unwrap();
    assert!(
        prediction.max_latency.unwrap().ends_with("ms") && prediction.utilization.unwrap().ends_with('%')
    );
    assert!(prediction.cost_per_month.unwrap().parse::<f64>().unwrap() > 0.0);
    let name = group.name_any();
    assert_eq!(group.labels()[names::GROUP_LABEL], name);
    assert!(
        name.starts_with("mlp-") && name.len() == "mlp-".len() + 5,
        "{name}"
    );
    group.metadata.name = None;
    group.metadata.labels = None;
    group.spec.device = Device::Cpu(CpuSize {
        limit: "150m".to_owned(),
    });
    group.spec.batch_size = 8;
    group.spec.replicas = 1;
    group.spec.dispatch = Dispatch::Eager;
    group.spec.members[0].max_wait = "0s".to_owned();
    insta::assert_yaml_snapshot!(group);
}

#[test]
fn a_service_for_callers_leads_to_the_gateway() {
    let app = fixtures::app("search", "500ms", "5/s");
    let host = "harmonybatch-gateway.harmonybatch.svc.cluster.local";
    let service = caller_service(&app, "search-infer", host);
    insta::assert_yaml_snapshot!(service);
    assert!(is_caller_service_of(&service, &app));
    assert!(!is_caller_service_of(
        &service,
        &fixtures::app("other", "500ms", "5/s")
    ));
}

#[test]
fn an_unchanged_plan_keeps_its_number_and_a_changed_one_has_the_next() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let first = built(&apps, &[]);
    assert_eq!(
        (first.plan_generation, first.wanted[0].spec.plan_generation),
        (1, 1)
    );
    let again = built(&apps, &first.wanted);
    assert_eq!(again, first);
    let faster = [fixtures::app("search", "500ms", "6/s")];
    let next = built(&faster, &first.wanted);
    assert_eq!(next.plan_generation, 2);
}

#[test]
fn a_group_that_comes_back_wins_over_the_one_that_had_replaced_it() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let first = built(&apps, &[]);
    // A later plan had moved the app to another group, and that one is not gone yet.
    let mut rival = fixtures::group("mlp-rival", 2, &["search"]);
    rival.spec.batch_size = 1;
    let back = built(&apps, &[first.wanted[0].clone(), rival]);
    assert_eq!(back.wanted[0].name_any(), first.wanted[0].name_any());
    assert_eq!(back.wanted[0].spec.plan_generation, 3);
    assert_eq!(back.unwanted, ["mlp-rival"]);
}

#[test]
fn a_group_on_a_gpu_or_of_grpc_is_not_put_on_knative_by_itself() {
    let gpu = planner::Device::Gpu {
        pool: "a10".to_owned(),
        units: planner::units::GpuUnits::new(6).unwrap(),
    };
    let cpu = planner::Device::Cpu {
        vcpu: planner::units::Vcpu::from_millis(150).unwrap(),
    };
    let (json, grpc) = (Protocol::OipV2Json, Protocol::OipV2Grpc);
    for (serving, served, protocol, device, mode) in [
        (Serving::Auto, true, json, &cpu, ServingMode::Knative),
        (Serving::Auto, false, json, &cpu, ServingMode::Deployment),
        (Serving::Auto, true, json, &gpu, ServingMode::Deployment),
        (Serving::Auto, true, grpc, &cpu, ServingMode::Deployment),
        (Serving::Knative, false, json, &gpu, ServingMode::Knative),
        (Serving::Deployment, true, json, &cpu, ServingMode::Deployment),
    ] {
        assert_eq!(
            serving_mode(serving, served, protocol, device),
            mode,
            "{serving:?} {served} {protocol:?} {device}"
        );
    }
}

#[test]
fn a_contract_leaves_room_for_bursts_and_for_what_an_observed_rate_may_become() {
    let admission = |change: fn(&mut InferenceApp)| {
        let mut app = fixtures::app("search", "500ms", "20/s");
        change(&mut app);
        let group = built(&[app], &[]).wanted.remove(0);
        let batch_size = i64::from(group.spec.batch_size);
        let Admission {
            rate,
            burst,
            most,
            overflow,
        } = group.spec.members[0].admission.clone().unwrap();
        assert!(burst >= 32 && burst >= 2 * batch_size && most >= burst);
        (rate, burst, most, overflow)
    };
    assert_eq!(admission(|_| {}), ("25/s".to_owned(), 32, 200, Overflow::Reject));
    // (4 - 1.25) times 20/s for nine times two seconds.
    let burst = admission(|app| {
        app.spec.burst = Some(inference_app::Burst {
            factor: "4".to_owned(),
            duration: "2s".to_owned(),
        });
    });
    assert_eq!(burst, ("25/s".to_owned(), 990, 990, Overflow::Reject));
    let observed = admission(|app| {
        app.spec.rate_source = inference_app::RateSource::Observed;
        app.spec.overflow = Overflow::BestEffort;
    });
    // Ten times the declared rate is as far as it is followed.
    assert_eq!(observed, ("250/s".to_owned(), 32, 2000, Overflow::BestEffort));
}
