//! The multipliers under which the plans of a platform fit its pools: a bisection a pool, in rounds over all of them.

use super::{PoolUse, SAME, pool_use};
use crate::app::ModelSet;
use crate::model;
use crate::plan::Plan;
use crate::platform::Platform;
use crate::session::Session;

/// Steps of a bisection: the multiplier is then known to one part in a thousand of its bracket.
const STEPS: u32 = 10;

/// Times that the first guess of a multiplier, the unit's own price, is doubled before a pool counts as exhausted.
const DOUBLINGS: u32 = 24;

/// Rounds over all pools: one pool's scarcity may drive groups to another.
const ROUNDS: u32 = 3;

/// The plans under certain multipliers.
#[derive(Debug, Clone)]
pub(super) struct Evaluation {
    pub(super) plans: Vec<Plan>,
    /// True cost per second.
    pub(super) cost: f64,
    /// No plan that fits costs less.
    pub(super) bound: f64,
    pub(super) pools: Vec<PoolUse>,
}

impl Evaluation {
    pub(super) fn of(platform: &Platform, models: &[ModelSet], session: &Session) -> Self {
        let mut plans: Vec<Plan> = models
            .iter()
            .map(|set| model::plan_model(platform, set, session))
            .collect();
        plans.sort_by(|a, b| (&a.namespace, &a.model).cmp(&(&b.namespace, &b.model)));
        let pools: Vec<PoolUse> = platform
            .gpu_pools()
            .iter()
            .map(|pool| pool_use(pool, &plans))
            .collect();
        let cost: f64 = plans.iter().map(|plan| plan.cost_per_second).sum();
        let mut bound = cost;
        for (index, (pool, used)) in platform.gpu_pools().iter().zip(&pools).enumerate() {
            if let Some(devices) = pool.devices() {
                let available = f64::from(devices) * f64::from(pool.units_per_device().get());
                #[expect(clippy::cast_precision_loss, reason = "units are far below 2^52")]
                let wanted = used.units as f64;
                bound += platform.scarcity(index) * (wanted - available);
            }
        }
        Self {
            plans,
            cost,
            bound,
            pools,
        }
    }

    pub(super) fn fits(&self) -> bool {
        (0..self.pools.len()).all(|pool| self.fits_on(pool))
    }

    pub(super) fn fits_on(&self, pool: usize) -> bool {
        self.pools[pool].fits()
    }
}

/// The cheapest plans that were seen to fit, and the best bound.
pub(super) struct Found {
    pub(super) best: Evaluation,
    pub(super) scarcity: Vec<f64>,
    pub(super) bound: f64,
}

/// A pool that is too small whatever its units cost.
pub(super) struct Exhausted {
    pub(super) pool: usize,
    /// The multipliers under which that was seen.
    pub(super) scarcity: Vec<f64>,
}

/// The search for multipliers under which the plans fit.
struct Search<'a> {
    platform: &'a Platform,
    models: &'a [ModelSet],
    session: &'a Session,
    scarcity: Vec<f64>,
    found: Option<(Evaluation, Vec<f64>)>,
    bound: f64,
}

impl Search<'_> {
    fn fit(mut self) -> Result<Found, Exhausted> {
        let mut exhausted = 0;
        for _ in 0..ROUNDS {
            let now = self.evaluate();
            let Some(pool) = (0..now.pools.len()).find(|&pool| !now.fits_on(pool)) else {
                break;
            };
            exhausted = pool;
            for pool in pool..self.scarcity.len() {
                if self.platform.gpu_pools()[pool].devices().is_some() && !self.evaluate().fits_on(pool) {
                    self.raise(pool)?;
                }
            }
        }
        let (bound, scarcity) = (self.bound, self.scarcity);
        match self.found {
            Some((best, scarcity)) => Ok(Found {
                best,
                scarcity,
                bound,
            }),
            None => Err(Exhausted {
                pool: exhausted,
                scarcity,
            }),
        }
    }

    /// Raises the pool's multiplier until the plans fit on it, and no further than they must.
    fn raise(&mut self, pool: usize) -> Result<(), Exhausted> {
        let price = self.platform.prices().gpu_unit_second.get();
        let (mut low, mut high) = (
            self.scarcity[pool],
            self.scarcity[pool] + price.max(f64::MIN_POSITIVE.sqrt()),
        );
        for doubling in 0.. {
            self.scarcity[pool] = high;
            if self.evaluate().fits_on(pool) {
                break;
            }
            if doubling == DOUBLINGS {
                return Err(Exhausted {
                    pool,
                    scarcity: self.scarcity.clone(),
                });
            }
            (low, high) = (high, high * 2.0);
        }
        for _ in 0..STEPS {
            self.scarcity[pool] = low.midpoint(high);
            if self.evaluate().fits_on(pool) {
                high = self.scarcity[pool];
            } else {
                low = self.scarcity[pool];
            }
        }
        self.scarcity[pool] = high;
        Ok(())
    }

    /// Plans under the present multipliers, and remembers what is worth it.
    fn evaluate(&mut self) -> Evaluation {
        let platform = self.platform.clone().with_scarcity(self.scarcity.clone());
        let now = Evaluation::of(&platform, self.models, self.session);
        self.bound = self.bound.max(now.bound);
        let cheaper = |(known, _): &(Evaluation, _)| now.cost < known.cost * (1.0 - SAME);
        if now.fits() && self.found.as_ref().is_none_or(cheaper) {
            self.found = Some((now.clone(), self.scarcity.clone()));
        }
        now
    }
}

pub(super) fn fit(platform: &Platform, models: &[ModelSet], session: &Session) -> Result<Found, Exhausted> {
    let search = Search {
        platform,
        models,
        session,
        scarcity: vec![0.0; platform.gpu_pools().len()],
        found: None,
        bound: f64::NEG_INFINITY,
    };
    search.fit()
}
