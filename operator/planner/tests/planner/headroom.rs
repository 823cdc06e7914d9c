//! Plans with a headroom: what decides takes latencies that much longer, and what is predicted is the profile's.

mod played;
mod told;

use harmonybatch_planner::audit::{self, Breach};
use harmonybatch_planner::units::{BatchSize, Headroom, Seconds};
use harmonybatch_planner::{
    AppSimulation, Billing, Correction, Corrections, CpuLatency, Device, Dispatch, GroupPlan, ModelProfile,
    ModelSet, Plan, PlanOutline, PlanRequest, PlatformPlan, ReplanDecision, ReplanReason, ReplanRule,
    Session, Throttled, profiled, replan,
};

use crate::fixture::{Coefficients, MODELS, REQUEST, VGG19, app, audited, plan, platform, request, seconds};
use crate::random::Random;

const BILLINGS: [Billing; 2] = [Billing::PerReplica, Billing::PerInvocation];

/// No rounding to thousandths changes these as factors of a correction.
const HEADROOMS: [f64; 3] = [0.05, 0.1, 0.25];

fn leaving(asked: &PlanRequest, headroom: f64) -> PlanRequest {
    let headroom = Headroom::new(headroom).unwrap();
    PlanRequest {
        platform: asked.platform.clone().with_headroom(headroom),
        models: asked.models.clone(),
    }
}

/// The same applications on a profile that itself says that all takes so many times as long.
fn slower(asked: &PlanRequest, times: f64) -> PlanRequest {
    let slow = Correction::new(times, times);
    assert!(
        (slow.mean() - times).abs() < 1e-12,
        "{times} is not written exactly"
    );
    let corrections = Corrections {
        cpu: slow,
        gpu: [("a10".to_owned(), slow)].into(),
    };
    let models = asked.models.iter();
    let models = models.map(|set| set.with_profile(set.profile().clone().corrected(corrections.clone())));
    PlanRequest {
        platform: asked.platform.clone(),
        models: models.collect(),
    }
}

/// CPU work of up to four rows: `0.02 + 0.01 k` CPU seconds in the mean, and 1.3 times that at most, under a quota.
fn metered() -> ModelProfile {
    let curve = |work| Throttled::new(work, 1.0, 0.1).unwrap().into();
    let entries = (1..=4).map(|rows| {
        let work = 0.02 + 0.01 * f64::from(rows);
        CpuLatency {
            batch: BatchSize::new(rows).unwrap(),
            mean: curve(work),
            max: curve(1.3 * work),
        }
    });
    ModelProfile::new(entries.collect(), vec![], BatchSize::new(4).unwrap()).unwrap()
}

/// Random sets of the four published models, and of one under a quota: the model is none there.
fn sets(sets: usize, seed: u64, billing: Billing) -> Vec<(Option<&'static Coefficients>, PlanRequest)> {
    let mut random = Random::seeded(seed);
    (0..sets)
        .map(|set| {
            let apps = random.apps(1 + set % 4, (0.2, 2.0), (0.05, 30.0));
            if let Some(model) = MODELS.get(set % (MODELS.len() + 1)) {
                return (Some(model), request(billing, model, apps));
            }
            let set = ModelSet::new("shop", "metered", metered(), apps).unwrap();
            let platform = platform(billing);
            let models = vec![set];
            (None, PlanRequest { platform, models })
        })
        .collect()
}

/// All that is decided of a group: who is in it, what serves it, and how long each may wait.
fn decided(plan: &Plan) -> Vec<String> {
    let groups = plan.groups.iter().map(|group| {
        let members: Vec<_> = group
            .members
            .iter()
            .map(|it| (&it.app, it.max_wait, it.cost_per_second))
            .collect();
        format!(
            "{} x {} b={} {:?} {:?} {members:?}",
            group.replicas, group.device, group.batch_size, group.dispatch, group.verified
        )
    });
    let refused = plan.infeasible.iter();
    let refused = refused.map(|it| format!("{} {} {:?}", it.app, it.reason, it.nearest_slo));
    groups.chain(refused).collect()
}

/// Where pods stay up, a price has nothing to do with latencies: the plan is the one of the slower profile.
#[test]
fn what_is_decided_is_what_a_slower_profile_decides() {
    for (_, asked) in sets(10, 0x6865_6164, Billing::PerReplica) {
        for headroom in HEADROOMS {
            let (found, slow) = (
                plan(&leaving(&asked, headroom)),
                plan(&slower(&asked, 1.0 + headroom)),
            );
            assert_eq!(decided(&found[0]), decided(&slow[0]), "{headroom}");
            assert_eq!(found[0].headroom.get().to_bits(), headroom.to_bits());
            assert!((found[0].cost_per_second - slow[0].cost_per_second).abs() < 1e-18);
            for (found, slow) in found[0].groups.iter().zip(&slow[0].groups) {
                assert!(
                    found.predicted.utilization < slow.predicted.utilization,
                    "{found:#?}"
                );
                let (found, slow) = (found.predicted.mean_service, slow.predicted.mean_service);
                assert!((slow.get() / found.get() - (1.0 + headroom)).abs() < 1e-9);
            }
        }
    }
}

/// A headroom costs something, and no more than what a slower profile makes of it. The share of a GPU is chosen to a thousandth of the cost, and
/// a search under a percentile may stop at another of two sizes that it thinks equal.
#[test]
fn a_headroom_costs_no_less_than_none_and_no_more_than_a_slower_profile() {
    const TOLERANCE: f64 = 2e-3;
    for billing in BILLINGS {
        let mut sums = [0.0; 3];
        for (_, asked) in sets(10, 0x636f_7374, billing) {
            let before = plan(&asked).remove(0);
            assert_eq!(
                format!("{before:?}"),
                format!("{:?}", plan(&leaving(&asked, 0.0))[0])
            );
            for headroom in HEADROOMS {
                let found = plan(&leaving(&asked, headroom)).remove(0);
                let slow = plan(&slower(&asked, 1.0 + headroom)).remove(0);
                if !(before.infeasible.is_empty() && found.infeasible.is_empty()) {
                    continue;
                }
                let costs = [
                    before.cost_per_second,
                    found.cost_per_second,
                    slow.cost_per_second,
                ];
                assert!(
                    costs.is_sorted_by(|a, b| *a <= b * (1.0 + TOLERANCE)),
                    "{billing:?} {headroom}: {costs:?} for {asked:#?}"
                );
                for (sum, cost) in sums.iter_mut().zip(costs) {
                    *sum += cost;
                }
            }
        }
        assert!(sums[0] < sums[1] && sums[1] <= sums[2], "{sums:?}");
    }
}

/// The longest batch of the metered profile, by hand: once before each quota that is begun the batch waits for the period's end.
fn longest_metered(vcpu: f64, rows: u32, times: f64) -> f64 {
    let work = times * 1.3 * (0.02 + 0.01 * f64::from(rows));
    work + (work / (0.1 * vcpu)).ceil() * (0.1 * (1.0 - vcpu).max(0.0))
}

/// What the plan says of a group, as a slower profile has it; waits stay.
fn as_slower(group: &mut GroupPlan, billing: Billing, model: Option<&Coefficients>, times: f64) {
    let scaled = |seconds: Seconds| Seconds::new(times * seconds.get()).unwrap();
    let predicted = &mut group.predicted;
    predicted.mean_service = scaled(predicted.mean_service);
    predicted.max_service = match (model, &group.device) {
        (None, Device::Cpu { vcpu }) => seconds(longest_metered(vcpu.get(), group.batch_size.get(), times)),
        _ => scaled(predicted.max_service),
    };
    if billing == Billing::PerReplica {
        // What a queue makes of longer batches only a simulation tells.
        return;
    }
    predicted.utilization *= times;
    // Fees are paid by the batch, whatever it takes.
    let rate: f64 = group.members.iter().map(|member| member.rate.get()).sum();
    let fees = REQUEST * rate / predicted.mean_batch;
    let cost = times * (predicted.cost_per_second - fees) + fees;
    let ratio = cost / predicted.cost_per_second;
    predicted.cost_per_second = cost;
    predicted.cost_per_request *= ratio;
    for member in &mut group.members {
        member.cost_per_second *= ratio;
        member.cost_per_request *= ratio;
    }
}

/// An audit that knows of no headroom finds nothing wrong with the plan on a profile that is as much slower, with the waits that it has.
#[test]
fn a_plan_stands_without_headroom_where_all_takes_longer_by_it() {
    for billing in BILLINGS {
        for (model, asked) in sets(15, 0x6175_6469, billing) {
            for headroom in HEADROOMS {
                let mut found = plan(&leaving(&asked, headroom)).remove(0);
                let slow = slower(&asked, 1.0 + headroom);
                found.headroom = Headroom::NONE;
                found
                    .infeasible
                    .iter_mut()
                    .for_each(|it| it.nearest_headroom = None);
                for group in &mut found.groups {
                    as_slower(group, billing, model, 1.0 + headroom);
                }
                found.cost_per_second = found.groups.iter().map(|it| it.predicted.cost_per_second).sum();
                let checked = audit::check_plan(&slow.platform, &slow.models[0], &found)
                    .and_then(|()| audit::check_prices(&slow.platform, &slow.models[0], &found));
                assert!(checked.is_ok(), "{checked:?} {headroom} {found:#?}");
                // And so would one of batches that are longer still find something, where requests wait.
                let slower_still = slower(&asked, 1.5);
                if found.groups.iter().any(|it| it.dispatch == Dispatch::Timed) {
                    let checked = audit::check_plan(&slower_still.platform, &slower_still.models[0], &found);
                    assert!(checked.is_err());
                }
            }
        }
    }
}

#[test]
fn no_session_mixes_headrooms_up() {
    for billing in BILLINGS {
        let session = Session::new();
        let apps = Random::seeded(11).apps(5, (0.3, 1.5), (0.2, 30.0));
        let asked = request(billing, &VGG19, apps);
        for headroom in [0.0, 0.1, 0.0, 0.25, 0.1] {
            let asked = leaving(&asked, headroom);
            let found = session.plan_platform(&asked).unwrap().plans;
            assert_eq!(format!("{found:?}"), format!("{:?}", plan(&asked)), "{headroom}");
        }
    }
}

#[test]
fn what_runs_gives_way_to_a_headroom_that_it_does_not_leave_and_to_none_that_it_does() {
    for billing in BILLINGS {
        let apps = vec![
            app("cart", 1.5, 0.2),
            app("feed", 2.5, 0.5),
            app("search", 0.4, 40.0),
        ];
        let asked = request(billing, &VGG19, apps);
        let outlines = |asked: &PlanRequest| -> Vec<PlanOutline> {
            plan(asked)
                .iter()
                .map(|plan| PlanOutline::new(plan, &[]))
                .collect()
        };
        let again = |asked: &PlanRequest, running: &[PlanOutline]| {
            replan(asked, running, &ReplanRule::default(), false)
                .unwrap()
                .remove(0)
        };
        let with = leaving(&asked, 1.0);
        // A user's edit: it does not wait for its time.
        assert!(!asked.differs_in_rates_and_corrections_only(&with));
        let running = outlines(&with);
        assert_eq!(again(&with, &running).decision, ReplanDecision::Kept);
        // What leaves so much leaves less, with longer waits.
        let kept = again(&asked, &running);
        assert_eq!(kept.decision, ReplanDecision::Kept);
        assert_eq!(kept.plan.headroom, Headroom::NONE);
        let found = again(&with, &outlines(&asked));
        assert_eq!(found.plan.headroom, with.platform.headroom());
        if billing == Billing::PerReplica {
            let broken = |reason: &ReplanReason| matches!(reason, ReplanReason::GroupBroken(_));
            assert!(
                matches!(
                    &found.decision,
                    ReplanDecision::Resized(reason) | ReplanDecision::Amended(reason)
                    | ReplanDecision::Replanned(reason) if broken(reason)
                ),
                "{:?}",
                found.decision
            );
        }
    }
}

#[test]
fn the_audit_finds_a_plan_that_leaves_too_little() {
    for billing in BILLINGS {
        let apps = vec![
            app("cart", 0.8, 10.0),
            app("feed", 1.0, 20.0),
            app("tight", 0.0039, 5.0),
        ];
        let asked = leaving(&request(billing, &VGG19, apps), 0.1);
        let valid = audited(&asked);
        let breach = |found: &PlatformPlan| *audit::check(&asked, found).expect_err("a broken plan").breach;
        let mut other = valid.clone();
        other.plans[0].headroom = Headroom::NONE;
        assert!(matches!(breach(&other), Breach::WrongHeadroom { .. }));
        // A wait that only batches without the headroom leave.
        let mut late = valid.clone();
        let group = &mut late.plans[0].groups[0];
        group.dispatch = Dispatch::Timed;
        let longest = group.predicted.max_service.get();
        for member in &mut group.members {
            member.max_wait = seconds((member.slo.get() - 1.05 * longest).max(0.0));
        }
        assert!(
            matches!(breach(&late), Breach::TooLate { .. }),
            "{}",
            breach(&late)
        );
        for nearest in [None, Some(0.0), Some(0.099)] {
            let mut told = valid.clone();
            let refused = &mut told.plans[0].infeasible[0];
            let right = refused.nearest_headroom;
            refused.nearest_headroom = nearest.map(|it| Headroom::new(it).unwrap());
            if refused.nearest_headroom != right {
                assert!(matches!(breach(&told), Breach::WrongNearestHeadroom { .. }));
            }
        }
    }
}
