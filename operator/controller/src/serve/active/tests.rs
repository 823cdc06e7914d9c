//! Make before break, as a property: whatever happens in whatever order, an application that was routed and still wants to be
//! served stays routed, and the moves end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use harmonybatch_api::InferenceGroupStatus;
use proptest::prelude::*;

use super::*;
use crate::fixtures;

fn reached() -> Reached {
    Reached {
        endpoints: Endpoints {
            service: "s".to_owned(),
            port: "http".to_owned(),
        },
        wake_url: None,
    }
}

fn routing() -> Routing {
    Routing {
        model_name: "net".to_owned(),
        idempotent: true,
        protocol: Protocol::OipV2Binary,
        overhead: "5ms".to_owned(),
    }
}

fn names(active: &Active) -> Vec<&str> {
    active.members.iter().map(|member| member.app.as_str()).collect()
}

/// The group after one reconcile.
fn step(group: &mut InferenceGroup, others: &[InferenceGroup], ready: bool, wish: impl Fn(&str) -> Wish) {
    let reached = reached();
    let next = active(group, &others.iter(), wish, ready.then_some(&reached), &routing());
    group
        .status
        .get_or_insert_with(InferenceGroupStatus::default)
        .active = next;
}

fn here(_app: &str) -> Wish {
    Wish::Here
}

#[test]
fn a_group_is_routed_once_its_pods_are_ready_and_not_before() {
    let mut group = fixtures::group("g", 1, &["a", "b"]);
    step(&mut group, &[], false, here);
    assert_eq!(group.status.clone().unwrap().active, None);
    step(&mut group, &[], true, here);
    let status = group.status.unwrap();
    let active = status.active.as_ref().unwrap();
    assert_eq!(
        (
            names(active),
            active.plan_generation,
            active.model_name.as_str(),
            active.protocol
        ),
        (vec!["a", "b"], 1, "net", Protocol::OipV2Binary)
    );
}

#[test]
fn pods_that_fail_later_do_not_unroute_it() {
    let mut group = fixtures::group("g", 1, &["a"]);
    step(&mut group, &[], true, here);
    let before = group.status.clone();
    group.spec.replicas = 5;
    group.spec.plan_generation = 2;
    step(&mut group, &[], false, here);
    assert_eq!(group.status, before);
}

#[test]
fn a_departing_member_stays_until_its_new_group_is_active() {
    let mut old = fixtures::group("old", 1, &["a", "b"]);
    step(&mut old, &[], true, here);
    let mut new = fixtures::group("new", 2, &["b"]);
    old.spec = fixtures::group("old", 2, &["a"]).spec;
    step(&mut old, &[new.clone()], true, here);
    assert_eq!(
        names(old.status.as_ref().unwrap().active.as_ref().unwrap()),
        ["a", "b"]
    );
    step(&mut new, &[old.clone()], true, here);
    step(&mut old, &[new], true, here);
    assert_eq!(
        names(old.status.as_ref().unwrap().active.as_ref().unwrap()),
        ["a"]
    );
}

#[test]
fn a_home_with_a_lower_number_takes_over_too() {
    // The next plan changed `old` again, and left the new home as it was.
    let mut old = fixtures::group("old", 1, &["a", "b"]);
    step(&mut old, &[], true, here);
    let mut new = fixtures::group("new", 2, &["b"]);
    step(&mut new, &[], true, here);
    old.spec = fixtures::group("old", 3, &["a", "c"]).spec;
    step(&mut old, &[new], true, here);
    assert_eq!(
        names(old.status.as_ref().unwrap().active.as_ref().unwrap()),
        ["a", "c"]
    );
}

#[test]
fn a_stale_group_that_still_lists_the_member_is_no_new_home() {
    let mut stale = fixtures::group("stale", 1, &["b"]);
    step(&mut stale, &[], true, here);
    let mut current = fixtures::group("current", 2, &["a", "b"]);
    step(&mut current, &[], true, here);
    let next = fixtures::group("next", 3, &["b"]);
    current.spec = fixtures::group("current", 3, &["a"]).spec;
    step(&mut current, &[stale, next], true, here);
    assert_eq!(
        names(current.status.as_ref().unwrap().active.as_ref().unwrap()),
        ["a", "b"]
    );
}

#[test]
fn an_app_that_is_deleted_leaves_at_once_and_one_that_moves_to_another_model_when_it_has_arrived() {
    let mut group = fixtures::group("g", 1, &["a", "b"]);
    step(&mut group, &[], true, here);
    let gone = |app: &str| {
        if app == "a" {
            Wish::Nowhere
        } else {
            Wish::Elsewhere
        }
    };
    step(&mut group, &[], false, gone);
    assert_eq!(
        names(group.status.as_ref().unwrap().active.as_ref().unwrap()),
        ["b"]
    );
    let mut other = fixtures::group("other", 1, &["b"]);
    step(&mut other, &[], true, here);
    step(&mut group, &[other], false, gone);
    assert!(names(group.status.as_ref().unwrap().active.as_ref().unwrap()).is_empty());
}

const APPS: [&str; 3] = ["a", "b", "c"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A plan puts app i into group `homes[i]` of four.
    Plan([usize; 3]),
    /// The pods of a group become ready, or stop being it, and the group is reconciled.
    Reconcile(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        [0..4_usize, 0..4, 0..4].prop_map(Event::Plan),
        (0..4_usize, any::<bool>()).prop_map(|(group, ready)| Event::Reconcile(group, ready)),
    ]
}

/// What the cluster does: groups by index, as the plan reconciler numbers them.
#[derive(Default)]
struct Cluster {
    groups: BTreeMap<usize, InferenceGroup>,
    generation: i64,
}

impl Cluster {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Plan(homes) => {
                self.generation += 1;
                for index in 0..4 {
                    let members: Vec<&str> = APPS
                        .iter()
                        .zip(homes)
                        .filter(|(_, home)| **home == index)
                        .map(|(app, _)| *app)
                        .collect();
                    // A group that a plan does not want keeps its spec until it is deleted.
                    if members.is_empty() {
                        continue;
                    }
                    let planned = fixtures::group(&format!("g{index}"), self.generation, &members);
                    match self.groups.get_mut(&index) {
                        Some(group) => group.spec = planned.spec,
                        None => {
                            self.groups.insert(index, planned);
                        }
                    }
                }
            }
            Event::Reconcile(index, ready) => {
                let others: Vec<InferenceGroup> = self.groups.values().cloned().collect();
                if let Some(group) = self.groups.get_mut(index) {
                    step(group, &others, *ready, here);
                }
            }
        }
    }

    /// The groups that list the app in what is routed.
    fn routes(&self, app: &str) -> Vec<usize> {
        let lists = |group: &InferenceGroup| {
            let active = group.status.as_ref().and_then(|status| status.active.as_ref());
            active.is_some_and(|active| names(active).contains(&app))
        };
        self.groups
            .iter()
            .filter(|(_, group)| lists(group))
            .map(|(index, _)| *index)
            .collect()
    }
}

proptest! {
    #[test]
    fn nobody_loses_a_route_and_everybody_comes_home(events in proptest::collection::vec(event(), 1..40)) {
        let mut cluster = Cluster::default();
        let mut homes = None;
        for event in &events {
            let before = APPS.map(|app| !cluster.routes(app).is_empty());
            cluster.happen(event);
            if let Event::Plan(plan) = event {
                homes = Some(*plan);
            }
            for (app, routed) in APPS.iter().zip(before) {
                prop_assert!(!routed || !cluster.routes(app).is_empty(), "{app} lost its route at {event:?}");
            }
        }
        // Once all pods are ready, two rounds settle everything: each app is routed by its home, and by no other wanted group.
        for index in (0..4).chain(0..4) {
            cluster.happen(&Event::Reconcile(index, true));
        }
        if let Some(homes) = homes {
            for (app, home) in APPS.iter().zip(homes) {
                let routes = cluster.routes(app);
                prop_assert!(routes.contains(&home), "{app} is not at home in {home}: {routes:?}");
                let unwanted = |index: &usize| !homes.contains(index);
                prop_assert!(routes.iter().all(|index| *index == home || unwanted(index)), "{app}: {routes:?}");
            }
        }
    }
}
