//! A profile that is wrong by two is corrected by what the gateway sees, and SLOs are kept within two minutes.
//! The runtime sleeps as long as a profile says; the model's own is another one.

use std::time::Duration;

use harmonybatch_api::conditions::{self, PROFILE_DRIFT};
use harmonybatch_api::{InferenceApp, InferenceModel};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::scenario::{Contract, Scenario, holds, sample, until};

/// Twenty requests a second.
const APPS: [Contract; 2] = [
    Contract {
        name: "search",
        slo: "500ms",
        rate: "10/s",
    },
    Contract {
        name: "cart",
        slo: "800ms",
        rate: "10/s",
    },
];
/// Within which SLOs must be kept.
const MEND: Duration = Duration::from_mins(2);
/// How long it is then looked at.
const LOOK: Duration = Duration::from_mins(1);
/// As in the other scenarios: a shared CI machine may disturb a test.
const ATTAINMENT: f64 = 95.0;

/// The curves of the sample's profile with latencies so many times as long.
fn scaled(profile: &Value, factor: f64) -> Value {
    let mut scaled = profile.clone();
    for entry in scaled["cpu"].as_array_mut().unwrap() {
        for curve in ["mean", "max"] {
            for part in ["alpha", "gamma"] {
                let written = &mut entry[curve]["exponential"][part];
                let millis: f64 = written.as_str().unwrap().trim_end_matches("ms").parse().unwrap();
                *written = json!(format!("{:.3}ms", factor * millis));
            }
        }
    }
    scaled
}

/// The model of the samples on a runtime whose batches take so many times what its profile says.
async fn begin(name: &str, factor: f64) -> Scenario {
    let scenario = Scenario::begin(name).await;
    let mut simulated = scaled(&sample("model.yaml")["spec"]["profile"], factor);
    simulated.as_object_mut().unwrap().remove("provenance");
    let args = json!(["serve", "--simulate", simulated.to_string()]);
    let changes = json!({ "runtime": { "args": args }, "profile": { "correction": "Auto" } });
    scenario.model(&changes).await;
    scenario.apps(&APPS).await;
    scenario.ready(&APPS).await;
    scenario
}

/// Status, reason and message of what is said of the drift.
async fn said(scenario: &Scenario) -> Option<(String, String, String)> {
    let model = scenario.api::<InferenceModel>().get("mlp").await.unwrap();
    let status = model.status?;
    let found = conditions::find(&status.conditions, PROFILE_DRIFT)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// The factor that is measured, by the status.
async fn measured(scenario: &Scenario) -> f64 {
    let model = scenario.api::<InferenceModel>().get("mlp").await.unwrap();
    let status = model.status.unwrap();
    let [drift] = &status.profile_drift[..] else {
        panic!("one kind of device: {:?}", status.profile_drift)
    };
    assert_eq!(drift.device, "cpu");
    drift.measured.parse().unwrap()
}

/// Offers the load until a minute after two, and looks at that minute.
async fn kept(scenario: &Scenario, reason: &str) {
    let load = scenario.load(&APPS, MEND + LOOK);
    let begun = Instant::now();
    let told = until("the drift to be said", MEND, || async {
        said(scenario).await.filter(|(status, ..)| status == "True")
    })
    .await;
    println!("after {:?}: {told:?}", begun.elapsed());
    assert_eq!(told.1, reason);
    let report = load.finish().await;
    println!("{report}");
    let end = report.during(MEND..MEND + LOOK);
    println!("{end}");
    assert!(end.holds(ATTAINMENT), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_twice_too_fast_ends_in_kept_slos() {
    let scenario = begin("slow", 2.0).await;
    let size = |app: &InferenceApp| {
        app.status
            .as_ref()
            .unwrap()
            .plan
            .as_ref()
            .unwrap()
            .cost_per_month
            .clone()
    };
    let before = scenario.ready(&APPS).await;
    kept(&scenario, "Slower").await;
    let factor = measured(&scenario).await;
    // A sleeping runtime has overheads of its own, a few milliseconds under its CPU limit.
    assert!((1.7..2.6).contains(&factor), "{factor}");
    let after = scenario.ready(&APPS).await;
    assert_ne!(
        before.iter().map(size).collect::<Vec<_>>(),
        after.iter().map(size).collect::<Vec<_>>()
    );
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_twice_too_slow_keeps_its_slos_and_is_told_of() {
    let scenario = begin("fast", 0.5).await;
    kept(&scenario, "Faster").await;
    let factor = measured(&scenario).await;
    assert!((0.4..0.8).contains(&factor), "{factor}");
    scenario
        .app("search", "to stay Ready", |app| holds(app, "Ready", "True"))
        .await;
    scenario.end().await;
}
