//! InferencePlatform: what functions cost on a cluster, and what they may run on.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

mod status;

pub use status::{DearerApp, InferencePlatformStatus, PoolStatus, ShortageStatus};

/// Prices, sizes and GPU pools of a cluster. The controller creates the one named default when it is absent, and never changes it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "harmonybatch.dev",
    version = "v1alpha1",
    kind = "InferencePlatform",
    plural = "inferenceplatforms",
    shortname = "iplatform",
    category = "harmonybatch",
    status = "InferencePlatformStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Billing",
        type_ = "string",
        json_path = ".spec.billing",
        description = "What is paid for."
    ),
    printcolumn(
        name = "Currency",
        type_ = "string",
        json_path = ".spec.currency",
        description = "Currency of the prices."
    ),
    printcolumn(
        name = "Serving",
        type_ = "string",
        json_path = ".spec.serving",
        description = "What groups are run by."
    ),
    printcolumn(
        name = "Models",
        type_ = "integer",
        json_path = ".status.models",
        description = "Models planned on it."
    ),
    printcolumn(
        name = "Cost/Month",
        type_ = "string",
        json_path = ".status.costPerMonth",
        description = "Predicted cost of all their groups in a month."
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether it can be planned on."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].reason",
        description = "Why."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since it was created."
    ),
    doc = "What functions cost on this cluster and what they may run on: prices, CPU sizes, GPU pools."
)]
#[x_kube(
    validation = Rule::new("has(self.cpu) || (has(self.gpuPools) && self.gpuPools.size() > 0)")
        .message("the platform has nothing to run on: give cpu {min, max, step} or at least one of gpuPools"),
    validation = Rule::new("!has(self.gpuPools) || self.gpuPools.size() == 0 || self.prices.gpuUnitSecond.matches('[1-9]')")
        .message("prices.gpuUnitSecond must be above 0 where there are gpuPools: free shares would make every size equally cheap; write a plain decimal such as 0.000015")
        .field_path(".prices")
)]
#[serde(rename_all = "camelCase")]
pub struct InferencePlatformSpec {
    /// Currency of the prices, three letters (ISO 4217).
    #[serde(default = "default_currency")]
    #[schemars(length(min = 3, max = 3), regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// What is paid for: a pod while it is up, or a function while it runs.
    #[serde(default)]
    pub billing: Billing,
    /// Prices.
    pub prices: Prices,
    /// Time from the gateway to a replica and back, which no plan may use up.
    #[serde(default = "default_overhead")]
    #[schemars(schema_with = "schema::duration")]
    pub overhead: String,
    /// How much longer batches may take than their profile says while every SLO is kept, from 0% to 100%: plans take latencies, and CPU work under a quota, so much longer
    /// wherever an SLO or a capacity is at stake; what they predict is by the profile as it is. Without it 10% where billing is PerReplica, and 0% where it is PerInvocation, where nothing queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::headroom")]
    pub headroom: Option<String>,
    /// Sizes of CPU functions. Without it no function runs on CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuGrid>,
    /// Pools of GPUs whose shares functions may run on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub gpu_pools: Vec<GpuPool>,
    /// What groups are run by.
    #[serde(default)]
    pub serving: Serving,
    /// How applications are grouped.
    #[serde(default)]
    pub planner: Planner,
    /// When a plan that runs gives way to another.
    #[serde(default)]
    pub replan: Replan,
}

impl InferencePlatformSpec {
    /// The headroom that plans leave: as written, or that of the billing.
    pub fn headroom_in_force(&self) -> &str {
        let of_billing = match self.billing {
            Billing::PerReplica => "10%",
            Billing::PerInvocation => "0%",
        };
        self.headroom.as_deref().unwrap_or(of_billing)
    }
}

/// When a plan that runs gives way to another. What must change changes at once: an application that is new or gone, another SLO or
/// percentile, a rate that changes by more than a fifth, a group that no longer keeps its SLOs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replan {
    /// Part of the cost that another plan must save to be followed.
    #[serde(default = "default_min_saving")]
    #[schemars(schema_with = "schema::part")]
    pub min_saving: String,
    /// How long a plan stays before smaller changes of rates may bring another one.
    #[serde(default = "default_min_interval")]
    #[schemars(schema_with = "schema::duration")]
    pub min_interval: String,
    /// What decides between plans that keep every SLO.
    #[serde(default)]
    pub prefer: Preference,
}

/// What decides between plans that keep every SLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preference {
    /// The cost: of the plans that no other beats by minSaving, the one that disturbs least what runs.
    #[default]
    LeastCost,
    /// The peace of what runs: the plan that disturbs least, whatever another one would save. What is new joins a group that has room, or gets one of its own.
    LeastChange,
}

impl Default for Replan {
    fn default() -> Self {
        Self {
            min_saving: default_min_saving(),
            min_interval: default_min_interval(),
            prefer: Preference::default(),
        }
    }
}

fn default_min_saving() -> String {
    "5%".to_owned()
}

fn default_min_interval() -> String {
    "600s".to_owned()
}

fn default_currency() -> String {
    "USD".to_owned()
}

fn default_overhead() -> String {
    "5ms".to_owned()
}

/// What is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Billing {
    /// A pod costs while it is up, as on one's own cluster.
    #[default]
    PerReplica,
    /// A function costs while it runs, as on Cloud Run or Function Compute.
    PerInvocation,
}

/// Prices in the platform's currency, as plain decimals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// Price of one vCPU for one second, such as "0.000013".
    #[schemars(schema_with = "schema::positive_decimal")]
    pub vcpu_second: String,
    /// Price of one GPU unit for one second, such as "0.000015".
    #[serde(default = "zero")]
    #[schemars(schema_with = "schema::decimal")]
    pub gpu_unit_second: String,
    /// Price of one invocation, such as "0.00000013".
    #[serde(default = "zero")]
    #[schemars(schema_with = "schema::decimal")]
    pub request: String,
}

fn zero() -> String {
    "0".to_owned()
}

/// The vCPU limits that a function may have: min, min + step, ... up to max.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!quantity(string(self.min)).isLessThan(quantity('1m'))")
        .message(Message::Expression("\"min '\" + string(self.min) + \"' is below the smallest CPU limit, 1m: write a CPU quantity such as 50m\"".into()))
        .field_path(".min"),
    validation = Rule::new("!quantity(string(self.step)).isLessThan(quantity('1m'))")
        .message(Message::Expression("\"step '\" + string(self.step) + \"' is below 1m: write a CPU quantity such as 50m\"".into()))
        .field_path(".step"),
    validation = Rule::new("!quantity(string(self.max)).isLessThan(quantity(string(self.min)))")
        .message(Message::Expression("\"max '\" + string(self.max) + \"' is below min '\" + string(self.min) + \"': raise max or lower min\"".into()))
        .field_path(".max"),
    validation = Rule::new("quantity(string(self.step)).isLessThan(quantity('1m')) || quantity(string(self.max)).sub(quantity(string(self.min))).asApproximateFloat() <= 10000.0 * quantity(string(self.step)).asApproximateFloat()")
        .message(Message::Expression("\"step '\" + string(self.step) + \"' makes more than 10000 sizes between min and max: raise step\"".into()))
        .field_path(".step")
)]
#[serde(rename_all = "camelCase")]
pub struct CpuGrid {
    /// Smallest vCPU limit, such as 50m.
    #[serde(deserialize_with = "crate::quantity::string_or_integer")]
    #[schemars(schema_with = "schema::cpu")]
    pub min: String,
    /// Largest vCPU limit, such as 16.
    #[serde(deserialize_with = "crate::quantity::string_or_integer")]
    #[schemars(schema_with = "schema::cpu")]
    pub max: String,
    /// Distance between two limits, such as 50m.
    #[serde(deserialize_with = "crate::quantity::string_or_integer")]
    #[schemars(schema_with = "schema::cpu")]
    pub step: String,
}

/// GPUs of one kind that are shared in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.tenants) || self.latencyModel == 'EqualShare'")
        .message("tenants is only read with latencyModel EqualShare: set that or leave tenants out")
        .field_path(".tenants")
)]
#[serde(rename_all = "camelCase")]
pub struct GpuPool {
    /// Name of the pool.
    #[schemars(schema_with = "schema::label")]
    pub name: String,
    /// Kind of device, as profiles name it, such as a10.
    #[schemars(schema_with = "schema::label")]
    pub device: String,
    /// Units that a device is divided into.
    #[schemars(range(min = 1, max = 1024))]
    pub units_per_device: i32,
    /// Devices that there are for all models of the platform together. Without it, as many as the plans want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub devices: Option<i32>,
    /// GPU memory that comes with a unit, such as 1Gi.
    #[serde(deserialize_with = "crate::quantity::string_or_integer")]
    #[schemars(schema_with = "schema::memory")]
    pub memory_per_unit: String,
    /// Time slice that a unit gets in turn (tau in HarmonyBatch, Eq. 4), such as 2ms.
    #[schemars(schema_with = "schema::latency")]
    pub slice: String,
    /// How latency depends on the share.
    #[serde(default)]
    pub latency_model: LatencyModel,
    /// Tenants that a device admits at a time, with latencyModel EqualShare; absent: as many as fit in its units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub tenants: Option<i32>,
    /// How a pod asks for a share.
    pub backend: GpuBackend,
    /// Where pods with a share are scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
}

/// How latency depends on a GPU share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LatencyModel {
    /// A share of m out of M units gets its m slices and then waits for the other M - m (HarmonyBatch, Eq. 3 and 4).
    #[default]
    FixedShare,
    /// Tenants of a device take turns, whatever their share, which only sets their memory: time-slicing of the NVIDIA device plugin.
    EqualShare,
}

/// How a pod asks for a GPU share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GpuBackend {
    /// By an extended resource in the container's limits.
    ExtendedResource(ExtendedResource),
}

/// An extended resource and how much of it a share is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtendedResource {
    /// Name of the resource, such as nvidia.com/gpu.
    #[schemars(
        length(min = 3, max = 316),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    pub name: String,
    /// How much of it a share of some units asks for.
    pub quantity: ShareQuantity,
}

/// How much of an extended resource a share asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShareQuantity {
    /// Always 1: every share is alike.
    One,
    /// As many as it has units.
    Units,
    /// Its GPU memory in MiB: units * memoryPerUnit.
    MiB,
    /// Its part of the device in percent, rounded up: 100 * units / unitsPerDevice.
    Percent,
}

/// Where pods with a GPU share are scheduled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Scheduler of the pods, instead of the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::subdomain")]
    pub scheduler_name: Option<String>,
    /// RuntimeClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::subdomain")]
    pub runtime_class_name: Option<String>,
}

/// A taint that pods tolerate, as in a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.operator == 'Equal' ? has(self.key) && self.key != '' : !has(self.value) || self.value == ''")
        .message("a toleration with operator Equal needs a key; one with operator Exists takes no value")
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint; empty with operator Exists means every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// How the taint's value is compared.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint, with operator Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint; absent means every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// How a toleration compares the value of a taint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The values are equal.
    #[default]
    Equal,
    /// The key is there.
    Exists,
}

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// No new pods where others can be had.
    PreferNoSchedule,
    /// No pods.
    NoExecute,
}

/// What groups are run by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Serving {
    /// Knative where its API is served, except for groups on GPUs, whose new Revision would need room beside the old one; else Deployments.
    #[default]
    Auto,
    /// One Knative Service a group.
    Knative,
    /// One Deployment and one Service a group.
    Deployment,
}

/// How applications are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Planner {
    /// The cheapest partition into groups that are contiguous in SLO order.
    #[default]
    Optimal,
    /// The two-stage merging of the HarmonyBatch paper (its Algorithms 1 and 2), for comparison: usually dearer.
    TwoStage,
}
