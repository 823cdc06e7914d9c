//! The node's own network, mounts and processes, and the cable that leads to them.
//!
//! Everything that the node changes (addresses, firewall, mounts, sockets below `/run`) it changes for itself. The machine gets one link
//! and three routes.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::layout::{Layout, MACHINE_LINK, NODE_ADDRESS, NODE_BRIDGE, NODE_LINK, POD_RANGE, SERVICE_RANGE};
use crate::cache::CACHE_VARIABLE;
use crate::command;
use crate::wait;

/// Processes have the machine's `PATH` plus what only root's has.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the two ends of the cable wait for each other.
const CABLE_LIMIT: Duration = Duration::from_secs(20);

/// The process that holds the namespaces (`unshare`), and PID 1 inside them; ids as the machine sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outer {
    pub(super) pid: u32,
    pub(super) first_inside: u32,
}

/// Starts `node-init` in namespaces of its own. It outlives whoever starts it.
pub(super) fn enter(layout: &Layout) -> Result<Outer> {
    let log = File::create(layout.log("node")).context("cannot make the node's log")?;
    let mut outer = Command::new("setsid");
    outer
        .args([
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child=SIGKILL",
            "--propagation",
            "private",
        ])
        .arg(layout.harness())
        .arg("node-init")
        .arg(layout.root())
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = outer.spawn().context("cannot start unshare")?;
    let pid = child.id();
    let first_inside = wait::until("the first process of the node", CABLE_LIMIT, || {
        if let Some(status) = child.try_wait()? {
            bail!(
                "the node ended with {status}; {}",
                command::end_of_log(&layout.log("node"))
            );
        }
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Ok(children
            .split_whitespace()
            .next()
            .and_then(|child| child.parse().ok()))
    })?;
    Ok(Outer { pid, first_inside })
}

/// Links, routes and the pods' control group exist once on a machine, and so does a cluster.
pub(super) fn check_alone() -> Result<()> {
    let link = MACHINE_LINK.0;
    if is_link(link) {
        bail!(
            "another local cluster runs on this machine (there is a link {link}), and there is room for one only: \
             take it down first, with the {CACHE_VARIABLE} that it was brought up with"
        );
    }
    Ok(())
}

/// Lays the cable from the machine to the node, and the routes that lead through it.
pub(super) fn connect(outer: Outer) -> Result<()> {
    let (link, address) = MACHINE_LINK;
    let (peer, gateway) = NODE_LINK;
    ip(&format!(
        "link add {link} type veth peer name {peer} netns {}",
        outer.first_inside
    ))?;
    ip(&format!("address add {address}/30 dev {link}"))?;
    ip(&format!("link set {link} up"))?;
    for destination in [&format!("{NODE_ADDRESS}/32"), SERVICE_RANGE, POD_RANGE] {
        ip(&format!("route add {destination} via {gateway} dev {link}"))?;
    }
    Ok(())
}

/// Takes the cable away; its routes go with it.
pub(super) fn disconnect() -> Result<()> {
    let link = MACHINE_LINK.0;
    if is_link(link) {
        // The node's end may be vanishing with its namespace at this very moment, and this end with it.
        if let Err(error) = ip(&format!("link delete {link}"))
            && is_link(link)
        {
            return Err(error);
        }
    }
    Ok(())
}

fn is_link(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Inside: file systems first, then the network.
pub(super) fn prepare_inside() -> Result<()> {
    mount_inside()?;
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/bridge/bridge-nf-call-iptables", "1"),
    ] {
        let file = Path::new("/proc/sys").join(setting);
        std::fs::write(&file, value).with_context(|| {
            format!(
                "cannot set {} (is the kernel's br_netfilter there?)",
                file.display()
            )
        })?;
    }
    ip("link set lo up")?;
    ip(&format!("link add {NODE_BRIDGE} type bridge"))?;
    ip(&format!("address add {NODE_ADDRESS}/32 dev {NODE_BRIDGE}"))?;
    ip(&format!("link set {NODE_BRIDGE} up"))?;
    // Processes of the node reach Services from the node's address, before kube-proxy turns them to a pod.
    ip(&format!(
        "route replace {SERVICE_RANGE} dev {NODE_BRIDGE} src {NODE_ADDRESS}"
    ))?;
    let (link, address) = NODE_LINK;
    wait::until("the cable from the machine", CABLE_LIMIT, || {
        Ok(is_link(link).then_some(()))
    })?;
    ip(&format!("address add {address}/30 dev {link}"))?;
    ip(&format!("link set {link} up"))
}

/// Private places for what programs put at fixed paths: `/run` (shims, network namespaces, the lock of xtables), `/var/log` and `/var/lib`
/// (kubelet's links to logs and sockets of device plugins). A fresh `/sys` shows the node's links; the machine's control groups stay.
fn mount_inside() -> Result<()> {
    const GROUPS: &str = "/sys/fs/cgroup";
    const ASIDE: &str = "/run/control-groups";
    mount(&["-t", "tmpfs", "tmpfs", "/run"])?;
    std::fs::create_dir(ASIDE).with_context(|| format!("cannot make {ASIDE}"))?;
    mount(&["--rbind", GROUPS, ASIDE])?;
    mount(&["-t", "sysfs", "sysfs", "/sys"])?;
    mount(&["--rbind", ASIDE, GROUPS])?;
    // runc must not take the copy for the real place.
    command::run(
        "umount",
        Command::new("umount").args(["--recursive", "--lazy", ASIDE]),
    )?;
    mount(&["-t", "tmpfs", "tmpfs", "/var/log"])?;
    mount(&["-t", "tmpfs", "tmpfs", "/var/lib"])
}

fn mount(arguments: &[&str]) -> Result<()> {
    command::run("mount", Command::new("mount").args(arguments)).map(drop)
}

fn ip(arguments: &str) -> Result<()> {
    command::run("ip", Command::new("ip").args(arguments.split_whitespace())).map(drop)
}
