//! The local cluster of HarmonyBatch and the tests that need it.
//!
//! `cargo run --release -p e2e -- up` turns a bare Linux machine with root into a real single-node Kubernetes cluster with HarmonyBatch on
//! it. Reading order: [`up`] (the steps), [`parts`] (programs from Go modules), [`image`] (container images without an engine), [`node`] (the
//! node in its namespaces), [`product`] (Helm, samples, the first request). Tests start at [`cluster::Cluster::ensure`].

pub mod accuracy;
pub mod cache;
mod certificates;
pub mod cluster;
mod command;
pub mod control_group;
mod digest;
mod http;
pub mod image;
pub mod knative;
pub mod models;
pub mod node;
pub mod parts;
pub mod product;
pub mod progress;
pub mod python;
pub mod requirements;
pub mod samples;
mod summary;
pub mod triton;
pub mod up;
pub mod wait;
