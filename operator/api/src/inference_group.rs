//! InferenceGroup: one function that serves several applications. The contract between plan, serve and gateway.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inference_app::{ModelRef, Overflow};
use crate::inference_model::Protocol;
use crate::{Device, Dispatch, schema};

/// A function that serves several applications of one model: written by the operator from its plan, read by users and the gateway.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "harmonybatch.dev",
    version = "v1alpha1",
    kind = "InferenceGroup",
    plural = "inferencegroups",
    shortname = "igroup",
    category = "harmonybatch",
    namespaced,
    status = "InferenceGroupStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".spec.modelRef.name",
        description = "The model that it runs."
    ),
    printcolumn(
        name = "Apps",
        type_ = "string",
        json_path = ".status.apps",
        description = "Applications that share its batches."
    ),
    printcolumn(
        name = "Device",
        type_ = "string",
        json_path = ".status.device",
        description = "What each replica runs on."
    ),
    printcolumn(
        name = "Batch",
        type_ = "integer",
        json_path = ".spec.batchSize",
        description = "Rows in a full batch."
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Replicas that the plan wants."
    ),
    printcolumn(
        name = "Cost/Month",
        type_ = "string",
        json_path = ".spec.prediction.costPerMonth",
        description = "Predicted cost of a month, in the platform's currency."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether as many replicas are ready as the plan wants."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since it was created."
    ),
    doc = "A function that serves several applications of one model. Written by the operator from its plan: a manual change is put back."
)]
#[serde(rename_all = "camelCase")]
pub struct InferenceGroupSpec {
    /// The model that the group runs.
    #[x_kube(validation = Rule::new("self == oldSelf").message("modelRef never changes: another modelRef is another group with another name"))]
    pub model_ref: ModelRef,
    /// Number of the plan that last changed the group.
    #[schemars(range(min = 1))]
    pub plan_generation: i64,
    /// Container image of the runtime. Never changes.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("image never changes: another image is another group with another name"))]
    pub image: String,
    /// What each replica runs on. Never changes.
    #[x_kube(validation = Rule::new("self == oldSelf").message("device never changes: another device is another group with another name"))]
    pub device: Device,
    /// Rows in a full batch. Never changes.
    #[schemars(range(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("batchSize never changes: another batchSize is another group with another name"))]
    pub batch_size: i32,
    /// When a batch that is not full starts.
    pub dispatch: Dispatch,
    /// Number of replicas.
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: i32,
    /// What runs the group.
    pub serving: ServingMode,
    /// The applications that share the group's batches. Not required: the API server drops an empty list that is applied.
    #[serde(default)]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["app".into()]))]
    pub members: Vec<Member>,
    /// What the plan predicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// What runs a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ServingMode {
    /// A Knative Service.
    Knative,
    /// A Deployment and a headless Service.
    Deployment,
}

/// One application of a group, with every default resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Name of the InferenceApp.
    #[schemars(schema_with = "schema::object_name")]
    pub app: String,
    /// Name of the Service for its callers.
    #[schemars(schema_with = "schema::service_name")]
    pub service_name: String,
    /// Latency SLO at the gateway.
    #[schemars(schema_with = "schema::latency")]
    pub slo: String,
    /// Percentage of the requests that must keep it.
    #[schemars(schema_with = "schema::percentile")]
    pub percentile: String,
    /// Rate of rows that was asked of the plan: the declared one, or the observed one where the application says so.
    #[schemars(schema_with = "schema::rate")]
    pub rate: String,
    /// Deadline, after which a request is answered 504.
    #[schemars(schema_with = "schema::latency")]
    pub timeout: String,
    /// How long its requests may wait for a batch; 0s where dispatch is Eager.
    #[schemars(schema_with = "schema::duration")]
    pub max_wait: String,
    /// What the gateway lets in of its requests; without it everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

/// The contract of an application with the gateway, in rows: a leaky bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// What may come for long.
    #[schemars(schema_with = "schema::rate")]
    pub rate: String,
    /// Rows beyond that rate that are served on a par with others'.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: i64,
    /// Rows beyond that rate that are let in at all; those above burst are served behind others'.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub most: i64,
    /// What becomes of rows beyond that.
    #[serde(default)]
    pub overflow: Overflow,
}

/// What the plan predicts of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// Mean latency of a full batch in the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub mean_latency: Option<String>,
    /// Longest latency of a full batch in the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub max_latency: Option<String>,
    /// Mean rows of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub mean_batch: Option<String>,
    /// Part of the time in which a replica computes, such as "42%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::percent")]
    pub utilization: Option<String>,
    /// Cost of a million rows, in the platform's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cost_per_million: Option<String>,
    /// Cost of a month of 730 hours, in the platform's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cost_per_month: Option<String>,
}

/// What runs of the group: written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceGroupStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Ready and Progressing, each with a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Replicas that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,
    /// Names of the member applications, for the column APPS: "cart,feed,search".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 11000))]
    pub apps: Option<String>,
    /// The device in words, for the column DEVICE: "cpu 1650m" or "a10 6 units".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub device: Option<String>,
    /// The object that runs the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_object: Option<ServingObject>,
    /// What the gateway routes by: the last spec whose pods are ready. Absent until some were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Active>,
}

/// The object that runs a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingObject {
    /// Its API version.
    #[schemars(schema_with = "schema::text")]
    pub api_version: String,
    /// Its kind: Deployment, or Service of Knative.
    #[schemars(schema_with = "schema::text")]
    pub kind: String,
    /// Its name.
    #[schemars(schema_with = "schema::label")]
    pub name: String,
}

/// What the gateway routes a group's requests by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    /// Number of the plan. Of two groups that list an application, the higher number has it.
    #[schemars(range(min = 1))]
    pub plan_generation: i64,
    /// The applications routed here. Not required: the API server drops an empty list that is applied.
    #[serde(default)]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["app".into()]))]
    pub members: Vec<Member>,
    /// Rows in a full batch.
    #[schemars(range(min = 1, max = 1024))]
    pub batch_size: i32,
    /// When a batch that is not full starts.
    pub dispatch: Dispatch,
    /// Number of replicas.
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: i32,
    /// Name of the model in the runtime's paths.
    #[schemars(length(min = 1, max = 128))]
    pub model_name: String,
    /// Whether the runtime may be asked the same thing twice.
    #[serde(default = "yes")]
    pub idempotent: bool,
    /// What the runtime speaks.
    #[serde(default)]
    pub protocol: Protocol,
    /// The platform's overhead, which the batching rule keeps free.
    #[schemars(schema_with = "schema::quantity")]
    pub overhead: String,
    /// Where the replicas are found.
    pub endpoints: Endpoints,
    /// Knative: takes one batch while no endpoint is ready, which wakes the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub wake_url: Option<String>,
}

fn yes() -> bool {
    true
}

/// Where replicas are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// The Service whose EndpointSlices list the replicas.
    #[schemars(schema_with = "schema::label")]
    pub service: String,
    /// Name of the port in those EndpointSlices.
    #[schemars(length(min = 1, max = 63))]
    pub port: String,
}
