//! The cluster as tests see it: the local one, or any other that `KUBECONFIG` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::OnceCell;

use crate::cache::Cache;
use crate::control_group::{self, CpuQuota};
use crate::node::Node;
use crate::parts::{self, Parts};
use crate::requirements;

/// Longest wait for one answer of the API server.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Once a test program is enough.
static BROUGHT_UP: OnceCell<()> = OnceCell::const_new();

/// A cluster with HarmonyBatch on it.
#[derive(Clone)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    client: kube::Client,
    node: Option<Node>,
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, as it is; without that variable the local one, which is brought up first if it is not up to date.
    /// Test programs that run at the same time share it.
    ///
    /// # Errors
    /// Why there is no cluster. Where a requirement is missing, with the command that installs it.
    pub async fn ensure() -> Result<Self> {
        let cache = Cache::locate()?;
        let given = std::env::var_os("KUBECONFIG")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        if given.is_none() {
            BROUGHT_UP.get_or_try_init(bring_up).await?;
        }
        let parts = Parts::built(&cache).ok();
        let program = |recipe, name: &str| {
            let built = parts.as_ref().map(|parts| parts.program(recipe, name));
            built.or_else(|| requirements::find(name)).with_context(|| {
                format!("no {name} on this machine: `cargo run --release -p e2e -- up` builds it")
            })
        };
        let node = parts.as_ref().map(|parts| Node::of(&cache, parts));
        let local = node.filter(|node| {
            given
                .as_ref()
                .is_none_or(|given| *given == node.layout().admin_kubeconfig())
        });
        let kubeconfig = given
            .or_else(|| local.as_ref().map(|node| node.layout().admin_kubeconfig()))
            .context("no kubeconfig")?;
        let client = client(&kubeconfig).await?;
        Ok(Self {
            kubectl: program(&parts::KUBERNETES, "kubectl")?,
            helm: program(&parts::HELM, "helm")?,
            kubeconfig,
            client,
            node: local,
        })
    }

    /// A client with the rights of the kubeconfig.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Path of the kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl`, ready for arguments.
    pub fn kubectl(&self) -> Command {
        self.program(&self.kubectl)
    }

    /// `helm`, ready for arguments.
    pub fn helm(&self) -> Command {
        self.program(&self.helm)
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// The local node, whose components can be stopped and whose control groups can be read; none on a given cluster.
    pub fn local_node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The CPU limit that the kernel holds for a running container of the local node.
    ///
    /// # Errors
    /// Where the pod has no such container running here.
    pub fn cpu_quota(&self, pod: &Pod, container: &str) -> Result<CpuQuota> {
        self.of_its_group(pod, container, control_group::quota)
    }

    /// The CPU time that a running container of the local node has had since it was started.
    ///
    /// # Errors
    /// Where the pod has no such container running here.
    pub fn cpu_time(&self, pod: &Pod, container: &str) -> Result<Duration> {
        self.of_its_group(pod, container, control_group::cpu_time)
    }

    fn of_its_group<T>(&self, pod: &Pod, container: &str, read: impl Fn(&Path) -> Option<T>) -> Result<T> {
        if self.node.is_none() {
            bail!("the control groups of another machine cannot be read");
        }
        control_group::of_container(pod, container, read)
    }
}

/// A client with the rights of a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let read =
        Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .context("the kubeconfig is of no use")?;
    config.connect_timeout = Some(CALL_LIMIT);
    // The client's own retry repeats creations too.
    config.default_retry = false;
    kube::Client::try_from(config).context("no client")
}

/// Runs `e2e up` as a person would: the node's first process must be the harness's own program, not a test's.
async fn bring_up() -> Result<()> {
    let harness = harness()?;
    let run = {
        let mut up = Command::new(&harness);
        up.args(["up", "--unless-unchanged"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        tokio::task::spawn_blocking(move || up.status())
    };
    let status = run.await.context("the harness broke off")?;
    let status = status.with_context(|| format!("cannot start {}", harness.display()))?;
    if status.success() {
        Ok(())
    } else {
        bail!("`e2e up` ended with {status}; what it said stands above")
    }
}

/// Cargo puts test programs into `deps`, beside the programs of the package.
fn harness() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the test's own program")?;
    let beside = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("e2e"))
        .find(|harness| harness.is_file());
    beside.with_context(|| {
        format!(
            "no program e2e near {}: run the tests with `cargo test --workspace` or `cargo test -p e2e`",
            program.display()
        )
    })
}
