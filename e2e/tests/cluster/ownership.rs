//! What is not ours is never touched; what is ours is put back.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ResourceQuota, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::scenario::{PATIENCE, SAMPLES, Scenario, condition_of, holds, list, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_service_of_the_chosen_name_is_never_touched() {
    let scenario = Scenario::begin("own-service").await;
    let own = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "search-infer", "labels": { "mine": "yes" } },
        "spec": { "selector": { "app": "mine" }, "ports": [{ "port": 80 }] }
    });
    scenario.apply(&own).await;
    let before = scenario.api::<Service>().get("search-infer").await.unwrap();
    scenario.model(&json!({})).await;
    scenario.apps(&SAMPLES).await;
    let search = scenario
        .app("search", "to say that the name is taken", |app| {
            holds(app, "Accepted", "False")
        })
        .await;
    let (_, reason, message) = condition_of(&search, "Accepted").unwrap();
    assert_eq!(reason, "ServiceNameTaken", "{message}");
    assert!(
        message.contains("search-infer") && message.contains("serviceName"),
        "{message}"
    );
    scenario.ready(&SAMPLES[1..]).await;
    let after = scenario.api::<Service>().get("search-infer").await.unwrap();
    assert_eq!(
        (before.resource_version(), before.spec),
        (after.resource_version(), after.spec)
    );

    // The user takes it away, and the application gets the name.
    scenario
        .api::<Service>()
        .delete("search-infer", &DeleteParams::default())
        .await
        .unwrap();
    scenario.ready(&SAMPLES).await;
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_change_of_what_a_group_owns_is_put_back_and_said() {
    let (scenario, apps) = Scenario::begin_served("drift").await;
    let planned = scenario.group_of(&apps[0]).await.spec.replicas;
    let deployments = scenario.api::<Deployment>();
    let name = list(&deployments).await[0].name_any();
    let patch = Patch::Merge(json!({ "spec": { "replicas": planned + 1 } }));
    deployments
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    until("the planned number of replicas", PATIENCE, || async {
        let found = deployments.get(&name).await.unwrap().spec.unwrap().replicas;
        (found == Some(planned)).then_some(())
    })
    .await;
    let events = scenario.api::<k8s_openapi::api::events::v1::Event>();
    until("an event that says so", PATIENCE, || async {
        let reasons: BTreeMap<_, _> = list(&events)
            .await
            .into_iter()
            .map(|event| (event.reason.unwrap_or_default(), event.note))
            .collect();
        reasons.contains_key("PutBack").then_some(())
    })
    .await;
    scenario.end().await;
}

/// A namespace whose quota leaves no room for Services, as some cluster's policies do.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_said_and_tried_again() {
    let scenario = Scenario::begin("refused").await;
    scenario
        .apply(&json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "no-services" },
            "spec": { "hard": { "services": "0" } }
        }))
        .await;
    let quotas = scenario.api::<ResourceQuota>();
    until("the quota to be in force", PATIENCE, || async {
        quotas.get("no-services").await.unwrap().status?.hard
    })
    .await;
    scenario.model(&json!({})).await;
    scenario.apps(&SAMPLES).await;
    for contract in SAMPLES {
        let app = scenario
            .app(contract.name, "to say that its Service is refused", |app| {
                condition_of(app, "Ready").is_some_and(|(_, reason, _)| reason == "Refused")
            })
            .await;
        let (_, _, message) = condition_of(&app, "Ready").unwrap();
        assert!(message.contains("exceeded quota: no-services"), "{message}");
    }
    quotas
        .delete("no-services", &DeleteParams::default())
        .await
        .unwrap();
    scenario.ready(&SAMPLES).await;
    scenario.end().await;
}
