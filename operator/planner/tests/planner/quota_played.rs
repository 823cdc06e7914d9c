//! Plans whose CPU functions run under a quota: what their simulation says against the closed forms, and that no correction breaks them.

use harmonybatch_planner::units::BatchSize;
use harmonybatch_planner::{
    Billing, Correction, Corrections, CpuLatency, Device, ModelProfile, ModelSet, PlanRequest, Simulation,
    Throttled, simulate_plan,
};

use crate::fixture::{app, audited, platform};
use crate::random::Random;

const PERIOD: f64 = 0.1;

/// Batches of `work + work * rows` CPU seconds in the mean, so many times that at most, on so many CPUs.
fn under_a_quota(work: f64, scatter: f64, parallelism: f64) -> ModelProfile {
    let curve = |work| Throttled::new(work, parallelism, PERIOD).unwrap().into();
    let entry = |rows: u32| {
        let work = work + work * f64::from(rows);
        CpuLatency {
            batch: BatchSize::new(rows).unwrap(),
            mean: curve(work),
            max: curve(scatter * work),
        }
    };
    ModelProfile::new((1..=4).map(entry).collect(), vec![], BatchSize::new(4).unwrap()).unwrap()
}

fn asked(profile: ModelProfile, billing: Billing, apps: Vec<harmonybatch_planner::App>) -> PlanRequest {
    PlanRequest {
        platform: platform(billing),
        models: vec![ModelSet::new("shop", "deep", profile, apps).unwrap()],
    }
}

/// One request in a hundred seconds finds the whole quota: the mean is that after idle time, which is well below what a replica that is never idle
/// takes.
#[test]
fn a_plan_for_little_use_has_the_mean_latency_of_batches_that_find_the_whole_quota() {
    let work = 0.02;
    let request = asked(
        under_a_quota(work / 2.0, 1.0, 1.0),
        Billing::PerReplica,
        vec![app("rare", 0.3, 0.01)],
    );
    let found = audited(&request);
    let group = &found.plans[0].groups[0];
    let Device::Cpu { vcpu } = group.device else {
        panic!("{group:?}");
    };
    let curve = Throttled::new(work, 1.0, PERIOD).unwrap();
    let (expected, never_idle) = (curve.mean_after_idle(vcpu.get()), curve.mean(vcpu.get()));
    assert!(vcpu.get() < 1.0 && expected < 0.75 * never_idle, "{group:?}");
    assert!((group.predicted.mean_service.get() / never_idle - 1.0).abs() < 1e-9);
    let simulation = Simulation {
        requests: 50_000,
        seed: 3,
    };
    let simulated = simulate_plan(&request.platform, &request.models[0], &found.plans[0], simulation);
    let app = &simulated[0].as_ref().unwrap().apps[0];
    let planned = group.members[0].simulated.unwrap().mean.get();
    // Two in a thousand meet another one, or its period, and wait for some 100 ms.
    for mean in [app.mean.get(), planned] {
        assert!((mean / expected - 1.0).abs() < 0.01, "{mean} for {expected}");
    }
    assert!(app.p99.get() <= 1.01 * curve.bound(vcpu.get()), "{}", app.p99);
    assert_eq!(audited(&request), found);
}

/// Whatever batches take of it: more work, longer waits, or the mean and the maximum apart.
#[test]
fn plans_under_a_quota_keep_their_promises_under_every_correction() {
    let mut random = Random::seeded(31);
    let mut metered = 0;
    for set in 0..40 {
        let scatter = [1.0, 1.3, 2.5, 0.6][set % 4];
        let profile = under_a_quota(
            random.log_uniform(0.002, 0.08),
            scatter,
            random.log_uniform(0.3, 4.0),
        );
        let factors = [(1.0, 1.0), (1.3, 1.3), (0.6, 1.0), (1.1, 3.0), (2.0, 0.7)][set % 5];
        let corrected = profile.corrected(Corrections {
            cpu: Correction::new(factors.0, factors.1),
            ..Corrections::default()
        });
        let billing = [Billing::PerReplica, Billing::PerInvocation][set / 20];
        let apps = random.apps(1 + set % 4, (0.2, 2.0), (0.05, 20.0));
        for plan in audited(&asked(corrected, billing, apps)).plans {
            metered += plan.groups.len();
        }
    }
    assert!(metered > 20, "{metered} groups");
}
