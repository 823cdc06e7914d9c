//! Knative mode: Services that the real kind accepts, served through the stand-in for Knative's controllers, and the way there and back.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use e2e_load::Running;
use futures::FutureExt as _;
use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::{InferenceGroup, InferencePlatform};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::scenario::{Contract, PATIENCE, Scenario, list, sample, until};

/// Small rates: while a mode is left, both modes' pods must fit beside the samples.
const APPS: [Contract; 2] = [
    Contract {
        name: "search",
        slo: "800ms",
        rate: "2/s",
    },
    Contract {
        name: "cart",
        slo: "1s",
        rate: "4/s",
    },
];
const PLATFORM: &str = "e2e-knative";
/// Long enough for every change; the load ends as soon as the test has seen them all.
const LOAD: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn knative_mode_serves_and_switching_to_deployment_and_back_loses_no_request() {
    let scenario = Scenario::begin("knative").await;
    let platforms = Api::<InferencePlatform>::all(scenario.cluster.client());
    // The samples stay where they are: their platform would follow Knative's appearance.
    let before = platforms.get("default").await.unwrap().spec.serving;
    serve_by(&platforms, "default", "Deployment").await;
    // Whatever happens, the next scenario must find a cluster without Knative.
    let outcome = AssertUnwindSafe(async {
        e2e::knative::install(&scenario.cluster).await.unwrap();
        there_and_back(&scenario, &platforms).await;
    });
    let outcome = outcome.catch_unwind().await;
    let _ = platforms.delete(PLATFORM, &DeleteParams::default()).await;
    e2e::knative::uninstall(&scenario.cluster).await.unwrap();
    serve_by(&platforms, "default", &format!("{before:?}")).await;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    scenario.end().await;
}

async fn there_and_back(scenario: &Scenario, platforms: &Api<InferencePlatform>) {
    let mut platform = sample("platform.yaml");
    platform["metadata"] = json!({ "name": PLATFORM });
    platform["spec"]["serving"] = json!("Knative");
    scenario.apply(&platform).await;
    scenario
        .model(&json!({ "platformRef": { "name": PLATFORM } }))
        .await;
    scenario.apps(&APPS).await;
    let group = served_by(scenario, ServingMode::Knative).await;
    a_service_as_planned(scenario, &group).await;

    let load = scenario.load(&APPS, LOAD);
    seen(&load, 5).await;
    serve_by(platforms, PLATFORM, "Deployment").await;
    let group = served_by(scenario, ServingMode::Deployment).await;
    until("the Knative Service to be gone", PATIENCE, || async {
        list(&services(scenario)).await.is_empty().then_some(())
    })
    .await;
    let deployments: Vec<String> = list(&scenario.api::<Deployment>())
        .await
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert!(
        deployments.contains(&format!("{}-serve", group.name_any())),
        "{deployments:?}"
    );

    serve_by(platforms, PLATFORM, "Knative").await;
    let group = served_by(scenario, ServingMode::Knative).await;
    let own = format!("{}-serve", group.name_any());
    until("the Deployment to be gone", PATIENCE, || async {
        scenario
            .api::<Deployment>()
            .get_opt(&own)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    a_service_as_planned(scenario, &group).await;
    seen(&load, 5).await;
    load.stop();
    let report = load.finish().await;
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(
        report
            .apps
            .iter()
            .all(|app| app.wrong == 0 && app.right == app.requests && app.requests > 0),
        "{report}"
    );
}

async fn serve_by(platforms: &Api<InferencePlatform>, name: &str, serving: &str) {
    let patch = Patch::Merge(json!({ "spec": { "serving": serving } }));
    platforms
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Some more seconds of load.
async fn seen(load: &Running, seconds: u64) {
    let end = load.elapsed() + Duration::from_secs(seconds);
    until("more load", PATIENCE, || async {
        (load.elapsed() > end).then_some(())
    })
    .await;
}

/// Waits until the applications are Ready in a group of this mode that the gateway routes by.
async fn served_by(scenario: &Scenario, mode: ServingMode) -> InferenceGroup {
    until(&format!("a group served by {mode:?}"), PATIENCE, || async {
        let routed = |group: &InferenceGroup| {
            let active = group.status.as_ref().and_then(|status| status.active.as_ref())?;
            let private = active.endpoints.service.ends_with("-private");
            (group.spec.serving == mode && private == (mode == ServingMode::Knative)).then_some(())
        };
        scenario
            .groups()
            .await
            .into_iter()
            .find(|group| routed(group).is_some())
    })
    .await;
    let apps = scenario.ready(&APPS).await;
    scenario.group_of(&apps[0]).await
}

fn services(scenario: &Scenario) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("serving.knative.dev", "v1", "Service"));
    Api::namespaced_with(scenario.cluster.client(), &scenario.namespace, &kind)
}

/// The Service is the plan's, was stored as it was written, and its own Revision takes the requests.
async fn a_service_as_planned(scenario: &Scenario, group: &InferenceGroup) {
    let name = group.name_any();
    let service = services(scenario).get(&name).await.unwrap();
    let template = &service.data["spec"]["template"];
    for scale in ["min-scale", "max-scale"] {
        let annotation = &template["metadata"]["annotations"][format!("autoscaling.knative.dev/{scale}")];
        assert_eq!(annotation, &json!(group.spec.replicas.to_string()), "{scale}");
    }
    let spec = &template["spec"];
    assert_eq!(
        (&spec["containerConcurrency"], &spec["enableServiceLinks"]),
        (&json!(1), &json!(false))
    );
    let resources = &spec["containers"][0]["resources"];
    assert_eq!(resources["requests"], resources["limits"]);
    // What the webhook wrote is still there, and the writer and the webhook do not take turns: one generation a change.
    assert_eq!(
        service.data["spec"]["traffic"],
        json!([{ "latestRevision": true, "percent": 100 }])
    );
    assert_eq!(service.metadata.generation, Some(1), "{:#}", service.data["spec"]);
    assert_eq!(service.data["status"]["observedGeneration"], json!(1));

    let status = group.status.as_ref().unwrap();
    let latest = service.data["status"]["latestReadyRevisionName"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        status.active.as_ref().unwrap().endpoints.service,
        format!("{latest}-private")
    );
    let pods: Vec<Pod> = scenario.pods_of(&name).await;
    let of_revision: Vec<&Pod> = pods
        .iter()
        .filter(|pod| pod.labels().get("serving.knative.dev/revision") == Some(&latest))
        .collect();
    assert_eq!(
        of_revision.len(),
        usize::try_from(group.spec.replicas).unwrap(),
        "{:?}",
        pods.iter().map(Pod::name_any).collect::<Vec<_>>()
    );
    assert!(
        service.data["status"]["address"]["url"]
            .as_str()
            .is_some_and(|url| *url == group_address(&name, scenario)),
        "{}",
        service.data["status"]["address"]
    );
}

fn group_address(group: &str, scenario: &Scenario) -> String {
    format!("http://{group}.{}.svc.cluster.local", scenario.namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_refuses_what_knative_would() {
    let scenario = Scenario::begin("knative-kind").await;
    let outcome = AssertUnwindSafe(async {
        e2e::knative::install(&scenario.cluster).await.unwrap();
        refusals(&scenario).await;
    });
    let outcome = outcome.catch_unwind().await;
    e2e::knative::uninstall(&scenario.cluster).await.unwrap();
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    scenario.end().await;
}

async fn refusals(scenario: &Scenario) {
    let service = |container: Value| json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": { "name": "refused" }, "spec": { "template": { "spec": { "containers": [container] } } } });
    for (container, expected) in [
        (
            json!({ "image": "i", "ports": [{ "containerPort": 8080, "name": "http" }] }),
            "Port name http is not allowed",
        ),
        (
            json!({ "image": "i", "ports": [{ "containerPort": 8012 }] }),
            "8012 is a reserved port",
        ),
        (
            json!({ "image": "i", "env": [{ "name": "PORT", "value": "1" }] }),
            "reserved environment variable",
        ),
        (json!({ "image": "i", "lifecycle": {} }), "lifecycle"),
        (
            json!({ "image": "i", "resources": { "limits": { "cpu": "much" } } }),
            "spec.template.spec.containers[0].resources.limits.cpu",
        ),
    ] {
        let said = scenario
            .try_apply(&service(container.clone()))
            .await
            .expect_err("refused");
        assert!(said.contains(expected), "{container}: {said}");
    }
}
