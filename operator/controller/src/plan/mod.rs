//! Plan: from what users wrote to the groups that serve them.
//!
//! The steps, in order, one file each: [`gather`] reads the local copies of the cluster, and the [`recordings`] that applications name;
//! [`validate`] brings each object into the planner's types ([`traces`]: what such a recording must be), or says what is wrong with it;
//! [`drift`] has what is known of runtimes that are faster or slower than their profiles; [`decide`] calls the planner; [`build`] gives the planned groups their names ([`naming`]) and makes the objects; [`apply`] writes
//! those that differ; [`callers`] gives every application its address; [`publish`] writes what [`status`] says of every app, model and
//! platform, and of its GPU pools ([`pools`]) what the [`reports`] say that are made meanwhile; [`removal`] deletes the groups that may
//! go by the verdict of [`retire`]. The [`worker`] runs the steps. Only gather, apply, callers, publish and removal touch the API. The
//! command line (`harmonybatch plan`) uses the same [`validate`] and [`decide`].

mod apply;
mod build;
mod callers;
mod decide;
mod drift;
mod gather;
pub mod money;
mod naming;
mod observed;
pub mod pools;
mod publish;
mod recordings;
mod refusals;
mod removal;
mod reports;
mod retire;
mod running;
mod status;
mod traces;
mod validate;
mod worker;

pub use build::{device, dispatch, duration, identity};
#[cfg(test)]
pub(crate) use decide::{Decided, decide_again};
pub use decide::{decide, pool_report, refusal};
pub(crate) use drift::{CPU, Drift, basis, known_before};
pub use naming::{Identity, name};
pub(crate) use observed::planned_before;
pub(crate) use publish::Publisher;
pub(crate) use recordings::Recordings;
pub(crate) use removal::Removal;
pub(crate) use reports::Reports;
pub(crate) use running::{device as planned_device, outline};
pub use traces::{TracePlace, Traces};
pub(crate) use validate::profile_on;
pub use validate::{Contract, Inputs, Key, Kind, Patience, Problem, Validated, key, validate};
pub(crate) use worker::Worker;
