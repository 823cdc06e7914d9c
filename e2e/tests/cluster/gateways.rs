//! Two gateways: each group is one's, and either may go.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::scenario::{PATIENCE, SAMPLES, SYSTEM, Scenario, until};

const LOAD: Duration = Duration::from_mins(8);
const GATEWAY: &str = "harmonybatch-gateway";
/// For so long after a gateway was killed a caller may meet a connection that leads to nobody: nodes learn of it a moment later.
const AFTERMATH: Duration = Duration::from_secs(10);

struct Gateways {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
}

impl Gateways {
    fn of(scenario: &Scenario) -> Self {
        Self {
            deployments: Api::namespaced(scenario.cluster.client(), SYSTEM),
            pods: Api::namespaced(scenario.cluster.client(), SYSTEM),
        }
    }

    async fn list(&self) -> Vec<Pod> {
        let selector = ListParams::default().labels("app.kubernetes.io/component=gateway");
        self.pods.list(&selector).await.unwrap().items
    }

    /// Waits until there are so many, all ready, all of the newest template, and none on its way out.
    async fn until(&self, count: i32) {
        until("the gateways to be ready", PATIENCE, || async {
            let gateway = self.deployments.get(GATEWAY).await.unwrap();
            let status = gateway.status?;
            let settled = status.observed_generation == gateway.metadata.generation
                && [status.replicas, status.updated_replicas, status.ready_replicas] == [Some(count); 3];
            (settled && self.list().await.len() == usize::try_from(count).unwrap()).then_some(())
        })
        .await;
    }

    async fn scale(&self, count: i32) {
        let patch = Patch::Merge(json!({ "spec": { "replicas": count } }));
        let parameters = PatchParams::default();
        self.deployments
            .patch(GATEWAY, &parameters, &patch)
            .await
            .unwrap();
        self.until(count).await;
    }

    /// A counter of each, asked through the API server.
    async fn counts(&self, scenario: &Scenario, name: &str) -> Vec<u64> {
        let mut counts = Vec::new();
        for pod in self.list().await {
            let path = format!(
                "/api/v1/namespaces/{SYSTEM}/pods/{}:9090/proxy/metrics",
                pod.name_any()
            );
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            let text = scenario.cluster.client().request_text(request).await.unwrap();
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            counts.push(value.unwrap());
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_groups_and_losing_one_costs_only_what_it_had() {
    let (scenario, _) = Scenario::begin_served("gateways").await;
    let gateways = Gateways::of(&scenario);
    gateways.scale(2).await;
    let load = scenario.load(&SAMPLES, LOAD);
    // The samples are one group: what comes to the gateway that does not own it is handed on.
    until("requests to be handed on", PATIENCE, || async {
        let forwarded = gateways
            .counts(&scenario, "harmonybatch_gateway_forwarded_requests_total")
            .await;
        (forwarded.iter().sum::<u64>() > 20).then_some(())
    })
    .await;

    gateways.deployments.restart(GATEWAY).await.unwrap();
    gateways.until(2).await;
    let rolled_at = load.elapsed();
    let report = load.report();
    assert!(
        report.failures.is_empty(),
        "the rolling restart of two gateways: {report}"
    );

    let victim = gateways.list().await.remove(0).name_any();
    let killed_at = load.elapsed();
    let at_once = DeleteParams::default().grace_period(0);
    gateways.pods.delete(&victim, &at_once).await.unwrap();
    gateways.until(2).await;
    let settled = load.elapsed().max(killed_at + AFTERMATH) + Duration::from_secs(5);
    until("some more seconds of load", PATIENCE, || async {
        (load.elapsed() > settled).then_some(())
    })
    .await;
    load.stop();
    let report = load.finish().await;
    println!("rolled at {rolled_at:?}, killed at {killed_at:?}\n{report}");
    let aftermath = killed_at.as_secs_f64()..=(killed_at + AFTERMATH).as_secs_f64();
    assert!(
        report
            .failures
            .iter()
            .all(|failure| aftermath.contains(&failure.failed_at_seconds)),
        "{report}"
    );
    let wrong: u64 = report.apps.iter().map(|app| app.wrong).sum();
    assert_eq!(wrong, 0, "an answer that was not its caller's: {report}");
    // 35 requests a second, each there for less than a second.
    assert!(report.failures.len() <= 35, "{report}");
    gateways.scale(1).await;
    scenario.end().await;
}
