//! How requests of several applications fill a batch.

mod batch_law;
mod dispersion;
mod equivalent_timeout;
mod process;

pub(crate) use batch_law::{BatchLaw, Workspace};
pub use dispersion::Dispersion;
pub(crate) use equivalent_timeout::EquivalentTimeout;
pub use process::{ArrivalError, ArrivalProcess, Burst, Trace};
pub(crate) use process::{Process, Traces};

/// One application as the models see it: its SLO without the overhead, in seconds, its rows per second, the share of
/// them that may be late, and how they arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) slo: f64,
    pub(crate) rate: f64,
    pub(crate) miss: f64,
    pub(crate) process: Process,
}

#[cfg(test)]
impl Load {
    /// An application as the tests have it: one request in a hundred may be late.
    pub(crate) fn poisson(app: &crate::app::App) -> Self {
        Self {
            slo: app.slo.get(),
            rate: app.rate.get(),
            miss: 0.01,
            process: Process::Poisson,
        }
    }
}
