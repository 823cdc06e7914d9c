//! What a plan that runs loses where something must change: as little as it can.

use std::collections::BTreeMap;

use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{
    App, ArrivalModel, Billing, GroupOutline, PlanOutline, PlanRequest, Preference, ReplanDecision,
    ReplanReason, ReplanRule, Replanned, audit, diff, replan,
};

use crate::evaluator::ROUNDING;
use crate::fixture::{VGG19, app, plan, request};
use crate::random::Random;

const QUIET: ReplanRule = ReplanRule {
    min_saving: 0.05,
    rate_step: 0.2,
    prefer: Preference::LeastChange,
};

fn requested(billing: Billing, apps: &[App]) -> PlanRequest {
    let PlanRequest { platform, models } = request(billing, &VGG19, apps.to_vec());
    PlanRequest {
        platform: platform.with_arrivals(ArrivalModel::Paper),
        models,
    }
}

/// The plan of these applications as it runs, its groups called by their number.
fn running(billing: Billing, apps: &[App]) -> PlanOutline {
    let plan = plan(&requested(billing, apps)).remove(0);
    let names: Vec<String> = (0..plan.groups.len())
        .map(|index| format!("group-{index}"))
        .collect();
    PlanOutline::new(&plan, &names)
}

fn again(billing: Billing, apps: &[App], old: &PlanOutline, rule: &ReplanRule) -> Replanned {
    replan(&requested(billing, apps), std::slice::from_ref(old), rule, true)
        .unwrap()
        .remove(0)
}

/// How many of the old applications are in another group than before. Which new group is which old one is told as the controller does: the same device
/// and batch size, the greatest overlap of members first.
fn moved(old: &PlanOutline, new: &PlanOutline) -> usize {
    let apps = |group: &GroupOutline| -> Vec<String> {
        group.members.iter().map(|member| member.app.clone()).collect()
    };
    let mut pairs = Vec::new();
    for (at, group) in new.groups.iter().enumerate() {
        for (before, other) in old.groups.iter().enumerate() {
            if group.device == other.device && group.batch_size == other.batch_size {
                let theirs = apps(other);
                let overlap = apps(group).iter().filter(|app| theirs.contains(app)).count();
                pairs.push((std::cmp::Reverse(overlap), before, at));
            }
        }
    }
    pairs.sort();
    let mut same: BTreeMap<usize, usize> = BTreeMap::new();
    for (_, before, at) in pairs {
        if !same.contains_key(&before) && !same.values().any(|taken| *taken == at) {
            same.insert(before, at);
        }
    }
    let home = |plan: &PlanOutline, app: &str| {
        plan.groups
            .iter()
            .position(|group| apps(group).iter().any(|member| member == app))
    };
    let members = old.groups.iter().flat_map(apps);
    members
        .filter(|app| match (home(old, app), home(new, app)) {
            (Some(before), Some(now)) => same.get(&before) != Some(&now),
            _ => false,
        })
        .count()
}

/// Old groups that lost or won a member, or run otherwise.
fn touched(old: &PlanOutline, new: &PlanOutline) -> usize {
    let shape = |group: &GroupOutline| {
        let members: Vec<String> = group.members.iter().map(|member| member.app.clone()).collect();
        (
            group.device.clone(),
            group.batch_size,
            group.dispatch,
            group.replicas,
            members,
        )
    };
    let now: Vec<_> = new.groups.iter().map(shape).collect();
    let gone = old.groups.iter().filter(|group| !now.contains(&shape(group)));
    gone.count()
}

/// That the plan keeps every promise to these applications, at the rates that it holds for, and costs what it says.
fn check(billing: Billing, apps: &[App], found: &Replanned) {
    let planned: Vec<App> = apps
        .iter()
        .map(|app| match found.plan.place_of(&app.name) {
            Some((group, member)) => {
                let rate = found.plan.groups[group].members[member].rate;
                assert!(rate >= app.rate, "{} sends more than was planned for", app.name);
                App { rate, ..app.clone() }
            }
            None => app.clone(),
        })
        .collect();
    let PlanRequest { platform, models } = requested(billing, &planned);
    audit::check_plan(&platform, &models[0], &found.plan).unwrap();
    audit::check_prices(&platform, &models[0], &found.plan).unwrap();
    for group in &found.plan.groups {
        assert_eq!(group.verified, billing == Billing::PerReplica);
    }
}

#[test]
fn planning_again_with_the_plan_that_runs_changes_nothing() {
    let mut random = Random::seeded(41);
    for _ in 0..20 {
        let apps = random.apps(8, (0.2, 5.0), (0.1, 40.0));
        let old = running(Billing::PerInvocation, &apps);
        for prefer in [Preference::LeastCost, Preference::LeastChange] {
            let rule = ReplanRule { prefer, ..QUIET };
            let found = again(Billing::PerInvocation, &apps, &old, &rule);
            assert_eq!(found.decision, ReplanDecision::Kept);
            assert!(diff(std::slice::from_ref(&old), &[found.held])[0].is_empty());
        }
    }
}

#[test]
fn a_plan_that_runs_stays_while_no_other_beats_it_by_enough() {
    let mut random = Random::seeded(43);
    let (mut kept, mut changed) = (0, 0);
    for _ in 0..40 {
        // What runs was cheapest for other rates, some of them by far.
        let apps = random.apps(6, (0.2, 5.0), (0.5, 20.0));
        let old = running(Billing::PerInvocation, &apps);
        let now: Vec<App> = apps
            .iter()
            .map(|app| App {
                rate: Rate::new(app.rate.get() * random.log_uniform(0.5, 3.0)).unwrap(),
                ..app.clone()
            })
            .collect();
        let rule = ReplanRule {
            prefer: Preference::LeastCost,
            ..QUIET
        };
        let found = again(Billing::PerInvocation, &now, &old, &rule);
        check(Billing::PerInvocation, &now, &found);
        let planned: Vec<App> = now
            .iter()
            .map(|app| {
                let (group, member) = found.plan.place_of(&app.name).unwrap();
                let rate = found.plan.groups[group].members[member].rate;
                App { rate, ..app.clone() }
            })
            .collect();
        let best = plan(&requested(Billing::PerInvocation, &planned)).remove(0);
        let most = best.cost_per_second / (1.0 - rule.min_saving) * (1.0 + ROUNDING);
        assert!(found.plan.cost_per_second <= most, "{:?}", found.decision);
        // Planned once more, what was taken now stays.
        let once_more = again(Billing::PerInvocation, &now, &found.held, &rule);
        assert_eq!(once_more.decision, ReplanDecision::Kept);
        match found.decision {
            ReplanDecision::Kept => kept += 1,
            _ => changed += 1,
        }
    }
    assert!(kept >= 5 && changed >= 5, "{kept} kept, {changed} changed");
}

/// Adds an application under either preference, and checks what that does to the others.
fn add_one(billing: Billing, apps: &[App], new: &App) -> [ReplanDecision; 2] {
    let old = running(billing, apps);
    let mut now = apps.to_vec();
    now.push(new.clone());
    let plain = PlanOutline::new(&plan(&requested(billing, &now)).remove(0), &[]);
    [Preference::LeastCost, Preference::LeastChange].map(|prefer| {
        let rule = ReplanRule { prefer, ..QUIET };
        let found = again(billing, &now, &old, &rule);
        check(billing, &now, &found);
        let (ours, theirs) = (moved(&old, &found.held), moved(&old, &plain));
        assert!(ours <= theirs, "{ours} moved, where a new plan moves {theirs}");
        if prefer == Preference::LeastChange {
            assert_eq!(ours, 0);
            assert!(touched(&old, &found.held) <= 1);
            let old_name = |app: &App| {
                let home = |plan: &PlanOutline| {
                    let lists = |group: &&GroupOutline| group.members.iter().any(|it| it.app == app.name);
                    plan.groups.iter().find(lists).map(|group| group.name.clone())
                };
                assert_eq!(home(&old), home(&found.held), "{}", app.name);
            };
            apps.iter().for_each(old_name);
        }
        found.decision
    })
}

#[test]
fn a_new_application_disturbs_one_group_at_most() {
    let mut random = Random::seeded(47);
    let (mut amended, mut replanned) = (0, 0);
    for round in 0..40 {
        let apps = random.apps(8, (0.2, 5.0), (0.1, 40.0));
        let new = App {
            name: "new".to_owned(),
            isolated: round % 8 == 7,
            ..random.apps(1, (0.2, 5.0), (0.1, 40.0)).remove(0)
        };
        let [cost, peace] = add_one(Billing::PerInvocation, &apps, &new);
        let added = ReplanReason::AppAdded("new".to_owned());
        assert_eq!(peace, ReplanDecision::Amended(added.clone()));
        if cost == ReplanDecision::Amended(added.clone()) {
            amended += 1;
        } else {
            assert_eq!(cost, ReplanDecision::Replanned(added));
            replanned += 1;
        }
    }
    // Most often there is room enough for a twentieth of the cost.
    assert!(amended >= 10, "{amended} amended, {replanned} replanned");
}

#[test]
fn a_new_application_finds_room_where_pods_stay_up() {
    let apps = [
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("mail", 5.0, 0.4),
    ];
    let old = running(Billing::PerReplica, &apps);
    // A rare one fits into what is paid for already.
    let rare = app("rare", 0.8, 0.05);
    let mut now = apps.to_vec();
    now.push(rare);
    let found = again(Billing::PerReplica, &now, &old, &QUIET);
    check(Billing::PerReplica, &now, &found);
    let added = ReplanReason::AppAdded("rare".to_owned());
    assert_eq!(found.decision, ReplanDecision::Amended(added));
    assert_eq!(moved(&old, &found.held), 0);
    assert!((found.plan.cost_per_second / old.cost_per_second - 1.0).abs() < ROUNDING);
}

#[test]
fn who_changes_its_promise_is_placed_again_and_the_others_stay() {
    let mut random = Random::seeded(53);
    let mut elsewhere = 0;
    for _ in 0..30 {
        let mut apps = random.apps(8, (0.2, 5.0), (0.1, 40.0));
        let old = running(Billing::PerInvocation, &apps);
        apps[3].slo = Seconds::new(0.06).unwrap();
        let found = again(Billing::PerInvocation, &apps, &old, &QUIET);
        check(Billing::PerInvocation, &apps, &found);
        assert!(
            touched(&old, &found.held) <= 2,
            "its old group and its new one: {:?}",
            found.decision
        );
        elsewhere += usize::from(matches!(found.decision, ReplanDecision::Amended(_)));
        // One that nothing can serve leaves, and nobody else.
        apps[3].slo = Seconds::new(0.001).unwrap();
        let found = again(Billing::PerInvocation, &apps, &old, &QUIET);
        assert_eq!(found.plan.infeasible.len(), 1);
        assert!(touched(&old, &found.held) <= 1, "{:?}", found.decision);
    }
    assert!(elsewhere >= 10, "{elsewhere} of 30 were placed elsewhere");
}

#[test]
fn who_leaves_disturbs_those_it_was_with_at_most() {
    let mut random = Random::seeded(59);
    for _ in 0..20 {
        let mut apps = random.apps(8, (0.2, 5.0), (0.1, 40.0));
        let old = running(Billing::PerInvocation, &apps);
        apps.remove(2);
        let found = again(Billing::PerInvocation, &apps, &old, &QUIET);
        check(Billing::PerInvocation, &apps, &found);
        // Without it their batches may not fill any more: the same members on another function.
        let lists = |group: &&GroupOutline| group.members.iter().any(|member| member.app == "app-2");
        let others = old.groups.iter().find(lists).unwrap().members.len() - 1;
        let moved = moved(&old, &found.held);
        assert!(moved == 0 || moved == others, "{:?}", found.decision);
        assert!(touched(&old, &found.held) <= 1);
    }
}

#[test]
fn peace_is_worth_any_saving() {
    // Three applications apart, which one group serves for 8 % less.
    let apps = [
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
    ];
    let apart = apps.clone().map(|app| App {
        isolated: true,
        ..app
    });
    let old = running(Billing::PerInvocation, &apart);
    let found = again(Billing::PerInvocation, &apps, &old, &QUIET);
    assert_eq!(found.decision, ReplanDecision::Kept);
    let rule = ReplanRule {
        prefer: Preference::LeastCost,
        ..QUIET
    };
    let found = again(Billing::PerInvocation, &apps, &old, &rule);
    assert_eq!(found.decision, ReplanDecision::Replanned(ReplanReason::Saving));
}
