//! The whole chain: what gateways count, the rate that is planned for, and what the planner decides.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use harmonybatch_api::inference_app::RateLimits;
use harmonybatch_planner::{Plan, PlanRequest, Session};

use super::*;
use crate::fixtures::{self, Random};
use crate::gateways::ObservedApp;
use crate::plan::{Decided, Inputs, Patience, decide_again, validate};

const POLL: Duration = Duration::from_secs(10);
const MINUTE: u64 = 6;
const HOUR: u64 = 60 * MINUTE;

fn gateway(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 9090))
}

/// An application whose rate is observed.
fn app(name: &str, slo: &str, rate: &str) -> InferenceApp {
    let mut app = fixtures::app(name, slo, rate);
    app.spec.rate_source = RateSource::Observed;
    app
}

fn shop(name: &str) -> Key {
    ("shop".to_owned(), name.to_owned())
}

fn answer(totals: &BTreeMap<String, Arrived>) -> Observed {
    Observed {
        apps: totals
            .iter()
            .map(|(app, arrived)| ObservedApp {
                namespace: "shop".to_owned(),
                app: app.clone(),
                arrived: Some(*arrived),
                ..ObservedApp::default()
            })
            .collect(),
        ..Observed::default()
    }
}

/// A controller and one gateway.
struct Cluster {
    apps: Vec<InferenceApp>,
    arrivals: Arrivals,
    totals: BTreeMap<String, Arrived>,
    polls: u32,
    /// The observed rates, and what is asked of the planner with them.
    rates: BTreeMap<Key, Rate>,
    asked: Option<(PlanRequest, Patience)>,
    decided: Option<Decided>,
    session: Session,
    /// At which poll other plans were taken.
    changes: Vec<(u32, Vec<BTreeSet<String>>)>,
}

impl Cluster {
    fn new(apps: Vec<InferenceApp>) -> Self {
        Self {
            apps,
            arrivals: Arrivals::default(),
            totals: BTreeMap::new(),
            polls: 0,
            rates: BTreeMap::new(),
            asked: None,
            decided: None,
            session: Session::new(),
            changes: Vec::new(),
        }
    }

    /// Polls so many times, while requests come at these rates.
    fn run(&mut self, polls: u64, random: &mut Random, rate: impl Fn(&str) -> f64) {
        for _ in 0..polls {
            for app in &self.apps {
                let name = app.metadata.name.clone().unwrap();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let came = random.poisson(rate(&name) * POLL.as_secs_f64()) as u64;
                let total = self.totals.entry(name).or_default();
                total.requests += came;
                total.rows += came;
            }
            self.poll();
        }
    }

    fn poll(&mut self) {
        let now = POLL * self.polls;
        self.polls += 1;
        let answers = [(gateway(1), answer(&self.totals))];
        let rates = self.arrivals.observe(now, &self.apps, &answers);
        if self.asked.is_none() || rates != self.rates {
            let inputs = Inputs {
                platforms: vec![fixtures::platform()],
                models: vec![fixtures::model()],
                apps: self.apps.clone(),
                rates: rates.clone(),
                ..Inputs::default()
            };
            let validated = validate(&inputs, &BTreeSet::new());
            assert_eq!(validated.problems, BTreeMap::new());
            let (request, patience) = (&validated.requests["default"], validated.patience["default"]);
            (self.rates, self.asked) = (rates, Some((request.clone(), patience)));
        }
        let (request, patience) = self.asked.as_ref().unwrap();
        let last = self.decided.as_ref();
        if last.is_some_and(|last| !last.is_due(request, patience, now)) {
            return;
        }
        let found = decide_again(request, last, &[], patience, now, &self.session).unwrap();
        if last.is_none_or(|last| shape(&last.plans) != shape(&found.plans)) {
            self.changes.push((self.polls, membership(&found.plans)));
        }
        self.decided = Some(found);
    }

    fn planned_rate(&self, app: &str) -> f64 {
        let plan = &self.decided.as_ref().unwrap().plans[0];
        let (group, member) = plan.place_of(app).unwrap();
        plan.groups[group].members[member].rate.get()
    }
}

fn membership(plans: &[Plan]) -> Vec<BTreeSet<String>> {
    let groups = plans.iter().flat_map(|plan| &plan.groups);
    groups
        .map(|group| group.members.iter().map(|member| member.app.clone()).collect())
        .collect()
}

/// What runs: members, device, batch size and replicas of every group.
fn shape(plans: &[Plan]) -> Vec<String> {
    let groups = plans.iter().flat_map(|plan| &plan.groups);
    groups
        .map(|group| {
            let members: Vec<&str> = group.members.iter().map(|member| member.app.as_str()).collect();
            format!(
                "{} x {} of {} for {}",
                group.replicas,
                group.device,
                group.batch_size.get(),
                members.join(" ")
            )
        })
        .collect()
}

#[test]
fn a_quiet_day_changes_nothing_and_a_doubled_rate_changes_the_plan_once() {
    let mut random = Random::seeded(31);
    let mut cluster = Cluster::new(vec![
        app("search", "500ms", "5/s"),
        app("cart", "800ms", "10/s"),
        app("rare", "2s", "0.05/s"),
    ]);
    let rate = |name: &str| match name {
        "search" => 5.0,
        "cart" => 10.0,
        _ => 0.05,
    };
    cluster.run(24 * HOUR, &mut random, rate);
    assert_eq!(cluster.changes.len(), 1, "the first plan: {:?}", cluster.changes);
    cluster.changes.clear();
    let step = cluster.polls;
    cluster.run(12 * HOUR, &mut random, |name| {
        if name == "cart" { 60.0 } else { rate(name) }
    });
    assert_eq!(cluster.changes.len(), 1, "{:?}", cluster.changes);
    let (at, _) = cluster.changes[0];
    assert!(u64::from(at - step) <= 2 * MINUTE, "after {} polls", at - step);
    let planned = cluster.planned_rate("cart");
    assert!((56.0..=72.0).contains(&planned), "{planned}");
    assert!((cluster.planned_rate("rare") - 0.05).abs() < 1e-12);
}

#[test]
fn the_limits_hold_whatever_comes() {
    let mut random = Random::seeded(33);
    let mut bounded = app("search", "500ms", "5/s");
    bounded.spec.rate_limits = Some(RateLimits {
        min: None,
        max: Some("8/s".to_owned()),
    });
    let mut cluster = Cluster::new(vec![bounded, app("cart", "800ms", "10/s")]);
    cluster.run(
        HOUR,
        &mut random,
        |name| if name == "search" { 50.0 } else { 10.0 },
    );
    assert!((cluster.planned_rate("search") - 8.0).abs() < 1e-12);
    // Nothing comes: a tenth of the declared rate, after an hour.
    cluster.run(
        3 * HOUR,
        &mut random,
        |name| if name == "search" { 50.0 } else { 0.0 },
    );
    assert!(
        (cluster.planned_rate("cart") - 1.0).abs() < 1e-12,
        "{}",
        cluster.planned_rate("cart")
    );
}

/// Polls once with these totals of `search`, by gateway; returns what came of it.
fn came(arrivals: &mut Arrivals, totals: &[(u8, u64)]) -> Option<u64> {
    let answers: Vec<(SocketAddr, Observed)> = totals
        .iter()
        .map(|&(number, rows)| {
            let arrived = Arrived { requests: rows, rows };
            (
                gateway(number),
                answer(&BTreeMap::from([("search".to_owned(), arrived)])),
            )
        })
        .collect();
    arrivals
        .since_last(&answers)
        .get(&shop("search"))
        .map(|it| it.rows)
}

#[test]
fn gateways_come_go_and_begin_anew() {
    let mut arrivals = Arrivals::default();
    assert_eq!(
        came(&mut arrivals, &[(1, 1000)]),
        None,
        "since when, nobody knows"
    );
    assert_eq!(came(&mut arrivals, &[(1, 1007)]), Some(7));
    assert_eq!(came(&mut arrivals, &[(1, 1010), (2, 5)]), Some(3));
    assert_eq!(came(&mut arrivals, &[(1, 1011), (2, 9)]), Some(5));
    assert_eq!(came(&mut arrivals, &[(2, 10)]), Some(1));
    assert_eq!(came(&mut arrivals, &[(2, 4)]), Some(4), "it has begun anew");
    assert_eq!(came(&mut arrivals, &[]), None);
    assert_eq!(came(&mut arrivals, &[(2, 4000)]), None, "it was away");
}

#[test]
fn what_no_gateway_was_there_to_count_is_no_fall() {
    let mut random = Random::seeded(35);
    let mut cluster = Cluster::new(vec![app("search", "500ms", "5/s")]);
    cluster.run(30 * MINUTE, &mut random, |_| 5.0);
    for _ in 0..2 * HOUR {
        let now = POLL * cluster.polls;
        cluster.polls += 1;
        assert_eq!(cluster.arrivals.observe(now, &cluster.apps, &[]), BTreeMap::new());
    }
    cluster.run(2 * HOUR, &mut random, |_| 5.0);
    assert_eq!(cluster.changes.len(), 1);
}

#[test]
fn an_application_that_was_planned_for_an_observed_rate_keeps_it_under_a_new_controller() {
    let mut random = Random::seeded(37);
    let mut first = Cluster::new(vec![app("search", "500ms", "1/s")]);
    first.run(HOUR, &mut random, |_| 9.0);
    let planned = first.planned_rate("search");
    assert!((8.5..=11.0).contains(&planned), "{planned}");
    // What the first one wrote.
    let mut app = app("search", "500ms", "1/s");
    app.status = Some(
        serde_json::from_value(serde_json::json!({ "plan": {
            "device": { "cpu": { "limit": "150m" } }, "batchSize": 8, "dispatch": "Eager", "verified": true,
            "costPerMillion": "1", "costPerMonth": "1", "rate": "9.4/s", "rateSource": "Observed",
        }}))
        .unwrap(),
    );
    let mut arrivals = Arrivals::default();
    let rates = arrivals.observe(POLL, std::slice::from_ref(&app), &[]);
    assert_eq!(
        rates,
        BTreeMap::from([(shop("search"), "9.4/s".parse().unwrap())])
    );
    // It asks for its declared rate again.
    app.spec.rate_source = RateSource::Declared;
    assert_eq!(arrivals.observe(2 * POLL, &[app], &[]), BTreeMap::new());
}

#[test]
fn a_gateway_of_an_older_version_says_nothing_of_rates() {
    let text =
        r#"{"windowSeconds":3600,"apps":[{"namespace":"shop","app":"search","spanSeconds":60,"rows":7}]}"#;
    let old: Observed = serde_json::from_str(text).unwrap();
    let mut arrivals = Arrivals::default();
    let apps = [app("search", "500ms", "1/s")];
    for number in 1..100 {
        let answers = [(gateway(1), old.clone())];
        assert_eq!(arrivals.observe(POLL * number, &apps, &answers), BTreeMap::new());
    }
}
