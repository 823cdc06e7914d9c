//! The decision itself: one call of the planner a platform, and the words for what it refused.

use harmonybatch_planner::{InfeasibleApp, InfeasibleReason, Plan, PlanRequest};

/// Plans all models of one platform. It takes as long as the search does: call it off the runtime's threads.
pub fn decide(request: &PlanRequest) -> Vec<Plan> {
    harmonybatch_planner::plan(request)
}

/// Why an application is in no plan, and what would put it into one: the field, what was found, what is allowed.
pub fn refusal(model: &str, infeasible: &InfeasibleApp) -> String {
    let remedy = match infeasible.nearest_slo {
        Some(nearest) => format!("; the nearest SLO that can be kept is {nearest}"),
        None => String::new(),
    };
    match &infeasible.reason {
        InfeasibleReason::SloTooTight { slo, fastest, device } => format!(
            "slo.latency {slo} is below the fastest known configuration of model {model} ({fastest} on {device}){remedy}"
        ),
        reason => format!("model {model}: {reason}{remedy}"),
    }
}
