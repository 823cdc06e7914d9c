//! The gateway of HarmonyBatch: one queue a group, a deadline for every application.
//!
//! ```text
//! caller -> listener -> service -> protocol::Request -> batcher (one task a group, around dispatch) -> upstream -> replica
//!                          |                              ^
//!                       config::Routes                 config::Snapshot <- InferenceGroups, EndpointSlices
//! ```
//!
//! - [`listener`]: connections, their bounds and their end.
//! - [`service`]: one request from its path to its answer.
//! - [`admission`]: what an application may send, and what cannot be answered in time.
//! - [`memory`]: how much requests may hold in all.
//! - [`config`]: groups, routes and endpoints as plain values. Nothing past it knows Kubernetes.
//! - [`protocol`]: the Open Inference Protocol in its encodings; many requests as one, one answer as many.
//! - [`body`]: bodies in parts.
//! - [`peers`]: the other gateways, and which groups are theirs.
//! - [`batcher`]: the queues, and the batches that leave them.
//! - [`upstream`]: calls to replicas.
//! - [`trace`], [`access`]: what is told of single requests and batches.
//! - [`metrics`], [`admin`]: what is counted, and who may read it.
//! - [`timer`]: the one source of time.
//!
//! [`run`] puts them together on a cluster, [`serve`] on any source of configuration.

pub mod access;
pub mod admin;
pub mod admission;
pub mod batcher;
mod blocking;
pub mod config;
pub mod listener;
pub mod memory;
pub mod metrics;
pub mod peers;
pub mod protocol;
pub mod service;
mod sync;
mod throttle;
pub mod timer;
pub mod trace;
pub mod upstream;

mod run;

pub use harmonybatch_protocol::body;
pub use run::{Error, Membership, Options, run, serve};
