//! What the gateway routes by, as plain values.
//!
//! A [`Snapshot`] holds every group that is active, with its members and its replicas' addresses. Where snapshots come from is not known past
//! this module: [`kubernetes`] makes them from InferenceGroups and EndpointSlices, a test makes them by hand, and either hands them over through a
//! watch channel. [`routes`] finds the application that a request is for.

pub mod kubernetes;
mod read;
mod routes;

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use crate::protocol::Wire;

pub use routes::{RouteError, Routes, Target};

/// Snapshots as they come; `None` until the first one is complete.
pub type ConfigSource = watch::Receiver<Option<Arc<Snapshot>>>;

/// Names a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

impl Key {
    /// Of a namespace and a name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// A namespace and a name, so that a map by [`Key`] can be asked without making one.
pub trait Named {
    /// Both.
    fn names(&self) -> (&str, &str);
}

impl Named for Key {
    fn names(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Named for (&str, &str) {
    fn names(&self) -> (&str, &str) {
        *self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for dyn Named + '_ {}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As a key derives it of its fields.
        self.names().hash(state);
    }
}

impl<'a> Borrow<dyn Named + 'a> for Key {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that the gateway knows of the cluster at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The groups that are active, by name.
    pub groups: BTreeMap<Key, Arc<GroupConfig>>,
    /// Applications that are planned into a group, with the name of their Service: those that no active group lists are not served yet. One whose
    /// Service is renamed may be there with both names, each from another group.
    pub planned: BTreeSet<(Key, Arc<str>)>,
}

/// One active group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Its name.
    pub key: Key,
    /// Number of the plan that is active.
    pub plan_generation: i64,
    /// Rows in a full batch; at least 1.
    pub batch_size: u32,
    /// The applications that it serves; at least one.
    pub members: Vec<Arc<MemberConfig>>,
    /// Name of the InferenceModel.
    pub model: Arc<str>,
    /// Name of the model in the runtime's paths.
    pub runtime_model: Arc<str>,
    /// Whether the runtime may be asked the same thing twice.
    pub idempotent: bool,
    /// What the runtime speaks.
    pub wire: Wire,
    /// Replicas that are ready.
    pub endpoints: Vec<SocketAddr>,
    /// Takes one batch while no replica is ready.
    pub wake: Option<Wake>,
}

/// One application of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConfig {
    /// Name of the InferenceApp; its namespace is the group's.
    pub app: Arc<str>,
    /// Name of the Service that its callers use.
    pub service_name: Arc<str>,
    /// Latency SLO.
    pub slo: Duration,
    /// Time after which a request is answered 504.
    pub timeout: Duration,
    /// How long its requests may wait for a batch; 0 is Eager.
    pub max_wait: Duration,
    /// What is let in of its requests; without it everything.
    pub contract: Option<Contract>,
    /// The group's spec no longer lists it: of two groups of one plan generation the other has it.
    pub departing: bool,
}

/// What an application may send: a leaky bucket of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contract {
    /// Rows per second that it leaks.
    pub rate: f64,
    /// Rows in it up to which a request is served on a par with others'.
    pub burst: f64,
    /// Rows in it up to which a request is let in at all; at least `burst`.
    pub most: f64,
    /// Whether what comes beyond that is served behind others' instead of refused.
    pub best_effort: bool,
}

impl Eq for Contract {}

/// An address that starts a replica when it is called: plain HTTP to `authority`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wake {
    /// Host and port, also the Host header.
    pub authority: Arc<str>,
}

impl Wake {
    /// Of an `http` URL; `None` if it is not one.
    pub fn from_url(url: &str) -> Option<Self> {
        let url: http::Uri = url.parse().ok()?;
        let authority = url
            .authority()
            .filter(|_| url.scheme() == Some(&http::uri::Scheme::HTTP))?;
        Some(Self {
            authority: authority.as_str().into(),
        })
    }

    /// Host and port to connect to.
    pub fn address(&self) -> (&str, u16) {
        let (host, port) = self.authority.rsplit_once(':').unwrap_or((&self.authority, ""));
        port.parse().map_or((&self.authority, 80), |port| (host, port))
    }
}
