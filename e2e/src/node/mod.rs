//! A real Kubernetes node and control plane on this machine, in namespaces of its own.
//!
//! The machine side starts one process, `unshare`, whose child is PID 1 of the node ([`init`]). Over a socket it is told which
//! [`component`] to start, in the order of [`Node::start`]. Ending the outer process ends everything, and [`Node::remove`] then puts the
//! machine back as it was.

mod component;
mod configuration;
mod control;
mod identity;
pub mod init;
pub(crate) mod layout;
pub(crate) mod machine;
mod namespaces;
mod record;
mod startup;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::command;
use crate::image::Archive;
use crate::parts::{self, Parts};

pub use component::NAMES as COMPONENTS;
pub use control::State;
pub use layout::Layout;

use control::Order;
use record::Record;

/// The local cluster's node.
#[derive(Debug, Clone)]
pub struct Node {
    layout: Layout,
    kubectl: PathBuf,
}

impl Node {
    /// The node of this cache, whether it runs or not.
    pub fn of(cache: &Cache, parts: &Parts) -> Self {
        Self {
            layout: Layout::of(cache),
            kubectl: parts.program(&parts::KUBERNETES, "kubectl"),
        }
    }

    /// The cluster's files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether its outer process is alive.
    pub fn is_running(&self) -> bool {
        Record::read(&self.layout)
            .ok()
            .flatten()
            .is_some_and(|record| record.is_alive(&self.layout))
    }

    /// Every component that was started, as PID 1 of the node sees it.
    ///
    /// # Errors
    /// Where the node does not answer.
    pub fn states(&self) -> Result<Vec<State>> {
        control::order(&self.layout.control_socket(), &Order::Report)
    }

    /// Starts a component (one of [`COMPONENTS`]); nothing happens if it runs.
    ///
    /// # Errors
    /// Where there is no such component or it cannot be started.
    pub fn start_component(&self, name: &str) -> Result<()> {
        self.order(&Order::Start(name.to_owned()))
    }

    /// Ends a component as a shutdown would, and waits until it is gone.
    ///
    /// # Errors
    /// Where it cannot be ended.
    pub fn stop_component(&self, name: &str) -> Result<()> {
        self.order(&Order::Stop(name.to_owned()))
    }

    /// Ends a component as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// Where it cannot be ended.
    pub fn crash_component(&self, name: &str) -> Result<()> {
        self.order(&Order::Crash(name.to_owned()))
    }

    fn order(&self, order: &Order) -> Result<()> {
        control::order(&self.layout.control_socket(), order).map(drop)
    }

    /// What a component has written so far.
    ///
    /// # Errors
    /// Where it has no log.
    pub fn log(&self, component: &str) -> Result<String> {
        let file = self.layout.log(component);
        let bytes =
            std::fs::read(&file).with_context(|| format!("{component} has no log at {}", file.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs kubectl as the cluster's administrator and returns what it prints.
    ///
    /// # Errors
    /// Kubectl's own words.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl
            .arg("--kubeconfig")
            .arg(self.layout.admin_kubeconfig())
            .args(arguments);
        command::run("kubectl", &mut kubectl)
    }

    /// Brings an image into the node's store under all its names; an existing name moves to the new content. What came in last under the
    /// image's name is noted, since containerd takes seconds to find out that it has everything.
    ///
    /// # Errors
    /// containerd's.
    pub fn import(&self, archive: &Archive) -> Result<()> {
        let note = self
            .layout
            .folder("imported")
            .join(archive.repository.replace('/', "_"));
        if std::fs::read_to_string(&note).is_ok_and(|tag| tag == archive.tag) {
            return Ok(());
        }
        let ctr = crate::requirements::find("ctr").context("no ctr on this machine")?;
        let mut import = Command::new(ctr);
        import
            .arg("--address")
            .arg(self.layout.containerd_socket())
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(&archive.file);
        command::run("containerd", &mut import)
            .with_context(|| format!("cannot import {}", archive.name()))?;
        std::fs::create_dir_all(self.layout.folder("imported")).context("cannot note what was imported")?;
        std::fs::write(&note, &archive.tag).with_context(|| format!("cannot write {}", note.display()))
    }

    /// Ends the node and removes all that it made, on the machine and in the cache. Says whether there was anything.
    ///
    /// # Errors
    /// Name what could not be removed.
    pub fn remove(layout: &Layout) -> Result<bool> {
        let record = Record::read(layout)?;
        if let Some(record) = &record {
            // Of a node that ended long ago nothing but control groups can be left; the link may then be another cluster's.
            let was_running = record.is_alive(layout);
            record.end(layout)?;
            if was_running || namespaces::check_alone().is_ok() {
                namespaces::disconnect()?;
                machine::remove_pod_groups()?;
                machine::restore(&record.settings)?;
            }
        }
        if !layout.root().exists() {
            return Ok(false);
        }
        remove_folder(layout.root())?;
        Ok(true)
    }
}

/// Only ever a cluster's folder: it must look like one.
fn remove_folder(folder: &Path) -> Result<()> {
    if folder.file_name() != Some("cluster".as_ref()) {
        bail!("{} is no cluster's folder", folder.display());
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
