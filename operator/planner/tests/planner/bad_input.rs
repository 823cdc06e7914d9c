//! Numbers and descriptions that nobody should give, and what they get for it.

use harmonybatch_planner::units::{BatchSize, Bytes, GpuUnits, Percentile, Price, Seconds, Vcpu};
use harmonybatch_planner::{
    App, ArrivalModel, Billing, CpuGrid, CpuLatency, Exponential, GpuLatency, GpuPool, InfeasibleReason,
    Memory, ModelProfile, ModelSet, PlanRequest, Planner, Platform, PlatformError, Prices, ProfileError,
    Sharing,
};

use crate::fixture::{
    VGG19, a10, app, exponential, grid, membership, plan, plan_one, platform, prices, profile, seconds,
};

const BAD: [f64; 6] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e308, -1e308];
const BILLINGS: [Billing; 2] = [Billing::PerInvocation, Billing::PerReplica];

#[test]
fn no_coefficient_may_be_senseless() {
    for bad in BAD {
        assert!(Exponential::new(bad, 0.5, 0.2).is_err(), "alpha {bad}");
        assert!(Exponential::new(1.0, bad, 0.2).is_err(), "beta {bad}");
        assert!(Exponential::new(1.0, 0.5, bad).is_err(), "gamma {bad}");
        assert!(
            GpuLatency::new("a10", bad, 0.01, Memory::default()).is_err(),
            "perRow {bad}"
        );
        assert!(
            GpuLatency::new("a10", 0.001, bad, Memory::default()).is_err(),
            "fixed {bad}"
        );
    }
    assert!(Exponential::new(1.0, 0.0, 0.2).is_err());
    assert!(Exponential::new(0.0, 0.5, 0.0).is_err());
    assert!(GpuLatency::new("a10", 0.0, 0.0, Memory::default()).is_err());
    // A fit may give a small negative constant, as VideoMAE's does.
    assert!(GpuLatency::new("a10", 0.03, -0.000_45, Memory::default()).is_ok());
}

#[test]
fn a_profile_with_a_gap_or_a_double_names_the_batch() {
    let entry = |batch| CpuLatency {
        batch: BatchSize::new(batch).unwrap(),
        mean: exponential([1.0, 0.5, 0.1]),
        max: exponential([1.0, 0.5, 0.2]),
    };
    let with = |batches: &[u32]| {
        ModelProfile::new(
            batches.iter().map(|&batch| entry(batch)).collect(),
            vec![],
            BatchSize::ONE,
        )
    };
    assert_eq!(
        with(&[1, 2, 4]).unwrap_err(),
        ProfileError::CpuBatchMissing {
            missing: 3,
            largest: 4
        }
    );
    assert_eq!(
        with(&[2]).unwrap_err(),
        ProfileError::CpuBatchMissing {
            missing: 1,
            largest: 2
        }
    );
    assert_eq!(with(&[2, 1, 2]).unwrap_err(), ProfileError::CpuBatchTwice(2));
    let gpu = || GpuLatency::new("a10", 0.001, 0.001, Memory::default()).unwrap();
    let twice = ModelProfile::new(vec![], vec![gpu(), gpu()], BatchSize::ONE);
    assert_eq!(twice.unwrap_err(), ProfileError::GpuDeviceTwice("a10".into()));
}

#[test]
fn a_platform_may_not_contradict_itself() {
    let vcpu = |millis| Vcpu::from_millis(millis).unwrap();
    let units = |units| GpuUnits::new(units).unwrap();
    assert!(matches!(
        CpuGrid::new(vcpu(2), vcpu(1), vcpu(1)),
        Err(PlatformError::CpuGridEmpty { .. })
    ));
    assert!(matches!(
        CpuGrid::new(vcpu(1), vcpu(1_000_000), vcpu(1)),
        Err(PlatformError::CpuGridTooFine { sizes: 1_000_000, .. })
    ));
    let pool = |tau, shares| {
        GpuPool::new(
            "a10",
            "a10",
            units(24),
            Bytes(1 << 30),
            tau,
            Sharing::FixedShare,
            shares,
        )
    };
    assert!(matches!(
        pool(seconds(0.002), vec![]),
        Err(PlatformError::NoShares { .. })
    ));
    assert!(matches!(
        pool(Seconds::ZERO, vec![units(1)]),
        Err(PlatformError::NoSlice { .. })
    ));
    assert!(matches!(
        pool(seconds(0.002), vec![units(25)]),
        Err(PlatformError::ShareExceedsDevice { .. })
    ));
    let twice = Platform::new(
        Billing::PerReplica,
        prices(),
        Seconds::ZERO,
        None,
        vec![a10(), a10()],
    );
    assert_eq!(twice.unwrap_err(), PlatformError::DuplicatePool("a10".into()));
}

#[test]
fn an_application_listed_twice_is_named() {
    let apps = vec![
        app("cart", 0.5, 1.0),
        app("feed", 0.5, 1.0),
        app("cart", 0.6, 1.0),
    ];
    let error = ModelSet::new("shop", "vgg19", profile(&VGG19), apps).unwrap_err();
    assert_eq!(
        error.to_string(),
        "application cart is listed twice for model vgg19"
    );
}

#[test]
fn no_application_is_no_group() {
    for billing in BILLINGS {
        let empty = plan_one(billing, &VGG19, vec![]);
        assert!(empty.groups.is_empty() && empty.infeasible.is_empty());
        assert!(empty.cost_per_second.abs() < f64::MIN_POSITIVE);
        assert!(
            crate::fixture::plan(&PlanRequest {
                platform: platform(billing),
                models: vec![]
            })
            .is_empty()
        );
    }
}

#[test]
fn an_infeasible_application_disturbs_no_one() {
    for billing in BILLINGS {
        let others = vec![app("cart", 0.8, 10.0), app("feed", 1.0, 20.0)];
        let mut apps = others.clone();
        apps.push(app("dash", 0.003, 1.0));
        apps.push(app("none", 0.0, 1.0));
        let plan = plan_one(billing, &VGG19, apps);
        assert_eq!(plan.groups, plan_one(billing, &VGG19, others).groups);
        let names: Vec<&str> = plan.infeasible.iter().map(|app| app.app.as_str()).collect();
        assert_eq!(names, ["dash", "none"]);
        let text = plan.infeasible[0].reason.to_string();
        assert!(
            text.starts_with("slo 3ms is below the fastest known configuration ("),
            "{text}"
        );
        assert!(text.ends_with("on 24 units of a10)"), "{text}");
        assert!(
            plan.infeasible[0]
                .nearest_slo
                .is_some_and(|slo| slo.as_millis() >= 3.9)
        );
    }
}

#[test]
fn a_model_that_runs_nowhere_is_said_to() {
    for billing in BILLINGS {
        let bare = Platform::new(billing, prices(), Seconds::ZERO, None, vec![]).unwrap();
        let set = ModelSet::new("shop", "vgg19", profile(&VGG19), vec![app("cart", 1.0, 1.0)]).unwrap();
        let plans = plan(&PlanRequest {
            platform: bare,
            models: vec![set],
        });
        assert_eq!(plans[0].infeasible[0].reason, InfeasibleReason::NoDevice);
    }
}

#[test]
fn memory_that_fits_no_share_is_said_with_both_amounts() {
    let memory = Memory {
        base: Bytes(30 << 30),
        per_row: Bytes(1 << 30),
    };
    let gpu = GpuLatency::new("a10", 0.001, 0.001, memory).unwrap();
    let profile = ModelProfile::new(vec![], vec![gpu], BatchSize::new(32).unwrap()).unwrap();
    let set = ModelSet::new("shop", "huge", profile, vec![app("cart", 1.0, 1.0)]).unwrap();
    let plans = plan(&PlanRequest {
        platform: platform(Billing::PerReplica),
        models: vec![set],
    });
    assert_eq!(
        plans[0].infeasible[0].reason.to_string(),
        "a batch of one row needs 31744Mi of device memory; the largest share has 24576Mi"
    );
}

#[test]
fn memory_past_all_counting_fits_nowhere() {
    let memory = Memory {
        base: Bytes(0),
        per_row: Bytes(u64::MAX / 2),
    };
    let gpu = GpuLatency::new("a10", 0.001, 0.001, memory).unwrap();
    let profile = ModelProfile::new(vec![], vec![gpu], BatchSize::new(32).unwrap()).unwrap();
    let units = GpuUnits::new(24).unwrap();
    let pool = GpuPool::new(
        "a10",
        "a10",
        units,
        Bytes(u64::MAX),
        seconds(0.002),
        Sharing::FixedShare,
        vec![units],
    );
    for billing in BILLINGS {
        let pools = vec![pool.clone().unwrap()];
        let set = ModelSet::new("shop", "huge", profile.clone(), vec![app("cart", 1.0, 100.0)]).unwrap();
        let plans = plan(&PlanRequest {
            platform: Platform::new(billing, prices(), Seconds::ZERO, None, pools).unwrap(),
            models: vec![set],
        });
        assert!(plans[0].groups[0].batch_size.get() <= 2);
    }
}

#[test]
fn memory_bounds_batch_and_share() {
    // A share of m units holds batches of up to m - 2 rows.
    let memory = Memory {
        base: Bytes(2 << 30),
        per_row: Bytes(1 << 30),
    };
    let gpu = GpuLatency::new("a10", VGG19.per_row, VGG19.fixed, memory).unwrap();
    let profile = ModelProfile::new(vec![], vec![gpu], BatchSize::new(32).unwrap()).unwrap();
    for billing in BILLINGS {
        let apps = vec![app("cart", 0.8, 10.0), app("feed", 1.0, 20.0)];
        let set = ModelSet::new("shop", "vgg19", profile.clone(), apps).unwrap();
        let plans = plan(&PlanRequest {
            platform: platform(billing),
            models: vec![set],
        });
        assert!(!plans[0].groups.is_empty());
        for group in &plans[0].groups {
            let harmonybatch_planner::Device::Gpu { units, .. } = &group.device else {
                panic!("there is no cpu profile")
            };
            assert!(group.batch_size.get() + 2 <= units.get(), "{group:#?}");
        }
    }
}

#[test]
fn extreme_but_legal_numbers_give_a_plan_or_a_reason() {
    let slos = [0.0, 1e-300, 1e-6, 0.5, 1e6];
    let rates = [1e-9, 1e-3, 1.0, 1e9];
    let apps: Vec<App> = slos
        .iter()
        .flat_map(|&slo| rates.map(|rate| (slo, rate)))
        .enumerate()
        .map(|(index, (slo, rate))| app(&format!("app-{index}"), slo, rate))
        .collect();
    for billing in BILLINGS {
        let plan = plan_one(billing, &VGG19, apps.clone());
        let planned: usize = plan.groups.iter().map(|group| group.members.len()).sum();
        assert_eq!(planned + plan.infeasible.len(), apps.len());
        assert!(plan.cost_per_second.is_finite());
    }
}

#[test]
fn a_load_beyond_every_number_of_replicas_is_named() {
    for billing in BILLINGS {
        let apps = vec![app("cart", 1.0, 1e9), app("feed", 1.0, 5.0)];
        let plan = plan_one(billing, &VGG19, apps);
        assert_eq!(membership(&plan), [["feed"]]);
        let text = plan.infeasible[0].reason.to_string();
        assert!(
            text.starts_with("rate 1000000000/s needs ") && text.ends_with("at most 10000 are planned"),
            "{text}"
        );
        assert_eq!(plan.infeasible[0].nearest_slo, None);
    }
}

/// Each alone needs 6,000 pods; what the API takes holds one of them only.
#[test]
fn loads_that_are_too_much_together_stay_apart() {
    let rate = 6000.0 / (VGG19.per_row + VGG19.fixed / 32.0) / 24.0;
    let plan = plan_one(
        Billing::PerInvocation,
        &VGG19,
        vec![app("cart", 1.0, rate), app("feed", 1.0, rate)],
    );
    assert!(plan.infeasible.is_empty(), "{:?}", plan.infeasible);
    assert!(plan.groups.iter().all(|group| group.replicas <= 10_000));
}

/// A fit to few measurements: batches of two are slow, larger and smaller ones are not.
#[test]
fn a_batch_is_promised_no_sooner_than_a_smaller_one() {
    let entry = |batch, seconds| CpuLatency {
        batch: BatchSize::new(batch).unwrap(),
        mean: exponential([0.0, 0.5, seconds]),
        max: exponential([0.0, 0.5, seconds]),
    };
    let cpu = vec![entry(1, 0.1), entry(2, 0.6), entry(3, 0.2)];
    let profile = ModelProfile::new(cpu, vec![], BatchSize::new(32).unwrap()).unwrap();
    for (slo, largest) in [(0.5, 1), (5.0, 3)] {
        for arrivals in [ArrivalModel::Exact, ArrivalModel::Paper] {
            let apps = vec![app("cart", slo, 20.0)];
            let set = ModelSet::new("shop", "odd", profile.clone(), apps).unwrap();
            let found = plan(&PlanRequest {
                platform: platform(Billing::PerInvocation).with_arrivals(arrivals),
                models: vec![set],
            });
            let group = &found[0].groups[0];
            assert_eq!(group.batch_size.get(), largest, "{arrivals:?}");
            let wait = group.members[0].max_wait.get();
            let slowest = if largest == 1 { 0.1 } else { 0.6 };
            assert!((wait - (slo - slowest)).abs() < 1e-9, "{wait}");
        }
    }
}

#[test]
fn there_are_pods_for_the_load_however_few_requests_must_be_in_time() {
    let lax = App {
        percentile: Percentile::new(1e-6).unwrap(),
        ..app("cart", 1.0, 500.0)
    };
    for billing in BILLINGS {
        let plan = plan_one(billing, &VGG19, vec![lax.clone()]);
        let utilization = plan.groups[0].predicted.utilization;
        assert!(utilization < 1.0, "{utilization}");
    }
}

#[test]
fn every_request_in_time_cannot_be_promised_where_batches_queue() {
    let strict = App {
        percentile: Percentile::new(100.0).unwrap(),
        ..app("cart", 1.0, 1.0)
    };
    let plan = plan_one(Billing::PerReplica, &VGG19, vec![strict.clone()]);
    assert_eq!(
        plan.infeasible[0].reason,
        InfeasibleReason::PercentileUnattainable
    );
    assert!(
        plan_one(Billing::PerInvocation, &VGG19, vec![strict])
            .infeasible
            .is_empty()
    );
}

#[test]
fn free_resources_are_planned_small() {
    let zero = Price::new(0.0).unwrap();
    let free = Prices {
        vcpu_second: zero,
        gpu_unit_second: zero,
        request: zero,
    };
    for billing in BILLINGS {
        let platform = Platform::new(billing, free, Seconds::ZERO, Some(grid()), vec![a10()]).unwrap();
        let apps = vec![app("cart", 1.0, 1.0), app("feed", 2.0, 5.0)];
        let set = ModelSet::new("shop", "vgg19", profile(&VGG19), apps).unwrap();
        let plans = plan(&PlanRequest {
            platform,
            models: vec![set],
        });
        assert_eq!(membership(&plans[0]), [["cart", "feed"]]);
        assert!(plans[0].cost_per_second.abs() < f64::MIN_POSITIVE);
        assert!(
            plans[0].groups[0]
                .members
                .iter()
                .all(|member| member.explanation.runner_up.is_none())
        );
    }
}

#[test]
fn overhead_is_taken_off_every_slo() {
    for billing in BILLINGS {
        let late = Platform::new(billing, prices(), seconds(0.1), Some(grid()), vec![a10()]).unwrap();
        let set = |slo| ModelSet::new("shop", "vgg19", profile(&VGG19), vec![app("cart", slo, 3.0)]).unwrap();
        let with = plan(&PlanRequest {
            platform: late,
            models: vec![set(0.6)],
        });
        let without = plan(&PlanRequest {
            platform: platform(billing),
            models: vec![set(0.5)],
        });
        assert_eq!(with[0].groups[0].device, without[0].groups[0].device);
        assert_eq!(with[0].groups[0].batch_size, without[0].groups[0].batch_size);
        let bound = with[0].groups[0].members[0].latency_bound.get();
        assert!(bound > 0.1 && bound <= 0.6 + 1e-9, "{bound}");
    }
}

#[test]
fn ten_thousand_equal_applications_share_groups_of_a_size_that_the_api_takes() {
    for (billing, planner) in [
        (Billing::PerInvocation, Planner::Optimal),
        (Billing::PerInvocation, Planner::TwoStage),
        (Billing::PerReplica, Planner::Optimal),
        (Billing::PerReplica, Planner::TwoStage),
    ] {
        let apps: Vec<App> = (0..10_000)
            .map(|index| app(&format!("app-{index:04}"), 2.0, 1.0))
            .collect();
        let set = ModelSet::new("shop", "vgg19", profile(&VGG19), apps).unwrap();
        // Whether the API takes the groups, and whether everybody is in one, the audit says.
        let found = plan(&PlanRequest {
            platform: platform(billing).with_planner(planner),
            models: vec![set],
        });
        assert!(found[0].infeasible.is_empty());
        // Neighbours share: there are not many more groups than must be.
        let groups = found[0].groups.len();
        assert!(
            (40..=120).contains(&groups),
            "{billing:?} {planner:?}: {groups} groups"
        );
    }
}
