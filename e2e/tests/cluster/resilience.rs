//! Parts that fail for a while: what was served goes on being served, and what was begun is finished.

use std::time::Duration;

use harmonybatch_api::InferenceApp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::scenario::{PATIENCE, SAMPLES, SYSTEM, Scenario, holds, try_until, until};

const LOAD: Duration = Duration::from_mins(5);
/// The outage that a gateway must not notice.
const OUTAGE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_in_the_middle_converges() {
    let (scenario, _) = Scenario::begin_served("killed").await;
    let load = scenario.load(&SAMPLES, LOAD);
    let pods = Api::<Pod>::namespaced(scenario.cluster.client(), SYSTEM);
    let selector = ListParams::default().labels("app.kubernetes.io/component=controller");
    let at_once = DeleteParams::default().grace_period(0);
    // Each kill hits another step of the same change: before the new group, while its pods start, while the old one goes.
    scenario.change("feed", &json!({ "rate": "120/s" })).await;
    for wait in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)] {
        let due = load.elapsed() + wait;
        until("the moment of the next kill", PATIENCE, || async {
            (load.elapsed() >= due).then_some(())
        })
        .await;
        for pod in pods.list(&selector).await.unwrap() {
            // A pod that is gone already has been killed.
            let _ = pods.delete(&pod.name_any(), &at_once).await;
        }
        until("a new controller", PATIENCE, || async {
            pods.list(&selector)
                .await
                .unwrap()
                .iter()
                .any(is_ready)
                .then_some(())
        })
        .await;
    }
    let apps = scenario.ready(&SAMPLES).await;
    let serving = scenario.group_of(&apps[2]).await;
    assert!(
        serving
            .spec
            .members
            .iter()
            .any(|member| member.app == "feed" && member.rate == "120/s"),
        "{:#?}",
        serving.spec
    );
    until("only the groups of the new plan", PATIENCE, || async {
        let groups = scenario.groups().await;
        let wanted = |name: &str| {
            apps.iter()
                .any(|app| app.status.as_ref().unwrap().group.as_deref() == Some(name))
        };
        groups.iter().all(|group| wanted(&group.name_any())).then_some(())
    })
    .await;
    load.stop();
    let report = load.finish().await;
    assert!(report.failures.is_empty(), "{report}");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_api_server_costs_no_request() {
    let scenario = Scenario::begin("outage").await;
    let Some(node) = scenario.cluster.local_node().cloned() else {
        panic!("only the local cluster's API server can be stopped: run this test without KUBECONFIG")
    };
    scenario.model(&json!({})).await;
    scenario.apps(&SAMPLES).await;
    scenario.ready(&SAMPLES).await;
    let load = scenario.load(&SAMPLES, LOAD);
    node.stop_component("kube-apiserver").unwrap();
    let down_at = load.elapsed();
    until("the outage to pass", OUTAGE * 2, || async {
        (load.elapsed() >= down_at + OUTAGE).then_some(())
    })
    .await;
    let gone = tokio::time::timeout(Duration::from_secs(5), scenario.api::<InferenceApp>().get("feed")).await;
    assert!(
        !matches!(gone, Ok(Ok(_))),
        "the API server answered while it was stopped"
    );
    node.start_component("kube-apiserver").unwrap();
    let back_at = load.elapsed();
    until("the API server to answer", PATIENCE, || async {
        scenario.api::<InferenceApp>().get("feed").await.ok()
    })
    .await;
    // The watches come back too: a change after the outage is carried out.
    scenario.change("feed", &json!({ "rate": "19/s" })).await;
    scenario
        .app("feed", "to be Ready at 19/s", |app| holds(app, "Ready", "True"))
        .await;
    let group = scenario
        .group_of(&scenario.api::<InferenceApp>().get("feed").await.unwrap())
        .await;
    assert!(
        group
            .spec
            .members
            .iter()
            .any(|member| member.app == "feed" && member.rate == "19/s"),
        "{:#?}",
        group.spec
    );
    load.stop();
    let report = load.finish().await;
    println!(
        "without the API server from {down_at:?} to {back_at:?}\n{}",
        report.during(down_at..back_at)
    );
    assert!(report.failures.is_empty(), "{report}");
    assert!(
        report
            .during(down_at..back_at)
            .apps
            .iter()
            .all(|app| app.requests > 0),
        "no load during the outage"
    );
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_of_the_gateway_fails_no_request() {
    let (scenario, _) = Scenario::begin_served("rolling").await;
    let deployments = Api::<Deployment>::namespaced(scenario.cluster.client(), SYSTEM);
    let load = scenario.load(&SAMPLES, LOAD);
    until("a first answer", PATIENCE, || async {
        load.report().apps.iter().all(|app| app.right > 0).then_some(())
    })
    .await;
    deployments.restart("harmonybatch-gateway").await.unwrap();
    let rolled = || async {
        let gateway = deployments.get("harmonybatch-gateway").await.unwrap();
        let status = gateway.status?;
        let current = status.observed_generation == gateway.metadata.generation
            && status.updated_replicas == status.replicas;
        (current
            && status.replicas == status.ready_replicas
            && status.unavailable_replicas.is_none_or(|count| count == 0))
        .then_some(())
    };
    until("the gateway to have rolled", PATIENCE, rolled).await;
    let pods = Api::<Pod>::namespaced(scenario.cluster.client(), SYSTEM);
    let selector = ListParams::default().labels("app.kubernetes.io/component=gateway");
    let one = || async { (pods.list(&selector).await.unwrap().items.len() == 1).then_some(()) };
    assert!(
        try_until(PATIENCE, one).await.is_some(),
        "the old gateway does not end"
    );
    let settled = load.elapsed() + Duration::from_secs(5);
    until("five more seconds of load", PATIENCE, || async {
        (load.elapsed() > settled).then_some(())
    })
    .await;
    load.stop();
    let report = load.finish().await;
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    scenario.end().await;
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
