//! The latency profile of a runtime on this machine: measured under a CPU quota of its own for every size, then fitted.

mod cgroup;
mod curves;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::{Effort, Endpoint, MeasureError, Measurement};
use crate::plan::App;

pub use cgroup::CgroupError;
pub use curves::{Curves, CurvesError, Origin, curves, yaml};
pub use process::ProcessError;

use cgroup::CpuQuota;
use process::Runtime;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The runtime's binary; it is started as `BINARY serve --listen ADDRESS` with [`Sweep::arguments`] behind.
    pub runtime: PathBuf,
    /// Further arguments of the runtime.
    pub arguments: Vec<String>,
    /// CPU limits, in vCPU.
    pub vcpus: Vec<f64>,
    /// Batch sizes.
    pub batches: Vec<usize>,
    /// How long each pair of them is measured.
    pub effort: Effort,
    /// How the runtime is asked: model and columns.
    pub app: App,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// No CPU quota could be set.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The runtime did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// An answer was missing or wrong.
    #[error("at {vcpu} vCPU")]
    Measure {
        /// The CPU limit.
        vcpu: f64,
        /// What happened.
        source: MeasureError,
    },
}

/// What a sweep says while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The runtime is ready under a CPU limit.
    Started {
        /// The CPU limit.
        vcpu: f64,
        /// From the start of the process to readiness.
        after: Duration,
    },
    /// One batch size was measured under a CPU limit.
    Measured(Measurement),
}

/// Measures every batch size at every CPU limit, each limit in a process and a control group of its own, which are gone
/// afterwards, whatever happens. Needs the right to make control groups.
pub async fn sweep(
    plan: &Sweep,
    mut progress: impl FnMut(&Progress),
) -> Result<Vec<Measurement>, SweepError> {
    let mut measurements = Vec::new();
    for &vcpu in &plan.vcpus {
        let quota = CpuQuota::create(vcpu)?;
        let runtime = Runtime::start(&plan.runtime, &plan.arguments, &quota)?;
        let mut endpoint = Endpoint::new(runtime.address().to_string(), plan.app.clone());
        let after = runtime.ready(&endpoint).await?;
        progress(&Progress::Started { vcpu, after });
        for &batch in &plan.batches {
            let measured = endpoint.measure(batch, plan.effort).await;
            let measured = measured.map_err(|source| SweepError::Measure { vcpu, source })?;
            let measured = Measurement {
                vcpu: Some(vcpu),
                ..measured
            };
            progress(&Progress::Measured(measured.clone()));
            measurements.push(measured);
        }
        // The process first: a control group with a process in it cannot be removed.
        drop(runtime);
        drop(quota);
    }
    Ok(measurements)
}
