//! What the gateways say: which groups they route by, what they still hold of them, and what they measured.
//!
//! Every ready endpoint of the gateway's Service is asked on its port `admin`. A group is taken away from under callers only
//! with the word of all of them, so an answer that is missing is an error here and never read as "holds nothing".

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::Store;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The name of the gateway Service's port that answers the controller.
const ADMIN_PORT: &str = "admin";
/// How long one gateway may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes: 10,000 applications with 200 buckets each stay below it.
const BODY_LIMIT: usize = 64 << 20;

/// Why the gateways' word could not be had.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// No gateway is ready, so nobody can confirm anything.
    #[error("no gateway is ready")]
    NoGateway,
    /// A gateway that is shutting down may still hold rows.
    #[error("gateway {0} is draining")]
    Draining(String),
    /// A gateway that is ready did not answer.
    #[error("gateway {address}: {reason}")]
    Unanswered {
        /// Where it was asked.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
}

/// Answer of `GET /acknowledged` of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Acknowledged {
    /// Every group that it routes by or still holds rows of.
    pub(crate) groups: Vec<AcknowledgedGroup>,
}

/// One group as one gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AcknowledgedGroup {
    /// Namespace of the InferenceGroup.
    pub(crate) namespace: String,
    /// Name of the InferenceGroup.
    pub(crate) name: String,
    /// The `planGeneration` of the `status.active` that it applied last.
    pub(crate) plan_generation: i64,
    /// The applications that it routes to this group now.
    pub(crate) apps: Vec<String>,
    /// Rows that wait for a batch.
    pub(crate) queued_rows: u64,
    /// Batches sent and not yet answered.
    pub(crate) in_flight_batches: u64,
}

/// Answer of `GET /observed` of one gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Observed {
    /// One entry an application.
    pub(crate) apps: Vec<ObservedApp>,
    /// One entry a group that had batches lately; none of a gateway that does not say.
    #[serde(default)]
    pub(crate) groups: Vec<ObservedGroup>,
}

/// What one gateway saw of the batches of one group in the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedGroup {
    /// Namespace of the InferenceGroup.
    pub(crate) namespace: String,
    /// Name of the InferenceGroup.
    pub(crate) group: String,
    /// How long ago the first of these batches was over, in seconds; none where the gateway does not say.
    pub(crate) began_seconds_ago: Option<f64>,
    /// The last one.
    pub(crate) ended_seconds_ago: Option<f64>,
    /// By rows.
    pub(crate) batches: Vec<ObservedBatches>,
}

/// Batches of so many rows; times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedBatches {
    /// Rows.
    pub(crate) rows: u32,
    /// Batches that were answered at the first attempt.
    pub(crate) count: u64,
    /// Their mean time at a replica.
    pub(crate) mean: f64,
    /// Its variance among them.
    pub(crate) variance: f64,
    /// Pairs of upper bound and count, not cumulative; a time is known to a sixteenth.
    pub(crate) buckets: Vec<(u64, u64)>,
    /// The same of batches that nobody waited for any more, by how long they had been with a replica then.
    pub(crate) overdue: Vec<(u64, u64)>,
}

/// What one gateway counted for one application in its sliding window.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedApp {
    /// Namespace of the InferenceApp.
    pub(crate) namespace: String,
    /// Name of the InferenceApp.
    pub(crate) app: String,
    /// The part of the window that this gateway has seen, in seconds.
    pub(crate) span_seconds: f64,
    /// Rows that arrived.
    pub(crate) rows: u64,
    /// Requests that were let in.
    pub(crate) admitted: u64,
    /// Requests answered 2xx within the SLO.
    pub(crate) within_slo: u64,
    /// Requests answered 2xx after the SLO.
    pub(crate) late: u64,
    /// Requests answered 5xx.
    pub(crate) failed: u64,
    /// Requests refused with 429.
    pub(crate) refused: u64,
    /// Requests whose caller left before its SLO.
    pub(crate) left: u64,
    /// What arrived since the gateway began to count; none where the gateway does not say.
    pub(crate) arrived: Option<Arrived>,
    /// The sum of the squares of the rows in each window of so many seconds; empty where the gateway does not say.
    pub(crate) dispersion: Vec<(u64, u64)>,
    /// Latencies of the answered requests.
    pub(crate) latency: Histogram,
}

/// A total that only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Arrived {
    /// Requests.
    pub(crate) requests: u64,
    /// Their rows.
    pub(crate) rows: u64,
}

/// Counts by upper bound in microseconds; bounds are the same in every gateway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Histogram {
    /// Pairs of upper bound and count, not cumulative.
    pub(crate) buckets: Vec<(u64, u64)>,
}

/// The gateways of this installation.
pub(crate) struct Gateways {
    slices: Store<EndpointSlice>,
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl Gateways {
    /// `slices` are those of the gateway's Service, kept current by a watch.
    pub(crate) fn new(slices: Store<EndpointSlice>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_LIMIT));
        Self {
            slices,
            http: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// What every ready gateway routes by and holds; an error unless all of them answered.
    pub(crate) async fn acknowledged(&self) -> Result<Vec<Acknowledged>, Error> {
        let endpoints = endpoints(self.slices.state().iter().map(|slice| &**slice));
        if let Some(name) = endpoints.draining.first() {
            return Err(Error::Draining(name.clone()));
        }
        if endpoints.ready.is_empty() {
            return Err(Error::NoGateway);
        }
        try_join_all(
            endpoints
                .ready
                .iter()
                .map(|address| self.get(*address, "/acknowledged")),
        )
        .await
    }

    /// What every ready gateway measured.
    pub(crate) async fn observed(&self) -> Result<Vec<(SocketAddr, Observed)>, Error> {
        let endpoints = endpoints(self.slices.state().iter().map(|slice| &**slice));
        try_join_all(
            endpoints
                .ready
                .iter()
                .map(async |address| Ok((*address, self.get(*address, "/observed").await?))),
        )
        .await
    }

    async fn get<T: DeserializeOwned>(&self, address: SocketAddr, path: &str) -> Result<T, Error> {
        let unanswered = |reason: String| Error::Unanswered { address, reason };
        let uri = format!("http://{address}{path}")
            .parse()
            .map_err(|error| unanswered(format!("address: {error}")))?;
        let body = tokio::time::timeout(ANSWER_LIMIT, async {
            let response = self
                .http
                .get(uri)
                .await
                .map_err(|error| unanswered(error.to_string()))?;
            if !response.status().is_success() {
                return Err(unanswered(format!("{path} answered {}", response.status())));
            }
            let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
            Ok(body.map_err(|error| unanswered(error.to_string()))?.to_bytes())
        })
        .await
        .map_err(|_| unanswered(format!("no answer to {path} within {} s", ANSWER_LIMIT.as_secs())))??;
        serde_json::from_slice(&body).map_err(|error| unanswered(format!("{path}: {error}")))
    }
}

/// The gateway's endpoints as its EndpointSlices list them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Endpoints {
    /// Ready and not terminating.
    ready: Vec<SocketAddr>,
    /// Names of pods that are shutting down and may still hold rows.
    draining: Vec<String>,
}

fn endpoints<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Endpoints {
    let mut found = Endpoints::default();
    for slice in slices {
        let port = slice
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(ADMIN_PORT))
            .and_then(|port| port.port.and_then(|port| u16::try_from(port).ok()));
        let Some(port) = port else { continue };
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let Some(address) = endpoint.addresses.first() else {
                continue;
            };
            if conditions.terminating == Some(true) {
                let pod = endpoint
                    .target_ref
                    .as_ref()
                    .and_then(|target| target.name.clone());
                found.draining.push(pod.unwrap_or_else(|| address.clone()));
            } else if conditions.ready != Some(false)
                && let Ok(address) = address.parse::<IpAddr>()
            {
                found.ready.push(SocketAddr::new(address, port));
            }
        }
    }
    found.ready.sort_unstable();
    found.ready.dedup();
    found.draining.sort_unstable();
    found
}
