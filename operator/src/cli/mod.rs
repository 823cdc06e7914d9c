//! The subcommands: each reads its arguments, calls one crate, and prints.

mod arrivals;
pub(crate) mod burstiness;
pub(crate) mod controller;
pub(crate) mod crds;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod plan;
pub(crate) mod print;
mod process;
pub(crate) mod profile;
pub(crate) mod report;
pub(crate) mod simulate;
