//! `diff` on plans written by hand, where what changed is known, and on plans of the planner.

use std::collections::BTreeMap;
use std::slice::from_ref;

use harmonybatch_planner::units::{BatchSize, GpuUnits, Percentile, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    App, AppState, Billing, Device, Dispatch, ExtraReplicas, GroupChangeKind, GroupOutline, MemberOutline,
    Move, PlanOutline, diff,
};

use crate::fixture::{VGG19, app, plan_one};
use crate::random::Random;

fn member(app: &str) -> MemberOutline {
    MemberOutline {
        app: app.to_owned(),
        slo: Seconds::new(0.5).unwrap(),
        percentile: Percentile::new(99.0).unwrap(),
        rate: Rate::new(5.0).unwrap(),
        max_wait: Seconds::ZERO,
        latency_bound: None,
        cost_per_second: None,
    }
}

fn cpu(millis: u32) -> Device {
    Device::Cpu {
        vcpu: Vcpu::from_millis(millis).unwrap(),
    }
}

fn gpu(units: u32) -> Device {
    Device::Gpu {
        pool: "a10".to_owned(),
        units: GpuUnits::new(units).unwrap(),
    }
}

/// A group whose replicas cost 1 a second each.
fn group(name: &str, device: Device, replicas: u32, members: &[&str]) -> GroupOutline {
    GroupOutline {
        name: name.to_owned(),
        device,
        batch_size: BatchSize::new(4).unwrap(),
        dispatch: Dispatch::Eager,
        replicas,
        members: members.iter().map(|app| member(app)).collect(),
        cost_per_second: f64::from(replicas),
    }
}

fn plan(groups: &[GroupOutline]) -> PlanOutline {
    PlanOutline {
        namespace: "shop".to_owned(),
        model: "vgg19".to_owned(),
        billing: Billing::PerReplica,
        cost_per_second: groups.iter().map(|group| group.cost_per_second).sum(),
        groups: groups.to_vec(),
        infeasible: Vec::new(),
    }
}

fn one(old: &[GroupOutline], new: &[GroupOutline]) -> harmonybatch_planner::PlanDiff {
    let mut found = diff(&[plan(old)], &[plan(new)]);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn every_kind_of_change_is_named() {
    let a = group("a", cpu(500), 1, &["x", "y", "z"]);
    let only_x = group("b", cpu(500), 1, &["x"]);
    let rest = group("c", cpu(200), 1, &["y", "z"]);
    let other = group("d", cpu(500), 1, &["w"]);
    let xw = group("e", cpu(500), 1, &["x", "w"]);
    let larger = group("f", cpu(800), 1, &["x", "y", "z"]);
    let three = group("a", cpu(500), 3, &["x", "y", "z"]);
    let fewer = group("a", cpu(500), 1, &["x", "y"]);
    let cases: [(&[GroupOutline], &[GroupOutline], GroupChangeKind); 9] = [
        (&[], from_ref(&a), GroupChangeKind::Added),
        (from_ref(&a), &[], GroupChangeKind::Removed),
        (
            from_ref(&a),
            &[only_x.clone(), rest.clone()],
            GroupChangeKind::Split,
        ),
        (
            &[only_x.clone(), rest.clone()],
            from_ref(&a),
            GroupChangeKind::Merged,
        ),
        (&[a.clone(), other], &[rest, xw], GroupChangeKind::Moved),
        (from_ref(&a), &[larger], GroupChangeKind::Resized),
        (from_ref(&a), &[three], GroupChangeKind::Resized),
        (from_ref(&a), from_ref(&fewer), GroupChangeKind::Members),
        (from_ref(&fewer), from_ref(&a), GroupChangeKind::Members),
    ];
    for (old, new, kind) in cases {
        let found = one(old, new);
        assert!(!found.is_empty());
        assert_eq!(found.groups.len(), 1, "{found:#?}");
        let change = &found.groups[0];
        assert_eq!(change.kind, kind, "{change:#?}");
        assert_eq!((change.old.len(), change.new.len()), (old.len(), new.len()));
        let cost = |groups: &[GroupOutline]| groups.iter().map(|it| f64::from(it.replicas)).sum::<f64>();
        assert!((change.difference_per_second() - (cost(new) - cost(old))).abs() < 1e-12);
    }
    let same = one(
        from_ref(&a),
        &[GroupOutline {
            name: "renamed".into(),
            ..a.clone()
        }],
    );
    assert!(same.is_empty(), "a name is no change: {same:#?}");
}

#[test]
fn an_application_that_moved_is_told_from_those_that_stayed() {
    let old = [
        group("a", cpu(500), 1, &["x", "y", "z"]),
        group("b", cpu(200), 1, &["w"]),
    ];
    let new = [
        group("c", cpu(500), 1, &["x", "y"]),
        group("d", cpu(200), 1, &["w", "z", "new"]),
    ];
    let found = one(&old, &new);
    let change = &found.groups[0];
    assert_eq!(
        change.moved,
        [Move {
            app: "z".into(),
            from: "a".into(),
            to: "d".into()
        }]
    );
    assert_eq!(change.joined, ["new"]);
    assert!(change.left.is_empty());
}

#[test]
fn a_switch_needs_what_no_old_replica_can_be() {
    // a keeps its pods and gets two more; b goes; c and d are new, d on a share of a GPU.
    let old = [
        group("a", cpu(500), 2, &["x", "y"]),
        group("b", cpu(300), 5, &["z", "w"]),
    ];
    let new = [
        group("a", cpu(500), 4, &["x", "y"]),
        group("c", cpu(500), 1, &["z"]),
        group("d", gpu(6), 2, &["w"]),
    ];
    let switch = one(&old, &new).switch;
    assert_eq!(
        switch.extra,
        [
            ExtraReplicas {
                device: cpu(500),
                replicas: 3
            },
            ExtraReplicas {
                device: gpu(6),
                replicas: 2
            }
        ]
    );
    assert_eq!(switch.vcpu_millis, 1500);
    assert_eq!(switch.gpu_units, BTreeMap::from([("a10".to_owned(), 12)]));
    // Seven old replicas and five more, each at 1 a second.
    assert_eq!(switch.cost_per_second, Some(12.0));
    assert!(one(&new, &new).switch.extra.is_empty());
    let fewer = one(&new, &[group("a", cpu(500), 1, &["x", "y"])]).switch;
    assert!(fewer.extra.is_empty(), "going needs nothing: {fewer:?}");
}

#[test]
fn a_changed_promise_is_a_change_of_the_application() {
    let old = group("a", cpu(500), 1, &["x", "y"]);
    let mut new = old.clone();
    new.members[1].slo = Seconds::new(0.7).unwrap();
    let found = one(from_ref(&old), &[new]);
    assert!(found.groups.is_empty());
    assert_eq!(found.apps.len(), 1);
    assert_eq!(found.apps[0].app, "y");

    let refused = PlanOutline {
        infeasible: vec!["y".into()],
        ..plan(&[group("a", cpu(500), 1, &["x"])])
    };
    let found = diff(&[plan(&[old])], &[refused]).remove(0);
    let states: Vec<_> = found.apps.iter().map(|change| &change.new).collect();
    assert_eq!(states, [&Some(AppState::Infeasible)]);
}

#[test]
fn a_model_that_comes_or_goes_is_compared_with_nothing() {
    let here = plan(&[group("a", cpu(500), 1, &["x"])]);
    let found = diff(&[], from_ref(&here));
    assert_eq!(found[0].groups[0].kind, GroupChangeKind::Added);
    let found = diff(&[here], &[]);
    assert_eq!(found[0].groups[0].kind, GroupChangeKind::Removed);
    assert_eq!(found[0].new_cost_per_second.to_bits(), 0.0_f64.to_bits());
    assert!(diff(&[], &[]).is_empty());
}

#[test]
fn every_application_and_all_money_of_random_plans_is_accounted_for() {
    let mut random = Random::seeded(5);
    let plan = |apps: &[App]| {
        let plan = plan_one(Billing::PerInvocation, &VGG19, apps.to_vec());
        let names: Vec<String> = (0..plan.groups.len()).map(|index| format!("g{index}")).collect();
        PlanOutline::new(&plan, &names)
    };
    for _ in 0..60 {
        let first = random.apps(8, (0.1, 4.0), (0.1, 40.0));
        let mut second = first.clone();
        second.truncate(6);
        second[0].rate = Rate::new(first[0].rate.get() * 3.0).unwrap();
        second.push(app("late", 1.0, 4.0));
        let (old, new) = (plan(&first), plan(&second));
        let found = diff(from_ref(&old), from_ref(&new)).remove(0);
        // Groups that no change names stay, so the changes carry the whole difference but for what unchanged groups' rates do.
        let named = |side: fn(&harmonybatch_planner::GroupChange) -> &Vec<GroupOutline>| -> Vec<String> {
            found
                .groups
                .iter()
                .flat_map(side)
                .map(|it| it.name.clone())
                .collect()
        };
        let (before, after) = (named(|it| &it.old), named(|it| &it.new));
        for outline in old.groups.iter().filter(|it| !before.contains(&it.name)) {
            let apps =
                |group: &GroupOutline| group.members.iter().map(|it| it.app.clone()).collect::<Vec<_>>();
            let same = new.groups.iter().find(|it| apps(it) == apps(outline)).unwrap();
            assert!(!after.contains(&same.name));
            assert_eq!(same.device, outline.device);
        }
        for gone in ["app-6", "app-7"] {
            assert!(found.apps.iter().any(|it| it.app == gone && it.new.is_none()));
        }
        assert!(found.apps.iter().any(|it| it.app == "late" && it.old.is_none()));
        let back = diff(&[new], &[old]).remove(0);
        assert!((back.difference_per_second() + found.difference_per_second()).abs() < 1e-15);
        assert_eq!(back.groups.len(), found.groups.len());
    }
}
