//! What is deleted leaves nothing behind.

use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::DeleteParams;

use crate::scenario::{PATIENCE, SAMPLES, Scenario, condition_of, holds, list, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_model_leaves_nothing_behind() {
    let (scenario, _) = Scenario::begin_served("removal").await;
    scenario
        .api::<InferenceModel>()
        .delete("mlp", &DeleteParams::default())
        .await
        .unwrap();
    until(
        "groups, deployments, services and pods of the model to be gone",
        PATIENCE,
        || async {
            let nothing = list(&scenario.api::<InferenceGroup>()).await.is_empty()
                && list(&scenario.api::<Deployment>()).await.is_empty()
                && list(&scenario.api::<Pod>()).await.is_empty();
            nothing.then_some(())
        },
    )
    .await;
    // The callers' addresses belong to the applications, which say what they wait for.
    for contract in SAMPLES {
        let app = scenario
            .app(contract.name, "to say that its model is gone", |app| {
                holds(app, "Accepted", "False")
            })
            .await;
        let (_, reason, message) = condition_of(&app, "Accepted").unwrap();
        assert_eq!(reason, "ModelNotFound", "{message}");
        assert!(message.contains("mlp"), "{message}");
        scenario
            .api::<InferenceApp>()
            .delete(contract.name, &DeleteParams::default())
            .await
            .unwrap();
    }
    until("the callers' services to be gone", PATIENCE, || async {
        list(&scenario.api::<Service>()).await.is_empty().then_some(())
    })
    .await;
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_application_takes_its_group_along() {
    let (scenario, _) = Scenario::begin_served("last-leaves").await;
    for contract in SAMPLES {
        scenario
            .api::<InferenceApp>()
            .delete(contract.name, &DeleteParams::default())
            .await
            .unwrap();
    }
    until("groups and pods to be gone", PATIENCE, || async {
        let nothing = list(&scenario.api::<InferenceGroup>()).await.is_empty()
            && list(&scenario.api::<Pod>()).await.is_empty();
        nothing.then_some(())
    })
    .await;
    // On its way out the group routes nobody, which the API server must accept.
    let events = list(&scenario.api::<Event>()).await;
    let reasons: Vec<_> = events
        .iter()
        .filter_map(|event| event.reason.as_deref())
        .collect();
    assert!(reasons.contains(&"Retired"), "{reasons:?}");
    assert!(!reasons.contains(&"Refused"), "{reasons:?}");
    scenario.end().await;
}
