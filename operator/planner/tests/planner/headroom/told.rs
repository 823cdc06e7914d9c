//! What people are told of a headroom: who is refused for it, and what it costs.

use harmonybatch_planner::{Constraint, InfeasibleReason, Verdict, explain, plan_platform};

use super::*;
use crate::fixture::{BERT, profile};

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
