//! Plans with a headroom: what decides takes latencies that much longer, and what is predicted is the profile's.

use harmonybatch_planner::audit::{self, Breach};
use harmonybatch_planner::units::{BatchSize, Headroom, Seconds};
use harmonybatch_planner::{
    AppSimulation, Billing, Constraint, Correction, Corrections, CpuLatency, Device, GroupPlan,
    InfeasibleReason, ModelProfile, ModelSet, Plan, PlanOutline, PlanRequest, ReplanDecision, ReplanReason,
    ReplanRule, Session, Simulation, Throttled, Verdict, explain, plan_platform, profiled, replan,
    simulate_plan,
};

use crate::fixture::{
    BERT, Coefficients, MODELS, REQUEST, VGG19, app, audited, plan, platform, profile, request, seconds,
};
use crate::holdout::{play, poisson};
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
            match MODELS.get(set % (MODELS.len() + 1)) {
                Some(model) => (Some(model), request(billing, model, apps)),
                None => {
                    let set = ModelSet::new("shop", "metered", metered(), apps).unwrap();
                    let platform = platform(billing);
                    let models = vec![set];
                    (None, PlanRequest { platform, models })
                }
            }
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
                if found
                    .groups
                    .iter()
                    .any(|it| it.dispatch == harmonybatch_planner::Dispatch::Timed)
                {
                    let checked = audit::check_plan(&slower_still.platform, &slower_still.models[0], &found);
                    assert!(checked.is_err());
                }
            }
        }
    }
}

fn simulated(asked: &PlanRequest, plan: &Plan, requests: u64) -> Vec<harmonybatch_planner::GroupSimulation> {
    let simulation = Simulation { requests, seed: 77 };
    let seen = simulate_plan(&asked.platform, &asked.models[0], plan, simulation);
    seen.into_iter().map(Option::unwrap).collect()
}

/// Requests of which an application's share says something.
fn tells(app: &AppSimulation) -> bool {
    app.requests >= 5_000
}

/// Fresh requests on the slower profile, through the planner's simulation with the plan's own waits and through one that shares no code with it.
#[test]
fn every_promise_is_kept_where_batches_take_longer_by_the_headroom() {
    const SHORT: f64 = 0.003;
    let mut random = Random::seeded(0x6b65_7074);
    let (mut apps, mut below) = (0, 0);
    for (model, asked) in sets(10, 0x736c_6f77, Billing::PerReplica) {
        for headroom in [0.1, 0.25] {
            let found = plan(&leaving(&asked, headroom)).remove(0);
            let slow = slower(&asked, 1.0 + headroom);
            let seen = simulated(&slow, &found, 150_000);
            for (group, seen) in found.groups.iter().zip(&seen) {
                assert!(group.verified, "{group:#?}");
                for (member, app) in group.members.iter().zip(&seen.apps) {
                    let short = member.percentile.fraction() - app.attainment;
                    assert!(
                        short < SHORT || !tells(app),
                        "{headroom}: {short} short {app:#?} {group:#?}"
                    );
                    apps += 1;
                    below += u32::from(short > 0.0 && tells(app));
                }
                let (Some(model), Device::Cpu { .. }) = (model, &group.device) else {
                    continue;
                };
                let times = 1.0 + headroom;
                let scaled = |curves: [[f64; 3]; 4]| curves.map(|[a, b, c]| [times * a, b, times * c]);
                let model = Coefficients {
                    cpu_mean: scaled(model.cpu_mean),
                    cpu_max: scaled(model.cpu_max),
                    ..*model
                };
                let arrivals = poisson(group, 60_000, &mut random);
                let counts = play(&model, group, &arrivals, &mut random);
                for ((served, late), member) in counts.into_iter().zip(&group.members) {
                    let attained = 1.0 - f64::from(late) / f64::from(served.max(1));
                    assert!(
                        served < 5_000 || member.percentile.fraction() - attained < SHORT,
                        "{attained} {group:#?}"
                    );
                }
            }
        }
    }
    assert!(apps > 30 && below <= 2, "{below} of {apps} below");
}

/// What a plan predicts is what the profile as it is does on its configuration: played anew, with other requests.
#[test]
fn predictions_are_those_of_the_profile_as_it_is() {
    let off = |found: f64, expected: f64| (found / expected - 1.0).abs();
    let mut compared = 0;
    for (_, asked) in sets(10, 0x7072_6564, Billing::PerReplica) {
        for headroom in [0.1, 0.25] {
            let found = plan(&leaving(&asked, headroom)).remove(0);
            let seen = simulated(&asked, &found, 400_000);
            for (group, seen) in found.groups.iter().zip(&seen) {
                let set = &asked.models[0];
                let said = profiled(&asked.platform, set.profile(), &group.device).unwrap();
                let said = said[group.batch_size.get() as usize - 1];
                let predicted = &group.predicted;
                assert!(off(predicted.mean_service.get(), said.mean()) < 1e-12);
                assert!(off(predicted.max_service.get(), said.max()) < 1e-12);
                // Rare members occur more often in a run that gives a verdict, which the group's figures know.
                if !seen.apps.iter().all(tells) {
                    continue;
                }
                assert!(
                    off(predicted.utilization, seen.utilization) < 0.02,
                    "{} {group:#?}",
                    seen.utilization
                );
                assert!(off(predicted.mean_batch, seen.mean_batch()) < 0.02);
                for (member, app) in group.members.iter().zip(&seen.apps) {
                    let says = member.simulated.unwrap();
                    assert!(off(says.mean.get(), app.mean.get()) < 0.05, "{app:#?} {group:#?}");
                    assert!((says.attainment - app.attainment).abs() < 0.003);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 20, "{compared}");
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

/// The fastest batch of one row is known, so that is what headroom is too much for an SLO.
#[test]
fn who_is_refused_for_the_headroom_is_told_the_largest_one() {
    for billing in BILLINGS {
        for (profile, times) in [(profile(&VGG19), 1.0374), (metered(), 1.0213)] {
            let asked = |slo: f64, headroom: f64| {
                let set = ModelSet::new("shop", "one", profile.clone(), vec![app("one", slo, 1.0)]).unwrap();
                let platform = platform(billing);
                leaving(
                    &PlanRequest {
                        platform,
                        models: vec![set],
                    },
                    headroom,
                )
            };
            let reason = |plan: &Plan| match plan.infeasible[0].reason {
                InfeasibleReason::SloTooTight { fastest, .. } => fastest.get(),
                ref other => panic!("{other}"),
            };
            // What the fastest function takes at most, without headroom.
            let refused = plan(&asked(1e-3, 0.0)).remove(0);
            let fastest = reason(&refused);
            assert_eq!(refused.infeasible[0].nearest_headroom, None);
            let slo = fastest * times;
            assert!(plan(&asked(slo, 0.0))[0].infeasible.is_empty());
            let refused = plan(&asked(slo, 0.1)).remove(0);
            assert!((reason(&refused) / (1.1 * fastest) - 1.0).abs() < 1e-9);
            let nearest = refused.infeasible[0].nearest_headroom.unwrap().get();
            assert!((nearest - (times - 1.0)).abs() < 1e-3 + 1e-9, "{nearest}");
            assert!(plan(&asked(slo, nearest))[0].infeasible.is_empty());
            assert!(!plan(&asked(slo, nearest + 1e-3))[0].infeasible.is_empty());
            let looser = refused.infeasible[0].nearest_slo.unwrap().get();
            assert!(plan(&asked(looser, 0.1))[0].infeasible.is_empty());
            // No headroom helps who is too tight anyway.
            let refused = plan(&asked(0.99 * fastest, 0.1)).remove(0);
            assert_eq!(refused.infeasible[0].nearest_headroom, None);
        }
    }
}

#[test]
fn an_explanation_says_what_the_headroom_costs() {
    for billing in BILLINGS {
        let apps = vec![app("cart", 0.8, 10.0), app("feed", 1.0, 20.0)];
        let asked = request(billing, &BERT, apps);
        let saving = |headroom: f64| {
            let explained = explain(&leaving(&asked, headroom), "shop", BERT.name, "cart").unwrap();
            let Verdict::Served(served) = explained.verdict else {
                panic!("{:?}", explained.verdict)
            };
            let mut found = served.relaxations.into_iter();
            let found = found.find(|it| it.constraint == Constraint::Headroom);
            (
                explained.plan.cost_per_second,
                found.map(|it| it.saving_per_second),
            )
        };
        let (none, (with, saved)) = (saving(0.0), saving(0.5));
        assert_eq!(none.1, None);
        assert!(with > none.0);
        assert!((saved.unwrap() - (with - none.0)).abs() < 1e-9 * with);
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
        let breach = |found: &harmonybatch_planner::PlatformPlan| {
            *audit::check(&asked, found).expect_err("a broken plan").breach
        };
        let mut other = valid.clone();
        other.plans[0].headroom = Headroom::NONE;
        assert!(matches!(breach(&other), Breach::WrongHeadroom { .. }));
        // A wait that only batches without the headroom leave.
        let mut late = valid.clone();
        let group = &mut late.plans[0].groups[0];
        group.dispatch = harmonybatch_planner::Dispatch::Timed;
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

/// What plans of random sets cost that leave each of the headrooms, beside what they cost without one; sets that some of them could not serve whole are left out.
fn prices(billing: Billing, sets: usize, most: usize, headrooms: &[f64]) -> Vec<(f64, Vec<f64>)> {
    let mut random = Random::seeded(0x7072_6963_6573);
    let priced = (0..sets).zip((1..=most).cycle()).filter_map(|(set, count)| {
        let apps = random.apps(count, (0.2, 2.0), (0.05, 50.0));
        let asked = request(billing, &MODELS[set % MODELS.len()], apps);
        let cost = |headroom: f64| {
            let found = plan_platform(&leaving(&asked, headroom)).unwrap().plans.remove(0);
            found.infeasible.is_empty().then_some(found.cost_per_second)
        };
        // The largest first: it is the one that may serve nobody.
        let costs: Option<Vec<f64>> = headrooms.iter().rev().map(|it| cost(*it)).collect();
        let mut costs = costs?;
        costs.reverse();
        Some((cost(0.0)?, costs))
    });
    priced.collect()
}

#[test]
#[ignore = "two hundred sets take minutes: cargo test -p harmonybatch-planner --test planner what_a_headroom_costs -- --ignored --nocapture"]
#[expect(clippy::print_stderr, reason = "the figures are what a person runs this for")]
fn what_a_headroom_costs() {
    const ASKED: [f64; 3] = [0.05, 0.1, 0.2];
    for billing in BILLINGS {
        let found = prices(billing, 200, 12, &ASKED);
        let mut before = 1.0 - 1e-3;
        for (index, headroom) in ASKED.iter().enumerate() {
            let mut ratios: Vec<f64> = found.iter().map(|(none, costs)| costs[index] / none).collect();
            ratios.sort_by(f64::total_cmp);
            #[expect(clippy::cast_precision_loss, reason = "two hundred")]
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            let paid: f64 = found.iter().map(|(_, costs)| costs[index]).sum();
            let together = paid / found.iter().map(|(none, _)| none).sum::<f64>();
            eprintln!(
                "{billing:?}, {}%: {mean:.3} times the cost in the mean of {} sets, {:.3} the median, {together:.3} all together, {:.2} at most",
                100.0 * headroom,
                ratios.len(),
                ratios[ratios.len() / 2],
                ratios[ratios.len() - 1]
            );
            assert!(mean >= before, "{mean} after {before}");
            before = mean;
        }
    }
}
