//! One queue a group.
//!
//! A [`Fleet`] follows the configuration and keeps one owner task for every group ([`worker`]); a request is handed to the task of its group with
//! [`Table::submit`], which gives a [`Waiter`] for the answer. The task owns everything of its group: the waiting requests ([`queue`], around
//! [`harmonybatch_dispatch`]), the replicas ([`replicas`]) and the batches in flight ([`batch`]). Nothing of it is shared but a few counters
//! ([`GroupStats`]).
//!
//! A batch that its runtime refuses is taken apart until only the request that spoiled it fails ([`isolation`], bounded by [`retry`]); an application
//! whose requests keep doing that is batched by itself for a while ([`quarantine`]).
//!
//! A group's end loses nothing: a task whose group is gone drains its queue through the replicas that it has, gives requests that no replica will
//! take back to the fleet, which hands them to the group that serves their application now, and ends when nobody can submit to it any more.

mod batch;
mod fleet;
mod handle;
mod isolation;
mod quarantine;
mod queue;
mod replicas;
mod request;
mod retry;
mod table;
mod worker;

#[cfg(test)]
mod tests;

pub use batch::BatchId;
pub use fleet::Fleet;
pub(crate) use request::Progress;
pub use request::{Answered, GroupStats, Sent, Submission, Waiter};
pub use table::{GroupListing, Limits, Table};
