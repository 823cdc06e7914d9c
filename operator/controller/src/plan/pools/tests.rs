//! The words for a shortage, on one that is made up.

use std::convert::Infallible;

use harmonybatch_planner::units::Headroom;
use harmonybatch_planner::{Billing, InfeasibleApp};

use super::*;

/// Dollars a second that are a dollar a month of 730 hours.
const DOLLAR_A_MONTH: f64 = 1.0 / (730.0 * 3600.0);

fn used(pool: &str) -> PoolUse {
    PoolUse {
        pool: pool.to_owned(),
        units: 30,
        devices: 2,
        limit: Some(2),
    }
}

fn dearer(name: &str, dollars: f64) -> DearerApp {
    DearerApp {
        namespace: "shop".to_owned(),
        model: "vgg19".to_owned(),
        app: name.to_owned(),
        unlimited: DOLLAR_A_MONTH,
        planned: DOLLAR_A_MONTH * (1.0 + dollars),
    }
}

/// Two pools of which the first is short, and what one more device saves where it is asked for.
fn report(apps: &[DearerApp], not_placed: &[&str], saves: Option<f64>) -> PoolReport {
    let infeasible = |name: &&str| InfeasibleApp {
        app: (*name).to_owned(),
        reason: InfeasibleReason::PoolExhausted {
            pool: "a10".to_owned(),
            devices: 2,
        },
        nearest_slo: None,
        nearest_headroom: None,
    };
    let planned = PlatformPlan {
        plans: vec![Plan {
            namespace: "shop".to_owned(),
            model: "vgg19".to_owned(),
            billing: Billing::PerReplica,
            headroom: Headroom::NONE,
            groups: Vec::new(),
            infeasible: not_placed.iter().map(infeasible).collect(),
            cost_per_second: 0.0,
            least_cost_per_second: 0.0,
        }],
        pools: vec![used("a10"), used("h100")],
        shortage: Some(Shortage {
            scarcity: vec![1e-6, 0.0],
            gap: Some(0.013_21),
            dearer: apps.to_vec(),
        }),
    };
    PoolReport::new(&planned, |pool| {
        assert_eq!(pool, "a10", "the other pool is not short");
        Ok::<_, Infallible>(saves)
    })
    .unwrap_or_else(|never| match never {})
}

#[test]
fn a_shortage_says_how_much_it_costs_whom_and_what_would_help() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let apps: Vec<DearerApp> = names.iter().map(|name| dearer(name, 1.5)).collect();
    let found = report(&apps, &[], Some(3.25 * DOLLAR_A_MONTH));
    assert_eq!(
        found.sentences(),
        [
            "The devices do not suffice for the cheapest plans: the plans are at most 1.4% dearer than the cheapest that fit.",
            "Dearer a month for it: shop/a (+1.50), shop/b (+1.50), shop/c (+1.50), shop/d (+1.50), shop/e (+1.50) and 2 others.",
            "One more device of pool a10 would save 3.25 a month.",
        ]
    );
    assert_eq!(found.pools[1].one_more_saves, None);
    // A device that would save nothing is not recommended.
    assert_eq!(report(&apps[..1], &[], Some(0.0)).sentences().len(), 2);
}

#[test]
fn who_cannot_be_placed_is_named_and_no_saving_is_asked_for() {
    let found = report(&[dearer("a", 1.0)], &["x", "y"], Some(1.0));
    assert_eq!(
        found.sentences(),
        [
            "The devices do not suffice for everybody: shop/x, shop/y cannot be placed.",
            "Add devices (and raise gpuPools[].devices), or lower rates.",
        ]
    );
    assert_eq!(found.pools[0].one_more_saves, None);
}

#[test]
fn devices_that_suffice_need_no_words() {
    let found = PoolReport {
        shortage: None,
        ..report(&[], &[], None)
    };
    assert_eq!(found.sentences(), Vec::<String>::new());
}
