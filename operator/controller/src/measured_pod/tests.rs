//! The whole life of a measured pod, against an API server that keeps pods and lets them become what the test says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};

use harmonybatch_api::quantity::Cpu;
use hyper::Method;
use serde_json::{Value, json};

use super::*;
use crate::fixtures;

/// The pods, and the status that each new one gets.
#[derive(Default)]
struct Cluster {
    pods: BTreeMap<String, Value>,
    becomes: Value,
    created: u32,
    deleted: Vec<String>,
}

type Shared = Arc<Mutex<Cluster>>;

/// What an API server does with a pod, as far as it is asked here.
fn answer(cluster: &Shared, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let mut cluster = cluster.lock().unwrap();
    let refusal = |code: u16, reason: &str| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
        (code, status)
    };
    if path.starts_with("/api/v1/nodes/") {
        return refusal(403, "Forbidden");
    }
    let name = path
        .trim_start_matches("/api/v1/namespaces/shop/pods")
        .trim_matches('/')
        .to_owned();
    match *method {
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap().to_owned();
            if cluster.pods.contains_key(&name) {
                return refusal(409, "AlreadyExists");
            }
            cluster.created += 1;
            let mut pod = body.clone();
            pod["metadata"]["uid"] = json!(format!("uid-{}", cluster.created));
            pod["status"] = cluster.becomes.clone();
            cluster.pods.insert(name, pod.clone());
            (201, pod)
        }
        Method::GET => cluster
            .pods
            .get(&name)
            .map_or_else(|| refusal(404, "NotFound"), |pod| (200, pod.clone())),
        Method::DELETE => match cluster.pods.get(&name) {
            None => refusal(404, "NotFound"),
            Some(pod) if pod["metadata"]["uid"] != body["preconditions"]["uid"] => refusal(409, "Conflict"),
            Some(_) => {
                let pod = cluster.pods.remove(&name).unwrap();
                cluster.deleted.push(name);
                (200, pod)
            }
        },
        _ => refusal(405, "MethodNotAllowed"),
    }
}

async fn serve(cluster: Shared) -> Client {
    fixtures::api_server(move |method, path, body| answer(&cluster, method, path, body)).await
}

fn running() -> Value {
    json!({
        "phase": "Running", "podIP": "10.88.0.7", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "runtime", "ready": true, "restartCount": 0, "image": "", "state": {"running": {}},
            "imageID": "example.org/runtime@sha256:ab12"}],
    })
}

fn crashed() -> Value {
    json!({"phase": "Failed", "containerStatuses": [{"name": "runtime", "ready": false, "restartCount": 0, "image": "", "imageID": "",
        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]})
}

/// Runs a pod that becomes what the cluster says; the outcome, and what was told.
fn run<T>(
    cluster: &Shared,
    stop: impl Future<Output = ()>,
    measure: impl AsyncFnOnce(&Running) -> Result<T, Error>,
) -> impl Future<Output = (Result<Option<T>, Error>, Vec<String>)> {
    Box::pin(async move {
        let host = Host {
            client: serve(Arc::clone(cluster)).await,
            namespace: "shop".to_owned(),
            reach: Reach::Address,
            ready_within: Duration::from_secs(2),
        };
        let model = fixtures::model();
        let wanted = Wanted {
            model: &model,
            cpu: Cpu::from_millis(500),
            lives_at_most: Duration::from_mins(1),
            owner: None,
            near: None,
        };
        let mut told = Vec::new();
        let mut say = |line: &str| told.push(line.to_owned());
        let outcome = host.run(&wanted, stop, &mut say, measure).await;
        (outcome, told)
    })
}

fn becoming(becomes: Value) -> Shared {
    Arc::new(Mutex::new(Cluster {
        becomes,
        ..Cluster::default()
    }))
}

#[tokio::test]
async fn a_pod_is_measured_and_deleted() {
    let cluster = becoming(running());
    let (outcome, _) = run(&cluster, pending(), async |pod: &Running| {
        let limits =
            cluster.lock().unwrap().pods["mlp-profile-500m"]["spec"]["containers"][0]["resources"].clone();
        assert_eq!(
            (&limits["limits"]["cpu"], &limits["requests"]["cpu"]),
            (&json!("500m"), &json!("500m"))
        );
        Ok((
            pod.url().to_owned(),
            pod.image_digest.clone(),
            pod.machine.clone(),
        ))
    })
    .await;
    let digest = Some("sha256:ab12".to_owned());
    // The node may not be read, and is not told; nothing fails for it.
    assert_eq!(
        outcome.unwrap(),
        Some(("http://10.88.0.7:8080".to_owned(), digest, None))
    );
    assert!(cluster.lock().unwrap().pods.is_empty());
}

#[tokio::test]
async fn a_measurement_that_fails_leaves_no_pod_and_the_pod_says_why() {
    let cluster = becoming(running());
    let (outcome, told) = run::<()>(&cluster, pending(), async |_: &Running| {
        cluster.lock().unwrap().pods.get_mut("mlp-profile-500m").unwrap()["status"] = crashed();
        Err(Error::Gone("a batch failed".to_owned()))
    })
    .await;
    assert!(matches!(outcome, Err(Error::Gone(_))));
    assert!(
        told.last()
            .unwrap()
            .starts_with("the container ran out of memory"),
        "{told:?}"
    );
    assert!(cluster.lock().unwrap().pods.is_empty());
}

#[tokio::test]
async fn a_pod_that_crashes_is_deleted_and_quoted() {
    let cluster = becoming(crashed());
    let (outcome, _) = run(&cluster, pending(), async |_: &Running| Ok(())).await;
    assert!(matches!(
        outcome,
        Err(Error::Failed(Failure {
            kind: Kind::OutOfMemory,
            ..
        }))
    ));
    assert!(cluster.lock().unwrap().pods.is_empty());
}

#[tokio::test]
async fn whoever_stops_before_it_is_ready_leaves_no_pod() {
    let cluster = becoming(json!({"phase": "Pending"}));
    let (outcome, _) = run(&cluster, ready(()), async |_: &Running| Ok(())).await;
    assert!(outcome.unwrap().is_none());
    let cluster = cluster.lock().unwrap();
    assert_eq!((cluster.created, cluster.deleted.len()), (1, 1));
}

#[tokio::test]
async fn a_pod_that_does_not_become_ready_is_given_up_with_where_it_was() {
    let cluster = becoming(json!({"phase": "Pending"}));
    let (outcome, told) = run(&cluster, pending(), async |_: &Running| Ok(())).await;
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.starts_with("pod mlp-profile-500m is not Ready after 2 s: a node is being found"),
        "{error}"
    );
    assert_eq!(told.len(), 1, "said once, not at every look: {told:?}");
    assert!(cluster.lock().unwrap().pods.is_empty());
}

#[tokio::test]
async fn the_pod_of_another_measurement_is_left_alone_and_a_remainder_is_replaced() {
    let cluster = becoming(running());
    let there = |status: Value| json!({"metadata": {"name": "mlp-profile-500m", "namespace": "shop", "uid": "old"}, "status": status});
    cluster
        .lock()
        .unwrap()
        .pods
        .insert("mlp-profile-500m".to_owned(), there(running()));
    let (outcome, _) = run(&cluster, pending(), async |_: &Running| Ok(())).await;
    assert!(matches!(outcome, Err(Error::Taken(_))));
    assert!(cluster.lock().unwrap().deleted.is_empty());

    cluster
        .lock()
        .unwrap()
        .pods
        .insert("mlp-profile-500m".to_owned(), there(crashed()));
    let (outcome, _) = run(&cluster, pending(), async |_: &Running| Ok(())).await;
    assert!(outcome.unwrap().is_some());
    assert_eq!(cluster.lock().unwrap().deleted.len(), 2);
}
