//! What is known of one application's place in its plan, as data; `what_if` finds it.

use crate::app::App;
use crate::plan::{InfeasibleApp, Plan};
use crate::session::PlanError;
use crate::units::{Rate, Seconds};

/// Everything that is known of why an application costs what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct AppExplanation {
    /// The application as it was declared.
    pub app: App,
    /// The plan of its model, as [`crate::plan`] gives it.
    pub plan: Plan,
    /// Whether it is served.
    pub verdict: Verdict,
}

/// Whether an application is served, and what is known of that.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is in a group.
    Served(ServedExplanation),
    /// No configuration serves it.
    Infeasible(InfeasibleExplanation),
}

/// An application that is in a group; with whom, at what price and on what else it could run stands in the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedExplanation {
    /// Index of its group in the plan.
    pub group: usize,
    /// Index of the application among the group's members.
    pub member: usize,
    /// What relaxing one constraint saves, the most first; of equal savings in the order of [`Constraint`].
    pub relaxations: Vec<Relaxation>,
    /// What another SLO would cost, tightest first.
    pub slo_prices: Vec<WhatIf<Seconds>>,
    /// What another rate would cost, lowest first.
    pub rate_prices: Vec<WhatIf<Rate>>,
}

impl ServedExplanation {
    /// The constraint that binds: the one whose relaxation saves most. None where nothing does: the plan is as cheap as
    /// it is for this rate without any promise.
    pub fn binds(&self) -> Option<&Relaxation> {
        self.relaxations
            .first()
            .filter(|relaxation| relaxation.saving_per_second > 0.0)
    }
}

/// An application that cannot be served, and the nearest promises that could.
#[derive(Debug, Clone, PartialEq)]
pub struct InfeasibleExplanation {
    /// Why, and the nearest SLO if that helps.
    pub app: InfeasibleApp,
    /// The largest rate that could be served at its SLO, to within half a percent; none where the rate is not what
    /// stands in the way.
    pub nearest_rate: Option<Rate>,
}

/// What can stand in the way of a cheaper plan. The order breaks ties.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Constraint {
    /// The application's own SLO; relaxed: half as much longer.
    Slo,
    /// The tightest SLO of its group, which another member has; relaxed: half as much longer.
    SloOf {
        /// The member.
        app: String,
        /// Its SLO.
        slo: Seconds,
    },
    /// The share of its requests that must keep the SLO; relaxed: half as many more may be late.
    Percentile,
    /// The memory of the shares that it may run on; relaxed: the model needs two thirds of what it does.
    DeviceMemory,
    /// The number of devices in a pool, which all models of the platform share; relaxed: one more.
    Devices {
        /// The pool.
        pool: String,
    },
    /// How much longer than profiled batches may take on the platform; relaxed: none at all.
    Headroom,
    /// What a second of its load takes of a device; looked at only where no promise binds. Relaxed: two thirds of
    /// the rate.
    Capacity,
}

/// What relaxing one constraint saves.
#[derive(Debug, Clone, PartialEq)]
pub struct Relaxation {
    /// What is relaxed, by the amount that [`Constraint`] states.
    pub constraint: Constraint,
    /// How much less the whole plan costs a second then, at least 0.
    pub saving_per_second: f64,
}

/// The plan with one number of one application changed, and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIf<T> {
    /// The number, relative to the declared one.
    pub factor: f64,
    /// The number.
    pub value: T,
    /// What the plan costs then; none where the application could not be served.
    pub change: Option<CostChange>,
}

/// What the plan costs with one number changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostChange {
    /// Cost of all groups of the model per second.
    pub plan_per_second: f64,
    /// How much more all plans of the platform cost per second than they do now: the price of the change, whoever is
    /// charged for it.
    pub difference_per_second: f64,
    /// The application's fair share per second then.
    pub app_per_second: f64,
}

/// A question about something that is not there.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// The request has no such model.
    #[error("namespace {namespace} has no model {model}")]
    UnknownModel {
        /// The namespace that was asked for.
        namespace: String,
        /// The model that was asked for.
        model: String,
    },
    /// The model has no such application.
    #[error("model {namespace}/{model} has no application {app}")]
    UnknownApp {
        /// The namespace of the model.
        namespace: String,
        /// The model.
        model: String,
        /// The application that was asked for.
        app: String,
    },
    /// There is no plan to explain.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
