//! An API server that keeps pods and resizes them or does not, and the runtime of whatever pod there is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::measured::{answer_all, law, listen};

/// What becomes of a wish for another CPU limit.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Resizes {
    /// The API server does not know of it.
    #[default]
    Never,
    /// It is in force at the second look, and the runtime has it.
    InPlace,
    /// The same, but the runtime goes on as it started.
    InVain,
    /// So often, and then the node has no room.
    Times(usize),
}

/// What the cluster was asked for, and what it has.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) port: u16,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) resizes: Resizes,
    /// How many times the law's latency a batch takes.
    pub(crate) slower: u32,
    /// Limits that pods were given while they ran, in order.
    pub(crate) given: Vec<String>,
    /// Looks since the last.
    looks: usize,
    /// Limits of all batches, as they were asked for.
    pub(crate) asked: Vec<String>,
    pub(crate) pods: BTreeMap<String, Value>,
    /// CPU limits of all pods that were created, in order.
    pub(crate) created: Vec<String>,
    pub(crate) owners: Vec<Value>,
    pub(crate) most_at_once: usize,
    pub(crate) batches: usize,
    progress: Option<Sender<(usize, usize)>>,
    /// Patches of the InferenceModel.
    pub(crate) patches: Vec<Value>,
    pub(crate) digest: String,
    pub(crate) crash: bool,
    /// The next patch fails.
    pub(crate) busy: bool,
}

pub(crate) struct Cluster {
    pub(crate) state: Arc<Mutex<State>>,
    /// Pods that were created and batches that were asked for, with every batch.
    pub(crate) progress: Receiver<(usize, usize)>,
    pub(crate) runtime: Runtime,
}

fn vcpu(limit: &str) -> f64 {
    limit.strip_suffix('m').map_or_else(
        || limit.parse().unwrap(),
        |millis| millis.parse::<f64>().unwrap() / 1e3,
    )
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (code, status)
}

impl State {
    fn api(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        if path == "/api/v1/nodes/n1" {
            let info = json!({"architecture": "amd64", "kernelVersion": "6.18.1", "bootID": "", "containerRuntimeVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""});
            return (
                200,
                json!({"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "2"}, "nodeInfo": info}}),
            );
        }
        if let Some(model) =
            path.strip_prefix("/apis/harmonybatch.dev/v1alpha1/namespaces/shop/inferencemodels/")
        {
            if model != "net" && model != "net/status" {
                return refusal(404, "NotFound");
            }
            if *method == Method::PATCH {
                self.patches.push(body.clone());
                if self.busy {
                    self.busy = false;
                    return refusal(503, "ServiceUnavailable");
                }
            }
            return (200, self.model());
        }
        let Some(name) = path.strip_prefix("/api/v1/namespaces/shop/pods") else {
            return refusal(404, "NotFound");
        };
        let name = name.trim_matches('/').to_owned();
        if let Some(name) = name.strip_suffix("/resize") {
            return self.resize(name, body);
        }
        self.settle(&name);
        match *method {
            Method::POST => self.create(body),
            Method::GET => self
                .pods
                .get(&name)
                .map_or_else(|| refusal(404, "NotFound"), |pod| (200, pod.clone())),
            Method::DELETE => self
                .pods
                .remove(&name)
                .map_or_else(|| refusal(404, "NotFound"), |pod| (200, pod)),
            _ => refusal(405, "MethodNotAllowed"),
        }
    }

    fn resize(&mut self, name: &str, wish: &Value) -> (u16, Value) {
        if self.resizes == Resizes::Never {
            return refusal(404, "NotFound");
        }
        let resources = &wish["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"], resources["limits"]);
        self.given
            .push(resources["limits"]["cpu"].as_str().unwrap().to_owned());
        self.looks = 0;
        let pod = self.pods.get_mut(name).unwrap();
        pod["metadata"]["annotations"]["resized"] = json!("yes");
        for amounts in ["requests", "limits"] {
            pod["spec"]["containers"][0]["resources"][amounts]["cpu"] = resources[amounts]["cpu"].clone();
        }
        (200, pod.clone())
    }

    /// What the kubelet has done by this look.
    fn settle(&mut self, name: &str) {
        self.looks += 1;
        let (looks, given, resizes) = (self.looks, self.given.len(), self.resizes);
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        if pod["metadata"]["annotations"]["resized"].is_null() {
            return;
        }
        if matches!(resizes, Resizes::Times(times) if given > times) {
            let pending = json!({"type": "PodResizePending", "status": "True", "reason": "Infeasible", "message": "no room"});
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}, pending]);
        } else if looks >= 2 {
            pod["status"]["containerStatuses"][0]["resources"] =
                pod["spec"]["containers"][0]["resources"].clone();
        }
    }

    /// The limit that is in force, as the runtime heeds it.
    fn limit(&self) -> String {
        let in_force = self.pods.values().next().and_then(|pod| {
            let resources = &pod["status"]["containerStatuses"][0]["resources"];
            resources["limits"]["cpu"].as_str().map(str::to_owned)
        });
        match (self.resizes, in_force) {
            (Resizes::InPlace | Resizes::Times(_), Some(limit)) => limit,
            _ => self.created.last().unwrap().clone(),
        }
    }

    fn create(&mut self, body: &Value) -> (u16, Value) {
        let container = &body["spec"]["containers"][0];
        let limit = container["resources"]["limits"]["cpu"].as_str().unwrap();
        assert_eq!(container["resources"]["requests"]["cpu"], limit);
        self.created.push(limit.to_owned());
        self.owners.push(body["metadata"]["ownerReferences"].clone());
        let (ready, state) = if self.crash {
            let ended = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "no weights"}});
            ("False", ended)
        } else {
            ("True", json!({"running": {}}))
        };
        let mut pod = body.clone();
        pod["metadata"]["uid"] = json!(format!("uid-{}", self.created.len()));
        pod["spec"]["nodeName"] = json!("n1");
        pod["status"] = json!({
            "phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "runtime", "ready": true, "restartCount": 0, "image": "", "state": state,
                "imageID": format!("example.org/net@{}", self.digest)}],
        });
        self.looks = 0;
        self.pods
            .insert(body["metadata"]["name"].as_str().unwrap().to_owned(), pod.clone());
        self.most_at_once = self.most_at_once.max(self.pods.len());
        (201, pod)
    }

    pub(crate) fn model(&self) -> Value {
        let curve = json!({"exponential": {"alpha": "1s", "beta": "1", "gamma": "1s"}});
        json!({
            "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceModel",
            "metadata": {"name": "net", "namespace": "shop", "uid": "model", "resourceVersion": "7"},
            "spec": {
                "runtime": {"image": "example.org/net:1", "port": self.port, "memory": {"base": "64Mi"}},
                "maxBatchSize": 2,
                "protocol": self.protocol.unwrap_or("OIPv2JSON"),
                "profile": {"cpu": [{"batch": 1, "mean": curve, "max": curve}]},
            },
        })
    }

    /// What a batch takes.
    pub(crate) fn batch(&mut self, rows: u64) -> Duration {
        self.batches += 1;
        if let Some(progress) = &self.progress {
            // Where the test does not look, nobody does.
            let _ = progress.send((self.created.len(), self.batches));
        }
        let limit = self.limit();
        let latency = f64::from(self.slower) * law(vcpu(&limit), rows);
        self.asked.push(limit);
        Duration::from_secs_f64(latency)
    }

    /// The runtime's answer, and after what time.
    fn infer(&mut self, path: &str, body: &Value) -> (Duration, Value) {
        assert_eq!(self.pods.len(), 1, "somebody is asked, so that a pod is there");
        if path == "/v2/models/net" {
            let inputs = json!([{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]);
            return (
                Duration::ZERO,
                json!({"name": "net", "inputs": inputs, "outputs": []}),
            );
        }
        let rows = body["inputs"][0]["shape"][0].as_u64().unwrap();
        let latency = self.batch(rows);
        let output = json!({"name": "y", "datatype": "FP32", "shape": [rows, 1], "data": vec![0; usize::try_from(rows).unwrap()]});
        (latency, json!({"model_name": "net", "outputs": [output]}))
    }
}

impl Cluster {
    /// With a kubeconfig in the folder.
    pub(crate) fn start(folder: &Path) -> Self {
        let (runtime, listener) = listen();
        let port = listener.local_addr().unwrap().port();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "shop"}}],
        });
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let (sender, progress) = channel();
        let state = Arc::new(Mutex::new(State {
            port,
            digest: "sha256:ab12".to_owned(),
            slower: 1,
            progress: Some(sender),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        runtime.spawn(answer_all(listener, move |parts, body| {
            let state = Arc::clone(&shared);
            async move {
                let path = parts.uri.path();
                if path.starts_with("/v2/") {
                    let (latency, answer) = state.lock().unwrap().infer(path, &body);
                    tokio::time::sleep(latency).await;
                    return (200, answer);
                }
                state.lock().unwrap().api(&parts.method, path, &body)
            }
        }));
        Self {
            state,
            progress,
            runtime,
        }
    }
}
