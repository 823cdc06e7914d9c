//! How requests of several applications fill a batch.

mod batch_law;
mod equivalent_timeout;

pub(crate) use batch_law::{BatchLaw, Workspace};
pub(crate) use equivalent_timeout::EquivalentTimeout;

/// One application as the models see it: its SLO without the overhead, in seconds, its rows per second, and the share
/// of them that may be late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) slo: f64,
    pub(crate) rate: f64,
    pub(crate) miss: f64,
}
