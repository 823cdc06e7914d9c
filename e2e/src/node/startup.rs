//! Bringing the node up: the order of things, and what each waits for.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::layout::NODE_NAME;
use super::namespaces;
use super::record::Record;
use super::{Node, State, component, configuration, identity, machine};
use crate::cache::Cache;
use crate::command;
use crate::image::Archive;
use crate::knative;
use crate::parts::Parts;
use crate::progress::Progress;
use crate::wait;

/// Longest wait for any component; each takes seconds.
const COMPONENT_LIMIT: Duration = Duration::from_mins(2);
const COREDNS: &str = include_str!("../../manifests/coredns.yaml");
/// The made-up resource by which the simulated GPU pool hands out shares, as a JSON pointer has it, and how many units the node has.
const GPU_CAPACITY: (&str, &str) = ("harmonybatch.dev~1gpu-slice", "24");

impl Node {
    /// A node that is Ready and resolves names. One that runs already is kept, and what has ended in it is started again; one of other
    /// versions or settings is replaced.
    ///
    /// # Errors
    /// Name the component, with the end of its log.
    pub fn start(cache: &Cache, parts: &Parts, images: &[Archive], progress: &Progress) -> Result<Self> {
        let node = Self::of(cache, parts);
        let Some(pause) = images.iter().find(|image| image.repository.ends_with("/pause")) else {
            bail!("no pause image")
        };
        if node.is_running() && !node.has_components(parts) {
            progress.say("The running node has other versions or settings: replacing it");
            Self::remove(&node.layout)?;
        }
        if !node.is_running() {
            Self::remove(&node.layout).context("cannot clear away an earlier node")?;
            progress.step("Making the node's namespaces", || node.make(parts, pause))?;
        } else if node.place_harness()? {
            node.restart_stand_in()?;
        }
        node.start_components(images, progress)?;
        progress.step("Starting CoreDNS", || node.start_coredns(images))?;
        node.offer_gpu_slices()?;
        Ok(node)
    }

    fn make(&self, parts: &Parts, pause: &Archive) -> Result<()> {
        namespaces::check_alone()?;
        std::fs::create_dir_all(self.layout.root()).context("cannot make the cluster's folder")?;
        self.place_harness()?;
        for folder in [
            "certificates",
            "configuration",
            "kubeconfigs",
            "logs",
            "pod-logs",
            "volume-plugins",
        ] {
            let folder = self.layout.folder(folder);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        identity::write(&self.layout)?;
        configuration::write(&self.layout, pause)?;
        let list = serde_json::to_vec_pretty(&component::components(&self.layout, parts))
            .context("cannot write the list of components")?;
        std::fs::write(self.layout.components(), list).context("cannot write the list of components")?;
        let settings = machine::settings()?;
        let outer = namespaces::enter(&self.layout)?;
        Record::new(outer, settings).write(&self.layout)?;
        namespaces::connect(outer)?;
        wait::until("the node to take orders", COMPONENT_LIMIT, || {
            if !self.is_running() {
                bail!(
                    "the node ended; {}",
                    command::end_of_log(&self.layout.log("node"))
                );
            }
            Ok(self.states().ok())
        })
        .map(drop)
    }

    /// Puts a copy of this program where the node runs it. Says whether it is another one than before.
    fn place_harness(&self) -> Result<bool> {
        let harness = std::env::current_exe().context("cannot find the harness's own program")?;
        let program =
            std::fs::read(&harness).with_context(|| format!("cannot read {}", harness.display()))?;
        let place = self.layout.harness();
        if std::fs::read(&place).is_ok_and(|placed| placed == program) {
            return Ok(false);
        }
        // By rename, since a program that runs cannot be written to.
        let unfinished = place.with_extension("unfinished");
        std::fs::copy(&harness, &unfinished)
            .and_then(|_| std::fs::rename(&unfinished, &place))
            .with_context(|| format!("cannot put the harness at {}", place.display()))?;
        Ok(true)
    }

    /// The stand-in for Knative's controllers, where it runs, goes on with the newest program.
    fn restart_stand_in(&self) -> Result<()> {
        let runs = |state: &State| state.name == knative::COMPONENT && state.pid.is_some();
        if self.states()?.iter().any(runs) {
            self.stop_component(knative::COMPONENT)?;
            self.start_component(knative::COMPONENT)?;
        }
        Ok(())
    }

    /// Whether the running node was started with the components that this harness would start.
    fn has_components(&self, parts: &Parts) -> bool {
        let list = std::fs::read(self.layout.components()).ok();
        let listed: Option<Vec<component::Component>> =
            list.and_then(|list| serde_json::from_slice(&list).ok());
        listed.is_some_and(|listed| listed == component::components(&self.layout, parts))
    }

    fn start_components(&self, images: &[Archive], progress: &Progress) -> Result<()> {
        progress.step("Starting containerd and etcd", || {
            self.start_component("containerd")?;
            self.start_component("etcd")?;
            self.wait_for("containerd", "its socket", || self.containerd_answers())
        })?;
        progress.step("Starting kube-apiserver", || {
            self.start_component("kube-apiserver")?;
            // The API server takes seconds; the images come in meanwhile.
            images.iter().try_for_each(|image| self.import(image))?;
            self.wait_for("kube-apiserver", "/readyz", || {
                self.kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"])
                    .is_ok()
            })
        })?;
        progress.step(
            "Starting kube-controller-manager, kube-scheduler, kubelet and kube-proxy",
            || {
                for name in [
                    "kube-controller-manager",
                    "kube-scheduler",
                    "kubelet",
                    "kube-proxy",
                ] {
                    self.start_component(name)?;
                }
                self.wait_for("kubelet", "the node to be Ready", || self.is_ready())?;
                self.wait_for("kube-controller-manager", "the default service account", || {
                    self.kubectl(&["get", "serviceaccount", "default"]).is_ok()
                })
            },
        )
    }

    fn containerd_answers(&self) -> bool {
        let Some(ctr) = crate::requirements::find("ctr") else {
            return false;
        };
        command::run(
            "containerd",
            std::process::Command::new(ctr)
                .arg("--address")
                .arg(self.layout.containerd_socket())
                .args(["--timeout", "5s", "version"]),
        )
        .is_ok()
    }

    fn is_ready(&self) -> bool {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        self.kubectl(&["get", "node", NODE_NAME, "-o", path, "--request-timeout=5s"])
            .is_ok_and(|status| status == "True")
    }

    /// Waits for something that `name` brings about; its end, or that of a component that starts before it, ends the wait.
    fn wait_for(&self, name: &str, what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
        let position = |name: &str| component::NAMES.iter().position(|&known| known == name);
        let waited = wait::until(&format!("{what} of {name}"), COMPONENT_LIMIT, || {
            let concerned = self
                .states()?
                .into_iter()
                .filter(|state| position(&state.name).is_some_and(|place| Some(place) <= position(name)));
            if let Some((ended, how)) = concerned
                .into_iter()
                .find_map(|state| state.ended.map(|how| (state.name, how)))
            {
                bail!(
                    "{ended} ended with {how}; {}",
                    command::end_of_log(&self.layout.log(&ended))
                );
            }
            Ok(look().then_some(()))
        });
        waited.with_context(|| format!("{name}: {}", command::end_of_log(&self.layout.log(name))))
    }

    fn start_coredns(&self, images: &[Archive]) -> Result<()> {
        let Some(image) = images.iter().find(|image| image.repository.ends_with("/coredns")) else {
            bail!("no CoreDNS image")
        };
        let file = self.layout.configuration("coredns.yaml");
        std::fs::write(&file, COREDNS.replace("COREDNS_IMAGE", &image.name()))
            .context("cannot write CoreDNS's manifest")?;
        self.kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            &file.display().to_string(),
        ])?;
        let rolled_out = self.kubectl(&[
            "rollout",
            "status",
            "deployment/coredns",
            "-n",
            "kube-system",
            "--timeout=120s",
        ]);
        rolled_out
            .map(drop)
            .with_context(|| format!("CoreDNS: {}", self.about_pods("kube-system")))
    }

    /// What a person would look at when pods do not come up.
    pub(crate) fn about_pods(&self, namespace: &str) -> String {
        let said = |arguments: &[&str]| self.kubectl(arguments).unwrap_or_else(|error| error.to_string());
        let pods = said(&["get", "pods", "-n", namespace, "-o", "wide"]);
        let events = said(&["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]);
        format!(
            "pods and events of namespace {namespace}:\n{}\n{}",
            command::last_lines(&pods),
            command::last_lines(&events)
        )
    }

    /// Gives the node units of the simulated GPU. A new kubelet keeps them, a new node does not.
    fn offer_gpu_slices(&self) -> Result<()> {
        let (resource, units) = GPU_CAPACITY;
        let patch = serde_json::json!([{ "op": "add", "path": format!("/status/capacity/{resource}"), "value": units }]).to_string();
        self.kubectl(&[
            "patch",
            "node",
            NODE_NAME,
            "--subresource=status",
            "--type=json",
            "-p",
            &patch,
        ])?;
        let column = format!(
            "jsonpath={{.status.allocatable.{}}}",
            resource.replace("~1", "/").replace('.', "\\.")
        );
        self.wait_for("kubelet", "the units of the simulated GPU", || {
            self.kubectl(&["get", "node", NODE_NAME, "-o", &column])
                .is_ok_and(|found| found == units)
        })
    }
}
