//! InferenceModel: a network, how it is run, and how fast it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{names, schema};

mod measure;
mod runtime;

pub use measure::{Accepted, Grid, Measure, MeasuredProfile, ProfileFrom, ProfileInForce, RowShape};
pub use runtime::{
    ClaimSource, EmptyDirSource, EnvSource, EnvVar, KeyRef, Memory, NameRef, ObjectSource, Runtime,
    SecretSource, Volume,
};

/// A DNN model that applications share: its runtime, and its latency profile from which groups are planned.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "harmonybatch.dev",
    version = "v1alpha1",
    kind = "InferenceModel",
    plural = "inferencemodels",
    shortname = "imodel",
    category = "harmonybatch",
    namespaced,
    status = "InferenceModelStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(Message::Expression(
        "\"metadata.name '\" + self.metadata.name + \"' is not allowed: names are at most 40 small letters, digits and hyphens, beginning with a letter and not ending with a hyphen\"".into()
    )),
    printcolumn(name = "Apps", type_ = "integer", json_path = ".status.apps", description = "Applications that name it."),
    printcolumn(name = "Groups", type_ = "integer", json_path = ".status.groups", description = "Groups that serve them."),
    printcolumn(name = "Max batch", type_ = "integer", json_path = ".spec.maxBatchSize", description = "Most rows in a request to the runtime.", priority = 1),
    printcolumn(name = "Platform", type_ = "string", json_path = ".spec.platformRef.name", description = "The platform that it is planned on.", priority = 1),
    printcolumn(name = "Cost/Month", type_ = "string", json_path = ".status.costPerMonth", description = "Predicted cost of a month, in the platform's currency."),
    printcolumn(name = "Saving", type_ = "string", json_path = ".status.saving", description = "Against one group per application."),
    printcolumn(name = "Planned", type_ = "string", json_path = ".status.conditions[?(@.type==\"Planned\")].status", description = "Whether all its applications are planned."),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Planned\")].reason", description = "Why."),
    printcolumn(name = "Profiled", type_ = "string", json_path = ".status.conditions[?(@.type==\"Profiled\")].reason", description = "How far the measurement of its profile is.", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was created."),
    doc = "A DNN model that applications share: how it is run, and the latency profile from which its groups are planned."
)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelSpec {
    /// How the model is run.
    pub runtime: Runtime,
    /// Most rows that the runtime takes in one request, and so the bound of every batch.
    #[schemars(range(min = 1, max = 1024))]
    pub max_batch_size: i32,
    /// The InferencePlatform that the model is planned on. Default: the one named default.
    #[serde(default)]
    pub platform_ref: PlatformRef,
    /// What the runtime speaks. Callers' encodings are brought to it.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether the runtime may be asked the same thing twice, as it may of any model that only computes. Then the requests of a batch that it failed
    /// with a 5xx or answered wrongly are sent again apart from each other, so that only the one that spoiled it fails. Set it to false for a runtime
    /// that keeps state or calls others: such batches then fail as a whole. One that it refuses with a 4xx is taken apart all the same.
    #[serde(default = "yes")]
    pub idempotent: bool,
    /// Latency of the model on the devices that it may run on.
    pub profile: Profile,
}

/// A reference to an InferencePlatform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformRef {
    /// Name of the InferencePlatform.
    #[serde(default = "default_platform")]
    #[schemars(schema_with = "schema::label")]
    pub name: String,
}

fn yes() -> bool {
    true
}

fn default_platform() -> String {
    names::DEFAULT_PLATFORM.to_owned()
}

impl Default for PlatformRef {
    fn default() -> Self {
        Self {
            name: default_platform(),
        }
    }
}

/// What a runtime speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// Open Inference Protocol v2 over HTTP with JSON tensors; dimension 0 of every input is the batch.
    #[default]
    #[serde(rename = "OIPv2JSON")]
    OipV2Json,
    /// The same with the protocol's binary tensor extension, in requests and answers.
    #[serde(rename = "OIPv2Binary")]
    OipV2Binary,
    /// Open Inference Protocol v2 over gRPC without TLS, with raw contents. Such a runtime runs as a Deployment.
    #[serde(rename = "OIPv2GRPC")]
    OipV2Grpc,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::OipV2Json => "OIPv2JSON",
            Self::OipV2Binary => "OIPv2Binary",
            Self::OipV2Grpc => "OIPv2GRPC",
        })
    }
}

/// Latency of a model by device and batch size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(has(self.from) && self.from == 'Measure') || (has(self.cpu) && self.cpu.size() > 0) || (has(self.gpu) && self.gpu.size() > 0)")
        .message("profile has no entry: give at least one under profile.cpu or profile.gpu, or from: Measure, for a model without figures cannot be planned"),
    validation = Rule::new("!has(self.measure) || (has(self.from) && self.from == 'Measure')")
        .message("measure says how a profile is measured, and from is not Measure: set that, or leave measure out")
        .field_path(".measure")
)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Given: as it stands here. Measure: the controller measures it on pods in the model's namespace, and again for another image; entries under cpu then
    /// hold until there is a measurement, those under gpu for ever.
    #[serde(default)]
    pub from: ProfileFrom,
    /// How it is measured, with from: Measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// On CPU, one entry per batch size; a batch size without an entry is not planned on CPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["batch".into()]))]
    pub cpu: Vec<CpuProfile>,
    /// What a batch needs on CPU beyond its latency if it finds the replica idle; left out where that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_idle: Option<AfterIdle>,
    /// On GPU, one entry per device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["device".into()]))]
    pub gpu: Vec<GpuProfile>,
    /// Where the figures come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Whether plans take these latencies as many times longer or shorter as the gateways see that batches take. Default: Auto.
    #[serde(default, skip_serializing_if = "Correcting::is_auto")]
    pub correction: Correcting,
}

/// Whether a profile is corrected by what batches take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Correcting {
    /// By factors from a fourth to four, one for the mean and one for the longest latency of each kind of device.
    #[default]
    Auto,
    /// Plans follow the profile whatever is measured; the condition ProfileDrift still says how far off it is.
    Never,
}

impl Correcting {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Latency of a batch of one size against the vCPU limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuProfile {
    /// Rows in the batch.
    #[schemars(range(min = 1, max = 1024))]
    pub batch: i32,
    /// Mean latency.
    pub mean: CpuLatency,
    /// Longest latency.
    pub max: CpuLatency,
}

/// A curve of latency against vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CpuLatency {
    /// alpha * exp(-vCPU / beta) + gamma.
    Exponential(Exponential),
    /// work / vCPU + fixed.
    Hyperbolic(Hyperbolic),
    /// CPU work under a quota in every period: as mean the larger of work / vCPU and work / parallelism, as max the worst time at which a batch can begin.
    Throttled(Throttled),
}

impl CpuLatency {
    /// Its name in YAML.
    pub fn form(&self) -> &'static str {
        match self {
            Self::Exponential(_) => "exponential",
            Self::Hyperbolic(_) => "hyperbolic",
            Self::Throttled(_) => "throttled",
        }
    }
}

/// Coefficients of alpha * exp(-vCPU / beta) + gamma (HarmonyBatch, Eq. 1 and 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exponential {
    /// What more vCPU can take away, such as 1826.07ms.
    #[schemars(schema_with = "schema::duration")]
    pub alpha: String,
    /// Decay in vCPU, such as "0.52837".
    #[schemars(schema_with = "schema::positive_decimal")]
    pub beta: String,
    /// What no vCPU can take away, such as 180.154ms.
    #[schemars(schema_with = "schema::latency")]
    pub gamma: String,
}

/// Coefficients of work / vCPU + fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hyperbolic {
    /// Time on one whole CPU that takes the longer the less there is, such as 19.5ms.
    #[schemars(schema_with = "schema::latency")]
    pub work: String,
    /// What no vCPU can take away, such as 2.1ms.
    #[schemars(schema_with = "schema::duration")]
    pub fixed: String,
}

/// CPU work under a CPU limit that the kernel enforces by a quota in every period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Throttled {
    /// CPU time of a batch, such as 19.5ms.
    #[schemars(schema_with = "schema::latency")]
    pub work: String,
    /// CPUs that a batch keeps busy, such as "2"; below 1 where it also waits for something else. No higher limit makes it faster.
    #[schemars(schema_with = "schema::positive_decimal")]
    pub parallelism: String,
    /// The period of the quota, 1ms to 1s: the kubelet's cpuCFSQuotaPeriod.
    #[serde(default = "cfs_period")]
    #[schemars(schema_with = "schema::quota_period")]
    pub period: String,
}

/// Kubernetes' default.
fn cfs_period() -> String {
    "100ms".to_owned()
}

/// What idle time costs on CPU: caches are cold then, and the core slept. After an idle time t a batch of any size needs work * (1 - exp(-t / timeConstant))
/// more than one that follows another at once, and so does one that goes on after its CPU quota stopped it (throttled).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AfterIdle {
    /// CPU time after a long idle time, such as 0.7ms.
    #[schemars(schema_with = "schema::latency")]
    pub work: String,
    /// After so long 63 % of it are needed, such as 8ms.
    #[schemars(schema_with = "schema::latency")]
    pub time_constant: String,
}

/// Latency of a batch on a whole GPU: perRow * rows + fixed (HarmonyBatch, Eq. 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuProfile {
    /// Kind of device, as the platform's gpuPools name it, such as a10.
    #[schemars(schema_with = "schema::label")]
    pub device: String,
    /// Latency that each row adds, such as 1.67984ms.
    #[schemars(schema_with = "schema::latency")]
    pub per_row: String,
    /// Latency that does not depend on the rows, such as 2.11309ms.
    #[schemars(schema_with = "schema::duration")]
    pub fixed: String,
    /// GPU memory that the model takes.
    pub memory: Memory,
}

/// Where a profile comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// How the figures were had.
    pub source: ProfileSource,
    /// The machine that they hold for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub hardware: Option<String>,
    /// Release of that machine's kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub kernel: Option<String>,
    /// Address of the runtime that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub endpoint: Option<String>,
    /// Digest of the image that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub image_digest: Option<String>,
    /// Day of the measurement, as 2026-03-31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::date")]
    pub date: Option<String>,
    /// Number of batches that were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub samples: Option<i32>,
    /// Largest relative error of the fit, such as "3.1%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::percent")]
    pub fit_error: Option<String>,
    /// Errors with which each form of latency against vCPU says limits that it was not fitted to, such as "throttled 3.1%, hyperbolic 9.4%, exponential 21.0%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub cross_validation: Option<String>,
    /// What was not measured in full, and how well it is known all the same, such as "batches of 2-7 between those of 1, 8, by a few of each: off the straight line between them by 1.2% at most, known to 2.0%; CPU limits 750m not measured".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub inferred: Option<String>,
}

/// How a profile's figures were had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProfileSource {
    /// Measured on the hardware named.
    Measured,
    /// Taken from a publication.
    Published,
}

/// What became of the model's applications: written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Accepted, Planned, ProfileDrift and, with profile.from: Measure, Profiled, each with a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Number of applications that name the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub apps: Option<i32>,
    /// Number of groups that serve them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub groups: Option<i32>,
    /// Number of the plan in force: grows by one with every changed plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub plan_generation: Option<i64>,
    /// Predicted cost of all its groups in a month of 730 hours, in the platform's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cost_per_month: Option<String>,
    /// What the plan saves against one group per application, such as "31%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::percent")]
    pub saving: Option<String>,
    /// When the plan last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_plan_time: Option<Time>,
    /// How far batches are from the profile, and by what plans correct it: one entry a kind of device that was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 17))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["device".into()]))]
    pub profile_drift: Vec<ProfileDrift>,
    /// The profile that was measured last, with profile.from: Measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<MeasuredProfile>,
}

/// How far the batches of a kind of device are from the profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileDrift {
    /// The kind of device: cpu, or a kind of GPU.
    #[schemars(schema_with = "schema::label")]
    pub device: String,
    /// How many times the profile's mean latency batches take, such as "1.94".
    #[schemars(schema_with = "schema::quantity")]
    pub measured: String,
    /// Batches that this was said of.
    #[schemars(range(min = 0))]
    pub batches: i64,
    /// How many times the profile's mean latency plans take, such as "2.053".
    #[schemars(schema_with = "schema::quantity")]
    pub mean: String,
    /// How many times its longest latency.
    #[schemars(schema_with = "schema::quantity")]
    pub max: String,
    /// Which image and profile this holds for: others are measured anew.
    #[schemars(schema_with = "schema::label")]
    pub profile: String,
}
