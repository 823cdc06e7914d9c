//! Groups applications by SLO and rate and gives every group its cheapest function.
//!
//! The input is a [`PlanRequest`]: a [`Platform`] (devices, prices, billing) and, for each model, its latency
//! [`ModelProfile`] and its [`App`]s. The output is one [`Plan`] for each model: groups of applications that
//! share batches, the device, size, batch size and replicas of each group, why each application is where it
//! is, and the applications that nothing can serve, with the nearest SLO that could be.
//!
//! Everything here is a pure function of its input: no clock, no I/O, and no randomness but from fixed seeds. The same input gives the
//! same plan, byte for byte, in whatever order applications, models and pools are listed.
//!
//! The path of a plan through the modules: [`App`]s are screened and sorted by SLO (`model`), `latency` turns
//! the profile into a catalogue of functions, `provision` finds the cheapest function of a run of
//! applications, `group` cuts the sorted applications into the cheapest runs, `inventory` makes all models fit on the devices that there
//! are, `explain` says why. Where batches queue for pods that stay up, `simulate` plays requests through the gateway's own batching rule
//! and gives the verdict. [`baseline`] says what other algorithms would make of the same applications.
//! A [`Correction`] makes plans take a profile's latencies for longer or shorter, by what an [`Estimate`] makes of the batches that were seen.
//! [`audit`] looks at a plan again by the definitions alone.

mod app;
mod arrival;
pub mod audit;
mod baseline;
mod correction;
mod diff;
mod explain;
mod group;
mod inventory;
mod latency;
mod model;
mod plan;
mod platform;
mod profile;
mod provision;
mod session;
mod simulate;
pub mod units;

pub use app::{App, ModelSet, ModelSetError};
pub use arrival::{ArrivalError, ArrivalProcess, Burst, Dispersion, Trace};
pub use baseline::{Baseline, BaselineFunction, BaselinePlan, baseline};
pub use correction::{
    BOUNDS as CORRECTION_BOUNDS, Batches, Bucket, Correction, Corrections, Estimate, Expected, Longest, Rows,
    UnderQuota,
};
pub use diff::{
    AppChange, AppState, ExtraReplicas, GroupChange, GroupChangeKind, GroupOutline, MemberOutline, Move,
    PlanDiff, PlanOutline, Switch, diff,
};
pub use explain::{
    Alone, AppExplanation, Constraint, CostChange, ExplainError, Explanation, InfeasibleExplanation,
    Relaxation, RunnerUp, ServedExplanation, Verdict, WhatIf, explain,
};
pub use inventory::{DearerApp, PlatformPlan, PoolUse, Shortage, plan_platform, pools_in_use};
pub use latency::{Profiled, profiled};
pub use model::replan::{Preference, ReplanDecision, ReplanReason, ReplanRule, Replanned, replan};
pub use plan::{
    Device, Dispatch, GroupPlan, InfeasibleApp, InfeasibleReason, Member, Plan, Predicted, Simulated,
};
pub use platform::{
    ArrivalModel, Billing, CpuGrid, GpuPool, Planner, Platform, PlatformError, Prices, Sharing,
};
pub use profile::{
    AfterIdle, CpuCurve, CpuLatency, Exponential, GpuLatency, Hyperbolic, Memory, ModelProfile, ProfileError,
    Throttled,
};
pub use session::{PlanError, Session, Stop};
pub use simulate::{AppSimulation, GroupSimulation, LatencyRange, Simulation, simulate_plan};

/// Everything that a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRequest {
    /// What may be used and what it costs.
    pub platform: Platform,
    /// All models that are planned on this platform.
    pub models: Vec<ModelSet>,
}

/// Plans all models of a platform at once, within the devices of its pools; the plans come in order of namespace and model.
pub fn plan(request: &PlanRequest) -> Result<Vec<Plan>, PlanError> {
    Ok(plan_platform(request)?.plans)
}

#[cfg(test)]
extern crate self as harmonybatch_planner;

/// The published models, for unit tests as well.
#[cfg(test)]
#[path = "../tests/planner/fixture.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "unit tests use a part of it and fail by panicking"
)]
mod fixture;

#[cfg(test)]
#[path = "../tests/planner/random.rs"]
#[expect(dead_code, reason = "unit tests use a part of it")]
mod random;
