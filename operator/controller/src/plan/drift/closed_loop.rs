//! The whole loop on paused time: the real gateway before replicas that are off their profile, what it says on its second port, the observer's
//! comparison, the planner, and the groups that come of it, whose pods take a while to start.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use harmonybatch_api::inference_group::{InferenceGroupSpec, ServingMode};
use harmonybatch_api::{InferenceApp, InferenceGroup, InferencePlatform};
use harmonybatch_gateway::admin::Admin;
use harmonybatch_gateway::batcher::{Fleet, Limits, Submission, Table, Waiter};
use harmonybatch_gateway::config::{Contract, GroupConfig, Key as GatewayKey, MemberConfig, Snapshot};
use harmonybatch_gateway::memory::Budget;
use harmonybatch_gateway::metrics::Metrics;
use harmonybatch_gateway::protocol::{Request, Wire};
use harmonybatch_gateway::timer::Timer;
use harmonybatch_planner::{Device, Session, profiled};
use http::Method;
use http_body_util::BodyExt;
use kube::ResourceExt;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

mod replicas;

use replicas::{Replicated, Runtime, Steps, metered, time};

use super::*;
use crate::fixtures::{self, Random};
use crate::gateways::Observed;
use crate::observe::Drifts;
use crate::plan::build;
use crate::plan::decide::{Decided, decide_again};
use crate::plan::validate::{Inputs, profile_on, validate};

/// Between two questions to the gateway, as the observer asks.
const POLL: Duration = Duration::from_secs(10);
/// What a pod takes to be ready.
const START: Duration = Duration::from_secs(20);
/// Within which SLOs must be kept again, and how long it is then looked at.
const MEND: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_mins(3);

/// A controller with the cluster that it sees.
struct Controller {
    platform: InferencePlatform,
    model: InferenceModel,
    apps: Vec<InferenceApp>,
    drifts: Drifts,
    told: BTreeMap<Key, Vec<Drift>>,
    decided: Option<Decided>,
    session: Session,
    /// Groups as they are in the cluster, and how many were ever made.
    groups: Vec<Arc<InferenceGroup>>,
    /// Plans that were others than before.
    changes: u32,
}

impl Controller {
    fn new(mut model: InferenceModel, correction: Correcting, apps: &[InferenceApp]) -> Self {
        model.spec.profile.correction = correction;
        Self {
            platform: fixtures::platform(),
            model,
            apps: apps.to_vec(),
            drifts: Drifts::default(),
            told: BTreeMap::new(),
            decided: None,
            session: Session::new(),
            groups: Vec::new(),
            changes: 0,
        }
    }

    fn look(&mut self, now: Duration, answer: &Observed) {
        let (platforms, models) = ([self.platform.clone()], [self.model.clone()]);
        self.told = self
            .drifts
            .observe(now, &platforms, &models, &self.groups, &BTreeSet::new(), [answer]);
    }

    /// The groups that are wanted, where they are others than before.
    fn plan(&mut self, now: Duration) -> Option<Vec<InferenceGroup>> {
        let models = vec![self.model.clone()];
        let known = drifts(&models, &self.told);
        let inputs = Inputs {
            platforms: vec![self.platform.clone()],
            models,
            apps: self.apps.clone(),
            corrections: known
                .iter()
                .map(|(model, drifts)| (model.clone(), corrections(drifts)))
                .collect(),
            ..Inputs::default()
        };
        let validated = validate(&inputs, &BTreeSet::new());
        assert_eq!(validated.problems, BTreeMap::new());
        let (request, patience) = (&validated.requests["default"], validated.patience["default"]);
        let last = self.decided.as_ref();
        if last.is_some_and(|last| !last.is_due(request, &patience, now)) {
            return None;
        }
        let decided = decide_again(request, last, &[], &patience, now, &self.session).unwrap();
        let plan = decided.plans[0].clone();
        assert_eq!(plan.infeasible, [], "the scene is made so that all can be served");
        self.decided = Some(decided);
        let existing: Vec<&InferenceGroup> = self.groups.iter().map(|group| &**group).collect();
        let built = build::groups(&plan, &self.model, &validated.contracts, &existing, |_| {
            ServingMode::Deployment
        });
        // A prediction that is another one moves nobody.
        let what_runs = |group: &InferenceGroup| InferenceGroupSpec {
            plan_generation: 0,
            prediction: None,
            ..group.spec.clone()
        };
        let same = !self.groups.is_empty()
            && built.unwanted.is_empty()
            && built
                .wanted
                .iter()
                .all(|group| existing.iter().any(|old| what_runs(old) == what_runs(group)));
        if same {
            return None;
        }
        self.changes += 1;
        Some(built.wanted)
    }
}

/// A cluster in which replicas are ready at once, and groups when they are configured.
struct Scene {
    config: watch::Sender<Option<Arc<Snapshot>>>,
    table: watch::Receiver<Arc<Table>>,
    admin: Admin,
    timer: Timer,
    runtime: Runtime,
    addresses: u16,
    /// By group.
    endpoints: BTreeMap<String, Vec<SocketAddr>>,
}

impl Scene {
    fn new(factor: f64, seed: u64) -> Self {
        let runtime = Runtime {
            factor,
            random: Arc::new(Mutex::new(Random::seeded(seed))),
            replicas: Arc::default(),
            started: Instant::now(),
        };
        let (config, source) = watch::channel(None);
        let (metrics, timer) = (Arc::new(Metrics::new()), Timer::new());
        let (fleet, table) = Fleet::new(
            source,
            "cluster.local",
            Limits::default(),
            metrics.clone(),
            runtime.clone(),
            timer,
        );
        let (flush, receiver) = watch::channel(false);
        tokio::spawn(async move {
            let _held = flush;
            fleet.run(receiver).await;
        });
        let (_, draining) = watch::channel(false);
        let admin = Admin {
            table: table.clone(),
            draining,
            metrics,
            timer,
        };
        Self {
            config,
            table,
            admin,
            timer,
            runtime,
            addresses: 0,
            endpoints: BTreeMap::new(),
        }
    }

    /// What the gateway says on its second port, as the controller reads it.
    async fn observed(&self) -> Observed {
        let answer = self.admin.answer(&Method::GET, "/observed");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    /// Routes to the replicas of these groups and no others.
    async fn route(&mut self, controller: &Controller, groups: &[InferenceGroup]) {
        let (platform, profile) =
            profile_on(std::slice::from_ref(&controller.platform), &controller.model).unwrap();
        let mut snapshot = Snapshot::default();
        for group in groups {
            let device: Device = crate::plan::running::device(&group.spec.device).unwrap();
            let replica = || {
                if let Some((work, vcpu)) = metered(&controller.model, &device) {
                    return Replicated::Metered(work, Steps::new(vcpu));
                }
                let times = profiled(&platform, &profile, &device).unwrap();
                Replicated::Timed(times.iter().map(|said| (said.mean(), said.max())).collect())
            };
            // What runs goes on, with what is left of its quota.
            let name = group.name_any();
            let endpoints = self.endpoints.entry(name).or_insert_with(|| {
                let addresses = (0..group.spec.replicas).map(|_| {
                    self.addresses += 1;
                    let address = SocketAddr::from(([10, 0, 0, 1], self.addresses));
                    self.runtime.replicas.lock().unwrap().insert(address, replica());
                    address
                });
                addresses.collect()
            });
            let config = config(group, endpoints.clone());
            snapshot.groups.insert(config.key.clone(), Arc::new(config));
        }
        self.table.borrow_and_update();
        self.config.send_replace(Some(Arc::new(snapshot)));
        self.table.changed().await.unwrap();
    }

    fn submit(&self, app: &str) -> Option<Waiter> {
        let body = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]});
        let submission = Submission {
            request: Request::read(&Bytes::from(body.to_string())).unwrap(),
            model: "mlp".to_owned(),
            version: None,
            arrival: self.timer.now(),
            deadline: None,
            memory: Budget::new(0).hold(),
            span: None,
        };
        let table = self.table.borrow().clone();
        table
            .submit(table.routes.by_app("shop", app).unwrap(), submission)
            .ok()
    }
}

/// As the gateway reads a group that is active.
fn config(group: &InferenceGroup, endpoints: Vec<SocketAddr>) -> GroupConfig {
    let members = group.spec.members.iter().map(|member| {
        let admission = member.admission.as_ref().unwrap();
        let rate: harmonybatch_api::quantity::Rate = admission.rate.parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "some rows")]
        let contract = Contract {
            rate: rate.per_second(),
            burst: admission.burst as f64,
            most: admission.most as f64,
            best_effort: false,
        };
        Arc::new(MemberConfig {
            app: member.app.as_str().into(),
            service_name: member.service_name.as_str().into(),
            slo: time(&member.slo),
            timeout: time(&member.timeout),
            max_wait: time(&member.max_wait),
            contract: Some(contract),
            departing: false,
        })
    });
    GroupConfig {
        key: GatewayKey::new("shop", &group.name_any()),
        plan_generation: group.spec.plan_generation,
        batch_size: group.spec.batch_size.unsigned_abs(),
        members: members.collect(),
        model: "mlp".into(),
        runtime_model: "net".into(),
        idempotent: true,
        wire: Wire::Json,
        endpoints,
        wake: None,
    }
}

/// What became of a run.
#[derive(Debug)]
struct Outcome {
    /// Share of each application's requests after [`MEND`] that kept its SLO; one that was refused kept none.
    kept: Vec<f64>,
    drift: Option<Drift>,
    changes: u32,
    /// Replicas times millicores of what runs first, and last.
    size: (u64, u64),
}

fn size(groups: &[InferenceGroup]) -> u64 {
    let groups = groups.iter();
    groups
        .map(|group| match crate::plan::running::device(&group.spec.device) {
            Some(Device::Cpu { vcpu }) => {
                u64::from(vcpu.millis()) * u64::from(group.spec.replicas.unsigned_abs())
            }
            _ => 0,
        })
        .sum()
}

/// Plays 20 requests a second for five minutes on replicas that take `factor` times their profile.
async fn play(factor: f64, correction: Correcting, seed: u64) -> Outcome {
    play_model(fixtures::model(), ["500ms", "800ms"], factor, correction, seed).await
}

async fn play_model(
    model: InferenceModel,
    promised: [&str; 2],
    factor: f64,
    correction: Correcting,
    seed: u64,
) -> Outcome {
    let apps = [
        fixtures::app("search", promised[0], "10/s"),
        fixtures::app("cart", promised[1], "10/s"),
    ];
    let mut controller = Controller::new(model, correction, &apps);
    let mut scene = Scene::new(factor, seed);
    let mut wanted = controller.plan(Duration::ZERO).unwrap();
    let first = size(&wanted);
    controller.groups = wanted.iter().cloned().map(Arc::new).collect();
    scene.route(&controller, &wanted).await;

    let start = Instant::now();
    let mut random = Random::seeded(seed + 1);
    let slos = promised.map(time);
    let mut counts = [(0_u32, 0_u32); 2];
    let mut answers = JoinSet::new();
    let (mut next, mut poll) = (Duration::ZERO, POLL);
    let mut ready: Option<Duration> = None;
    while next < MEND + LOOK {
        if ready.is_some_and(|ready| ready <= next.min(poll)) {
            tokio::time::sleep_until(start + ready.take().unwrap()).await;
            scene.route(&controller, &wanted).await;
            controller.groups = wanted.iter().cloned().map(Arc::new).collect();
            continue;
        }
        if poll <= next {
            tokio::time::sleep_until(start + poll).await;
            controller.look(poll, &scene.observed().await);
            // One plan is carried out before the next one is begun.
            if ready.is_none()
                && let Some(changed) = controller.plan(poll)
            {
                wanted = changed;
                // Both are there until the new one is routed to.
                controller.groups.extend(wanted.iter().cloned().map(Arc::new));
                ready = Some(poll + START);
            }
            poll += POLL;
            continue;
        }
        tokio::time::sleep_until(start + next).await;
        let index = usize::from(random.unit() > 0.5);
        let counted = next >= MEND;
        counts[index].0 += u32::from(counted);
        if let Some(waiter) = scene.submit(["search", "cart"][index]) {
            let (timer, sent) = (scene.timer, Instant::now());
            answers
                .spawn(async move { (index, counted, waiter.answer(timer).await.is_ok(), sent.elapsed()) });
        }
        next += Duration::from_secs_f64(random.exponential(20.0));
    }
    while let Some(answer) = answers.join_next().await {
        let (index, counted, answered, latency) = answer.unwrap();
        counts[index].1 += u32::from(counted && answered && latency <= slos[index]);
    }
    Outcome {
        kept: counts
            .iter()
            .map(|(sent, kept)| f64::from(*kept) / f64::from(*sent))
            .collect(),
        drift: controller.told.into_values().flatten().next(),
        changes: controller.changes - 1,
        size: (first, size(&wanted)),
    }
}

fn kept(outcome: &Outcome) -> bool {
    // 99 % is asked for; of 1,800 requests as many as a quarter of a percent more may be late by chance.
    outcome.kept.iter().all(|kept| *kept > 0.9875)
}

#[tokio::test(start_paused = true)]
async fn a_runtime_half_as_fast_as_its_profile_keeps_its_slos_within_two_minutes() {
    for seed in [1, 2, 3] {
        let outcome = play(2.0, Correcting::Auto, seed).await;
        assert!(kept(&outcome), "{outcome:?}");
        let drift = outcome.drift.as_ref().unwrap();
        assert!((1.8..2.2).contains(&drift.measured), "{outcome:?}");
        assert!((1.85..2.35).contains(&drift.correction.mean()), "{outcome:?}");
        assert!((1..=2).contains(&outcome.changes), "{outcome:?}");
        assert!(outcome.size.1 > outcome.size.0, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_near_the_bound_of_a_correction_does_so_too() {
    // A batch of the first plan takes up to 0.95 s then, longer than either SLO.
    let outcome = play(3.5, Correcting::Auto, 1).await;
    assert!(kept(&outcome), "{outcome:?}");
    let drift = outcome.drift.as_ref().unwrap();
    assert!((3.2..4.0).contains(&drift.correction.mean()), "{outcome:?}");
    assert!((1..=2).contains(&outcome.changes), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_correction_it_does_not() {
    let outcome = play(2.0, Correcting::Never, 1).await;
    assert!(!kept(&outcome), "{outcome:?}");
    assert_eq!(outcome.changes, 0);
    // It is seen all the same.
    assert!(outcome.drift.is_some_and(|drift| drift.measured > 1.8));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_twice_as_fast_as_its_profile_keeps_them_all_the_time() {
    for seed in [1, 2, 3] {
        let outcome = play(0.5, Correcting::Auto, seed).await;
        assert!(kept(&outcome), "{outcome:?}");
        let drift = outcome.drift.as_ref().unwrap();
        assert!((0.45..0.6).contains(&drift.measured), "{outcome:?}");
        // What it saves waits for the platform's interval, as every saving does.
        assert_eq!(outcome.changes, 0, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_as_fast_as_its_profile_changes_nothing() {
    for seed in [1, 2, 3] {
        let outcome = play(1.0, Correcting::Auto, seed).await;
        assert!(kept(&outcome) && outcome.changes == 0, "{outcome:?}");
        let drift = outcome.drift.as_ref().unwrap();
        assert!(
            drift.correction.is_none() && (0.93..1.07).contains(&drift.measured),
            "{outcome:?}"
        );
    }
}

/// 8 ms of one CPU and 2 ms a row, under a quota; at most 1.3 times that.
fn under_a_quota() -> InferenceModel {
    let mut model = fixtures::model();
    let curve = |rows: u32, times: f64| {
        let work = times * f64::from(8 + 2 * rows);
        json!({"throttled": {"work": format!("{work:.1}ms"), "parallelism": "1"}})
    };
    let entry = |rows: u32| json!({"batch": rows, "mean": curve(rows, 1.0), "max": curve(rows, 1.3)});
    model.spec.profile.cpu = (1..=8)
        .map(|rows| serde_json::from_value(entry(rows)).unwrap())
        .collect();
    model
}

/// With promises so tight that replicas are idle for a good part of the time, and so loose that they hardly are.
const PROMISES: [[&str; 2]; 2] = [["110ms", "150ms"], ["500ms", "800ms"]];

#[tokio::test(start_paused = true)]
async fn a_runtime_that_needs_twice_the_work_under_a_quota_keeps_its_slos_within_two_minutes() {
    for promised in PROMISES {
        let outcome = play_model(under_a_quota(), promised, 2.0, Correcting::Auto, 1).await;
        let drift = outcome.drift.as_ref().unwrap();
        assert!((1.85..2.15).contains(&drift.measured), "{outcome:?}");
        assert!((1.85..2.3).contains(&drift.correction.mean()), "{outcome:?}");
        assert!((1..=2).contains(&outcome.changes), "{outcome:?}");
        assert!(kept(&outcome) && outcome.size.1 > outcome.size.0, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_needs_what_its_profile_says_or_half_of_it_changes_nothing() {
    for promised in PROMISES {
        for (factor, is_right) in [(1.0, true), (0.5, false)] {
            let outcome = play_model(under_a_quota(), promised, factor, Correcting::Auto, 1).await;
            // Where requests wait for their batch to fill they may wait longer for a faster runtime, in the group that runs; what batches took before that is
            // explained with the new waits for as long as the gateways remember it.
            assert!(
                kept(&outcome) && outcome.changes <= u32::from(!is_right),
                "{outcome:?}"
            );
            assert_eq!(outcome.size.0, outcome.size.1, "{outcome:?}");
            let drift = outcome.drift.as_ref().unwrap();
            let most = if outcome.changes > 0 { 1.1 } else { 1.07 };
            assert!((0.93..most).contains(&(drift.measured / factor)), "{outcome:?}");
            assert_eq!(drift.correction.is_none(), is_right, "{outcome:?}");
        }
    }
}
