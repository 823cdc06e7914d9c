//! What is compared with what, and when it is said.

use harmonybatch_api::InferenceModelStatus;
use harmonybatch_api::inference_model::ProfileDrift;

use super::*;
use crate::fixtures;

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
    drifts: Drifts,
}

impl Cluster {
    fn new() -> Self {
        Self {
            model: fixtures::model(),
            groups: vec![Arc::new(fixtures::group("mlp-aaaaa", 1, &["search"]))],
            drifts: Drifts::default(),
        }
    }

    fn look(&mut self, seconds: u64, answers: &[Observed]) -> Vec<Drift> {
        let known = self.drifts.observe(
            Duration::from_secs(seconds),
            &[fixtures::platform()],
            std::slice::from_ref(&self.model),
            &self.groups,
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

/// 20 ms of one CPU under half of one: 20 ms where a batch finds the whole quota of 50 ms, 40 ms (`work / vCPU`) on a replica that is never idle.
#[test]
fn a_mean_that_a_quota_explains_is_no_drift() {
    let profiled = Profiled {
        least_mean: 0.02,
        mean: 0.04,
        max: 0.07,
    };
    let expected = |millis| in_seconds(&batches(400, millis), profiled).expected_mean;
    for (millis, seconds) in [(10, 0.02), (20, 0.02), (30, 0.03), (40, 0.04), (80, 0.04)] {
        assert!((expected(millis) - seconds).abs() < 1e-9, "{millis} ms");
    }
    // So that twice as fast as the fastest, and twice as slow as the slowest, are told as that, and nothing between.
    let measured = |millis| Estimate::of(&[in_seconds(&batches(400, millis), profiled)]).mean();
    for (millis, factor) in [(10, 0.5), (20, 1.0), (30, 1.0), (40, 1.0), (80, 2.0)] {
        assert!(
            (measured(millis) / factor - 1.0).abs() < 0.05,
            "{millis} ms: {}",
            measured(millis)
        );
    }
}
