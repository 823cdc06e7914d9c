//! A namespace with a model and applications, and the waits that every test needs.

use std::future::Future;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::{samples, wait};
use e2e_load::{App, Plan, Running};
use harmonybatch_api::{InferenceApp, InferenceGroup};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// Longest wait for something that takes a pod's start: several times what it takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Namespace of the release.
pub(crate) const SYSTEM: &str = "harmonybatch-system";

/// Scenarios measure latencies, so only one runs at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// One test's namespace.
pub(crate) struct Scenario {
    /// The cluster that it is on.
    pub(crate) cluster: Cluster,
    /// Its namespace.
    pub(crate) namespace: String,
    /// `host:port` of the gateway's callers' port.
    pub(crate) gateway: String,
    _turn: MutexGuard<'static, ()>,
}

/// The part of an `InferenceApp` that scenarios vary.
#[derive(Clone, Copy)]
pub(crate) struct Contract {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its SLO, as the API writes it.
    pub(crate) slo: &'static str,
    /// Its rate, as the API writes it.
    pub(crate) rate: &'static str,
}

/// The three applications of the samples: 35 rows a second together.
pub(crate) const SAMPLES: [Contract; 3] = [
    Contract {
        name: "search",
        slo: "500ms",
        rate: "5/s",
    },
    Contract {
        name: "cart",
        slo: "800ms",
        rate: "10/s",
    },
    Contract {
        name: "feed",
        slo: "1s",
        rate: "20/s",
    },
];

impl Scenario {
    /// Waits for its turn, then for an empty namespace `e2e-<name>` under restricted Pod Security.
    pub(crate) async fn begin(name: &str) -> Self {
        let turn = TURN.lock().await;
        let cluster = Cluster::ensure().await.unwrap();
        let gateway = Api::<Service>::namespaced(cluster.client(), SYSTEM)
            .get("harmonybatch-gateway")
            .await
            .unwrap();
        let gateway = gateway.spec.unwrap().cluster_ip.unwrap() + ":80";
        let scenario = Self {
            namespace: format!("e2e-{name}"),
            cluster,
            gateway,
            _turn: turn,
        };
        scenario.remove().await;
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": scenario.namespace, "labels": labels } });
        scenario.apply(&namespace).await;
        scenario
    }

    /// Removes the namespace and waits until the API server has forgotten it.
    async fn remove(&self) {
        let namespaces = Api::<Namespace>::all(self.cluster.client());
        if namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .is_ok()
        {
            until("the namespace to be gone", PATIENCE, || async {
                namespaces
                    .get_opt(&self.namespace)
                    .await
                    .unwrap()
                    .is_none()
                    .then_some(())
            })
            .await;
        }
    }

    /// The end of a test that held; a failed one leaves its namespace for a look.
    pub(crate) async fn end(self) {
        self.remove().await;
    }

    /// Objects of one kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    /// `kubectl apply` of one object into the namespace; panics with kubectl's words where it is refused.
    pub(crate) async fn apply(&self, object: &Value) {
        self.try_apply(object)
            .await
            .unwrap_or_else(|said| panic!("{said}\n{object:#}"));
    }

    /// `kubectl apply` of one object; what kubectl said where it was refused.
    pub(crate) async fn try_apply(&self, object: &Value) -> Result<(), String> {
        let mut kubectl = self.cluster.kubectl();
        if object["kind"] != "Namespace" {
            kubectl.args(["--namespace", &self.namespace]);
        }
        kubectl.args(["apply", "-f", "-"]);
        let text = object.to_string();
        tokio::task::spawn_blocking(move || feed(kubectl, &text))
            .await
            .unwrap()
    }

    /// Begins with the model and the applications of the samples, all of them Ready.
    pub(crate) async fn begin_served(name: &str) -> (Self, Vec<InferenceApp>) {
        let scenario = Self::begin(name).await;
        scenario.model(&json!({})).await;
        scenario.apps(&SAMPLES).await;
        let apps = scenario.ready(&SAMPLES).await;
        (scenario, apps)
    }

    /// The demo model of the samples, with changes merged into its spec. Plans follow its profile unless they say otherwise: on a busy machine
    /// batches take longer than it says, and a plan that follows that would move groups in the middle of what a scenario looks at.
    pub(crate) async fn model(&self, changes: &Value) {
        let mut model = sample("model.yaml");
        model["spec"]["profile"]["correction"] = json!("Never");
        samples::merge(&mut model["spec"], changes);
        self.apply(&model).await;
    }

    /// Applies applications of the model `mlp`.
    pub(crate) async fn apps(&self, contracts: &[Contract]) {
        for contract in contracts {
            self.apply(&contract.object()).await;
        }
    }

    /// Changes one application's spec in place.
    pub(crate) async fn change(&self, app: &str, spec: &Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api::<InferenceApp>()
            .patch(app, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until every named application is Ready for its newest generation, and returns them in that order.
    pub(crate) async fn ready(&self, apps: &[Contract]) -> Vec<InferenceApp> {
        let mut found = Vec::new();
        for contract in apps {
            found.push(
                self.app(contract.name, "to be Ready", |app| holds(app, "Ready", "True"))
                    .await,
            );
        }
        found
    }

    /// Waits until an application's status speaks of its newest spec and `wanted` holds.
    pub(crate) async fn app(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&InferenceApp) -> bool,
    ) -> InferenceApp {
        let api = self.api::<InferenceApp>();
        let look = || async {
            let app = api.get(name).await.unwrap();
            let current =
                app.status.as_ref().and_then(|status| status.observed_generation) == app.metadata.generation;
            (current && wanted(&app)).then_some(app)
        };
        let Some(app) = try_until(PATIENCE, look).await else {
            panic!(
                "waited in vain for application {name} {what}; it is {:#?}\n{}",
                api.get(name).await.unwrap().status,
                self.situation().await
            );
        };
        app
    }

    /// The groups of the namespace, by name.
    pub(crate) async fn groups(&self) -> Vec<InferenceGroup> {
        list(&self.api()).await
    }

    /// The group that serves an application, by its status.
    pub(crate) async fn group_of(&self, app: &InferenceApp) -> InferenceGroup {
        let name = app
            .status
            .as_ref()
            .and_then(|status| status.group.clone())
            .unwrap();
        self.api::<InferenceGroup>().get(&name).await.unwrap()
    }

    /// Running pods of a group.
    pub(crate) async fn pods_of(&self, group: &str) -> Vec<Pod> {
        let selector = ListParams::default().labels(&format!("harmonybatch.dev/group={group}"));
        self.api::<Pod>().list(&selector).await.unwrap().items
    }

    /// Poisson load at the declared rate and SLO of each application of the model `mlp`.
    pub(crate) fn load(&self, contracts: &[Contract], duration: Duration) -> Running {
        self.load_of("mlp", contracts, duration)
    }

    /// Poisson load at the declared rate and SLO of each application of a model.
    pub(crate) fn load_of(&self, model: &str, contracts: &[Contract], duration: Duration) -> Running {
        let app = |contract: &Contract| {
            let rate = e2e_load::parse_rate(contract.rate).unwrap();
            let slo = e2e_load::parse_duration(contract.slo).unwrap();
            let host = format!("{}-infer.{}", contract.name, self.namespace);
            App {
                model: model.to_owned(),
                ..App::new(contract.name, host, rate, slo)
            }
        };
        let plan = Plan::new(
            self.gateway.clone(),
            contracts.iter().map(app).collect(),
            duration,
        );
        e2e_load::start(plan).unwrap()
    }

    /// What a person would look at first: for the message of a failed wait.
    pub(crate) async fn situation(&self) -> String {
        let mut kubectl = self.cluster.kubectl();
        kubectl.args([
            "get",
            "inferenceapps,inferencegroups,pods,events",
            "-o",
            "wide",
            "--namespace",
            &self.namespace,
        ]);
        let said = tokio::task::spawn_blocking(move || kubectl.output())
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

impl Contract {
    /// As a user would write it.
    pub(crate) fn object(&self) -> Value {
        let spec =
            json!({ "modelRef": { "name": "mlp" }, "slo": { "latency": self.slo }, "rate": self.rate });
        json!({ "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceApp", "metadata": { "name": self.name }, "spec": spec })
    }
}

/// A file with one object of the samples for the local cluster, as JSON.
pub(crate) fn sample(file: &str) -> Value {
    sample_of("samples", file)
}

/// A file with one object of one of the folders of samples, as JSON.
pub(crate) fn sample_of(folder: &str, file: &str) -> Value {
    samples::object(folder, file).unwrap()
}

/// Whether a condition of the application has this status.
pub(crate) fn holds(app: &InferenceApp, condition: &str, status: &str) -> bool {
    condition_of(app, condition).is_some_and(|(found, ..)| found == status)
}

/// Status, reason and message of a condition of the application.
pub(crate) fn condition_of(app: &InferenceApp, condition: &str) -> Option<(String, String, String)> {
    let conditions = &app.status.as_ref()?.conditions;
    let found = conditions.iter().find(|found| found.type_ == condition)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// Every object of an API, in order of names.
pub(crate) async fn list<K>(api: &Api<K>) -> Vec<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut items = api.list(&ListParams::default()).await.unwrap().items;
    items.sort_by_key(ResourceExt::name_any);
    items
}

/// Looks until there is something; panics with `what` after `limit`.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    look: impl Fn() -> F,
) -> T {
    try_until(limit, look)
        .await
        .unwrap_or_else(|| panic!("waited {} s in vain for {what}", limit.as_secs()))
}

/// Looks until there is something, or until the limit.
pub(crate) async fn try_until<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    look: impl Fn() -> F,
) -> Option<T> {
    wait::found(limit, async || Ok(look().await)).await.unwrap()
}

fn feed(mut kubectl: Command, text: &str) -> Result<(), String> {
    let mut child = kubectl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
