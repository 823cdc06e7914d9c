//! A control group with a CPU quota, as the kubelet makes one for a container's CPU limit: so much of every 100 ms.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The scheduler's period, microseconds: the kubelet's default.
const PERIOD: u32 = 100_000;
/// The kernel's smallest quota, microseconds.
const SMALLEST: f64 = 1_000.0;

/// The kernel's largest weights: the quota shall be what limits the group, not what else runs on this machine.
const WEIGHT_V1: &str = "262144";
const WEIGHT_V2: &str = "10000";

/// Why there is no quota.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Neither version 1 nor version 2 of the CPU controller.
    #[error("no CPU controller of control groups is mounted here")]
    NoController,
    /// A limit that the kernel does not take.
    #[error("a CPU limit of {0} vCPU cannot be set: at least 0.01")]
    Limit(f64),
    /// The kernel refused.
    #[error("control group {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A control group of this process's making. Dropping it removes it.
#[derive(Debug)]
pub(super) struct CpuQuota {
    path: PathBuf,
}

/// Where the CPU controller is.
#[derive(Debug, PartialEq, Eq)]
enum Controller {
    V1(PathBuf),
    V2(PathBuf),
}

impl CpuQuota {
    /// Makes a group whose processes get `vcpu` of every second together.
    pub(super) fn create(vcpu: f64) -> Result<Self, CgroupError> {
        let quota = vcpu * f64::from(PERIOD);
        if !quota.is_finite() || quota < SMALLEST {
            return Err(CgroupError::Limit(vcpu));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|source| at("/proc/self/mountinfo", source))?;
        let controller = find(&mounts).ok_or(CgroupError::NoController)?;
        let (Controller::V1(root) | Controller::V2(root)) = &controller;
        let group = Self {
            path: root.join(format!("harmonybatch-profile-{}", std::process::id())),
        };
        if let Controller::V2(root) = &controller {
            // Where it is on already, or the root does not let us, the next write tells.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
        }
        fs::create_dir(&group.path).map_err(|source| at(&group.path, source))?;
        match &controller {
            Controller::V1(_) => {
                group.write("cpu.shares", WEIGHT_V1)?;
                group.write("cpu.cfs_period_us", &PERIOD.to_string())?;
                group.write("cpu.cfs_quota_us", &format!("{quota:.0}"))?;
            }
            Controller::V2(_) => {
                group.write("cpu.weight", WEIGHT_V2)?;
                group.write("cpu.max", &format!("{quota:.0} {PERIOD}"))?;
            }
        }
        Ok(group)
    }

    /// The file into which a process writes its id to join.
    pub(super) fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        let path = self.path.join(file);
        fs::write(&path, value).map_err(|source| at(path, source))
    }
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        // Its only process was awaited before; nobody is told of a group that stays behind but the next run, by its name.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The mount of the CPU controller in `/proc/self/mountinfo` (proc(5)): version 1 wherever it is mounted, because a controller
/// belongs to one hierarchy at a time; else version 2.
fn find(mountinfo: &str) -> Option<Controller> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (mut after, point) = (after.split(' '), before.split(' ').nth(4)?);
        let (kind, options) = (after.next()?, after.nth(1)?);
        match kind {
            "cgroup" if options.split(',').any(|option| option == "cpu") => {
                Some(Controller::V1(point.into()))
            }
            "cgroup2" => Some(Controller::V2(point.into())),
            _ => None,
        }
    });
    // Version 1 sorts first.
    mounts.min_by_key(|controller| matches!(controller, Controller::V2(_)))
}

fn at(path: impl AsRef<Path>, source: io::Error) -> CgroupError {
    CgroupError::Io {
        path: path.as_ref().to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_controller_is_found_in_both_versions() {
        let tmpfs = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755";
        let joint =
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let cpuset = "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset";
        let unified = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let hybrid = [tmpfs, unified, cpuset, joint].join("\n");
        assert_eq!(
            find(&hybrid),
            Some(Controller::V1("/sys/fs/cgroup/cpu,cpuacct".into()))
        );
        let only_unified = "26 23 0:24 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(find(only_unified), Some(Controller::V2("/sys/fs/cgroup".into())));
        assert_eq!(find(&[tmpfs, cpuset].join("\n")), None);
    }

    #[test]
    fn an_impossible_limit_is_refused() {
        for vcpu in [0.0, -1.0, 0.001, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(CpuQuota::create(vcpu), Err(CgroupError::Limit(_))),
                "{vcpu}"
            );
        }
    }
}
