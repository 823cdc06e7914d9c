//! The Kubernetes API of HarmonyBatch: what users write and read.
//!
//! Four kinds in group `harmonybatch.dev`, one file each:
//!
//! - [`InferenceApp`]: an application's SLO and rate, written by its owner;
//! - [`InferenceModel`]: a network, how it is run and how fast it is, written by who serves it;
//! - [`InferencePlatform`]: prices, sizes and GPU pools of the cluster, written by who runs it;
//! - [`InferenceGroup`]: one function that serves several applications, written by the operator.
//!
//! The structs hold what was written, as strings where it carries a unit; [`quantity`] parses them. A CEL rule in the schema refuses what can be
//! refused where it is typed; what needs other objects is said in a condition ([`conditions`]). Recorded arrivals are text of their own
//! ([`arrival_times`]). Names, labels and field managers are in [`names`]; [`yaml`] is the one module that reads and writes YAML; [`crds`] makes the definitions that `crds/*.yaml` hold.
//!
//! Nothing here plans, waits or talks to a cluster.

#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema repeats every struct, with its visibility, inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printcolumn has a type_ of its own; the lint takes those of one kube attribute for one list"
)]

pub mod arrival_times;
pub mod conditions;
mod crds;
mod device;
pub mod inference_app;
pub mod inference_group;
pub mod inference_model;
pub mod inference_platform;
pub mod names;
pub mod quantity;
mod schema;
pub mod yaml;

pub use crds::{crd_yaml, crds};
pub use device::{CpuSize, Device, Dispatch, GpuShare};
pub use inference_app::{InferenceApp, InferenceAppSpec, InferenceAppStatus};
pub use inference_group::{InferenceGroup, InferenceGroupSpec, InferenceGroupStatus};
pub use inference_model::{InferenceModel, InferenceModelSpec, InferenceModelStatus};
pub use inference_platform::{InferencePlatform, InferencePlatformSpec, InferencePlatformStatus};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
