//! Plans under corrections: those of a profile that says so itself.

use harmonybatch_planner::units::BatchSize;
use harmonybatch_planner::{
    Billing, Correction, Corrections, CpuLatency, Device, ModelProfile, PlanOutline, PlanRequest,
    ReplanDecision, ReplanReason, ReplanRule, Session, Throttled, profiled, replan,
};

use crate::fixture::{VGG19, app, audited, exponential, plan, profile, request};

/// A power of two, by which nothing is rounded.
const TWICE: f64 = 2.0;

fn slower_on(cpu: f64, gpu: f64) -> Corrections {
    Corrections {
        cpu: Correction::new(cpu, cpu),
        gpu: [("a10".to_owned(), Correction::new(gpu, gpu))].into(),
    }
}

/// Applications that the CPU serves, and others for which only the GPU is fast enough.
fn asked(billing: Billing) -> PlanRequest {
    let apps = vec![
        app("cart", 1.5, 0.2),
        app("feed", 2.5, 0.5),
        app("search", 0.4, 40.0),
    ];
    request(billing, &VGG19, apps)
}

fn on(request: &PlanRequest, profile: &ModelProfile) -> PlanRequest {
    let models = request.models.iter();
    PlanRequest {
        platform: request.platform.clone(),
        models: models.map(|set| set.with_profile(profile.clone())).collect(),
    }
}

#[test]
fn a_correction_is_what_coefficients_twice_as_high_are() {
    let doubled = |curve: &[f64; 3]| exponential([TWICE * curve[0], curve[1], TWICE * curve[2]]);
    let cpu = (1..).zip(VGG19.cpu_mean.iter().zip(&VGG19.cpu_max));
    let cpu = cpu.map(|(rows, (mean, max))| CpuLatency {
        batch: BatchSize::new(rows).unwrap(),
        mean: doubled(mean),
        max: doubled(max),
    });
    let slow = ModelProfile::new(cpu.collect(), vec![], BatchSize::new(4).unwrap()).unwrap();
    let fast = ModelProfile::new(profile(&VGG19).cpu().to_vec(), vec![], BatchSize::new(4).unwrap());
    let corrected = fast.unwrap().corrected(slower_on(TWICE, 1.0));
    for billing in [Billing::PerReplica, Billing::PerInvocation] {
        let apps = vec![
            app("cart", 3.0, 0.2),
            app("feed", 4.0, 0.5),
            app("tight", 0.3, 1.0),
        ];
        let asked = request(billing, &VGG19, apps);
        let (by_hand, by_correction) = (plan(&on(&asked, &slow)), plan(&on(&asked, &corrected)));
        assert_eq!(by_hand, by_correction);
        assert!(!by_hand[0].groups.is_empty() && !by_hand[0].infeasible.is_empty());
    }
}

/// Work under a quota is corrected as work: latencies are no multiples of it, as a batch may wait for one quota more or not.
#[test]
fn under_a_quota_too() {
    let curve = |work: f64, factor: f64| Throttled::new(factor * work, 1.0, 0.1).unwrap().into();
    let entry = |rows: u32, factors: (f64, f64)| {
        let work = 0.02 + 0.01 * f64::from(rows);
        CpuLatency {
            batch: BatchSize::new(rows).unwrap(),
            mean: curve(work, factors.0),
            max: curve(1.4 * work, factors.1),
        }
    };
    let of = |factors| {
        let entries = (1..=4).map(|rows| entry(rows, factors)).collect();
        ModelProfile::new(entries, vec![], BatchSize::new(4).unwrap()).unwrap()
    };
    for billing in [Billing::PerReplica, Billing::PerInvocation] {
        for factors in [(TWICE, TWICE), (1.0 / TWICE, 1.0 / TWICE), (TWICE, 2.0 * TWICE)] {
            let apps = vec![
                app("cart", 3.0, 0.2),
                app("feed", 4.0, 5.0),
                app("tight", 0.3, 1.0),
            ];
            let asked = request(billing, &VGG19, apps);
            let corrected = of((1.0, 1.0)).corrected(Corrections {
                cpu: Correction::new(factors.0, factors.1),
                ..Corrections::default()
            });
            let (by_hand, by_correction) = (plan(&on(&asked, &of(factors))), plan(&on(&asked, &corrected)));
            assert_eq!(by_hand, by_correction);
            assert!(!by_hand[0].groups.is_empty());
        }
    }
}

#[test]
fn plans_under_any_correction_pass_the_audit_and_no_session_mixes_them_up() {
    for billing in [Billing::PerReplica, Billing::PerInvocation] {
        let session = Session::new();
        let asked = asked(billing);
        let mut costs = Vec::new();
        for corrections in [
            slower_on(0.5, 0.5),
            slower_on(1.0, 1.0),
            slower_on(1.7, 0.8),
            slower_on(2.0, 3.0),
            Corrections {
                cpu: Correction::new(0.6, 1.3),
                ..Corrections::default()
            },
        ] {
            let corrected = on(&asked, &profile(&VGG19).corrected(corrections.clone()));
            let fresh = audited(&corrected).plans;
            assert_eq!(session.plan_platform(&corrected).unwrap().plans, fresh);
            costs.push(fresh[0].cost_per_second);
            // What the profile itself says is not corrected.
            let device = &fresh[0].groups[0].device;
            let known = |request: &PlanRequest| {
                profiled(&request.platform, request.models[0].profile(), device).unwrap()
            };
            assert_eq!(known(&corrected), known(&asked));
        }
        assert!(costs[0] <= costs[1] && costs[1] <= costs[3], "{costs:?}");
    }
}

#[test]
fn what_a_profile_says_of_a_function_is_eq_1_and_2() {
    let asked = asked(Billing::PerReplica);
    let device = Device::Cpu {
        vcpu: harmonybatch_planner::units::Vcpu::from_millis(1650).unwrap(),
    };
    let known = profiled(&asked.platform, asked.models[0].profile(), &device).unwrap();
    assert_eq!(known.len(), 4);
    // VGG-19 at 1.65 vCPU by Eq. 1, worked out by hand.
    assert!((known[0].mean() - 0.260_563_7).abs() < 1e-6 && known[0].max() > known[0].mean());
    let elsewhere = Device::Gpu {
        pool: "t4".to_owned(),
        units: harmonybatch_planner::units::GpuUnits::new(1).unwrap(),
    };
    assert_eq!(
        profiled(&asked.platform, asked.models[0].profile(), &elsewhere),
        None
    );
}

#[test]
fn what_runs_gives_way_at_once_to_a_correction_that_breaks_it_and_to_none_that_does_not() {
    let asked = asked(Billing::PerReplica);
    let running: Vec<PlanOutline> = plan(&asked)
        .iter()
        .map(|plan| PlanOutline::new(plan, &[]))
        .collect();
    let again = |cpu: f64, gpu: f64| {
        let corrected = on(&asked, &profile(&VGG19).corrected(slower_on(cpu, gpu)));
        assert!(corrected == asked || asked.differs_in_rates_and_corrections_only(&corrected));
        replan(&corrected, &running, &ReplanRule::default(), false)
            .unwrap()
            .remove(0)
    };
    assert_eq!(again(1.0, 1.0).decision, ReplanDecision::Kept);
    // Savings wait for their time, as those of rates do.
    assert_eq!(again(0.5, 0.5).decision, ReplanDecision::Kept);
    let slower = again(TWICE, TWICE);
    assert!(
        matches!(
            &slower.decision,
            ReplanDecision::Resized(ReplanReason::GroupBroken(_))
                | ReplanDecision::Amended(ReplanReason::GroupBroken(_))
                | ReplanDecision::Replanned(ReplanReason::GroupBroken(_))
        ),
        "{:?}",
        slower.decision
    );
    // Half of a correction by two, on the scale of logarithms.
    let corrected = on(&asked, &profile(&VGG19).corrected(slower_on(TWICE, TWICE)));
    let half = corrected.with_fourths_of_corrections(2);
    let factor = half.models[0].profile().corrections().cpu.mean();
    assert!((factor - 1.414).abs() < 1e-9, "{factor}");
    assert!(
        corrected.with_fourths_of_corrections(0).models[0]
            .profile()
            .corrections()
            .are_none()
    );
}
