//! What a function runs on, and how its batches start: the same shape in an app's status, a group's spec and the command line's output.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What one replica runs on: a CPU function of a fractional vCPU limit, or a share of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Device {
    /// A CPU function.
    Cpu(CpuSize),
    /// A time-sliced share of a GPU.
    Gpu(GpuShare),
}

/// Size of a CPU function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuSize {
    /// vCPU limit (and request) of a replica, such as 1650m.
    #[schemars(schema_with = "schema::cpu")]
    #[serde(deserialize_with = "crate::quantity::string_or_integer")]
    pub limit: String,
}

/// Size of a GPU share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuShare {
    /// Name of a pool in the platform's gpuPools.
    #[schemars(schema_with = "schema::label")]
    pub pool: String,
    /// Units of the device, out of the pool's unitsPerDevice.
    #[schemars(range(min = 1, max = 1024))]
    pub units: i32,
}

impl fmt::Display for Device {
    /// As the column DEVICE shows it: `cpu 1650m`, `a10 6 units`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(size) => write!(out, "cpu {}", size.limit),
            Self::Gpu(share) if share.units == 1 => write!(out, "{} 1 unit", share.pool),
            Self::Gpu(share) => write!(out, "{} {} units", share.pool, share.units),
        }
    }
}

/// When a batch that is not full starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Dispatch {
    /// As soon as a replica is free and anything waits; it fills while none is free.
    #[default]
    Eager,
    /// When the wait of one of its members (maxWait) is over.
    Timed,
}
