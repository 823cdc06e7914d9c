//! What holds for every plan of every set of applications.

use harmonybatch_planner::units::{Percentile, Rate, Seconds};
use harmonybatch_planner::{
    App, ArrivalModel, ArrivalProcess, Billing, InfeasibleReason, ModelSet, PlanRequest, audit, plan_platform,
};
use proptest::prelude::*;

use crate::evaluator::ROUNDING;
use crate::fixture::{MODELS, plan, plan_one, platform, profile, request};

fn any_app() -> impl Strategy<Value = App> {
    let slo = (0.005_f64.ln()..10.0_f64.ln()).prop_map(f64::exp);
    // Few different SLOs, so that ties are common.
    let slo = prop_oneof![slo, (1_u32..5).prop_map(|step| f64::from(step) * 0.25)];
    let rate = (1e-3_f64.ln()..500.0_f64.ln()).prop_map(f64::exp);
    (
        slo,
        rate,
        prop_oneof![Just(99.0), 50.0..99.999],
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(slo, rate, percentile, isolated)| App {
            name: String::new(),
            slo: Seconds::new(slo).unwrap(),
            percentile: Percentile::new(percentile).unwrap(),
            rate: Rate::new(rate).unwrap(),
            isolated,
            arrivals: ArrivalProcess::Poisson,
        })
}

fn any_apps() -> impl Strategy<Value = Vec<App>> {
    proptest::collection::vec(any_app(), 0..12).prop_map(|mut apps| {
        for (index, app) in apps.iter_mut().enumerate() {
            app.name = format!("app-{index}");
        }
        apps
    })
}

fn any_billing() -> impl Strategy<Value = Billing> {
    // A plan for pods that stay up takes a thousand times longer.
    prop_oneof![31 => Just(Billing::PerInvocation), 1 => Just(Billing::PerReplica)]
}

proptest! {
    #[test]
    fn every_plan_keeps_its_promises(billing in any_billing(), model in 0..4_usize, apps in any_apps()) {
        let request = request(billing, &MODELS[model], apps);
        let found = plan_platform(&request).unwrap();
        audit::check_thoroughly(&request, &found).unwrap();
        // The published profiles leave room enough for everybody that something serves at all.
        let groups = || found.plans.iter().flat_map(|plan| &plan.groups);
        prop_assert!(groups().all(|group| group.verified == (billing == Billing::PerReplica)));
        for member in groups().flat_map(|group| &group.members) {
            // A median within the SLO says nothing of the mean; one late request in a hundred would have to be a
            // hundred SLOs late.
            let mean = member.simulated.map_or(Seconds::ZERO, |simulated| simulated.mean);
            prop_assert!(mean < member.slo || member.percentile.get() < 99.0, "{member:?}");
        }
    }

    #[test]
    fn every_plan_of_the_paper_keeps_its_promises(model in 0..4_usize, apps in any_apps()) {
        let PlanRequest { platform, models } = request(Billing::PerInvocation, &MODELS[model], apps);
        let request = PlanRequest {
            platform: platform.with_arrivals(ArrivalModel::Paper),
            models,
        };
        audit::check_thoroughly(&request, &plan_platform(&request).unwrap()).unwrap();
    }

    #[test]
    fn the_order_of_the_input_changes_no_byte(
        billing in any_billing(),
        (apps, shuffled) in any_apps().prop_flat_map(|apps| (Just(apps.clone()), Just(apps).prop_shuffle())),
    ) {
        let plan = plan_one(billing, &MODELS[0], apps);
        prop_assert_eq!(format!("{plan:?}"), format!("{:?}", plan_one(billing, &MODELS[0], shuffled)));
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(billing in any_billing(), model in 0..4_usize, apps in any_apps()) {
        let request = request(billing, &MODELS[model], apps);
        prop_assert_eq!(format!("{:?}", plan(&request)), format!("{:?}", plan(&request)));
    }

    #[test]
    fn sharing_is_never_dearer_than_one_group_each(
        billing in any_billing(), model in 0..4_usize, apps in any_apps(),
    ) {
        let shared = plan_one(billing, &MODELS[model], apps.clone());
        let apart = apps.into_iter().map(|app| App { isolated: true, ..app }).collect();
        let apart = plan_one(billing, &MODELS[model], apart);
        prop_assert!(shared.cost_per_second <= apart.cost_per_second * (1.0 + ROUNDING));
    }

    #[test]
    fn the_nearest_slo_is_feasible_and_a_millisecond_less_is_not(
        billing in any_billing(), model in 0..4_usize, app in any_app(), slo in 0.0..0.05_f64,
    ) {
        let mut app = App { slo: Seconds::new(slo).unwrap(), name: "one".into(), ..app };
        let plan = plan_one(billing, &MODELS[model], vec![app.clone()]);
        if let Some(found) = plan.infeasible.first() {
            let is_slo = matches!(found.reason, InfeasibleReason::SloTooTight { .. });
            prop_assert!(is_slo, "{}", found.reason);
            app.slo = found.nearest_slo.unwrap();
            prop_assert!(plan_one(billing, &MODELS[model], vec![app.clone()]).infeasible.is_empty());
            app.slo = Seconds::new(app.slo.get() - 0.001).unwrap();
            prop_assert!(!plan_one(billing, &MODELS[model], vec![app]).infeasible.is_empty());
        }
    }

    #[test]
    fn models_do_not_touch_each_other(billing in any_billing(), first in any_apps(), second in any_apps()) {
        let set = |model: usize, apps: Vec<App>| {
            ModelSet::new("shop", MODELS[model].name, profile(&MODELS[model]), apps).unwrap()
        };
        let both = PlanRequest {
            platform: platform(billing),
            models: vec![set(0, first.clone()), set(1, second.clone())],
        };
        let mut apart = vec![
            plan_one(billing, &MODELS[0], first),
            plan_one(billing, &MODELS[1], second),
        ];
        apart.sort_by(|a, b| a.model.cmp(&b.model));
        prop_assert_eq!(plan(&both), apart);
    }
}
