//! What is compared with what, and when it is said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::inference_model::{CpuLatency, ProfileDrift};
use harmonybatch_api::{InferenceApp, InferenceModelStatus};
use serde_json::json;

use super::*;
use crate::fixtures;
use crate::gateways::{Arrived, ObservedApp, ObservedBatches};

/// So many batches of eight rows, all within a millisecond of a time.
fn batches(count: u64, millis: u64) -> ObservedBatches {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let mean = (millis * 1000) as f64;
    ObservedBatches {
        rows: 8,
        count,
        mean,
        variance: 1e6,
        buckets: vec![(millis * 1000, count)],
        overdue: vec![],
    }
}

fn answer(group: &str, batches: Vec<ObservedBatches>) -> Observed {
    let group = ObservedGroup {
        namespace: "shop".to_owned(),
        group: group.to_owned(),
        batches,
        ..ObservedGroup::default()
    };
    Observed {
        groups: vec![group],
        ..Observed::default()
    }
}

/// A model with one group on 150m, where the profile says 22 ms + 400 ms exp(-0.75) for eight rows: 211 ms.
const EXPECTED: u64 = 211;

struct Cluster {
    model: InferenceModel,
    groups: Vec<Arc<InferenceGroup>>,
    not_as_played: BTreeSet<Key>,
    drifts: Drifts,
}

impl Cluster {
    fn new() -> Self {
        Self {
            model: fixtures::model(),
            groups: vec![Arc::new(fixtures::group("mlp-aaaaa", 1, &["search"]))],
            not_as_played: BTreeSet::new(),
            drifts: Drifts::default(),
        }
    }

    fn look(&mut self, seconds: u64, answers: &[Observed]) -> Vec<Drift> {
        let known = self.drifts.observe(
            Duration::from_secs(seconds),
            &[fixtures::platform()],
            std::slice::from_ref(&self.model),
            &self.groups,
            &self.not_as_played,
            answers,
        );
        known.into_values().flatten().collect()
    }
}

#[test]
fn batches_are_held_against_the_function_that_served_them() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.look(0, &[]), []);
    assert_eq!(
        cluster.look(10, &[answer("mlp-aaaaa", vec![batches(8, 2 * EXPECTED)])]),
        []
    );
    // Two gateways had batches of the group.
    let halves = || answer("mlp-aaaaa", vec![batches(200, 2 * EXPECTED)]);
    let known = cluster.look(20, &[halves(), halves()]);
    let [drift] = &known[..] else {
        unreachable!("one device: {known:?}")
    };
    assert_eq!((drift.device.as_str(), drift.batches), ("cpu", 400));
    assert!((1.96..=2.01).contains(&drift.measured), "{drift:?}");
    assert!((1.96..2.05).contains(&drift.correction.mean()), "{drift:?}");
    // The same said a little otherwise is not said anew, so that nothing is written for it.
    let again = answer("mlp-aaaaa", vec![batches(450, 2 * EXPECTED + 5)]);
    assert_eq!(cluster.look(30, &[again]), known);
    // Nor is anything forgotten when nobody calls.
    assert_eq!(cluster.look(4000, &[]), known);
}

#[test]
fn batches_of_others_say_nothing() {
    let slow = |group: &str| answer(group, vec![batches(400, 2 * EXPECTED)]);
    let mut cluster = Cluster::new();
    assert_eq!(cluster.look(10, &[slow("other")]), []);
    let mut of_image = fixtures::group("mlp-bbbbb", 1, &["search"]);
    of_image.spec.image = "example.org/runtime:0".to_owned();
    cluster.groups.push(Arc::new(of_image));
    assert_eq!(cluster.look(20, &[slow("mlp-bbbbb")]), []);
    // More rows than the profile knows.
    let mut oversize = batches(400, 9000);
    oversize.rows = 9;
    assert_eq!(cluster.look(30, &[answer("mlp-aaaaa", vec![oversize])]), []);
    // What the old profile was off by is nothing of the new one.
    assert_eq!(cluster.look(40, &[slow("mlp-aaaaa")]).len(), 1);
    cluster.model.spec.profile.cpu.truncate(1);
    assert_eq!(cluster.look(50, &[]), []);
}

#[test]
fn a_new_controller_goes_on_with_what_was_written() {
    let mut cluster = Cluster::new();
    cluster.model.status = Some(InferenceModelStatus {
        profile_drift: vec![ProfileDrift {
            device: "cpu".to_owned(),
            measured: "1.94".to_owned(),
            batches: 340,
            mean: "2.053".to_owned(),
            max: "2.11".to_owned(),
            profile: plan::basis(&cluster.model),
        }],
        ..InferenceModelStatus::default()
    });
    let known = cluster.look(0, &[]);
    assert_eq!(known, plan::known_before(&cluster.model));
    assert_eq!(known[0].correction, Correction::new(2.053, 2.11));
    // Twice is what it goes on to see.
    let seen = [answer("mlp-aaaaa", vec![batches(400, 2 * EXPECTED)])];
    assert_eq!(cluster.look(10, &seen), known);
    // Then it is mended.
    let seen = [answer("mlp-aaaaa", vec![batches(400, EXPECTED)])];
    let mended = cluster.look(20, &seen);
    assert!(mended[0].correction.mean() < 1.1, "{mended:?}");
    // Another change waits until what was measured before it is forgotten; what is much slower does not.
    let seen = [answer("mlp-aaaaa", vec![batches(400, EXPECTED * 6 / 5)])];
    assert_eq!(cluster.look(30, &seen)[0].correction, mended[0].correction);
    assert!(cluster.look(200, &seen)[0].correction.mean() > 1.15);
    let seen = [answer("mlp-aaaaa", vec![batches(400, EXPECTED * 3)])];
    assert!(cluster.look(210, &seen)[0].correction.mean() > 2.8);
}

/// A model of which a batch needs 20 ms of one CPU, whatever its rows, with one group of a replica under half a CPU: 20 ms where it finds the whole quota of 50 ms,
/// 40 ms (`work / vCPU`) on a replica that is never idle.
fn under_a_quota() -> Cluster {
    let mut cluster = Cluster::new();
    let work: CpuLatency =
        serde_json::from_value(json!({"throttled": {"work": "20ms", "parallelism": "1"}})).unwrap();
    for entry in &mut cluster.model.spec.profile.cpu {
        (entry.mean, entry.max) = (work.clone(), work.clone());
    }
    cluster.groups = vec![Arc::new(half_a_cpu("mlp-aaaaa"))];
    cluster
}

fn half_a_cpu(name: &str) -> InferenceGroup {
    let mut group = fixtures::group(name, 1, &["search"]);
    group.spec.device = serde_json::from_value(json!({"cpu": {"limit": "500m"}})).unwrap();
    (group.spec.batch_size, group.spec.replicas) = (1, 1);
    group
}

/// Single rows over 170 seconds, at so many a second, that took so many milliseconds in the mean.
fn singles(group: &str, rate: u64, millis: u64) -> Observed {
    let one_row = ObservedBatches {
        rows: 1,
        ..batches(170 * rate, millis)
    };
    let mut answer = answer(group, vec![one_row]);
    answer.groups[0].began_seconds_ago = Some(175.0);
    answer.groups[0].ended_seconds_ago = Some(5.0);
    answer
}

fn measured(known: &[Drift]) -> f64 {
    let [drift] = known else {
        unreachable!("one device: {known:?}")
    };
    drift.measured
}

/// What a mean says depends on how often the replica was idle. Once in a second it is so nearly always, and a batch that fits the quota takes its own time. 25
/// in a second are all that a right profile can do, of the mean of a replica that is never idle.
#[test]
fn what_a_quota_stops_is_held_against_what_is_played() {
    for (rate, millis, factor) in [
        (1, 20, 1.0),
        (1, 24, 1.2),
        (1, 30, 1.5),
        (1, 40, 2.0),
        (1, 10, 0.5),
        (25, 40, 1.0),
    ] {
        let found = measured(&under_a_quota().look(10, &[singles("mlp-aaaaa", rate, millis)]));
        // Once in twenty times another request has had its part of the period's quota. What of that is missed explains some of the time.
        assert!(
            (found / factor - 1.0).abs() < 0.05,
            "{millis} ms at {rate}: {found} for {factor}"
        );
    }
    // Half as fast, a runtime cannot do 25 in a second, and shows it by what it does.
    let found = measured(&under_a_quota().look(10, &[singles("mlp-aaaaa", 12, 80)]));
    assert!((1.9..2.15).contains(&found), "{found}");
}

/// Of bursts, of several rows at a time, of an older gateway's batches and of functions that come and go nothing is played.
#[test]
fn where_nobody_knows_how_requests_came_no_mean_between_the_ends_is_a_drift() {
    let look = |cluster: &mut Cluster, seconds, millis| {
        let mut seen = singles("mlp-aaaaa", 1, millis);
        seen.groups[0].began_seconds_ago = None;
        measured(&cluster.look(seconds, &[seen]))
    };
    for (millis, factor) in [(10, 0.5), (20, 1.0), (24, 1.0), (40, 1.0), (80, 2.0)] {
        let found = look(&mut under_a_quota(), 10, millis);
        assert!(
            (found / factor - 1.0).abs() < 0.03,
            "{millis} ms: {found} for {factor}"
        );
    }
    // Nor is one between the ends of a runtime that is half as fast, once it is known to be that.
    let mut cluster = under_a_quota();
    look(&mut cluster, 10, 80);
    let found = look(&mut cluster, 1_000, 50);
    assert!((1.95..2.05).contains(&found), "{found}");
    let found = look(&mut cluster, 2_000, 20);
    assert!((0.45..0.55).contains(&(found / 2.0)), "{found}");
    let mut cluster = under_a_quota();
    cluster
        .not_as_played
        .insert(("shop".to_owned(), "search".to_owned()));
    assert!((measured(&cluster.look(10, &[singles("mlp-aaaaa", 1, 24)])) - 1.0).abs() < 0.01);
    let mut cluster = under_a_quota();
    let mut group = half_a_cpu("mlp-aaaaa");
    group.spec.serving = ServingMode::Knative;
    cluster.groups = vec![Arc::new(group)];
    assert!((measured(&cluster.look(10, &[singles("mlp-aaaaa", 1, 24)])) - 1.0).abs() < 0.01);
}

#[test]
fn applications_that_come_otherwise_than_played_are_told() {
    let apps: Vec<InferenceApp> = ["search", "cart", "feed", "mail"]
        .map(|name| fixtures::app(name, "500ms", "5/s"))
        .to_vec();
    let mut declared = apps.clone();
    declared[0].spec.burst = serde_json::from_value(json!({"factor": "4", "duration": "30s"})).unwrap();
    let seen = |app: &str, requests, rows, squares| ObservedApp {
        namespace: "shop".to_owned(),
        app: app.to_owned(),
        span_seconds: 3600.0,
        rows: 3_600,
        arrived: Some(Arrived { requests, rows }),
        dispersion: vec![(60, squares)],
        ..ObservedApp::default()
    };
    // In each minute 60 rows; or 120 in every other one.
    let even = 60 * 60 * 60;
    let answer = Observed {
        apps: vec![
            seen("cart", 500, 2_000, even),
            seen("feed", 2_000, 2_000, 2 * even),
            seen("mail", 2_000, 2_000, even),
        ],
        ..Observed::default()
    };
    let found = not_as_played(&declared, [&answer]);
    let names: Vec<&str> = found.iter().map(|(_, app)| app.as_str()).collect();
    assert_eq!(names, ["cart", "feed", "search"]);
}

/// Half of the batches are one gateway's and half another's, who took the group over.
#[test]
fn gateways_that_follow_each_other_say_one_rate() {
    let part = |began, ended| {
        let mut part = singles("mlp-aaaaa", 12, 80);
        let seen = &mut part.groups[0];
        (seen.began_seconds_ago, seen.ended_seconds_ago) = (Some(began), Some(ended));
        seen.batches[0].count /= 2;
        seen.batches[0].buckets[0].1 /= 2;
        part
    };
    let whole = measured(&under_a_quota().look(10, &[singles("mlp-aaaaa", 12, 80)]));
    let halves = measured(&under_a_quota().look(10, &[part(90.0, 5.0), part(175.0, 90.0)]));
    assert!((halves / whole - 1.0).abs() < 0.02, "{halves} {whole}");
}

/// Each group needs more than a tenth of what may be played at one look.
#[test]
fn many_groups_have_their_turns() {
    let names: Vec<String> = (0..20).map(|index| format!("mlp-{index:05}")).collect();
    let mut cluster = under_a_quota();
    cluster.groups = names.iter().map(|name| Arc::new(half_a_cpu(name))).collect();
    let answers: Vec<Observed> = names.iter().map(|name| singles(name, 1, 20)).collect();
    let mut said = Vec::new();
    while said.last() != Some(&(20 * 170)) {
        // As a new controller that has only what was played.
        cluster.drifts.following.clear();
        let known = cluster.look(10, &answers);
        assert!((measured(&known) - 1.0).abs() < 0.03, "{known:?}");
        said.push(known[0].batches);
        assert!(said.len() < 10, "{said:?}");
    }
    assert!(said.len() > 2 && said.is_sorted() && said[0] > 0, "{said:?}");
    // A group that is gone leaves nothing.
    cluster.groups.truncate(1);
    cluster.look(1_000, &[]);
    assert_eq!(cluster.drifts.expectations.kept(), 1);
}
