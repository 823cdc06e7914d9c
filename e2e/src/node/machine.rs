//! What a node changes outside its namespaces, and how that is put back: three kernel settings and the control groups of pods.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// The kubelet sets these for the machine.
const SETTINGS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
/// The kubelet puts all pods below this control group.
const PODS_GROUP: &str = "kubepods";
const GROUPS: &str = "/sys/fs/cgroup";
/// Processes of a node that was killed leave their groups within this time.
const GROUPS_LIMIT: Duration = Duration::from_secs(20);

/// The settings as they are now.
pub(super) fn settings() -> Result<BTreeMap<String, String>> {
    let read = |name: &str| {
        let value = std::fs::read_to_string(setting(name))
            .with_context(|| format!("cannot read kernel setting {name}"))?;
        Ok((name.to_owned(), value.trim().to_owned()))
    };
    SETTINGS.into_iter().map(read).collect()
}

/// Puts them back.
pub(super) fn restore(settings: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in settings {
        std::fs::write(setting(name), value)
            .with_context(|| format!("cannot put kernel setting {name} back to {value}"))?;
    }
    Ok(())
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Removes the pods' control groups, of whichever version.
pub(super) fn remove_pod_groups() -> Result<()> {
    for group in pod_groups() {
        wait::until(
            &format!("the processes of {} to end", group.display()),
            GROUPS_LIMIT,
            || Ok(remove(&group).ok()),
        )?;
    }
    Ok(())
}

/// One in version 2; one for each controller in version 1.
pub(crate) fn pod_groups() -> Vec<PathBuf> {
    let controllers = std::fs::read_dir(GROUPS)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let mut groups: Vec<PathBuf> = controllers
        .chain([PathBuf::from(GROUPS)])
        .map(|folder| folder.join(PODS_GROUP))
        .collect();
    groups.retain(|group| group.is_dir());
    // Controllers that are mounted together have a second name each, a link.
    groups.sort_by_key(|group| group.canonicalize().ok());
    groups.dedup_by_key(|group| group.canonicalize().ok());
    groups
}

/// Innermost first; the files of a control group go with its folder.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}
