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

/// What the API server and the node make of a wish for another CPU limit.
#[derive(Clone, Default)]
enum Resizes {
    /// In force at the third look.
    #[default]
    AtTheThirdLook,
    /// The API server answers so.
    Refused(u16),
    /// The node says so, for ever.
    Held(&'static str),
    /// The pod ends meanwhile.
    Crashes,
    /// Somebody deletes it.
    Gone,
}

/// The pods, and the status that each new one gets.
#[derive(Default)]
struct Cluster {
    resizes: Resizes,
    /// Wishes, as they came.
    wishes: Vec<Value>,
    /// Looks at a pod whose limit is being changed.
    looks: u32,
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
    if let Some(name) = name.strip_suffix("/resize") {
        assert_eq!(*method, Method::PATCH);
        return cluster.resize(name, body);
    }
    cluster.settle(&name);
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

impl Cluster {
    fn resize(&mut self, name: &str, wish: &Value) -> (u16, Value) {
        if let Resizes::Refused(code) = self.resizes {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "r", "message": "not here"});
            return (code, status);
        }
        self.wishes.push(wish.clone());
        self.looks = 0;
        let pod = self.pods.get_mut(name).unwrap();
        let container = &wish["spec"]["containers"][0];
        assert_eq!(container["name"], "runtime");
        for amounts in ["requests", "limits"] {
            pod["spec"]["containers"][0]["resources"][amounts]["cpu"] =
                container["resources"][amounts]["cpu"].clone();
        }
        (200, pod.clone())
    }

    /// What the kubelet has done by this look.
    fn settle(&mut self, name: &str) {
        if self.wishes.is_empty() {
            return;
        }
        self.looks += 1;
        let (looks, resizes) = (self.looks, self.resizes.clone());
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        let wished = pod["spec"]["containers"][0]["resources"].clone();
        let ready = json!({"type": "Ready", "status": "True"});
        let condition = |kind: &str, reason: &str| json!([ready, {"type": kind, "status": "True", "reason": reason, "message": "m"}]);
        match (resizes, looks) {
            (Resizes::AtTheThirdLook, 1) | (Resizes::Refused(_), _) => {}
            (Resizes::AtTheThirdLook, 2) => {
                // The status may have the new limit already while the kubelet is at it.
                pod["status"]["conditions"] = condition("PodResizeInProgress", "");
                pod["status"]["containerStatuses"][0]["resources"] = wished;
            }
            (Resizes::AtTheThirdLook, _) => {
                pod["status"]["conditions"] = json!([ready]);
                pod["status"]["containerStatuses"][0]["resources"] = wished;
            }
            (Resizes::Held(reason), _) => pod["status"]["conditions"] = condition("PodResizePending", reason),
            (Resizes::Crashes, _) => pod["status"] = crashed(),
            (Resizes::Gone, _) => drop(self.pods.remove(name)),
        }
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

#[tokio::test]
async fn a_pod_of_grpc_has_an_address_that_says_so() {
    let cluster = becoming(running());
    let host = Host {
        client: serve(Arc::clone(&cluster)).await,
        namespace: "shop".to_owned(),
        reach: Reach::Address,
        ready_within: Duration::from_secs(2),
    };
    let mut model = fixtures::model();
    model.spec.protocol = Protocol::OipV2Grpc;
    model.spec.runtime.port = 9000;
    model.spec.runtime.readiness_port = Some(8080);
    let wanted = Wanted {
        model: &model,
        cpu: Cpu::from_millis(500),
        lives_at_most: Duration::from_mins(1),
        owner: None,
        near: None,
    };
    let url = async |pod: &Running| -> Result<_, Error> {
        let cluster = cluster.lock().unwrap();
        let container = &cluster.pods["mlp-profile-500m"]["spec"]["containers"][0];
        assert_eq!(container["readinessProbe"]["httpGet"]["port"], 8080);
        Ok(pod.url().to_owned())
    };
    let url = Box::pin(host.run(&wanted, pending(), &mut |_: &str| {}, url)).await;
    assert_eq!(url.unwrap().as_deref(), Some("grpc://10.88.0.7:9000"));
}

/// Resizes the pod to 250m and then to 2, and says what came of each and after how many looks.
async fn resized(cluster: &Shared) -> Result<Option<Vec<(Resized, u32)>>, Error> {
    let (outcome, _) = run(cluster, pending(), async |pod: &Running| {
        let mut came = Vec::new();
        for millis in [250, 2000] {
            let resized = pod.resize(Cpu::from_millis(millis)).await?;
            came.push((resized, cluster.lock().unwrap().looks));
        }
        Ok(came)
    })
    .await;
    assert!(cluster.lock().unwrap().pods.is_empty(), "whatever came of it");
    outcome
}

fn resizing(resizes: Resizes) -> Shared {
    let cluster = becoming(running());
    cluster.lock().unwrap().resizes = resizes;
    cluster
}

#[tokio::test]
async fn another_limit_is_waited_for_until_it_is_in_force_and_nothing_is_pending() {
    let cluster = resizing(Resizes::AtTheThirdLook);
    let came = resized(&cluster).await.unwrap().unwrap();
    assert_eq!(came, [(Resized::InForce, 3), (Resized::InForce, 3)]);
    let cpu = |limit: &str| {
        let amounts = json!({"cpu": limit});
        json!({"spec": {"containers": [{"name": "runtime", "resources": {"requests": amounts, "limits": amounts}}]}})
    };
    // Nothing but the CPU is asked for: the memory stays.
    assert_eq!(cluster.lock().unwrap().wishes, [cpu("250m"), cpu("2000m")]);
}

#[tokio::test]
async fn where_pods_are_not_resized_it_is_said_and_the_pod_is_still_of_use() {
    for (code, part) in [
        (
            404,
            "does not know pods/resize, which Kubernetes has from 1.33 on",
        ),
        (403, "not here (403)"),
        (405, "not here (405)"),
        (422, "not here (422)"),
    ] {
        let came = resized(&resizing(Resizes::Refused(code))).await.unwrap().unwrap();
        for (resized, _) in came {
            assert!(
                matches!(&resized, Resized::Refused(why) if why.contains(part)),
                "{resized:?}"
            );
        }
    }
    let came = resized(&resizing(Resizes::Held("Infeasible")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        came[0],
        (Resized::Refused("PodResizePending: Infeasible: m".to_owned()), 1)
    );
    assert!(
        resized(&resizing(Resizes::Refused(500))).await.is_err(),
        "that may pass"
    );
}

#[tokio::test]
async fn a_pod_that_ends_or_goes_while_it_is_resized_is_named() {
    let error = resized(&resizing(Resizes::Crashes)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Failed(Failure {
                kind: Kind::OutOfMemory,
                ..
            })
        ),
        "{error}"
    );
    let error = resized(&resizing(Resizes::Gone)).await.unwrap_err();
    assert!(matches!(error, Error::Gone(_)), "{error}");
}

#[tokio::test]
async fn a_change_that_the_node_puts_off_is_given_up_after_a_time() {
    let cluster = resizing(Resizes::Held("Deferred"));
    let (outcome, _) = run(&cluster, pending(), async |pod: &Running| {
        let within = Duration::from_secs(1);
        resize::resize(&pod.pods, &pod.pod, Cpu::from_millis(250), within).await
    })
    .await;
    let why = "the limit 250m is not in force after 1 s: PodResizePending: Deferred: m";
    assert_eq!(outcome.unwrap(), Some(Resized::Refused(why.to_owned())));
}
