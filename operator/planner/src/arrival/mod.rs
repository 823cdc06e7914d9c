//! How requests of several applications fill a batch.

mod batch_law;
mod equivalent_timeout;

pub(crate) use batch_law::BatchLaw;
pub(crate) use equivalent_timeout::EquivalentTimeout;

/// One application as the models see it: its SLO without the overhead, in seconds, and its rows per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) slo: f64,
    pub(crate) rate: f64,
}
