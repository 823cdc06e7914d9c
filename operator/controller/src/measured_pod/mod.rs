//! Runs a model's pod for as long as a measurement takes, under one CPU limit or several in turn, and deletes it.
//!
//! ```text
//!  build   the pod: the runtime as a group's replica has it, its request equal to its limit
//!    v
//!  [`Host::run`]   create -> wait until Ready ([`state`]) -> reach it ([`reach`]) -> measure -> delete, and wait until it is gone
//!                                                                                     ^    v
//!  [`Running::resize`]                                                      another CPU limit, in place ([`resize`])
//! ```
//!
//! Invariants:
//!
//! - The pod is deleted however the measurement ends: by its result, by an error, or because the caller stops. Where the process itself is killed,
//!   the pod ends by its deadline, and goes with its owner where it has one.
//! - A pod of the same name that runs is somebody else's measurement, and is left alone. One that has ended is a remainder, and is replaced.
//! - `get`, `create` and `delete` on pods are all the rights that it needs, and `patch` on `pods/resize` for another limit: without that, or where a node cannot do it,
//!   it says so, and a caller runs one pod for each limit. The node, which tells the kernel, is asked where that is allowed.
//! - What is measured after a resize is measured under the new limit: it is waited for until the pod's status says that it is in force.

use std::fmt;
use std::time::Duration;

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::quantity::Cpu;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::cluster::{self, call};

mod build;
mod node;
mod reach;
mod resize;
mod state;

pub use build::{Wanted, pod};
pub use node::Machine;
pub use reach::Reach;
pub use resize::Resized;
pub use state::{Failure, Kind, State, image_digest, state};

pub use crate::runtime::Invalid;

/// Between two looks at a pod. It is not watched: whoever measures needs no other right on pods than to get, create and delete those that it runs.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long what holds a pod up may take to pass: a registry that is asked again, a node that is being added.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a pod may take to go, its grace period of a second included.
const GONE_WITHIN: Duration = Duration::from_mins(1);

/// Why a pod could not be measured.
#[derive(Debug, Error)]
pub enum Error {
    /// The model cannot be run so.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The API server did not do what was asked.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Another measurement has the name.
    #[error(
        "pod {0} is there already and runs: another measurement of the model at this limit; wait for its end, or kubectl delete pod {0} if nobody is there any more who does"
    )]
    Taken(String),
    /// It does not run.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It became neither ready nor failed in time.
    #[error(
        "pod {name} is not Ready after {} s: {last}; give it longer, or check runtime.readinessPath and runtime.port",
        within.as_secs()
    )]
    NotReady {
        /// The pod.
        name: String,
        /// How long it had.
        within: Duration,
        /// How far it was.
        last: String,
    },
    /// Somebody else deleted it.
    #[error("pod {0} was deleted by somebody else while it was measured")]
    Gone(String),
    /// No local port for a port-forward.
    #[error("listen on a local port for the way to pod {name}: {source}")]
    Listen {
        /// The pod.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not going away.
    #[error("pod {name} was deleted but is still there after {} s: the next one would share its CPU", GONE_WITHIN.as_secs())]
    Stays {
        /// The pod.
        name: String,
    },
}

/// A pod that answers.
#[derive(Debug)]
pub struct Running {
    way: reach::Way,
    pods: Api<Pod>,
    pod: Pod,
    /// Digest of its image, where the container runtime tells.
    pub image_digest: Option<String>,
    /// Name of its node.
    pub node: Option<String>,
    /// That node, where it may be asked.
    pub machine: Option<Machine>,
}

impl Running {
    /// Where it is asked, as `http://HOST:PORT`, or `grpc://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.way.url
    }

    /// Changes request and limit of its CPU in place, and waits until they are in force: half a minute at most, if the node puts it off.
    pub async fn resize(&self, cpu: Cpu) -> Result<Resized, Error> {
        resize::resize(&self.pods, &self.pod, cpu, resize::WITHIN).await
    }
}

/// Where pods are run.
#[derive(Clone)]
pub struct Host {
    /// Of the cluster.
    pub client: Client,
    /// In which namespace.
    pub namespace: String,
    /// How they are reached.
    pub reach: Reach,
    /// How long one may take until it is Ready.
    pub ready_within: Duration,
}

impl fmt::Debug for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Host")
            .field("namespace", &self.namespace)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Runs the pod, measures it, and deletes it. None if `stop` completed before it was Ready; once it is, `measure` must heed the caller's wish to stop.
    ///
    /// `say` is told where the pod is, and, where `measure` fails, what the pod says of that.
    pub async fn run<T, E: From<Error>>(
        &self,
        wanted: &Wanted<'_>,
        stop: impl Future<Output = ()>,
        say: &mut impl FnMut(&str),
        measure: impl AsyncFnOnce(&Running) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let built = build::pod(wanted).map_err(Error::from)?;
        let port = u16::try_from(wanted.model.spec.runtime.port).unwrap_or_default();
        let scheme = match wanted.model.spec.protocol {
            Protocol::OipV2Grpc => "grpc",
            Protocol::OipV2Json | Protocol::OipV2Binary => "http",
        };
        let server = (scheme, port);
        let pod = self.create(&built).await?;
        let started = tokio::select! {
            biased;
            () = stop => None,
            started = self.start(&pod, server, say) => Some(started),
        };
        let outcome = match started {
            None => Ok(None),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(running)) => measure(&running).await.map(Some),
        };
        if outcome.is_err()
            && let Some(why) = self.explain(&pod).await
        {
            say(&why);
        }
        let deleted = self.delete(&pod).await;
        let outcome = outcome?;
        deleted?;
        Ok(outcome)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates it; what is left of an earlier one goes first.
    async fn create(&self, pod: &Pod) -> Result<Pod, Error> {
        let name = pod.name_any();
        let pods = self.pods();
        let what = || format!("create pod {}/{name}", self.namespace);
        match call(what, pods.create(&PostParams::default(), pod)).await {
            Err(error) if error.code() == Some(409) => {}
            created => return Ok(created?),
        }
        let found = call(
            || format!("get pod {}/{name}", self.namespace),
            pods.get_opt(&name),
        )
        .await?;
        if let Some(found) = found {
            if !matches!(state(&found), State::Over(_)) && found.metadata.deletion_timestamp.is_none() {
                return Err(Error::Taken(name));
            }
            self.delete(&found).await?;
        }
        Ok(call(what, pods.create(&PostParams::default(), pod)).await?)
    }

    /// Waits until it is Ready, and opens the way to it.
    async fn start(
        &self,
        pod: &Pod,
        server: (&str, u16),
        say: &mut impl FnMut(&str),
    ) -> Result<Running, Error> {
        let name = pod.name_any();
        let pods = self.pods();
        let begun = Instant::now();
        let mut held_up_since: Option<Instant> = None;
        let mut last = String::new();
        loop {
            let look = call(
                || format!("get pod {}/{name}", self.namespace),
                pods.get_opt(&name),
            )
            .await;
            let now = match look {
                Ok(Some(seen)) if seen.uid() == pod.uid() => match state(&seen) {
                    State::Ready(address) => return self.reached(&seen, &address, server).await,
                    State::Over(failure) => return Err(failure.into()),
                    State::HeldUp(failure) => {
                        if held_up_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                            return Err(failure.into());
                        }
                        failure.to_string()
                    }
                    State::Starting(told) => {
                        held_up_since = None;
                        told.to_owned()
                    }
                },
                Ok(_) => return Err(Error::Gone(name)),
                Err(error) if error.is_refusal() => return Err(error.into()),
                // The API server may be busy: the pod's own time is the bound.
                Err(error) => error.to_string(),
            };
            if now != last {
                say(&format!("pod {name}: {now}"));
                last = now;
            }
            if begun.elapsed() >= self.ready_within {
                return Err(Error::NotReady {
                    name,
                    within: self.ready_within,
                    last,
                });
            }
            // Without a watch nothing tells of a change: it is looked at, for `ready_within` at most.
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn reached(&self, pod: &Pod, address: &str, server: (&str, u16)) -> Result<Running, Error> {
        let name = pod.name_any();
        let way = reach::open(self.reach, &self.pods(), &name, address, server).await;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        Ok(Running {
            pods: self.pods(),
            pod: pod.clone(),
            way: way.map_err(|source| Error::Listen { name, source })?,
            image_digest: image_digest(pod),
            machine: self.machine(node.as_deref()).await,
            node,
        })
    }

    /// The node, for whoever may read it: what it is belongs to a profile, but no measurement fails for it.
    async fn machine(&self, node: Option<&str>) -> Option<Machine> {
        let name = node?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = call(|| format!("get node {name}"), nodes.get_opt(name)).await;
        Some(Machine::of(&node.ok()??))
    }

    /// What a pod whose measurement failed says of it.
    async fn explain(&self, pod: &Pod) -> Option<String> {
        let name = pod.name_any();
        let seen = call(|| format!("get pod {name}"), self.pods().get_opt(&name)).await;
        match seen.ok()? {
            None => Some(Error::Gone(name).to_string()),
            Some(seen) => match state(&seen) {
                State::Over(failure) => Some(failure.to_string()),
                _ => None,
            },
        }
    }

    /// Deletes this very pod and waits until it is gone, for until then it has its CPU.
    async fn delete(&self, pod: &Pod) -> Result<(), Error> {
        let name = pod.name_any();
        let pods = self.pods();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match call(
            || format!("delete pod {}/{name}", self.namespace),
            pods.delete(&name, &params),
        )
        .await
        {
            Err(error) if matches!(error.code(), Some(404 | 409)) => return Ok(()),
            deleted => drop(deleted?),
        }
        let begun = Instant::now();
        while begun.elapsed() < GONE_WITHIN {
            let seen = call(
                || format!("get pod {}/{name}", self.namespace),
                pods.get_opt(&name),
            )
            .await;
            match seen {
                Ok(Some(seen)) if seen.uid() == pod.uid() => {}
                Ok(_) => return Ok(()),
                Err(error) if error.is_refusal() => return Err(error.into()),
                Err(_) => {}
            }
            // Without a watch nothing tells that it is gone: it is looked at, for GONE_WITHIN at most.
            sleep(LOOK_AGAIN).await;
        }
        Err(Error::Stays { name })
    }
}

#[cfg(test)]
mod tests;
