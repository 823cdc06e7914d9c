//! The decision itself: one call of the planner a platform, and the words for what it refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_planner::{
    InfeasibleApp, InfeasibleReason, Plan, PlanError, PlanOutline, PlanRequest, PlatformPlan, PoolUse,
    ReplanDecision, Replanned, Session, pools_in_use,
};

use super::pools::PoolReport;
use super::validate::Patience;

/// Plans all models of one platform. It takes as long as the search does: call it off the runtime's threads.
pub fn decide(request: &PlanRequest) -> Result<Vec<Plan>, PlanError> {
    harmonybatch_planner::plan(request)
}

/// What plans take of the pools of their platform, and what a shortage of devices leads to. Where devices are short, every pool that is takes two
/// more searches.
pub fn pool_report(
    request: &PlanRequest,
    planned: &PlatformPlan,
    session: &Session,
) -> Result<PoolReport, PlanError> {
    PoolReport::new(planned, |pool| session.saving_of_one_more_device(request, pool))
}

/// What was decided for a platform.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// What users wrote then.
    pub(crate) request: PlanRequest,
    /// The plans to follow.
    pub(crate) plans: Arc<Vec<Plan>>,
    /// The same with the rates that they hold for.
    held: Vec<PlanOutline>,
    /// When something last changed.
    changed_at: Duration,
    /// Whether plans that only save were looked for.
    looked_for_savings: bool,
}

impl Decided {
    /// Whether the request has to be looked at again, `now` since any fixed moment.
    pub(crate) fn is_due(&self, request: &PlanRequest, patience: &Patience, now: Duration) -> bool {
        self.request != *request || (!self.looked_for_savings && self.may_save(patience, now))
    }

    /// What the plans take of each pool.
    pub(crate) fn pools(&self) -> Vec<PoolUse> {
        pools_in_use(&self.request.platform, &self.plans)
    }

    /// Whether any pool has a limited number of devices.
    pub(crate) fn has_limited_pools(&self) -> bool {
        let pools = self.request.platform.gpu_pools();
        pools.iter().any(|pool| pool.devices().is_some())
    }

    /// Whether a report on the pools under the other's plans is one on these.
    pub(crate) fn uses_pools_as(&self, other: &Self) -> bool {
        (&self.request.platform, &self.plans) == (&other.request.platform, &other.plans)
    }

    /// The report on the pools under these plans. It searches as often as [`pool_report`] and once more.
    pub(crate) fn pool_report(&self, session: &Session) -> Result<PoolReport, PlanError> {
        // At the declared rates, which may be below those that the plans hold for, what is only foresight would look like a shortage.
        let request = self.request.at_rates_of(&self.plans);
        pool_report(&request, &session.assess(&request, &self.plans)?, session)
    }

    fn may_save(&self, patience: &Patience, now: Duration) -> bool {
        now.saturating_sub(self.changed_at) >= patience.min_interval
    }
}

/// Plans all models of one platform with regard to what runs: what was decided last, or `running` where nothing was yet. What users
/// edit other than rates takes effect at once if it is worth it. It takes as long as the search does.
pub(crate) fn decide_again(
    request: &PlanRequest,
    last: Option<&Decided>,
    running: &[PlanOutline],
    patience: &Patience,
    now: Duration,
    session: &Session,
) -> Result<Decided, PlanError> {
    let may_save = last.is_none_or(|last| {
        last.may_save(patience, now) || !last.request.differs_in_rates_and_corrections_only(request)
    });
    let old = last.map_or(running, |last| &last.held);
    let found = keep_served(request, old, patience, may_save, session)?;
    let changed = found.iter().any(|it| it.decision != ReplanDecision::Kept);
    let (plans, held) = found.into_iter().map(|it| (it.plan, it.held)).unzip();
    Ok(Decided {
        request: request.clone(),
        plans: Arc::new(plans),
        held,
        changed_at: match last {
            Some(last) if !changed => last.changed_at,
            _ => now,
        },
        looked_for_savings: may_save,
    })
}

/// Plans by the corrections as far as nobody who is served loses its place by them: an answer that is late is better than none, and what the plan
/// can still do for it is done. A correction that would end somebody's service is followed by three fourths of it, and so on down to the profile as
/// it is, which is what serves them now.
fn keep_served(
    request: &PlanRequest,
    old: &[PlanOutline],
    patience: &Patience,
    may_save: bool,
    session: &Session,
) -> Result<Vec<Replanned>, PlanError> {
    let replan = |request: &PlanRequest| session.replan(request, old, &patience.rule, may_save);
    let mut found = replan(request)?;
    let slower = request.models.iter().any(|set| {
        let corrections = set.profile().corrections();
        let mut all = corrections.gpu.values().chain([&corrections.cpu]);
        all.any(|correction| correction.mean() > 1.0 || correction.max() > 1.0)
    });
    if !slower || lost(&found, old).is_empty() {
        return Ok(found);
    }
    // Who is lost without any correction is not lost by it.
    let least = replan(&request.with_fourths_of_corrections(0))?;
    let anyway = lost(&least, old);
    for fourths in [3, 2, 1] {
        if lost(&found, old).len() <= anyway.len() {
            return Ok(found);
        }
        found = replan(&request.with_fourths_of_corrections(fourths))?;
    }
    Ok(if lost(&found, old).len() <= anyway.len() {
        found
    } else {
        least
    })
}

/// The applications that are served and would not be any more, though they are asked for.
fn lost(found: &[Replanned], old: &[PlanOutline]) -> BTreeSet<(String, String)> {
    let served = |namespace: &str, model: &str, app: &str| {
        let mut plans = old.iter();
        let plan = plans.find(|old| old.namespace == namespace && old.model == model);
        plan.is_some_and(|plan| {
            let mut members = plan.groups.iter().flat_map(|group| &group.members);
            members.any(|member| member.app == app)
        })
    };
    let refused = found.iter().flat_map(|it| {
        let plan = &it.plan;
        plan.infeasible.iter().map(move |refused| (plan, &refused.app))
    });
    refused
        .filter(|(plan, app)| served(&plan.namespace, &plan.model, app))
        .map(|(plan, app)| (plan.namespace.clone(), app.clone()))
        .collect()
}

/// Why an application is in no plan, and what would put it into one: the field, what was found, what is allowed.
pub fn refusal(plan: &Plan, infeasible: &InfeasibleApp) -> String {
    let (model, headroom) = (&plan.model, plan.headroom);
    // What the headroom has to do with it.
    let leaving = match infeasible.reason {
        InfeasibleReason::SloTooTight { .. }
        | InfeasibleReason::RateTooHigh { .. }
        | InfeasibleReason::PoolExhausted { .. }
            if !headroom.is_none() =>
        {
            format!(" with the platform's headroom of {headroom}")
        }
        _ => String::new(),
    };
    let remedy = match (infeasible.nearest_slo, infeasible.nearest_headroom) {
        (Some(slo), Some(headroom)) => format!(
            "; the nearest SLO that can be kept is {slo}, or this one with a headroom of {headroom} at most"
        ),
        (Some(slo), None) => format!("; the nearest SLO that can be kept is {slo}"),
        (None, _) => String::new(),
    };
    match &infeasible.reason {
        InfeasibleReason::SloTooTight { slo, fastest, device } => format!(
            "slo.latency {slo} is below the fastest known configuration of model {model} ({fastest} on {device}{leaving}){remedy}"
        ),
        reason if leaving.is_empty() => format!("model {model}: {reason}{remedy}"),
        reason => format!(
            "model {model}: {reason} ({}, which may be lowered){remedy}",
            leaving.trim_start()
        ),
    }
}

#[cfg(test)]
mod tests;
