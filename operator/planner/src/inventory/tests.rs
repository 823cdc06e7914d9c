#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::packing::tests::best_fit_decreasing;
use super::*;
use crate::app::App;
use crate::fixture::{MODELS, TAU, app, audited, grid, prices, profile};
use crate::platform::{Billing, Sharing};
use crate::random::Random;
use crate::units::{Bytes, GpuUnits, Seconds};

/// Units of a device: few, so that a few slow applications fill it.
const UNITS: u32 = 4;

fn platform(cpu: bool, devices: Option<u32>) -> Platform {
    let units = |count| GpuUnits::new(count).unwrap();
    let pool = GpuPool::new(
        "a10",
        "a10",
        units(UNITS),
        Bytes(1 << 30),
        Seconds::new(TAU).unwrap(),
        Sharing::FixedShare,
        (1..=UNITS).map(units).collect(),
    );
    Platform::new(
        Billing::PerReplica,
        prices(),
        Seconds::ZERO,
        cpu.then(grid),
        vec![pool.unwrap().with_devices(devices)],
    )
    .unwrap()
}

/// One model for each application.
fn request(platform: Platform, apps: &[App]) -> PlanRequest {
    let models = (0..).zip(apps).map(|(index, app)| {
        let coefficients = &MODELS[index % 2];
        ModelSet::new(
            "shop",
            format!("model-{index}"),
            profile(coefficients),
            vec![app.clone()],
        )
        .unwrap()
    });
    PlanRequest {
        platform,
        models: models.collect(),
    }
}

fn cost(plans: &[Plan]) -> f64 {
    plans.iter().map(|plan| plan.cost_per_second).sum()
}

/// For models of one application, the choice is CPU or GPU for each: all combinations are tried.
#[test]
fn plans_are_as_near_to_the_best_of_all_combinations_as_they_say() {
    let mut random = Random::seeded(11);
    let mut binding = 0;
    for _ in 0..3 {
        let apps: Vec<App> = (0..4)
            .map(|index| {
                let (slo, rate) = (random.log_uniform(0.4, 2.0), random.log_uniform(2.0, 20.0));
                app(&format!("app-{index}"), slo, rate)
            })
            .collect();
        let cpu_only = {
            let platform = Platform::new(Billing::PerReplica, prices(), Seconds::ZERO, Some(grid()), vec![]);
            crate::fixture::plan(&request(platform.unwrap(), &apps))
        };
        let gpu_only = crate::fixture::plan(&request(platform(false, None), &apps));
        for devices in [0, 1] {
            let mut best = f64::INFINITY;
            for choice in 0..1_u32 << apps.len() {
                let chosen: Vec<&Plan> = (0..apps.len())
                    .map(|index| {
                        if choice >> index & 1 == 1 {
                            &gpu_only[index]
                        } else {
                            &cpu_only[index]
                        }
                    })
                    .collect();
                let groups = || chosen.iter().flat_map(|plan| &plan.groups);
                let shares: Vec<(u64, u64)> = groups()
                    .map(|group| (units_on(&group.device, "a10"), u64::from(group.replicas)))
                    .filter(|(units, _)| *units > 0)
                    .collect();
                let served = chosen.iter().all(|plan| plan.infeasible.is_empty());
                if served && best_fit_decreasing(&shares, u64::from(UNITS)) <= devices as usize {
                    best = best.min(groups().map(|group| group.predicted.cost_per_second).sum());
                }
            }
            let planned = audited(&request(platform(true, Some(devices)), &apps));
            assert!(
                planned.pools[0].devices <= u64::from(devices),
                "{:?}",
                planned.pools
            );
            let ours = cost(&planned.plans);
            if best.is_finite() {
                assert!(ours > best * (1.0 - 1e-6), "{ours} is below the best, {best}");
                assert!(planned.plans.iter().all(|plan| plan.infeasible.is_empty()));
                match &planned.shortage {
                    // Nothing is short: the cheapest plans are taken as they are.
                    None => assert!(ours <= best * (1.0 + 1e-6), "{ours} is above the best, {best}"),
                    Some(shortage) => {
                        binding += 1;
                        let gap = shortage.gap.unwrap();
                        assert!(
                            ours <= best * (1.0 + gap) * (1.0 + 1e-6),
                            "{ours} against {best}, gap {gap}"
                        );
                        assert!(!shortage.dearer.is_empty());
                    }
                }
            }
        }
    }
    assert!(binding >= 3, "{binding} of the cases were short of devices");
}

#[test]
fn who_cannot_be_placed_is_named_and_the_others_are_served() {
    let apps: Vec<App> = (0..5)
        .map(|index| app(&format!("app-{index}"), 0.3, 50.0))
        .collect();
    let request = request(platform(false, Some(1)), &apps);
    let planned = audited(&request);
    assert!(planned.pools[0].devices <= 1, "{:?}", planned.pools);
    let left_out: Vec<&InfeasibleApp> = planned.plans.iter().flat_map(|plan| &plan.infeasible).collect();
    let served: usize = planned.plans.iter().map(|plan| plan.groups.len()).sum();
    assert_eq!(left_out.len() + served, apps.len());
    assert!(served > 0 && !left_out.is_empty(), "{served} served");
    for app in left_out {
        assert!(matches!(&app.reason, InfeasibleReason::PoolExhausted { pool, devices: 1 } if pool == "a10"));
    }
}

#[test]
fn devices_that_suffice_change_nothing_and_one_more_saves_nothing() {
    let apps = Random::seeded(3).apps(4, (0.3, 2.0), (1.0, 20.0));
    let unlimited = audited(&request(platform(true, None), &apps));
    let ample = request(platform(true, Some(1_000)), &apps);
    assert_eq!(audited(&ample).plans, unlimited.plans);
    assert_eq!(
        Session::new().saving_of_one_more_device(&ample, "a10"),
        Ok(Some(0.0))
    );
    assert_eq!(Session::new().saving_of_one_more_device(&ample, "h100"), Ok(None));
    let none = request(platform(true, Some(0)), &apps);
    let saving = Session::new()
        .saving_of_one_more_device(&none, "a10")
        .unwrap()
        .unwrap();
    let without = cost(&audited(&none).plans);
    let with_one = cost(&audited(&request(platform(true, Some(1)), &apps)).plans);
    assert!(
        (saving - (without - with_one)).abs() < 1e-12 && saving > 0.0,
        "{saving}"
    );
}

fn assessed(request: &PlanRequest, plans: &[Plan]) -> PlatformPlan {
    Session::new().assess(request, plans).unwrap()
}

#[test]
fn plans_that_run_are_assessed_as_new_ones_are_and_dearer_ones_as_dearer() {
    let apps = Random::seeded(3).apps(2, (0.3, 2.0), (1.0, 20.0));
    let none = request(platform(true, Some(0)), &apps);
    let ample = request(platform(true, Some(1_000)), &apps);
    let new = plan_platform(&none).unwrap();
    for (request, planned) in [(&none, &new), (&ample, &plan_platform(&ample).unwrap())] {
        assert_eq!(assessed(request, &planned.plans), *planned);
    }
    // What runs costs a tenth more than what would be planned now: so much more may it be above the bound.
    let mut old = new.plans.clone();
    for plan in &mut old {
        plan.cost_per_second *= 1.1;
    }
    let member = &mut old[0].groups[0].members[0];
    member.cost_per_second *= 1_000.0;
    let greediest = member.app.clone();
    let found = assessed(&none, &old).shortage.unwrap();
    let expected = 1.1 * (1.0 + new.shortage.unwrap().gap.unwrap()) - 1.0;
    let gap = found.gap.unwrap();
    assert!((gap - expected).abs() < 1e-9, "{gap} and not {expected}");
    assert_eq!(found.dearer[0].app, greediest);
    // Where the devices suffice for the cheapest plans, nothing is short, whatever runs.
    assert_eq!(assessed(&ample, &old).shortage, None);
}

#[test]
fn the_bound_says_nothing_of_plans_that_serve_others() {
    let apps: Vec<App> = (0..5)
        .map(|index| app(&format!("app-{index}"), 0.3, 50.0))
        .collect();
    let short = request(platform(false, Some(1)), &apps);
    let planned = plan_platform(&short).unwrap();
    assert_eq!(assessed(&short, &planned.plans), planned);
    let nobody = plan_platform(&request(platform(false, Some(0)), &apps))
        .unwrap()
        .plans;
    assert_eq!(assessed(&short, &nobody).shortage.unwrap().gap, None);
}

#[test]
fn a_request_at_the_rates_of_plans_asks_for_what_they_hold_for() {
    let apps = Random::seeded(3).apps(3, (0.3, 2.0), (1.0, 20.0));
    let lower: Vec<App> = apps
        .iter()
        .map(|app| App {
            rate: crate::units::Rate::new(app.rate.get() / 1.1).unwrap(),
            ..app.clone()
        })
        .collect();
    let asked = request(platform(true, None), &apps);
    let plans = plan_platform(&asked).unwrap().plans;
    assert_eq!(request(platform(true, None), &lower).at_rates_of(&plans), asked);
    assert_eq!(asked.at_rates_of(&[]), asked);
}
