//! What the kernel holds and counts for containers of the local node: the files of their control groups, of version 1 or 2.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;

use crate::node::machine::pod_groups;

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

/// What `read` finds in the control group of a pod's running container; in version 1 in the one of those that it has, one for each controller.
pub(crate) fn of_container<T>(pod: &Pod, container: &str, read: impl Fn(&Path) -> Option<T>) -> Result<T> {
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
    let (_, id) = id.with_context(|| format!("pod {name} has no container {container} that was started"))?;
    pod_groups()
        .iter()
        .filter_map(|groups| find_group(groups, &format!("pod{uid}")))
        .find_map(|group| read(&group.join(id)))
        .with_context(|| format!("no control group says it of container {container} of pod {name}"))
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

/// The CPU limit.
pub(crate) fn quota(group: &Path) -> Option<CpuQuota> {
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

/// The CPU time of all its processes, those that ended included.
pub(crate) fn cpu_time(group: &Path) -> Option<Duration> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    if let Some(nanos) = read("cpuacct.usage") {
        return Some(Duration::from_nanos(nanos.trim().parse().ok()?));
    }
    let counts = read("cpu.stat")?;
    let micros = counts.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(Duration::from_micros(micros.trim().parse().ok()?))
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
        assert_eq!(quota(&folder), expected, "{name}");
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

    #[test]
    fn cpu_time_is_read_from_both_versions_of_control_groups() {
        for (name, file, text) in [
            ("used-v1", "cpuacct.usage", "1500000000\n"),
            (
                "used-v2",
                "cpu.stat",
                "usage_usec 1500000\nuser_usec 900000\nnr_throttled 3\n",
            ),
        ] {
            let folder = folder(name, &[(file, text)]);
            assert_eq!(cpu_time(&folder), Some(Duration::from_millis(1500)), "{name}");
            std::fs::remove_dir_all(&folder).expect("removed");
        }
        // Version 1 has such a file as well, in the group of another controller and without the time.
        let folder = folder("used-other", &[("cpu.stat", "nr_periods 7\nnr_throttled 3\n")]);
        assert_eq!(cpu_time(&folder), None);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
