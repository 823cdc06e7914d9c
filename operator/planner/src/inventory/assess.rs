//! The pools under plans that run: what those take, and what a shortage of devices makes of them, at the rates that they hold for.

use std::collections::{BTreeMap, BTreeSet};

use super::{AppKey, Evaluation, PlatformPlan, PoolUse, Shortage, dearer, fit_leaving_out, pool_use};
use crate::PlanRequest;
use crate::plan::{InfeasibleReason, Plan};
use crate::platform::Platform;
use crate::session::{PlanError, Session};

/// What plans take of each pool of the platform, in order of name.
pub fn pools_in_use(platform: &Platform, plans: &[Plan]) -> Vec<PoolUse> {
    let pools = platform.gpu_pools().iter();
    pools.map(|pool| pool_use(pool, plans)).collect()
}

impl Session {
    /// What [`Session::plan_platform`] says of its own plans, for plans that were made or kept by [`Session::replan`]. It searches as long as that does
    /// where the number of devices is limited. `request` is at the rates of the plans ([`PlanRequest::at_rates_of`]).
    pub fn assess(&self, request: &PlanRequest, plans: &[Plan]) -> Result<PlatformPlan, PlanError> {
        let pools = pools_in_use(&request.platform, plans);
        let limited = pools.iter().any(|used| used.limit.is_some());
        let shortage = if limited {
            shortage(request, plans, self)?
        } else {
            None
        };
        self.check()?;
        Ok(PlatformPlan {
            plans: plans.to_vec(),
            pools,
            shortage,
        })
    }
}

fn shortage(request: &PlanRequest, plans: &[Plan], session: &Session) -> Result<Option<Shortage>, PlanError> {
    let unlimited = Evaluation::of(&request.platform, &request.models, session);
    if unlimited.fits() {
        return Ok(None);
    }
    let (found, left_out) = fit_leaving_out(&request.platform, &request.models, session)?;
    let cost: f64 = plans.iter().map(|plan| plan.cost_per_second).sum();
    // The bound is one on plans that serve the same applications.
    let left_out = left_out
        .into_iter()
        .map(|(set, app, _)| (set.namespace().to_owned(), set.model().to_owned(), app));
    let comparable = found.bound > 0.0 && left_out.collect::<BTreeSet<_>>() == without_device(plans);
    Ok(Some(Shortage {
        scarcity: found.scarcity,
        gap: comparable.then(|| (cost / found.bound - 1.0).max(0.0)),
        dearer: dearer(&unlimited.plans, plans),
    }))
}

/// The applications for which the plans have no device.
fn without_device(plans: &[Plan]) -> BTreeSet<AppKey> {
    let mut found = BTreeSet::new();
    for plan in plans {
        for app in &plan.infeasible {
            if matches!(app.reason, InfeasibleReason::PoolExhausted { .. }) {
                found.insert((plan.namespace.clone(), plan.model.clone(), app.app.clone()));
            }
        }
    }
    found
}

impl PlanRequest {
    /// The same request at the rates that plans hold for, which may be others than are declared.
    #[must_use]
    pub fn at_rates_of(&self, plans: &[Plan]) -> Self {
        let mut held = BTreeMap::new();
        for plan in plans {
            for member in plan.groups.iter().flat_map(|group| &group.members) {
                held.insert(
                    (plan.namespace.as_str(), plan.model.as_str(), member.app.as_str()),
                    member.rate,
                );
            }
        }
        let rates = self.models.iter().map(|set| {
            set.with_rates(|app| {
                let rate = held.get(&(set.namespace(), set.model(), app.name.as_str()));
                rate.copied().unwrap_or(app.rate)
            })
        });
        Self {
            platform: self.platform.clone(),
            models: rates.collect(),
        }
    }
}
