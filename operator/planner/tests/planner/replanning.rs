//! `replan` over a simulated day: what runs stays through jitter, follows a step once, and is good at every moment.

use harmonybatch_planner::units::{Rate, Seconds};
use harmonybatch_planner::{
    App, ArrivalModel, Billing, ModelSet, Plan, PlanOutline, PlanRequest, ReplanDecision, ReplanReason,
    ReplanRule, Replanned, audit, replan,
};

use crate::evaluator::ROUNDING;
use crate::fixture::{BERT, Coefficients, VGG19, app, plan, platform, profile, request};
use crate::random::Random;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
/// How often something wakes the planner.
const TICK: u64 = 5 * MINUTE;
/// How long a plan stays before savings alone may change it.
const MIN_INTERVAL: u64 = 10 * MINUTE;

/// Under the paper's law, whose figures are known.
fn paper_request(billing: Billing, model: &Coefficients, apps: Vec<App>) -> PlanRequest {
    let PlanRequest { platform, models } = request(billing, model, apps);
    let platform = platform.with_arrivals(ArrivalModel::Paper);
    PlanRequest { platform, models }
}

/// What the caller of `replan` holds: the plan that runs and since when.
struct Cluster {
    billing: Billing,
    model: Coefficients,
    held: Vec<PlanOutline>,
    changed_at: u64,
    changes: Vec<ReplanReason>,
}

impl Cluster {
    fn new(billing: Billing, model: Coefficients) -> Self {
        Self {
            billing,
            model,
            held: Vec::new(),
            changed_at: 0,
            changes: Vec::new(),
        }
    }

    fn tick(&mut self, now: u64, apps: &[App]) -> Replanned {
        let request = paper_request(self.billing, &self.model, apps.to_vec());
        let may_save = now - self.changed_at >= MIN_INTERVAL;
        let found = replan(&request, &self.held, &ReplanRule::default(), may_save)
            .unwrap()
            .remove(0);
        self.held = vec![found.held.clone()];
        if let ReplanDecision::Resized(reason)
        | ReplanDecision::Amended(reason)
        | ReplanDecision::Replanned(reason) = &found.decision
        {
            self.changes.push(reason.clone());
            self.changed_at = now;
        }
        found
    }

    fn membership(&self) -> Vec<Vec<String>> {
        let groups = self.held.iter().flat_map(|held| &held.groups);
        groups
            .map(|group| group.members.iter().map(|member| member.app.clone()).collect())
            .collect()
    }
}

fn jittered(apps: &[App], part: f64, random: &mut Random) -> Vec<App> {
    apps.iter()
        .map(|app| App {
            rate: Rate::new(app.rate.get() * (1.0 + part * (2.0 * random.unit() - 1.0))).unwrap(),
            ..app.clone()
        })
        .collect()
}

/// The applications with the rates that a plan holds for.
fn planned_for(apps: &[App], found: &Replanned) -> Vec<App> {
    apps.iter()
        .map(|app| {
            let (group, member) = found.plan.place_of(&app.name).unwrap();
            let rate = found.plan.groups[group].members[member].rate;
            assert!(rate >= app.rate, "{} sends more than was planned for", app.name);
            App { rate, ..app.clone() }
        })
        .collect()
}

/// Looks at the plan of the only model again.
fn keeps_its_promises(request: &PlanRequest, plan: &Plan) {
    let PlanRequest { platform, models } = request;
    audit::check_plan(platform, &models[0], plan).unwrap();
    audit::check_prices(platform, &models[0], plan).unwrap();
}

/// A day of ticks with 5 % jitter: no application changes its group. Returns how often a function changed.
fn quiet_day(billing: Billing, model: Coefficients, apps: &[App], ticks: u64) -> usize {
    let mut random = Random::seeded(17);
    let mut cluster = Cluster::new(billing, model);
    let first = cluster.tick(0, apps);
    assert!(matches!(
        first.decision,
        ReplanDecision::Replanned(ReplanReason::AppAdded(_))
    ));
    assert_eq!(
        first.plan,
        plan(&paper_request(billing, &model, apps.to_vec())).remove(0)
    );
    cluster.changes.clear();
    let membership = cluster.membership();
    for tick in 1..=ticks {
        let now = jittered(apps, 0.05, &mut random);
        let found = cluster.tick(tick * TICK, &now);
        assert_eq!(
            cluster.membership(),
            membership,
            "at tick {tick}: {:?}",
            found.decision
        );
        keeps_its_promises(
            &paper_request(billing, &model, planned_for(&now, &found)),
            &found.plan,
        );
        if billing == Billing::PerReplica {
            for group in &found.plan.groups {
                assert!(group.verified);
            }
        }
    }
    cluster.changes.len()
}

fn apps() -> Vec<App> {
    vec![
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
        app("mail", 3.0, 0.4),
        app("batch", 9.0, 2.0),
    ]
}

#[test]
fn a_day_of_jitter_moves_nobody_where_functions_cost_while_they_run() {
    let ticks = DAY / TICK;
    assert!(ticks >= 200);
    assert_eq!(quiet_day(Billing::PerInvocation, VGG19, &apps(), ticks), 0);
    let mut random = Random::seeded(23);
    for _ in 0..5 {
        let apps = random.apps(8, (0.2, 5.0), (0.1, 40.0));
        quiet_day(Billing::PerInvocation, VGG19, &apps, 60);
        quiet_day(Billing::PerInvocation, BERT, &apps, 60);
    }
}

#[test]
fn an_hour_of_jitter_moves_nobody_where_pods_stay_up() {
    let changes = quiet_day(Billing::PerReplica, VGG19, &apps()[..2], 12);
    assert!(changes <= 2, "{changes} changes in an hour");
}

/// `cargo test --release -p harmonybatch-planner -- --ignored a_day_of_jitter`
#[test]
#[ignore = "some 300 confirmations of every group: two minutes in release"]
fn a_day_of_jitter_moves_nobody_where_pods_stay_up() {
    for model in [VGG19, BERT] {
        let changes = quiet_day(Billing::PerReplica, model, &apps(), DAY / TICK);
        assert_eq!(changes, 0, "{}", model.name);
    }
}

/// What changes around the middle of `ticks` with 5 % jitter, where every rate doubles: before it, and from it on.
fn step(billing: Billing, ticks: u64) -> (Vec<ReplanReason>, Vec<ReplanReason>) {
    let mut random = Random::seeded(29);
    let apps: Vec<App> = apps()
        .into_iter()
        .map(|app| App {
            rate: Rate::new(app.rate.get() / 5.0).unwrap(),
            ..app
        })
        .collect();
    let doubled: Vec<App> = apps
        .iter()
        .map(|app| App {
            rate: Rate::new(app.rate.get() * 2.0).unwrap(),
            ..app.clone()
        })
        .collect();
    let mut cluster = Cluster::new(billing, VGG19);
    cluster.tick(0, &apps);
    cluster.changes.clear();
    for tick in 1..ticks / 2 {
        cluster.tick(tick * TICK, &jittered(&apps, 0.05, &mut random));
    }
    let before = std::mem::take(&mut cluster.changes);
    for tick in ticks / 2..ticks {
        cluster.tick(tick * TICK, &jittered(&doubled, 0.05, &mut random));
    }
    (before, cluster.changes)
}

fn is_step(reason: &ReplanReason) -> bool {
    matches!(reason, ReplanReason::RateChanged(_))
}

#[test]
fn a_step_to_twice_the_rate_replans_exactly_once() {
    let (before, after) = step(Billing::PerInvocation, 100);
    assert_eq!(before, []);
    assert_eq!(after.len(), 1, "{after:?}");
    assert!(is_step(&after[0]), "{after:?}");
}

/// `cargo test --release -p harmonybatch-planner -- --ignored a_step_to_twice`
#[test]
#[ignore = "some 60 confirmations of every group: 20 s in release"]
fn a_step_to_twice_the_rate_replans_exactly_once_where_pods_stay_up() {
    let (before, after) = step(Billing::PerReplica, 60);
    assert!(!before.iter().any(is_step), "{before:?}");
    assert_eq!(
        after.iter().filter(|reason| is_step(reason)).count(),
        1,
        "{after:?}"
    );
}

#[test]
fn every_change_that_must_be_followed_is_followed_at_once_and_named() {
    let base = apps();
    let change = |edit: &dyn Fn(&mut Vec<App>)| {
        let mut apps = base.clone();
        edit(&mut apps);
        let mut cluster = Cluster::new(Billing::PerInvocation, VGG19);
        cluster.tick(0, &base);
        cluster.changes.clear();
        // No time has passed: savings alone would change nothing.
        let found = cluster.tick(0, &apps);
        keeps_its_promises(
            &paper_request(Billing::PerInvocation, &VGG19, apps.clone()),
            &found.plan,
        );
        let new = plan(&request(Billing::PerInvocation, &VGG19, apps)).remove(0);
        let most = new.cost_per_second / (1.0 - ReplanRule::default().min_saving) * (1.0 + ROUNDING);
        assert!(
            found.plan.cost_per_second <= most,
            "too dear: {:?}",
            found.decision
        );
        cluster.changes.pop()
    };
    let tighter = change(&|apps| apps[1].slo = Seconds::new(0.06).unwrap());
    assert_eq!(tighter, Some(ReplanReason::PromiseChanged("cart".into())));
    let isolated = change(&|apps| apps[1].isolated = true);
    assert_eq!(isolated, Some(ReplanReason::PromiseChanged("cart".into())));
    let added = change(&|apps| apps.push(app("new", 0.6, 8.0)));
    assert_eq!(added, Some(ReplanReason::AppAdded("new".into())));
    let faster = change(&|apps| apps[2].rate = Rate::new(200.0).unwrap());
    // Where larger batches are no cheaper, what runs may be good enough: its cost was checked.
    let named = Some(ReplanReason::RateChanged("feed".into()));
    assert!(faster.is_none() || faster == named, "{faster:?}");
    // Without the one with the tightest SLO the others may fill larger batches.
    let gone = change(&|apps| drop(apps.remove(0)));
    assert!(matches!(gone, None | Some(ReplanReason::AppGone(_))), "{gone:?}");
    assert_eq!(change(&|_| ()), None);
    // An application that nothing can serve is no news.
    let mut cluster = Cluster::new(Billing::PerInvocation, VGG19);
    let mut with_tight = base.clone();
    with_tight.push(app("tight", 0.001, 1.0));
    cluster.tick(0, &with_tight);
    let found = cluster.tick(MIN_INTERVAL, &with_tight);
    assert_eq!(found.decision, ReplanDecision::Kept);
    assert_eq!(found.plan.infeasible.len(), 1);
}

#[test]
fn a_function_that_is_no_longer_on_offer_or_too_slow_is_replaced() {
    let apps = apps();
    let mut cluster = Cluster::new(Billing::PerInvocation, VGG19);
    cluster.tick(0, &apps);
    // A longer overhead leaves less time: what ran is too slow for it.
    let full = platform(Billing::PerInvocation);
    let slow = harmonybatch_planner::Platform::new(
        full.billing(),
        full.prices(),
        Seconds::new(0.3).unwrap(),
        full.cpu(),
        full.gpu_pools().to_vec(),
    )
    .unwrap();
    let no_gpu = harmonybatch_planner::Platform::new(
        full.billing(),
        full.prices(),
        full.overhead(),
        full.cpu(),
        Vec::new(),
    )
    .unwrap();
    for platform in [slow, no_gpu] {
        let set = ModelSet::new("shop", VGG19.name, profile(&VGG19), apps.clone()).unwrap();
        let request = PlanRequest {
            platform: platform.with_arrivals(ArrivalModel::Paper),
            models: vec![set],
        };
        let found = replan(&request, &cluster.held, &ReplanRule::default(), false)
            .unwrap()
            .remove(0);
        let (ReplanDecision::Resized(reason)
        | ReplanDecision::Amended(reason)
        | ReplanDecision::Replanned(reason)) = &found.decision
        else {
            panic!("{:?}", found.decision);
        };
        assert!(matches!(reason, ReplanReason::GroupBroken(_)), "{reason:?}");
    }
}

#[test]
fn a_saving_waits_for_its_time_and_must_be_worth_it() {
    // Three applications apart, which one group serves for 8 % less: 2.2583e-5 instead of 2.4655e-5.
    let apps = apps()[..3].to_vec();
    let apart: Vec<App> = apps
        .iter()
        .map(|app| App {
            isolated: true,
            ..app.clone()
        })
        .collect();
    let mut cluster = Cluster::new(Billing::PerInvocation, VGG19);
    cluster.tick(0, &apart);
    let held = cluster.held.clone();
    let request = paper_request(Billing::PerInvocation, &VGG19, apps);
    let decide = |min_saving: f64, may_save: bool| {
        let rule = ReplanRule {
            min_saving,
            ..ReplanRule::default()
        };
        replan(&request, &held, &rule, may_save)
            .unwrap()
            .remove(0)
            .decision
    };
    assert_eq!(decide(0.05, false), ReplanDecision::Kept);
    assert_eq!(
        decide(0.05, true),
        ReplanDecision::Replanned(ReplanReason::Saving)
    );
    // 1 - 2.2583 / 2.4655 is 8.4 %.
    assert_eq!(
        decide(0.08, true),
        ReplanDecision::Replanned(ReplanReason::Saving)
    );
    assert_eq!(decide(0.09, true), ReplanDecision::Kept);
}
