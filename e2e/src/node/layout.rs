//! The node's addresses and the places of its files.

use std::path::{Path, PathBuf};

use crate::cache::Cache;

/// The node, inside its namespaces.
pub(crate) const NODE_ADDRESS: &str = "10.89.0.1";
/// The node's name in the cluster.
pub(crate) const NODE_NAME: &str = "harmonybatch";
/// Addresses of pods.
pub(crate) const POD_RANGE: &str = "10.88.0.0/24";
/// Addresses of Services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's own Service: the first address of the range.
pub(crate) const API_SERVICE_ADDRESS: &str = "10.96.0.1";
/// The Service of CoreDNS.
pub(crate) const DNS_ADDRESS: &str = "10.96.0.10";
/// Suffix of every name in the cluster.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// The machine's end of the cable between machine and node, and the node's end.
pub(crate) const MACHINE_LINK: (&str, &str) = ("hb-machine", "10.90.0.1");
/// See [`MACHINE_LINK`].
pub(crate) const NODE_LINK: (&str, &str) = ("hb-node", "10.90.0.2");
/// The bridge without ports that carries [`NODE_ADDRESS`].
pub(crate) const NODE_BRIDGE: &str = "hb-address";

/// Where a cluster keeps its files.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The local cluster's place in the cache.
    pub fn of(cache: &Cache) -> Self {
        Self::at(&cache.cluster())
    }

    /// A cluster's place.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Everything below belongs to the cluster.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder `name`, which belongs to one component or one purpose.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A file of the folder of certificates.
    pub fn certificate(&self, file: &str) -> PathBuf {
        self.folder("certificates").join(file)
    }

    /// A component's configuration.
    pub fn configuration(&self, file: &str) -> PathBuf {
        self.folder("configuration").join(file)
    }

    /// The kubeconfig of one client of the API server.
    pub fn kubeconfig(&self, client: &str) -> PathBuf {
        self.folder("kubeconfigs").join(client)
    }

    /// The kubeconfig of a person who may do everything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// What a component writes.
    pub fn log(&self, component: &str) -> PathBuf {
        self.folder("logs").join(format!("{component}.log"))
    }

    /// A copy of the harness: what runs from it is of the newest `up`, whenever Cargo replaces the original.
    pub fn harness(&self) -> PathBuf {
        self.root.join("e2e")
    }

    /// Where PID 1 of the node takes orders.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Where containerd takes orders.
    pub fn containerd_socket(&self) -> PathBuf {
        self.root.join("containerd.sock")
    }

    /// What PID 1 may start.
    pub fn components(&self) -> PathBuf {
        self.configuration("components.json")
    }

    /// The outer process and what must be put back when it ends.
    pub fn record(&self) -> PathBuf {
        self.root.join("record.json")
    }
}
