//! What is said on applications, models and platforms.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use harmonybatch_api::inference_app::{Overflow, RateSource};
use harmonybatch_api::inference_group::{Active, Endpoints};
use harmonybatch_api::inference_model::MeasuredProfile;
use harmonybatch_api::{InferenceGroupStatus, conditions};
use harmonybatch_planner::{DearerApp, PlatformPlan, PoolUse, Shortage};

use super::*;
use crate::fixtures;
use crate::plan::pools::PoolReport;
use crate::plan::validate::Admitted;
use crate::plan::{Inputs, decide, validate};

const URL: &str = "http://search-infer.shop.svc.cluster.local";

fn plan(apps: &[InferenceApp]) -> Plan {
    let inputs = Inputs {
        platforms: vec![fixtures::platform()],
        models: vec![fixtures::model()],
        apps: apps.to_vec(),
        ..Inputs::default()
    };
    let validated = validate(&inputs, &BTreeSet::new());
    assert_eq!(validated.problems, std::collections::BTreeMap::new());
    decide(&validated.requests["default"]).unwrap().remove(0)
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract {
    model: "mlp".to_owned(),
    service_name: "search-infer".to_owned(),
    slo: "500ms".to_owned(),
    percentile: "99".to_owned(),
    rate: "300/m".to_owned(),
    rate_source: RateSource::Observed,
    timeout: "2s".parse().unwrap(),
    admitted: Admitted {
        rate: 6.25,
        excess: 0.0,
        overflow: Overflow::Reject,
    },
});

fn place<'a>(plan: &'a Plan, group: &'a str, app: &str) -> Place<'a> {
    let planned = plan
        .groups
        .iter()
        .find(|it| it.members.iter().any(|member| member.app == app))
        .unwrap();
    let member = planned.members.iter().find(|member| member.app == app).unwrap();
    Place::Member {
        namespace: "shop",
        name: group,
        planned,
        member,
        contract: &CONTRACT,
    }
}

/// A group that routes `app` with so many ready replicas, and says this of itself.
fn group(
    name: &str,
    generation: i64,
    routed: &[&str],
    ready: i32,
    said: Option<(&str, &str)>,
) -> Arc<InferenceGroup> {
    let mut group = fixtures::group(name, generation, &["search"]);
    let ready_condition = match said {
        Some((reason, message)) => Observation::new(READY, false, reason, message),
        None => Observation::new(READY, true, reason::OK, "fine"),
    };
    group.status = Some(InferenceGroupStatus {
        ready_replicas: Some(ready),
        conditions: conditions::update(&[], &[ready_condition], None, &fixtures::at(0)),
        active: (!routed.is_empty()).then(|| Active {
            plan_generation: generation,
            members: fixtures::group(name, generation, routed).spec.members,
            batch_size: 8,
            dispatch: Dispatch::Eager,
            replicas: 1,
            model_name: "net".to_owned(),
            idempotent: true,
            protocol: harmonybatch_api::inference_model::Protocol::default(),
            overhead: "5ms".to_owned(),
            endpoints: Endpoints {
                service: "s".to_owned(),
                port: "http".to_owned(),
            },
            wake_url: None,
        }),
        ..InferenceGroupStatus::default()
    });
    Arc::new(group)
}

fn ready_of(place: &Place<'_>, groups: &[Arc<InferenceGroup>]) -> (String, String, String) {
    ready_despite(&Refusals::default(), place, groups)
}

fn ready_despite(
    refusals: &Refusals,
    place: &Place<'_>,
    groups: &[Arc<InferenceGroup>],
) -> (String, String, String) {
    let status = app(
        &fixtures::app("search", "500ms", "5/s"),
        place,
        groups,
        refusals,
        URL,
        &fixtures::at(0),
    );
    let ready = conditions::find(&status.conditions, READY).unwrap();
    (ready.status.clone(), ready.reason.clone(), ready.message.clone())
}

fn said(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

#[test]
fn a_planned_app_says_where_what_and_why() {
    let apps = [
        fixtures::app("search", "500ms", "5/s"),
        fixtures::app("cart", "800ms", "10/s"),
    ];
    let plan = plan(&apps);
    let mut status = app(
        &apps[0],
        &place(&plan, "mlp-aaaaa", "search"),
        &[],
        &Refusals::default(),
        URL,
        &fixtures::at(0),
    );
    // What the planner decides is the planner's to test: here only that all of it is passed on.
    let said = status.plan.take().unwrap();
    let planned = plan
        .groups
        .iter()
        .find(|it| it.members.iter().any(|member| member.app == "search"))
        .unwrap();
    assert_eq!(status.device.take().unwrap(), said.device.to_string());
    assert_eq!(said.device, device(&planned.device));
    assert_eq!(said.batch_size.unsigned_abs(), planned.batch_size.get());
    assert!(said.because.unwrap().contains("alone"));
    assert!(said.cost_per_month.parse::<f64>().unwrap() > 0.0 && said.saving_alone.unwrap().ends_with('%'));
    assert!(said.latency.unwrap().percentile.unwrap().ends_with("ms"));
    insta::assert_yaml_snapshot!(status);
}

#[test]
fn an_app_is_ready_where_it_is_routed_and_a_replica_is() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let plan = plan(&apps);
    let place = place(&plan, "new", "search");
    let starts = Some(("Unschedulable", "pod new is Pending: no room"));
    assert_eq!(
        ready_of(&place, &[group("new", 2, &[], 0, starts)]),
        said("False", "Unschedulable", "group new: pod new is Pending: no room")
    );
    assert_eq!(
        ready_of(
            &place,
            &[
                group("old", 1, &["search"], 1, None),
                group("new", 2, &[], 0, starts)
            ]
        ),
        said(
            "True",
            "OK",
            "served by group old until new is ready: pod new is Pending: no room"
        )
    );
    assert_eq!(
        ready_of(
            &place,
            &[
                group("old", 1, &["search"], 1, None),
                group("new", 2, &["search"], 1, None)
            ]
        ),
        said("True", "OK", "served by group new")
    );
    assert_eq!(
        ready_of(&place, &[]),
        said("False", "Starting", "the group is being made")
    );
}

#[test]
fn what_the_api_server_refuses_is_said_on_the_app() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let plan = plan(&apps);
    let place = place(&plan, "new", "search");
    let error = crate::cluster::Error::Timeout {
        what: "apply it".to_owned(),
    };
    let mut refusals = Refusals::default();
    refusals.group(&fixtures::group("new", 2, &["search"]), &error);
    let why = error.to_string();
    assert_eq!(
        ready_despite(&refusals, &place, &[]),
        said("False", "Refused", &why)
    );
    let old = group("old", 1, &["search"], 1, None);
    assert_eq!(
        ready_despite(&refusals, &place, &[old.clone(), group("new", 2, &[], 0, None)]),
        said(
            "True",
            "OK",
            &format!("served by group old until new is ready: {why}")
        )
    );
    // Callers have no address then, whoever would answer.
    refusals.caller_service(&apps[0], &error);
    assert_eq!(
        ready_despite(&refusals, &place, &[old]),
        said("False", "Refused", &why)
    );
}

#[test]
fn an_app_that_cannot_be_planned_says_what_could_be() {
    let tight = fixtures::app("search", "5ms", "5/s");
    let plan = plan(std::slice::from_ref(&tight));
    let why = refusal_of(&plan);
    assert!(
        why.starts_with("slo.latency 5ms is below the fastest known configuration of model mlp ("),
        "{why}"
    );
    assert!(why.contains("; the nearest SLO that can be kept is "), "{why}");
    let status = app(
        &tight,
        &Place::Infeasible(why.clone()),
        &[],
        &Refusals::default(),
        URL,
        &fixtures::at(0),
    );
    let planned = conditions::find(&status.conditions, PLANNED).unwrap();
    assert_eq!(
        (planned.status.as_str(), planned.reason.as_str()),
        ("False", "Infeasible")
    );
    assert_eq!(planned.message, why);
    assert_eq!((status.group, status.plan), (None, None));
    let of_model = model(
        &fixtures::model(),
        None,
        Some((&plan, 1)),
        1,
        &[],
        &fixtures::at(0),
    );
    let planned = conditions::find(&of_model.conditions, PLANNED).unwrap();
    assert_eq!(
        planned.message,
        "0 apps in 0 groups; cannot be planned: search; see their condition Planned"
    );
}

fn refusal_of(plan: &Plan) -> String {
    crate::plan::refusal(plan, &plan.infeasible[0])
}

#[test]
fn the_observers_fields_are_not_the_plans_business() {
    let mut written = fixtures::app("search", "500ms", "5/s");
    let plan = plan(std::slice::from_ref(&written));
    let place = place(&plan, "mlp-aaaaa", "search");
    let mut status = app(&written, &place, &[], &Refusals::default(), URL, &fixtures::at(0));
    let met = Observation::new(conditions::SLO_MET, true, reason::OK, "");
    status
        .conditions
        .extend(conditions::update(&[], &[met], None, &fixtures::at(0)));
    status.observed = Some(harmonybatch_api::inference_app::AppObserved::default());
    written.status = Some(status);
    let again = app(
        &written,
        &place,
        &[],
        &Refusals::default(),
        URL,
        &fixtures::at(100),
    );
    assert!(!app_differs(written.status.as_ref(), &again));
}

#[test]
fn a_models_plan_number_never_falls_and_its_time_moves_with_it() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let plan = plan(&apps);
    let mut written = fixtures::model();
    written.status = Some(model(&written, None, Some((&plan, 4)), 1, &[], &fixtures::at(10)));
    let same = model(&written, None, Some((&plan, 4)), 1, &[], &fixtures::at(20));
    assert_eq!(written.status.as_ref(), Some(&same));
    let lower = model(&written, None, Some((&plan, 2)), 1, &[], &fixtures::at(30));
    assert_eq!(
        (lower.plan_generation, lower.last_plan_time),
        (Some(4), Some(fixtures::at(10)))
    );
    let next = model(&written, None, Some((&plan, 5)), 1, &[], &fixtures::at(40));
    assert_eq!(
        (next.plan_generation, next.last_plan_time),
        (Some(5), Some(fixtures::at(40)))
    );
}

#[test]
fn what_others_write_of_a_model_is_no_difference() {
    let apps = [fixtures::app("search", "500ms", "5/s")];
    let plan = plan(&apps);
    let ours = model(
        &fixtures::model(),
        None,
        Some((&plan, 4)),
        1,
        &[],
        &fixtures::at(10),
    );
    assert!(model_differs(None, &ours));
    let mut stored = ours.clone();
    let profiled = Observation::new(conditions::PROFILED, true, reason::MEASURED, "measured");
    stored
        .conditions
        .extend(conditions::update(&[], &[profiled], Some(1), &fixtures::at(10)));
    stored.profile = Some(MeasuredProfile {
        image: "example.org/runtime:1".to_owned(),
        subject: "s".to_owned(),
        cpu: Vec::new(),
        after_idle: None,
        provenance: None,
    });
    assert!(!model_differs(Some(&stored), &ours));
    let other = model(
        &fixtures::model(),
        None,
        Some((&plan, 5)),
        1,
        &[],
        &fixtures::at(10),
    );
    assert!(model_differs(Some(&stored), &other));
}

/// Status, reason and message of `DevicesSuffice`; none where the platform says nothing of it.
fn devices_suffice(
    platform_spec: &InferencePlatform,
    pools: Option<&PoolsNow<'_>>,
) -> Option<(String, String, String)> {
    let status = platform(platform_spec, None, &[], pools, &fixtures::at(0));
    let found = conditions::find(&status.conditions, conditions::DEVICES_SUFFICE)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

fn limited() -> InferencePlatform {
    let mut platform = fixtures::platform();
    platform.spec.gpu_pools[0].devices = Some(1);
    platform
}

fn reported(used: &PoolUse, shortage: Option<Shortage>) -> PoolReport {
    let planned = PlatformPlan {
        plans: Vec::new(),
        pools: vec![used.clone()],
        shortage,
    };
    // 2.2583e-5 $/s are 59.35 a month of 730 hours.
    PoolReport::new(&planned, |_| Ok::<_, std::convert::Infallible>(Some(2.2583e-5))).unwrap()
}

#[test]
fn a_platform_says_what_its_pools_are_used_for_and_what_a_shortage_costs() {
    let used = PoolUse {
        pool: "a10".to_owned(),
        units: 24,
        devices: 1,
        limit: Some(1),
    };
    let dearer = |index: i32| DearerApp {
        namespace: "shop".to_owned(),
        model: "mlp".to_owned(),
        app: format!("app-{index}"),
        unlimited: 0.0,
        planned: 2.2583e-5,
    };
    let short = Shortage {
        scarcity: vec![1e-6],
        gap: Some(0.0),
        dearer: (0..12).map(dearer).collect(),
    };
    let report = reported(&used, Some(short));
    let pools = PoolsNow {
        used: vec![used.clone()],
        report: Some(&report),
    };
    let status = platform(&limited(), None, &[], Some(&pools), &fixtures::at(0));
    let [pool] = status.gpu_pools.as_slice() else {
        panic!("{:?}", status.gpu_pools)
    };
    assert_eq!(
        (pool.name.as_str(), pool.units, pool.devices, pool.limit),
        ("a10", 24, 1, Some(1))
    );
    assert_eq!(pool.one_more_saves_per_month.as_deref(), Some("59.35"));
    let shortage = status.shortage.unwrap();
    assert_eq!((shortage.gap.as_deref(), shortage.dearer), (Some("0.0%"), 12));
    assert_eq!(shortage.dearer_apps.len(), 10);
    assert_eq!(shortage.dearer_apps[0].more_per_month, "+59.35");
    let (status, reason, message) = devices_suffice(&limited(), Some(&pools)).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "PlansDearer"));
    assert!(
        message.ends_with(" and 7 others. One more device of pool a10 would save 59.35 a month."),
        "{message}"
    );

    let report = reported(&used, None);
    let pools = PoolsNow {
        used: vec![used],
        report: Some(&report),
    };
    let status = platform(&limited(), None, &[], Some(&pools), &fixtures::at(0));
    assert_eq!(
        (
            status.shortage,
            status.gpu_pools[0].one_more_saves_per_month.as_ref()
        ),
        (None, None)
    );
    assert_eq!(
        devices_suffice(&limited(), Some(&pools)),
        Some(said("True", "OK", "the devices suffice for the cheapest plans"))
    );
}

#[test]
fn what_is_not_known_of_the_pools_says_why() {
    let mut cpu_only = fixtures::platform();
    cpu_only.spec.gpu_pools.clear();
    assert_eq!(devices_suffice(&cpu_only, None), None);
    let waiting = PoolsNow {
        used: Vec::new(),
        report: None,
    };
    let reason = |platform: &InferencePlatform, pools: Option<&PoolsNow<'_>>| {
        let (status, reason, _) = devices_suffice(platform, pools).unwrap();
        assert_eq!(status, "Unknown");
        reason
    };
    assert_eq!(reason(&fixtures::platform(), Some(&waiting)), "NotLimited");
    assert_eq!(reason(&limited(), None), "NothingPlanned");
    assert_eq!(reason(&limited(), Some(&waiting)), "BeingAssessed");
    let problem = Problem::new(reason::INVALID, "overhead: no unit".to_owned());
    let status = platform(&limited(), Some(&problem), &[], None, &fixtures::at(0));
    let found = conditions::find(&status.conditions, conditions::DEVICES_SUFFICE).unwrap();
    assert_eq!(
        (found.status.as_str(), found.reason.as_str()),
        ("Unknown", "Invalid")
    );
}

#[test]
fn an_app_is_told_the_rate_that_its_plan_is_made_for() {
    let plan = plan(&[fixtures::app("search", "500ms", "5/s")]);
    let member = &plan.groups[0].members[0];
    // As it was asked for, in the words that it was asked in.
    assert_eq!(planned_rate(member, &CONTRACT).as_deref(), Some("300/m"));
    // The plan holds for a higher rate from before.
    let fallen = Contract {
        rate: "4.8/s".to_owned(),
        ..CONTRACT.clone()
    };
    assert_eq!(planned_rate(member, &fallen).as_deref(), Some("5/s"));
    let told = app_plan(&plan.groups[0], member, &CONTRACT);
    assert_eq!(told.rate_source, RateSource::Observed);
}
