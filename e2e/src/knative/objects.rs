//! Knative's kinds, as far as the stand-in reads and writes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A Knative Service: a template of Revisions, and where its traffic goes.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "serving.knative.dev",
    version = "v1",
    kind = "Service",
    plural = "services",
    namespaced,
    status = "ServiceStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    pub(super) template: RevisionTemplate,
}

/// What every Revision is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RevisionTemplate {
    #[serde(default)]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: RevisionSpec,
}

/// One immutable version of a Service.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "serving.knative.dev",
    version = "v1",
    kind = "Revision",
    plural = "revisions",
    namespaced,
    status = "RevisionStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) container_concurrency: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timeout_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response_start_timeout_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idle_timeout_seconds: Option<i64>,
    #[serde(flatten)]
    pub(super) pod: PodSpec,
}

/// What Knative says of a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
    #[serde(default)]
    pub(super) conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latest_created_revision_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latest_ready_revision_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Address>,
    #[serde(default)]
    pub(super) traffic: Vec<Traffic>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// Where a Service answers inside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) url: String,
}

/// Which Revision gets how much of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Traffic {
    pub(super) latest_revision: bool,
    pub(super) percent: i64,
    pub(super) revision_name: String,
}

/// What Knative says of a Revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
    #[serde(default)]
    pub(super) conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actual_replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) desired_replicas: Option<i32>,
}

/// Knative's own conditions: reason and message are absent where all is well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_transition_time: Option<Time>,
}

/// The condition of a type.
pub(super) fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

impl Revision {
    /// Whether it has become ready; a Revision that did stays so.
    pub(super) fn is_ready(&self) -> bool {
        self.status
            .as_ref()
            .and_then(|status| condition(&status.conditions, "Ready"))
            .is_some_and(|ready| ready.status == "True")
    }

    /// The number at the end of its name.
    pub(super) fn number(&self) -> u32 {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        name.rsplit_once('-')
            .and_then(|(_, number)| number.parse().ok())
            .unwrap_or_default()
    }
}
