//! What HarmonyBatch does on a real cluster: each module is one promise of the README, tried on running pods.
//!
//! The cluster comes from [`e2e::cluster::Cluster::ensure`]. Scenarios take turns, because they measure latencies on two cores; each has a
//! namespace of its own, which is removed at its end and, should a run have been cut off, at its next start.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "a test prints the report of its load, for whoever runs it with --nocapture"
)]

mod bad_input;
mod drift;
mod gateways;
mod gpu_share;
mod knative;
mod limits;
mod load;
mod observed_rate;
mod ownership;
mod profile;
mod regroup;
mod removal;
mod resilience;
mod scenario;
mod traces;
