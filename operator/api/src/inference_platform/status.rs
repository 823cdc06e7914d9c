//! What became of a platform: its models' cost, and what they take of its GPU pools.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What became of the platform: written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferencePlatformStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Accepted, and where there are GPU pools DevicesSuffice, each with a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Number of models planned on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub models: Option<i32>,
    /// Predicted cost of all their groups in a month of 730 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cost_per_month: Option<String>,
    /// What the plans of all models take of each GPU pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub gpu_pools: Vec<PoolStatus>,
    /// Where the devices of a pool do not suffice for the cheapest plans: what that costs. Absent where they suffice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortage: Option<ShortageStatus>,
}

/// What the plans take of one GPU pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// Name of the pool.
    #[schemars(schema_with = "schema::label")]
    pub name: String,
    /// Units of all shares.
    #[schemars(range(min = 0))]
    pub units: i64,
    /// Devices that hold the shares if they are packed closely: the largest first, each where the least room is left.
    #[schemars(range(min = 0))]
    pub devices: i64,
    /// Devices that there are, as the spec has it. Absent where their number is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub limit: Option<i64>,
    /// What one more device would save in a month of 730 hours, in the platform's currency. Present where devices of this pool are short and every
    /// application is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub one_more_saves_per_month: Option<String>,
}

/// What a shortage of devices leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShortageStatus {
    /// The plans are at most so much dearer than the cheapest that fit on the devices, such as "1.4%". Absent where no bound is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::percent")]
    pub gap: Option<String>,
    /// How many applications the shortage makes dearer.
    #[schemars(range(min = 0))]
    pub dearer: i32,
    /// Those that it makes dearer by most, the greatest difference first; at most 10 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub dearer_apps: Vec<DearerApp>,
}

/// An application that a shortage of devices makes dearer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DearerApp {
    /// Namespace of the application.
    #[schemars(schema_with = "schema::label")]
    pub namespace: String,
    /// Name of the application.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// What it costs more in a month of 730 hours than with as many devices as are wanted, in the platform's currency.
    #[schemars(schema_with = "schema::quantity")]
    pub more_per_month: String,
}
