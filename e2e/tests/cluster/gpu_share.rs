//! GPU shares are scheduled as an extended resource, and a share that does not fit is said with the scheduler's words.
//! The device is simulated: the node offers a made-up resource, and the demo runtime sleeps as a share would compute.

use std::time::Duration;

use harmonybatch_api::{Device, InferenceApp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::scenario::{Contract, PATIENCE, Scenario, condition_of, holds, list, sample_of, until};

const RESOURCE: &str = "harmonybatch.dev/gpu-slice";
/// More than a third of the device each, by capacity alone: 24 units carry at most 572 rows a second, in full batches of 32.
const GREEDY: [&str; 3] = ["first", "second", "third"];

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_scheduled_and_serve_and_one_too_many_is_said() {
    let scenario = Scenario::begin("gpu").await;
    scenario.apply(&sample_of("samples-gpu", "platform.yaml")).await;
    scenario.apply(&sample_of("samples-gpu", "model.yaml")).await;
    let contracts = [
        Contract {
            name: "search",
            slo: "500ms",
            rate: "5/s",
        },
        Contract {
            name: "feed",
            slo: "1s",
            rate: "20/s",
        },
    ];
    for contract in contracts {
        scenario.apply(&on_gpu(&contract.object(), "Shared")).await;
    }
    let apps = scenario.ready(&contracts).await;
    let group = scenario.group_of(&apps[0]).await;
    let Device::Gpu(share) = &group.spec.device else {
        panic!("a GPU plan, not {:?}", group.spec.device)
    };
    for pod in scenario.pods_of(&group.name_any()).await {
        let resources = pod.spec.unwrap().containers.remove(0).resources.unwrap();
        assert_eq!(
            resources.limits.as_ref().unwrap()[RESOURCE].0,
            share.units.to_string()
        );
        assert_eq!(
            resources.requests.unwrap()[RESOURCE],
            resources.limits.unwrap()[RESOURCE]
        );
    }
    // So long that one stall of the machine is not a twentieth of it.
    let report = scenario
        .load_of("vgg19", &contracts, Duration::from_secs(30))
        .finish()
        .await;
    println!("{report}");
    assert!(report.holds(95.0), "{report}");

    for name in GREEDY {
        let greedy = Contract {
            name,
            slo: "1s",
            rate: "200/s",
        };
        scenario.apply(&on_gpu(&greedy.object(), "Isolated")).await;
    }
    let message = format!("Insufficient {RESOURCE}");
    let waiting = until(
        "one share too many to be said on its application",
        PATIENCE,
        || async {
            let apps = list(&scenario.api::<InferenceApp>()).await;
            apps.into_iter().find(|app| {
                condition_of(app, "Ready")
                    .is_some_and(|(status, _, said)| status == "False" && said.contains(&message))
            })
        },
    )
    .await;
    let group = scenario.group_of(&waiting).await;
    let conditions = group.status.unwrap().conditions;
    assert!(
        conditions
            .iter()
            .any(|condition| condition.status == "False" && condition.message.contains(&message)),
        "{conditions:#?}"
    );
    let pending = scenario.pods_of(&group.metadata.name.unwrap()).await;
    assert!(pending.iter().any(|pod| phase(pod) == Some("Pending")));

    // Room is made by another application that leaves.
    let leaves = GREEDY
        .into_iter()
        .find(|name| *name != waiting.name_any())
        .unwrap();
    scenario
        .api::<InferenceApp>()
        .delete(leaves, &DeleteParams::default())
        .await
        .unwrap();
    scenario
        .app(&waiting.name_any(), "to be Ready once there is room", |app| {
            holds(app, "Ready", "True")
        })
        .await;
    scenario.end().await;
}

fn on_gpu(app: &Value, batching: &str) -> Value {
    let mut app = app.clone();
    app["spec"]["modelRef"] = json!({ "name": "vgg19" });
    app["spec"]["batching"] = json!(batching);
    app
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}
