//! A network's namespace: what is applied there, and what is waited for.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harmonybatch_api::conditions::{self, PROFILED, READY};
use harmonybatch_api::{Device, InferenceApp, InferenceGroup, InferenceModel};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Container, Namespace, Pod, Service};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::configurations::{Asked, Configuration};
use super::networks::{self, Network, Source};
use super::record::Measured;
use crate::cluster::Cluster;
use crate::product::SYSTEM_NAMESPACE;
use crate::progress::Progress;
use crate::wait;

/// Longest wait for pods to start or to go.
const PATIENCE: Duration = Duration::from_mins(3);
/// Longest wait for a network to be measured: many times what its budget and five pods' starts take.
const MEASURED_WITHIN: Duration = Duration::from_mins(40);
/// Port of the demo runtime.
const PORT: u16 = 8080;

/// One network's namespace.
pub(super) struct Place<'a> {
    pub(super) network: &'static Network,
    pub(super) namespace: String,
    /// `host:port` of the gateway.
    pub(super) gateway: String,
    cluster: &'a Cluster,
}

/// A configuration that serves: its applications, and the groups that the plan made of them.
pub(super) struct Served {
    /// In the order of the configuration.
    pub(super) apps: Vec<InferenceApp>,
    pub(super) groups: Vec<InferenceGroup>,
    /// Of all groups.
    pub(super) pods: Vec<Pod>,
}

impl Served {
    /// The plan in a line.
    pub(super) fn in_words(&self) -> String {
        let group = |group: &InferenceGroup| {
            let (spec, device) = (&group.spec, device(group));
            format!(
                "{} x {device}, b = {}, {:?}",
                spec.replicas, spec.batch_size, spec.dispatch
            )
        };
        self.groups.iter().map(group).collect::<Vec<_>>().join("; ")
    }
}

/// What a group's replicas run on, in words.
pub(super) fn device(group: &InferenceGroup) -> String {
    match &group.spec.device {
        Device::Cpu(size) => format!("cpu {}", size.limit),
        Device::Gpu(share) => format!("{} {} units", share.pool, share.units),
    }
}

/// The runtime's.
fn container(pod: &Pod) -> Result<&Container> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
    containers
        .and_then(<[_]>::first)
        .context("a pod without a container")
}

impl<'a> Place<'a> {
    /// An empty namespace, and the platform of all networks.
    pub(super) async fn begin(cluster: &'a Cluster, network: &'static Network) -> Result<Self> {
        let gateway = Api::<Service>::namespaced(cluster.client(), SYSTEM_NAMESPACE)
            .get("harmonybatch-gateway")
            .await
            .context("the gateway's Service")?;
        let address = gateway.spec.and_then(|spec| spec.cluster_ip);
        let place = Self {
            network,
            namespace: format!("accuracy-{}", network.name),
            gateway: address.context("the gateway's Service has no address")? + ":80",
            cluster,
        };
        place.remove().await?;
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": place.namespace, "labels": labels });
        place.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))?;
        place.apply(&network.platform()?)?;
        Ok(place)
    }

    /// Removes all of it.
    pub(super) async fn end(self) -> Result<()> {
        self.remove().await
    }

    async fn remove(&self) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.cluster.client());
        let gone = async || {
            namespaces
                .get_opt(&self.namespace)
                .await
                .map(|found| found.is_none())
        };
        if gone().await? {
            return Ok(());
        }
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await?;
        self.until("the namespace to be gone", PATIENCE, async || {
            Ok(gone().await?.then_some(()))
        })
        .await
    }

    /// Applies the model and waits for its profile.
    pub(super) async fn profile(&self, time_budget: &str, progress: &Progress) -> Result<Measured> {
        self.apply(&self.network.model(time_budget)?)?;
        if self.network.source == Source::Simulated {
            return Ok(Measured {
                said: "planned by the published profile, by which the runtime sleeps".to_owned(),
                cpu: Vec::new(),
                after_idle: None,
            });
        }
        let models = self.api::<InferenceModel>();
        let mut last = String::new();
        let look = async || {
            let model = models.get(self.network.name).await?;
            let status = model.status.as_ref();
            let Some(found) = status.and_then(|status| conditions::find(&status.conditions, PROFILED)) else {
                return Ok(None);
            };
            if found.reason == "Failed" {
                bail!("{} was not measured: {}", self.network.name, found.message);
            }
            if found.message != last {
                progress.say(&found.message);
                last.clone_from(&found.message);
            }
            Ok((found.reason == "Measured").then(|| Measured {
                said: found.message.clone(),
                cpu: model.profile_in_force().cpu.to_vec(),
                after_idle: model.profile_in_force().after_idle.cloned(),
            }))
        };
        self.until("the model to be measured", MEASURED_WITHIN, look)
            .await
    }

    /// Applies the applications and waits until all of them are served.
    pub(super) async fn serve(&self, configuration: &Configuration) -> Result<Served> {
        for asked in configuration.apps {
            self.apply(&self.app(asked))?;
        }
        let look = async || {
            let mut ready = Vec::new();
            for asked in configuration.apps {
                let app = self.api::<InferenceApp>().get(asked.name).await?;
                let status = app.status.as_ref();
                let condition = status.and_then(|status| conditions::find(&status.conditions, READY));
                let current = status.and_then(|status| status.observed_generation) == app.metadata.generation;
                if !current || condition.is_none_or(|condition| condition.status != "True") {
                    return Ok(None);
                }
                ready.push(app);
            }
            Ok(Some(ready))
        };
        let apps = self
            .until("every application to be Ready", PATIENCE, look)
            .await
            .with_context(|| self.situation())?;
        let groups = self
            .api::<InferenceGroup>()
            .list(&ListParams::default())
            .await?
            .items;
        let pods = self.pods().await?;
        let replicas: i32 = groups.iter().map(|group| group.spec.replicas).sum();
        if usize::try_from(replicas).ok() != Some(pods.len()) {
            bail!(
                "the plan wants {replicas} replicas, and there are {} pods",
                pods.len()
            );
        }
        Ok(Served { apps, groups, pods })
    }

    /// Deletes the applications, and waits until their pods are gone.
    pub(super) async fn clear(&self) -> Result<()> {
        let apps = self.api::<InferenceApp>();
        for app in apps.list(&ListParams::default()).await?.items {
            apps.delete(&app.name_any(), &DeleteParams::default()).await?;
        }
        self.until("the pods to be gone", PATIENCE, async || {
            Ok(self.pods().await?.is_empty().then_some(()))
        })
        .await
    }

    /// Pods that serve groups.
    async fn pods(&self) -> Result<Vec<Pod>> {
        let served = ListParams::default().labels("harmonybatch.dev/group");
        Ok(self.api::<Pod>().list(&served).await?.items)
    }

    /// What the pods cost a second: under the CPU limits that the kernel holds for them, or, on a cluster whose kernels cannot be seen, that they
    /// were given; or for the units of a GPU that they were given.
    pub(super) fn cost(&self, served: &Served) -> Result<f64> {
        let mut cost = 0.0;
        for pod in &served.pods {
            let container = container(pod)?;
            let limits = container
                .resources
                .as_ref()
                .and_then(|resources| resources.limits.as_ref());
            let limit = |name: &str| limits.and_then(|limits| limits.get(name));
            cost += if let Some(units) = limit(networks::GPU_UNITS) {
                units.0.parse::<f64>()? * networks::GPU_UNIT_SECOND
            } else if self.cluster.local_node().is_some() {
                let quota = self.cluster.cpu_quota(pod, &container.name)?;
                quota.vcpu().context("a container without a CPU limit")? * networks::VCPU_SECOND
            } else {
                let limit = limit("cpu").context("a container without a CPU limit")?;
                limit.0.parse::<harmonybatch_api::quantity::Cpu>()?.vcpu() * networks::VCPU_SECOND
            };
        }
        Ok(cost)
    }

    /// CPU time that the runtimes of all pods have had, as the kernel counts it; none on a cluster whose kernels cannot be seen.
    pub(super) fn cpu_time(&self, served: &Served) -> Result<Option<Duration>> {
        if self.cluster.local_node().is_none() {
            return Ok(None);
        }
        let pods = served.pods.iter();
        let times = pods.map(|pod| self.cluster.cpu_time(pod, &container(pod)?.name));
        times.sum::<Result<_>>().map(Some)
    }

    /// Counters of all pods, asked through the API server.
    pub(super) async fn statistics(&self, served: &Served) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for pod in &served.pods {
            let (namespace, name) = (&self.namespace, pod.name_any());
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{PORT}/proxy/stats");
            let request = hyper::Request::get(path).body(Vec::new())?;
            let answer = self.cluster.client().request::<Value>(request).await;
            found.push(answer.with_context(|| format!("counters of pod {name}"))?);
        }
        Ok(found)
    }

    /// Objects of one kind in the namespace.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    /// An object of no namespace.
    pub(super) async fn of_the_cluster<K>(&self, name: &str) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api = Api::<K>::all(self.cluster.client());
        Ok(api.get(name).await?)
    }

    /// As a user would write it.
    fn app(&self, asked: &Asked) -> Value {
        let spec = json!({
            "modelRef": { "name": self.network.name },
            "slo": { "latency": asked.slo },
            "rate": format!("{}/s", asked.rate),
        });
        json!({ "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceApp", "metadata": { "name": asked.name }, "spec": spec })
    }

    fn apply(&self, object: &Value) -> Result<()> {
        let mut kubectl = self.cluster.kubectl();
        if object["kind"] != "Namespace" && object["kind"] != "InferencePlatform" {
            kubectl.args(["--namespace", &self.namespace]);
        }
        kubectl.args(["apply", "-f", "-"]);
        let pipes = kubectl
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = pipes.spawn().context("cannot start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        input.write_all(object.to_string().as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        wait::found(limit, look).await?.with_context(|| {
            format!(
                "waited {} s in vain for {what} in {}",
                limit.as_secs(),
                self.namespace
            )
        })
    }

    /// What a person would look at first.
    fn situation(&self) -> String {
        let mut kubectl = self.cluster.kubectl();
        kubectl.args([
            "get",
            "inferenceapps,inferencegroups,pods",
            "--namespace",
            &self.namespace,
        ]);
        kubectl.output().map_or_else(
            |error| error.to_string(),
            |said| String::from_utf8_lossy(&said.stdout).into_owned(),
        )
    }
}
