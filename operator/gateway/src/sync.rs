//! The atomics and channels that callers share with the tasks of their groups: std's and tokio's.
//!
//! In tests each of their operations is one before which a model checker may let another thread go on (`batcher::tests::model`); what is checked so is the
//! code itself and not a copy of it. Where no model runs they do what std's and tokio's do.

#[cfg(test)]
mod modelled;

#[cfg(not(test))]
pub(crate) use std::sync::atomic;
#[cfg(not(test))]
pub(crate) use tokio::sync::{mpsc, oneshot};

#[cfg(test)]
pub(crate) use modelled::{atomic, mpsc, oneshot};
