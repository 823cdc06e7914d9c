//! Plan: from what users wrote to the groups that serve them.
//!
//! The steps, in order, one file each: [`gather`] reads the local copies of the cluster; [`validate`] brings each object into the
//! planner's types, or says what is wrong with it; [`decide`] calls the planner; [`build`] gives the planned groups their names
//! ([`naming`]) and makes the objects; [`apply`] writes those that differ; [`retire`] says which old groups may go; [`status`] says on
//! every app, model and platform what became of it. Only gather, apply and the writing of statuses touch the API. The command line
//! (`harmonybatch plan`) uses the same [`validate`] and [`decide`].

mod apply;
mod build;
mod decide;
mod gather;
pub mod money;
mod naming;
mod retire;
mod running;
mod status;
mod validate;
mod worker;

pub use build::{device, dispatch, duration, identity};
pub use decide::{decide, refusal};
pub use naming::{Identity, name};
pub use validate::{Contract, Inputs, Key, Kind, Patience, Problem, Validated, key, validate};
pub(crate) use worker::Worker;
