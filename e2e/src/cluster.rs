//! The cluster as tests see it: the local one, or any other that `KUBECONFIG` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::OnceCell;

use crate::cache::Cache;
use crate::node::Node;
use crate::node::machine::pod_groups;
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

/// A CPU limit as the kernel holds it (`cpu.cfs_quota_us` and `cpu.cfs_period_us`, or `cpu.max`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota {
    /// CPU time per period, in microseconds; none without a limit.
    pub quota_us: Option<u64>,
    /// Length of a period, in microseconds.
    pub period_us: u64,
}

impl CpuQuota {
    /// CPUs that may be busy in the mean; none without a limit.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a period")]
    pub fn vcpu(self) -> Option<f64> {
        Some(self.quota_us? as f64 / self.period_us as f64)
    }
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
        if self.node.is_none() {
            bail!("the control groups of another machine cannot be read");
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().context("a pod without uid")?;
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let status = statuses
            .into_iter()
            .flatten()
            .find(|status| status.name == container);
        let id = status
            .and_then(|status| status.container_id.as_deref())
            .and_then(|id| id.rsplit_once("//"));
        let (_, id) =
            id.with_context(|| format!("pod {name} has no container {container} that was started"))?;
        pod_groups()
            .iter()
            .filter_map(|groups| find_group(groups, &format!("pod{uid}")))
            .find_map(|group| read_quota(&group.join(id)))
            .with_context(|| {
                format!("no control group with a CPU limit for container {container} of pod {name}")
            })
    }
}

/// Pods lie directly in the pods' group or in the one of their class of service.
fn find_group(groups: &Path, name: &str) -> Option<PathBuf> {
    [
        groups.join(name),
        groups.join("burstable").join(name),
        groups.join("besteffort").join(name),
    ]
    .into_iter()
    .find(|group| group.is_dir())
}

/// Of version 1 or version 2, whichever the folder has.
fn read_quota(group: &Path) -> Option<CpuQuota> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    if let Some(both) = read("cpu.max") {
        let (quota, period) = both.trim().split_once(' ')?;
        return Some(CpuQuota {
            quota_us: quota.parse().ok(),
            period_us: period.parse().ok()?,
        });
    }
    // Without a limit the quota is -1, which is no u64.
    Some(CpuQuota {
        quota_us: read("cpu.cfs_quota_us")?.trim().parse().ok(),
        period_us: read("cpu.cfs_period_us")?.trim().parse().ok()?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("harmonybatch-quota-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (file, text) in files {
            std::fs::write(folder.join(file), text).expect("a file");
        }
        folder
    }

    fn check(name: &str, files: &[(&str, &str)], expected: Option<CpuQuota>) {
        let folder = folder(name, files);
        assert_eq!(read_quota(&folder), expected, "{name}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn quotas_are_read_from_both_versions_of_control_groups() {
        let limited = Some(CpuQuota {
            quota_us: Some(30_000),
            period_us: 100_000,
        });
        let free = Some(CpuQuota {
            quota_us: None,
            period_us: 100_000,
        });
        check(
            "v1",
            &[("cpu.cfs_quota_us", "30000\n"), ("cpu.cfs_period_us", "100000\n")],
            limited,
        );
        check(
            "v1-free",
            &[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")],
            free,
        );
        check("v2", &[("cpu.max", "30000 100000\n")], limited);
        check("v2-free", &[("cpu.max", "max 100000\n")], free);
        check("other", &[], None);
    }
}
