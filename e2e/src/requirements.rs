//! What the local cluster needs from the machine: Debian packages, a Go toolchain, root; and what the tests need beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// A Debian package and the programs by which we see that it is there.
struct Package {
    name: &'static str,
    files: &'static [&'static str],
}

/// Where the CNI plugins of the Debian package lie.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// What the cluster runs on.
const CLUSTER: &[Package] = &[
    Package {
        name: "containerd",
        files: &["containerd", "containerd-shim-runc-v2", "ctr"],
    },
    Package {
        name: "runc",
        files: &["runc"],
    },
    Package {
        name: "containernetworking-plugins",
        files: &[
            "/usr/lib/cni/bridge",
            "/usr/lib/cni/host-local",
            "/usr/lib/cni/loopback",
            "/usr/lib/cni/portmap",
        ],
    },
    Package {
        name: "iptables",
        files: &["iptables", "iptables-restore"],
    },
    Package {
        name: "conntrack",
        files: &["conntrack"],
    },
    Package {
        name: "iproute2",
        files: &["ip"],
    },
    Package {
        name: "mount",
        files: &["mount", "umount"],
    },
    Package {
        name: "util-linux",
        files: &["unshare", "setsid"],
    },
];

/// What tests of other packages run, and the fuzzers.
const TESTS: &[Package] = &[
    Package {
        // Opens the page of `harmonybatch plan --report`.
        name: "chromium",
        files: &["chromium"],
    },
    Package {
        // Builds libFuzzer.
        name: "g++",
        files: &["c++"],
    },
    // They run clients and a runtime that others wrote.
    Package {
        name: "python3",
        files: &["python3"],
    },
    Package {
        // Has no program, but makes Debian's Python complete.
        name: "python3-venv",
        files: &["/var/lib/dpkg/info/python3-venv.list"],
    },
];

/// Oldest Go that builds every part (the `go` lines of their recipes).
const OLDEST_GO: (u32, u32) = (1, 26);

/// The Debian packages that the cluster and the tests need, all of them.
pub fn packages() -> Vec<&'static str> {
    let all = CLUSTER.iter().chain(TESTS);
    all.map(|package| package.name).collect()
}

/// Those whose programs are not there.
pub fn missing_packages() -> Vec<&'static str> {
    missing(CLUSTER.iter().chain(TESTS))
}

fn missing(packages: impl Iterator<Item = &'static Package>) -> Vec<&'static str> {
    let absent = |file: &&str| find(file).is_none();
    packages
        .filter(|package| package.files.iter().any(absent))
        .map(|package| package.name)
        .collect()
}

/// Checks everything that the cluster needs.
///
/// # Errors
/// Name the first thing that is missing and how to get it.
pub fn check() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the local cluster needs root: it makes namespaces, mounts and routes. Run the same command with sudo"
        );
    }
    let missing = missing(CLUSTER.iter());
    if !missing.is_empty() {
        bail!(
            "programs are missing on this machine; install them with\n    apt-get install -y --no-install-recommends {}",
            missing.join(" ")
        );
    }
    if !Path::new("/sys/fs/cgroup").is_dir() {
        bail!(
            "no control groups at /sys/fs/cgroup: mount them with\n    mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        );
    }
    check_go()
}

fn check_go() -> Result<()> {
    let advice = format!(
        "the parts of Kubernetes are built with Go {}.{} or newer: see https://go.dev/doc/install",
        OLDEST_GO.0, OLDEST_GO.1
    );
    let said =
        command::run("go", Command::new("go").args(["env", "GOVERSION"])).with_context(|| advice.clone())?;
    match go_version(&said) {
        Some(found) if found >= OLDEST_GO => Ok(()),
        _ => bail!("found {}, but {advice}", said.trim()),
    }
}

/// `go1.26.8` as (1, 26).
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .trim()
        .strip_prefix("go")?
        .split(|other: char| !other.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The full path of a program of `PATH` (and of the folders that only root's has), or of an absolute path that exists.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_by_number() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9") < Some(OLDEST_GO));
        assert_eq!(go_version("devel"), None);
    }

    #[test]
    fn every_package_is_seen_by_a_program() {
        let mut all = CLUSTER.iter().chain(TESTS);
        assert!(all.all(|package| !package.files.is_empty()));
        assert!(packages().contains(&"containerd") && packages().contains(&"chromium"));
        assert!(find("sh").is_some());
        assert!(find("/no/such/program").is_none());
    }
}
