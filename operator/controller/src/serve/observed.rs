//! What the API server says of a group's objects: whether the pods that its spec asks for are ready, and where.

use harmonybatch_api::inference_group::{Endpoints, ServingObject};
use harmonybatch_api::names;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde::Deserialize;

use crate::serve::active::Reached;
use crate::serve::resources::{Applied, Resources};

/// Knative's label on every pod of a Revision.
const REVISION_LABEL: &str = "serving.knative.dev/revision";

/// The state of what runs a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Set once the pods of the current spec are ready, all of them.
    pub(crate) reached: Option<Reached>,
    /// Pods that are ready, of whatever spec.
    pub(crate) ready_replicas: i32,
    /// The object that runs them.
    pub(crate) object: Option<ServingObject>,
    /// What the object itself says stands in the way: reason and message.
    pub(crate) complaint: Option<(String, String)>,
}

/// Reads the applied objects; `pods` are all of the group's.
pub(crate) fn observe(applied: &Resources<Applied>, replicas: i32, pods: &[&Pod]) -> Observed {
    match (&applied.deployment, &applied.knative_service) {
        (Some(deployment), _) => observe_deployment(deployment, replicas),
        (None, Some(service)) => observe_knative(service, replicas, pods),
        (None, None) => Observed {
            reached: None,
            ready_replicas: 0,
            object: None,
            complaint: None,
        },
    }
}

fn observe_deployment(deployment: &Deployment, replicas: i32) -> Observed {
    let status = deployment.status.clone().unwrap_or_default();
    let current =
        status.observed_generation.is_some() && status.observed_generation >= deployment.metadata.generation;
    let ready = status.ready_replicas.unwrap_or(0);
    // Pods of the former template count as ready, too: all of the current one must be there, and nobody unavailable.
    let complete = status.updated_replicas.unwrap_or(0) >= replicas
        && ready >= replicas
        && status.unavailable_replicas.unwrap_or(0) == 0;
    let name = deployment.name_any();
    let failure = status.conditions.iter().flatten().find(|condition| {
        (condition.type_ == "ReplicaFailure" && condition.status == "True")
            || (condition.type_ == "Progressing" && condition.status == "False")
    });
    Observed {
        reached: (current && complete).then(|| Reached {
            endpoints: Endpoints {
                service: name.clone(),
                port: names::RUNTIME_PORT.to_owned(),
            },
            wake_url: None,
        }),
        ready_replicas: ready,
        object: Some(ServingObject {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name,
        }),
        complaint: failure.filter(|_| current).map(|condition| {
            let reason = condition
                .reason
                .clone()
                .unwrap_or_else(|| condition.type_.clone());
            (reason, condition.message.clone().unwrap_or_default())
        }),
    }
}

/// What we read of a Knative Service's status.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KnativeStatus {
    observed_generation: Option<i64>,
    conditions: Vec<KnativeCondition>,
    latest_created_revision_name: Option<String>,
    latest_ready_revision_name: Option<String>,
    address: Option<KnativeAddress>,
}

#[derive(Debug, Deserialize)]
struct KnativeCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct KnativeAddress {
    url: Option<String>,
}

fn observe_knative(service: &DynamicObject, replicas: i32, pods: &[&Pod]) -> Observed {
    let status: KnativeStatus = service
        .data
        .get("status")
        .and_then(|status| KnativeStatus::deserialize(status).ok())
        .unwrap_or_default();
    let current =
        status.observed_generation.is_some() && status.observed_generation >= service.metadata.generation;
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    let revision = status
        .latest_ready_revision_name
        .filter(|revision| !revision.is_empty());
    let settled = revision.is_some() && revision == status.latest_created_revision_name;
    // Knative goes on saying Ready when pods are lost later.
    let of_revision = |pod: &&&Pod| pod.labels().get(REVISION_LABEL) == revision.as_ref();
    let ready_replicas = pods
        .iter()
        .filter(of_revision)
        .filter(|pod| is_ready(pod))
        .count();
    let ready_replicas = i32::try_from(ready_replicas).unwrap_or(i32::MAX);
    let reached = revision.as_ref().filter(|_| {
        current && settled && ready.is_some_and(|it| it.status == "True") && ready_replicas >= replicas
    });
    Observed {
        reached: reached.map(|revision| Reached {
            // Its EndpointSlices list the pods themselves, at queue-proxy's port; the public Service may lead to the activator.
            endpoints: Endpoints {
                service: format!("{revision}-private"),
                port: names::RUNTIME_PORT.to_owned(),
            },
            wake_url: status.address.and_then(|address| address.url),
        }),
        ready_replicas,
        object: Some(ServingObject {
            api_version: "serving.knative.dev/v1".to_owned(),
            kind: "Service".to_owned(),
            name: service.name_any(),
        }),
        complaint: ready.filter(|it| current && it.status == "False").map(|it| {
            let reason = it.reason.clone().unwrap_or_else(|| "KnativeNotReady".to_owned());
            (reason, it.message.clone().unwrap_or_default())
        }),
    }
}

fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
