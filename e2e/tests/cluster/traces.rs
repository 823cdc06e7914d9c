//! Recorded arrivals in a ConfigMap: missing, steady, in bursts, broken and mended, and the application says what it is.

use harmonybatch_api::InferenceApp;
use serde_json::{Value, json};

use crate::scenario::{Contract, Scenario, condition_of, holds};

const SEARCH: Contract = Contract {
    name: "search",
    slo: "500ms",
    rate: "5/s",
};

/// Without a trace: what happens to the other is not its business.
const CART: Contract = Contract {
    name: "cart",
    slo: "800ms",
    rate: "10/s",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_in_a_config_map_is_planned_for_and_what_is_wrong_with_it_is_told() {
    let scenario = Scenario::begin("trace").await;
    scenario.model(&json!({})).await;
    scenario.apps(&[CART]).await;
    let mut search = SEARCH.object();
    search["spec"]["trace"] = json!({ "configMapKeyRef": { "name": "arrivals", "key": "times.csv" } });
    // In a batch of its own, so that its plan shows its arrivals only.
    search["spec"]["batching"] = json!("Isolated");
    scenario.apply(&search).await;
    let missing = told(&scenario, "TraceNotFound").await;
    assert!(missing.contains("ConfigMap arrivals does not exist"), "{missing}");
    scenario.ready(&[CART]).await;

    scenario.apply(&recording(&requests_at_a_time(1))).await;
    let steady = scenario
        .app("search", "to be Ready with steady arrivals", |app| {
            holds(app, "Accepted", "True") && holds(app, "Ready", "True")
        })
        .await;

    scenario.apply(&recording(&requests_at_a_time(20))).await;
    let bursty = scenario
        .app("search", "to be Ready with a dearer plan for bursts", |app| {
            cost(app) > cost(&steady) && holds(app, "Ready", "True")
        })
        .await;
    assert!(bursty.status.as_ref().unwrap().plan.as_ref().unwrap().verified);

    scenario.apply(&recording("0\n0.2\nsoon\n")).await;
    let broken = told(&scenario, "Invalid").await;
    for part in [
        "ConfigMap arrivals, key times.csv",
        "line 3: \"soon\" is no time",
        "write seconds",
    ] {
        assert!(broken.contains(part), "{part} is not in: {broken}");
    }
    // It keeps the place that it had, and the other its plan.
    scenario
        .app("search", "to be answered still", |app| {
            holds(app, "Ready", "True")
        })
        .await;
    scenario.ready(&[CART]).await;

    scenario.apply(&recording(&requests_at_a_time(1))).await;
    scenario
        .app("search", "to be planned for steady arrivals again", |app| {
            holds(app, "Accepted", "True") && holds(app, "Ready", "True") && cost(app) <= cost(&steady)
        })
        .await;
    scenario.end().await;
}

/// Five requests a second in the mean, so many at the same time.
fn requests_at_a_time(count: u32) -> String {
    let times = (0..2000).map(|request| f64::from(request / count * count) / 5.0);
    times.map(|time| time.to_string()).collect::<Vec<_>>().join("\n")
}

fn recording(times: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "arrivals" }, "data": { "times.csv": times } })
}

/// Waits until the application is not accepted for this reason; the message.
async fn told(scenario: &Scenario, reason: &str) -> String {
    let told = |app: &InferenceApp| {
        condition_of(app, "Accepted").is_some_and(|(status, found, _)| status == "False" && found == reason)
    };
    let app = scenario
        .app("search", &format!("to be told {reason}"), told)
        .await;
    let (_, _, message) = condition_of(&app, "Accepted").unwrap();
    message
}

fn cost(app: &InferenceApp) -> f64 {
    let plan = app.status.as_ref().and_then(|status| status.plan.as_ref());
    plan.map_or(0.0, |plan| plan.cost_per_month.parse().unwrap())
}
