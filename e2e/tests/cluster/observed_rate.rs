//! The rate that is planned for follows what the gateway sees, where an application asks for that.

use std::time::Duration;

use harmonybatch_api::InferenceApp;
use harmonybatch_api::inference_app::{AppPlan, RateSource};
use harmonybatch_api::quantity::Rate;
use k8s_openapi::api::core::v1::Event;
use serde_json::json;

use crate::scenario::{Contract, PATIENCE, Scenario, holds, list, until};

/// Ended by the test.
const LOAD: Duration = Duration::from_mins(5);
/// How long the planned rate is looked at after it has changed: two polls of the gateway.
const QUIET: Duration = Duration::from_secs(20);

/// What it declares, and what comes.
const DECLARED: Contract = Contract {
    name: "search",
    slo: "500ms",
    rate: "1/s",
};
/// About twice what the smallest function takes.
const OFFERED: Contract = Contract {
    rate: "60/s",
    ..DECLARED
};

fn plan(app: &InferenceApp) -> Option<&AppPlan> {
    app.status.as_ref()?.plan.as_ref()
}

fn planned_rate(app: &InferenceApp) -> Option<f64> {
    let rate: Rate = plan(app)?.rate.as_ref()?.parse().ok()?;
    Some(rate.per_second())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_above_the_declared_one_is_planned_for_once_it_is_seen() {
    let scenario = Scenario::begin("observed").await;
    scenario.model(&json!({})).await;
    scenario.apps(&[DECLARED]).await;
    scenario
        .change(
            DECLARED.name,
            &json!({ "rateSource": "Observed", "rateLimits": { "max": "100/s" } }),
        )
        .await;
    let before = scenario.ready(&[DECLARED]).await.remove(0);
    assert_eq!(plan(&before).unwrap().rate.as_deref(), Some("1/s"));
    assert_eq!(plan(&before).unwrap().rate_source, RateSource::Declared);
    let small = scenario.group_of(&before).await;

    let load = scenario.load(&[OFFERED], LOAD);
    let risen = |app: &InferenceApp| plan(app).is_some_and(|plan| plan.rate_source == RateSource::Observed);
    let after = scenario
        .app(DECLARED.name, "to be planned for what comes", risen)
        .await;
    let rate = planned_rate(&after).unwrap();
    // 400 requests and more tell it to 5 %: four errors, the margin and the rounding.
    assert!((48.0..=80.0).contains(&rate), "{rate}/s is planned for");
    let (from, to) = (plan(&before).unwrap(), plan(&after).unwrap());
    let served = scenario
        .app(DECLARED.name, "to be served as it is planned now", |app| {
            holds(app, "Ready", "True")
        })
        .await;
    let large = scenario.group_of(&served).await;
    assert!(
        from.device != to.device
            || from.batch_size != to.batch_size
            || large.spec.replicas > small.spec.replicas,
        "sixty times the rate on what once a second took: {large:#?}"
    );

    // It stays.
    let settled = load.elapsed() + QUIET;
    until("two more polls", PATIENCE, || async {
        (load.elapsed() > settled).then_some(())
    })
    .await;
    load.stop();
    let report = load.finish().await;
    println!("{report}");
    let last = scenario.app(DECLARED.name, "to stay", risen).await;
    assert_eq!(planned_rate(&last), Some(rate));
    let events = list::<Event>(&scenario.api()).await;
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("RateChanged"))
        .filter_map(|event| event.message.clone())
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("instead of 1/s"), "{told:?}");
    scenario.end().await;
}
