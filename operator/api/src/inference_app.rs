//! InferenceApp: one application's contract on a model.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inference_model::KeyRef;
use crate::{Device, Dispatch, schema};

/// What an application asks of a model: its latency SLO and its rate. The operator puts it into a group that keeps the SLO at the least cost.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "harmonybatch.dev",
    version = "v1alpha1",
    kind = "InferenceApp",
    plural = "inferenceapps",
    shortname = "iapp",
    category = "harmonybatch",
    namespaced,
    status = "InferenceAppStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(Message::Expression(
        "\"metadata.name '\" + self.metadata.name + \"' is not allowed: names are at most 40 small letters, digits and hyphens, beginning with a letter and not ending with a hyphen\"".into()
    )),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.modelRef.name", description = "The model that serves it."),
    printcolumn(name = "Group", type_ = "string", json_path = ".status.group", description = "The group that serves it."),
    printcolumn(name = "Device", type_ = "string", json_path = ".status.device", description = "What each replica of its group runs on."),
    printcolumn(name = "Batch", type_ = "integer", json_path = ".status.plan.batchSize", description = "Rows in a full batch."),
    printcolumn(name = "Rate", type_ = "string", json_path = ".status.plan.rate", description = "The rate of rows that is planned for.", priority = 1),
    printcolumn(name = "RateSource", type_ = "string", json_path = ".status.plan.rateSource", description = "Where that rate comes from.", priority = 1),
    printcolumn(name = "SLO", type_ = "string", json_path = ".spec.slo.latency", description = "Latency that it asks for."),
    printcolumn(name = "P99", type_ = "string", json_path = ".status.observed.p99", description = "99th percentile of the latency over the last hour."),
    printcolumn(name = "Cost/Month", type_ = "string", json_path = ".status.plan.costPerMonth", description = "Predicted cost of a month, in the platform's currency."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether callers are answered."),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since it was created."),
    doc = "An application's contract on a model: its latency SLO and its rate. The operator plans it into an InferenceGroup."
)]
#[x_kube(
    validation = Rule::new("!has(self.timeout) || !self.timeout.matches('^[0-9.]{1,30}(us|ms|s)$') || !self.slo.latency.matches('^[0-9.]{1,30}(us|ms|s)$') || duration(self.timeout) >= duration(self.slo.latency)")
        .message(Message::Expression("\"timeout '\" + self.timeout + \"' is below slo.latency '\" + self.slo.latency + \"': a request would be given up before its SLO; raise timeout or leave it out\"".into()))
        .field_path(".timeout"),
    validation = Rule::new("!has(self.trace) || !has(self.burst)")
        .message("trace and burst exclude each other: a trace has its own bursts; leave one of them out")
        .field_path(".trace"),
    validation = Rule::new("!has(self.rateLimits) || (has(self.rateSource) && self.rateSource == 'Observed')")
        .message("rateLimits bound the rate that the gateways see: they go with rateSource Observed; set that, or leave rateLimits out")
        .field_path(".rateLimits")
)]
#[serde(rename_all = "camelCase")]
pub struct InferenceAppSpec {
    /// The InferenceModel that serves the application, in the same namespace.
    pub model_ref: ModelRef,
    /// The latency that the application's requests must keep.
    pub slo: Slo,
    /// Deadline of a request, after which it is answered 504; at least slo.latency. Default: 4 times slo.latency and at least 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::latency")]
    pub timeout: Option<String>,
    /// Long-run mean of rows per time, such as 5/s, 120/m or 0.5/h. A request of n rows counts n.
    #[schemars(schema_with = "schema::rate")]
    pub rate: String,
    /// Which rate is planned for.
    #[serde(default)]
    pub rate_source: RateSource,
    /// Between which rates the planned one follows what the gateways see. Only with rateSource Observed. Default: from a tenth of rate to ten times rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// How its requests come in bursts; without it they are taken to be independent of each other (a Poisson process). Only where the platform
    /// bills PerReplica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// Its requests arrive as they once were recorded; instead of burst. Only where the platform bills PerReplica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// Whether its requests may share batches with those of other applications.
    #[serde(default)]
    pub batching: Batching,
    /// What becomes of requests beyond the contract, which is 1.25 times rate (with rateSource Observed, of rateLimits.max) with room for bursts.
    #[serde(default)]
    pub overflow: Overflow,
    /// Name of the Service made for the application's callers. Default: <app>-infer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_name")]
    pub service_name: Option<String>,
}

/// Where the rate that is planned for comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RateSource {
    /// The declared rate.
    #[default]
    Declared,
    /// What the gateways see, within rateLimits; the declared rate until they have seen enough to tell another one from it.
    Observed,
}

/// Bounds of the rate that is planned for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.min) || !has(self.max) || !self.min.matches('^[0-9]{1,9}([.][0-9]{1,20})?/(s|m|h)$') || !self.max.matches('^[0-9]{1,9}([.][0-9]{1,20})?/(s|m|h)$') || double(self.min.split('/')[0]) / (self.min.endsWith('s') ? 1.0 : self.min.endsWith('m') ? 60.0 : 3600.0) <= double(self.max.split('/')[0]) / (self.max.endsWith('s') ? 1.0 : self.max.endsWith('m') ? 60.0 : 3600.0)")
        .message(Message::Expression("\"min '\" + self.min + \"' is above max '\" + self.max + \"': lower min or raise max\"".into()))
)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    /// The least rate that is planned for, however few requests come. Default: a tenth of spec.rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::rate")]
    pub min: Option<String>,
    /// The highest rate that is planned for, however many requests come: it bounds the cost. Default: ten times spec.rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::rate")]
    pub max: Option<String>,
}

/// A reference to an InferenceModel of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelRef {
    /// Name of the InferenceModel.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// A latency SLO: so many percent of the answers within so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slo {
    /// Target, from the last byte of a request in to the first byte of its answer out at the gateway, such as 500ms.
    #[schemars(schema_with = "schema::latency")]
    pub latency: String,
    /// Percentage of the requests that must keep it, above 0 and below 100, such as "99" or "99.9".
    #[serde(default = "default_percentile")]
    #[schemars(schema_with = "schema::percentile")]
    pub percentile: String,
}

fn default_percentile() -> String {
    "99".to_owned()
}

/// Requests that come in bursts. In a burst they arrive at `factor` times spec.rate; bursts last for `duration` on average and hold half of all
/// requests, so that they take 1 / (2 factor) of the time; between bursts the rate is factor / (2 factor - 1) of spec.rate, which stays the mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Burst {
    /// How many times spec.rate requests arrive at in a burst: above 1 and at most 1000, such as "4".
    #[schemars(schema_with = "schema::burst_factor")]
    pub factor: String,
    /// How long a burst lasts on average, such as 30s.
    #[schemars(schema_with = "schema::burst_duration")]
    pub duration: String,
}

/// Recorded arrivals, which the plan replays again and again. The time between them is scaled so that their mean rate is spec.rate: the trace says
/// how requests are spread over time, and spec.rate how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// A key of a ConfigMap of the same namespace, with text in data (not in binaryData): at least 2 arrivals, one a line, in order of time. A line begins
    /// with seconds from any moment, such as 12.5, or with a date and time, such as 2026-11-25 18:30:00.25; after a comma there may be more, which is not
    /// read. A first line that is no time is a header. A ConfigMap holds at most 1 MiB, which is about 100,000 arrivals. A change is seen within 15 s.
    pub config_map_key_ref: KeyRef,
}

/// Whether requests of different applications may share a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Batching {
    /// Its requests may be in a batch with those of other applications of the model.
    #[default]
    Shared,
    /// Its requests are never in a batch with those of another application.
    Isolated,
}

/// What becomes of requests beyond what an application has declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// They are answered 429 at once.
    #[default]
    Reject,
    /// They are served behind all others, as far as that keeps their timeout, and answered 503 otherwise.
    BestEffort,
}

/// What became of the application: written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceAppStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Accepted, Planned, Ready and SLOMet, each with a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Name of the InferenceGroup that serves the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label")]
    pub group: Option<String>,
    /// Address for the application's callers inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub url: Option<String>,
    /// The device of the plan in words, for the column DEVICE: "cpu 1650m" or "a10 6 units".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub device: Option<String>,
    /// How the application is served, at what latency and cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<AppPlan>,
    /// What the gateway saw over the last hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<AppObserved>,
}

/// The plan of one application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppPlan {
    /// What each replica of its group runs on.
    pub device: Device,
    /// Rows in a full batch.
    #[schemars(range(min = 1, max = 1024))]
    pub batch_size: i32,
    /// The rate of rows that the plan holds for: that of rateSource, or the higher one from which it has fallen by less than a fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub rate: Option<String>,
    /// Observed once the planned rate follows what the gateways saw; Declared before that, and where spec.rateSource is Declared.
    #[serde(default)]
    pub rate_source: RateSource,
    /// When a batch that is not full starts.
    pub dispatch: Dispatch,
    /// Timed: how long its requests may wait for a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub max_wait: Option<String>,
    /// The latency that the plan predicts, overhead included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<AppLatency>,
    /// Whether the SLO was confirmed by simulation.
    #[serde(default)]
    pub verified: bool,
    /// Predicted cost of a million rows, in the platform's currency.
    #[schemars(schema_with = "schema::quantity")]
    pub cost_per_million: String,
    /// Predicted cost of a month of 730 hours at the planned rate, in the platform's currency.
    #[schemars(schema_with = "schema::quantity")]
    pub cost_per_month: String,
    /// What the shared plan saves against the cheapest plan for this application alone, such as "31%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::percent")]
    pub saving_alone: Option<String>,
    /// Why this plan, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text")]
    pub because: Option<String>,
}

/// A predicted latency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppLatency {
    /// Mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub mean: Option<String>,
    /// At the SLO's percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub percentile: Option<String>,
}

/// What the gateway measured of one application, to two significant digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppObserved {
    /// Rows per time that arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub rate: Option<String>,
    /// Median latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub p50: Option<String>,
    /// 99th percentile of the latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub p99: Option<String>,
    /// Percentage of the admitted requests that were answered 2xx within the SLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub attainment: Option<String>,
    /// Index of dispersion of the rows that arrived in windows of a minute: the variance of their number by its mean. About 1 where they come one by one and
    /// independently (a Poisson process).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub dispersion: Option<String>,
    /// The spec.burst that is as bursty as what arrived, by its indices of dispersion in windows of 1 s to a minute; none where that was no burstier than a
    /// Poisson process. It is not planned for unless it is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
}
