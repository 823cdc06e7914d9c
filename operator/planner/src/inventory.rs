//! Pools with a limited number of devices, which all models of a platform share.
//!
//! A Lagrange multiplier a pool, its *scarcity*, is added to the price of a unit in every search: as it rises, groups leave the pool for other
//! devices or for smaller shares. Per pool it is found by bisection between the largest that still wants too much and the smallest that fits. Whatever
//! the multipliers are, the cost of the plan under them, less what they are worth on the pools' own units, bounds the cost of every plan that fits
//! from below (weak duality); the distance to the best such bound is the certificate. Units that fit in sum need not fit on whole devices, so a plan
//! counts only if its shares are packed.
//!
//! Where not even the highest multiplier makes the plans fit, applications are left out, those first that would take most alone.

use std::collections::BTreeSet;

mod assess;
mod packing;
mod scarcity;

pub use assess::pools_in_use;
use packing::devices_for;
use scarcity::{Evaluation, Found, fit};

use crate::app::ModelSet;
use crate::plan::{Device, InfeasibleApp, InfeasibleReason, Plan};
use crate::platform::{GpuPool, Platform};
use crate::session::{PlanError, Session};
use crate::{PlanRequest, audit};

/// Applications of those left out that are tried again one by one.
const RETURNS_TRIED: usize = 32;

/// Costs closer than this, relatively, are the same.
const SAME: f64 = 1e-9;

/// The plans of all models of a platform, and what they take of its pools.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformPlan {
    /// One plan a model, in order of namespace and model.
    pub plans: Vec<Plan>,
    /// What the plans take of each pool, in order of name.
    pub pools: Vec<PoolUse>,
    /// Where the devices of a pool did not suffice for the cheapest plans: what that led to.
    pub shortage: Option<Shortage>,
}

/// What the plans take of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolUse {
    /// The pool's name.
    pub pool: String,
    /// Units of all shares.
    pub units: u64,
    /// Devices that hold the shares, packed by best fit, largest first.
    pub devices: u64,
    /// Devices that there are, if that is limited.
    pub limit: Option<u32>,
}

/// What a shortage of devices led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortage {
    /// What the search counted a unit of each pool at beyond its price, per second, in the order of the pools; zero where there is no shortage.
    pub scarcity: Vec<f64>,
    /// At most how much dearer the plans are than the cheapest that fit, as a fraction; none where the bound says nothing. It holds for plans whose
    /// groups are runs in the order of SLO, and as far as the searches under each multiplier find the cheapest.
    pub gap: Option<f64>,
    /// The applications that cost more than they would with as many devices as are wanted, the greatest difference first.
    pub dearer: Vec<DearerApp>,
}

/// An application that a shortage makes dearer.
#[derive(Debug, Clone, PartialEq)]
pub struct DearerApp {
    /// Namespace of the application.
    pub namespace: String,
    /// Its model.
    pub model: String,
    /// Its name.
    pub app: String,
    /// Its cost per second if there were devices enough.
    pub unlimited: f64,
    /// Its cost per second as planned.
    pub planned: f64,
}

/// Plans all models of a platform at once, within the devices of its pools.
pub fn plan_platform(request: &PlanRequest) -> Result<PlatformPlan, PlanError> {
    Session::new().plan_platform(request)
}

impl Session {
    /// Plans all models of a platform at once, within the devices of its pools.
    pub fn plan_platform(&self, request: &PlanRequest) -> Result<PlatformPlan, PlanError> {
        let planned = planned(request, self)?;
        self.check()?;
        audit::check(request, &planned)?;
        Ok(planned)
    }

    /// What one more device of the pool would save per second; zero where the devices suffice, none where their number is not limited or the pool
    /// is unknown.
    ///
    /// An application that is left out for want of devices costs nothing: where one more device serves another application, the difference may
    /// be below zero.
    pub fn saving_of_one_more_device(
        &self,
        request: &PlanRequest,
        pool: &str,
    ) -> Result<Option<f64>, PlanError> {
        let Some(more) = with_one_more_device(request, pool) else {
            return Ok(None);
        };
        let cost = |request: &PlanRequest| -> Result<f64, PlanError> {
            let plans = self.plan_platform(request)?.plans;
            Ok(plans.iter().map(|plan| plan.cost_per_second).sum())
        };
        Ok(Some(cost(request)? - cost(&more)?))
    }
}

/// The same request with one more device in the pool, if their number is limited.
pub(crate) fn with_one_more_device(request: &PlanRequest, pool: &str) -> Option<PlanRequest> {
    let pools = request.platform.gpu_pools();
    let index = pools.iter().position(|known| known.name() == pool)?;
    let devices = pools[index].devices()?;
    Some(PlanRequest {
        platform: request
            .platform
            .clone()
            .with_pool_devices(index, devices.saturating_add(1)),
        models: request.models.clone(),
    })
}

fn planned(request: &PlanRequest, session: &Session) -> Result<PlatformPlan, PlanError> {
    let unlimited = Evaluation::of(&request.platform, &request.models, session);
    if unlimited.fits() {
        let pools = unlimited.pools;
        return Ok(PlatformPlan {
            plans: unlimited.plans,
            pools,
            shortage: None,
        });
    }
    let (found, left_out) = fit_leaving_out(&request.platform, &request.models, session)?;
    let mut plans = found.best.plans;
    // A bound under prices that nobody pays bounds nothing, nor does one for applications that are left out.
    for (plan, unlimited) in plans.iter_mut().zip(&unlimited.plans) {
        plan.least_cost_per_second = if left_out.is_empty() {
            unlimited.least_cost_per_second
        } else {
            0.0
        };
    }
    for (set, app, reason) in left_out {
        if let Some(plan) = plans
            .iter_mut()
            .find(|plan| plan.namespace == set.namespace() && plan.model == set.model())
        {
            plan.infeasible.push(InfeasibleApp {
                app,
                reason,
                nearest_slo: None,
                nearest_headroom: None,
            });
            plan.infeasible.sort_by(|a, b| a.app.cmp(&b.app));
        }
    }
    let shortage = Shortage {
        scarcity: found.scarcity,
        gap: (found.bound > 0.0).then(|| (found.best.cost / found.bound - 1.0).max(0.0)),
        dearer: dearer(&unlimited.plans, &plans),
    };
    Ok(PlatformPlan {
        plans,
        pools: found.best.pools,
        shortage: Some(shortage),
    })
}

/// Whether the devices of every pool hold the plans together.
pub(crate) fn holds(platform: &Platform, plans: &[Plan]) -> bool {
    let mut pools = platform.gpu_pools().iter().map(|pool| pool_use(pool, plans));
    pools.all(|used| used.fits())
}

impl PoolUse {
    /// Whether there are devices enough.
    pub fn fits(&self) -> bool {
        self.limit.is_none_or(|limit| self.devices <= u64::from(limit))
    }
}

/// An application that is left out, with its model.
type LeftOut = (ModelSet, String, InfeasibleReason);

/// The cheapest plans that fit, after as few applications as this finds were left out.
fn fit_leaving_out(
    platform: &Platform,
    models: &[ModelSet],
    session: &Session,
) -> Result<(Found, Vec<LeftOut>), PlanError> {
    let mut models = models.to_vec();
    let mut left_out = Vec::new();
    loop {
        session.check()?;
        let exhausted = match fit(platform, &models, session) {
            Ok(found) => return Ok((found, left_out)),
            Err(exhausted) => exhausted,
        };
        let dearest = platform.clone().with_scarcity(exhausted.scarcity);
        let wanting = by_units_alone(
            &Evaluation::of(&dearest, &models, session).plans,
            platform.gpu_pools()[exhausted.pool].name(),
        );
        // The smallest number of the greediest without which the others fit.
        let fits_without = |count: usize| {
            let models = without(&models, &wanting[..count]);
            Evaluation::of(&dearest, &models, session).fits_on(exhausted.pool)
        };
        let (mut low, mut high) = (1, wanting.len());
        while low < high {
            let middle = low.midpoint(high);
            if fits_without(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        // Some of those before it may still fit, the least greedy first.
        let mut out: Vec<AppKey> = wanting[..high].to_vec();
        for index in (0..high.saturating_sub(1)).rev().take(RETURNS_TRIED) {
            let fewer: Vec<AppKey> = out
                .iter()
                .filter(|app| **app != wanting[index])
                .cloned()
                .collect();
            let models = without(&models, &fewer);
            if Evaluation::of(&dearest, &models, session).fits_on(exhausted.pool) {
                out = fewer;
            }
        }
        let pool = &platform.gpu_pools()[exhausted.pool];
        for (namespace, model, app) in &out {
            let set = models
                .iter()
                .find(|set| set.namespace() == namespace && set.model() == model);
            left_out.extend(set.map(|set| {
                let reason = InfeasibleReason::PoolExhausted {
                    pool: pool.name().to_owned(),
                    devices: pool.devices().unwrap_or(u32::MAX),
                };
                (set.clone(), app.clone(), reason)
            }));
        }
        models = without(&models, &out);
    }
}

/// Namespace, model and name of an application.
type AppKey = (String, String, String);

/// The applications on a pool, first those that would take most of it alone.
fn by_units_alone(plans: &[Plan], pool: &str) -> Vec<AppKey> {
    let mut wanting: Vec<(u64, AppKey)> = Vec::new();
    for plan in plans {
        let groups = plan
            .groups
            .iter()
            .filter(|group| units_on(&group.device, pool) > 0);
        for member in groups.flat_map(|group| &group.members) {
            let alone = &member.explanation.alone;
            let units = units_on(&alone.device, pool) * u64::from(alone.replicas);
            wanting.push((
                units,
                (plan.namespace.clone(), plan.model.clone(), member.app.clone()),
            ));
        }
    }
    wanting.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    wanting.into_iter().map(|(_, key)| key).collect()
}

fn without(models: &[ModelSet], left_out: &[AppKey]) -> Vec<ModelSet> {
    models
        .iter()
        .map(|set| {
            let names: BTreeSet<&str> = left_out
                .iter()
                .filter(|(namespace, model, _)| namespace == set.namespace() && model == set.model())
                .map(|(_, _, app)| app.as_str())
                .collect();
            set.without(&names)
        })
        .collect()
}

fn dearer(unlimited: &[Plan], planned: &[Plan]) -> Vec<DearerApp> {
    let cost_in = |plans: &[Plan], plan: &Plan, app: &str| {
        let plan = plans
            .iter()
            .find(|other| (&other.namespace, &other.model) == (&plan.namespace, &plan.model))?;
        let members = plan.groups.iter().flat_map(|group| &group.members);
        members
            .into_iter()
            .find(|member| member.app == app)
            .map(|member| member.cost_per_second)
    };
    let mut dearer = Vec::new();
    for plan in planned {
        for member in plan.groups.iter().flat_map(|group| &group.members) {
            let before = cost_in(unlimited, plan, &member.app);
            if let Some(unlimited) = before.filter(|before| member.cost_per_second > before * (1.0 + SAME)) {
                dearer.push(DearerApp {
                    namespace: plan.namespace.clone(),
                    model: plan.model.clone(),
                    app: member.app.clone(),
                    unlimited,
                    planned: member.cost_per_second,
                });
            }
        }
    }
    let more = |app: &DearerApp| app.planned - app.unlimited;
    dearer.sort_by(|a, b| {
        more(b)
            .total_cmp(&more(a))
            .then((&a.namespace, &a.model, &a.app).cmp(&(&b.namespace, &b.model, &b.app)))
    });
    dearer
}

fn units_on(device: &Device, wanted: &str) -> u64 {
    match device {
        Device::Gpu { pool, units } if pool == wanted => u64::from(units.get()),
        Device::Gpu { .. } | Device::Cpu { .. } => 0,
    }
}

fn pool_use(pool: &GpuPool, plans: &[Plan]) -> PoolUse {
    let groups = plans.iter().flat_map(|plan| &plan.groups);
    let shares: Vec<(u64, u64)> = groups
        .map(|group| (units_on(&group.device, pool.name()), u64::from(group.replicas)))
        .filter(|(units, _)| *units > 0)
        .collect();
    PoolUse {
        pool: pool.name().to_owned(),
        units: shares.iter().map(|(units, replicas)| units * replicas).sum(),
        devices: devices_for(shares, u64::from(pool.units_per_device().get())),
        limit: pool.devices(),
    }
}

#[cfg(test)]
mod tests;
