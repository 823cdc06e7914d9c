//! One application's place in its plan, looked at closely: what stands in the way of a cheaper plan, and what other
//! promises would cost.
//!
//! Every figure comes from planning everything again with one number changed, so it holds the moves of other
//! applications that the change would bring, those of other models included where they share devices. That is a handful of plans: too dear for every plan, quick enough for a
//! person who asks.

use super::app_explanation::{
    AppExplanation, Constraint, CostChange, ExplainError, InfeasibleExplanation, Relaxation,
    ServedExplanation, Verdict, WhatIf,
};
use crate::PlanRequest;
use crate::app::{App, ModelSet};
use crate::plan::{GroupPlan, InfeasibleReason, Member, Plan};
use crate::platform::Billing;
use crate::session::{PlanError, Session};
use crate::units::{Headroom, Percentile, Rate, Seconds};

/// The parts of its SLO at which an application's cost is given.
const SLO_FACTORS: [f64; 3] = [0.8, 1.25, 1.5];

/// The parts of its rate at which an application's cost is given.
const RATE_FACTORS: [f64; 3] = [0.5, 1.1, 2.0];

/// How far each constraint is relaxed to see what it costs.
const RELAXED: f64 = 1.5;

/// Savings below this part of the plan's cost are rounding.
const ROUNDING: f64 = 1e-9;

/// Steps that find the largest rate that can be served: to within 2^-8 of it.
const RATE_STEPS: u32 = 8;

/// Explains one application of a request. It plans the request about ten times.
pub fn explain(
    request: &PlanRequest,
    namespace: &str,
    model: &str,
    app: &str,
) -> Result<AppExplanation, ExplainError> {
    Session::new().explain(request, namespace, model, app)
}

impl Session {
    /// As [`explain`], with what this session remembers: the questions about the applications of one request have much in common.
    pub fn explain(
        &self,
        request: &PlanRequest,
        namespace: &str,
        model: &str,
        app: &str,
    ) -> Result<AppExplanation, ExplainError> {
        let explained = explained(self, request, namespace, model, app)?;
        self.check()?;
        Ok(explained)
    }

    /// What another SLO of one application would cost, tightest first: a part of what [`Self::explain`] says, for whoever has the plans of
    /// the request already and asks for many applications. The request is planned three times more.
    pub fn slo_prices(
        &self,
        request: &PlanRequest,
        plans: &[Plan],
        namespace: &str,
        model: &str,
        app: &str,
    ) -> Result<Vec<WhatIf<Seconds>>, ExplainError> {
        let (set, app) = find(request, namespace, model, app)?;
        let plan = plans
            .iter()
            .find(|plan| plan.namespace == namespace && plan.model == model)
            .ok_or_else(|| unknown_model(namespace, model))?;
        let question = Question {
            session: self,
            request,
            set,
            app,
            plan: plan.clone(),
            total: plans.iter().map(|plan| plan.cost_per_second).sum(),
        };
        let prices = question.slo_prices();
        self.check()?;
        Ok(prices)
    }
}

fn explained(
    session: &Session,
    request: &PlanRequest,
    namespace: &str,
    model: &str,
    app: &str,
) -> Result<AppExplanation, ExplainError> {
    let (set, app) = find(request, namespace, model, app)?;
    let Planned { plan, total } =
        planned(session, request, set)?.ok_or_else(|| unknown_app(set, &app.name))?;
    let question = Question {
        session,
        request,
        set,
        app,
        plan,
        total,
    };
    let verdict = if let Some(infeasible) = question.plan.infeasible.iter().find(|it| it.app == app.name) {
        Verdict::Infeasible(InfeasibleExplanation {
            app: infeasible.clone(),
            nearest_rate: question.nearest_rate(&infeasible.reason),
        })
    } else {
        // Every application is in a group or infeasible; the plan is checked for that.
        let (group, member) = question
            .plan
            .place_of(&app.name)
            .ok_or_else(|| unknown_app(set, &app.name))?;
        Verdict::Served(question.served(group, member))
    };
    Ok(AppExplanation {
        app: app.clone(),
        plan: question.plan,
        verdict,
    })
}

/// The application and the set that it is in.
fn find<'a>(
    request: &'a PlanRequest,
    namespace: &str,
    model: &str,
    app: &str,
) -> Result<(&'a ModelSet, &'a App), ExplainError> {
    let set = request
        .models
        .iter()
        .find(|set| set.namespace() == namespace && set.model() == model)
        .ok_or_else(|| unknown_model(namespace, model))?;
    let declared = set.apps().iter().find(|it| it.name == app);
    Ok((set, declared.ok_or_else(|| unknown_app(set, app))?))
}

fn unknown_model(namespace: &str, model: &str) -> ExplainError {
    ExplainError::UnknownModel {
        namespace: namespace.to_owned(),
        model: model.to_owned(),
    }
}

fn unknown_app(set: &ModelSet, app: &str) -> ExplainError {
    ExplainError::UnknownApp {
        namespace: set.namespace().to_owned(),
        model: set.model().to_owned(),
        app: app.to_owned(),
    }
}

impl Plan {
    /// The group and the place in it of an application, as indices.
    pub fn place_of(&self, app: &str) -> Option<(usize, usize)> {
        self.groups.iter().enumerate().find_map(|(index, group)| {
            let member = group.members.iter().position(|member| member.app == app)?;
            Some((index, member))
        })
    }
}

/// A model's plan and what all plans cost per second.
struct Planned {
    plan: Plan,
    total: f64,
}

/// Plans all models of the request, one of them with other applications or another profile.
fn planned(session: &Session, request: &PlanRequest, set: &ModelSet) -> Result<Option<Planned>, PlanError> {
    let ours = |namespace: &str, model: &str| (namespace, model) == (set.namespace(), set.model());
    let models = request.models.iter().map(|other| {
        if ours(other.namespace(), other.model()) {
            set.clone()
        } else {
            other.clone()
        }
    });
    let request = PlanRequest {
        platform: request.platform.clone(),
        models: models.collect(),
    };
    let plans = session.plan_platform(&request)?.plans;
    let total = plans.iter().map(|plan| plan.cost_per_second).sum();
    let plan = plans.into_iter().find(|plan| ours(&plan.namespace, &plan.model));
    Ok(plan.map(|plan| Planned { plan, total }))
}

/// One application of a model and the plan as it is.
struct Question<'a> {
    session: &'a Session,
    request: &'a PlanRequest,
    set: &'a ModelSet,
    app: &'a App,
    plan: Plan,
    /// What all plans cost per second.
    total: f64,
}

impl Question<'_> {
    /// The plan with other applications or another profile; what could not be planned answers no question.
    fn with(&self, set: &ModelSet) -> Option<Planned> {
        planned(self.session, self.request, set).ok().flatten()
    }

    fn served(&self, group: usize, member: usize) -> ServedExplanation {
        let slo_prices = self.slo_prices();
        let rate_prices = what_if(&RATE_FACTORS, self.app.rate.get(), Rate::new, |factor, rate| {
            let changed = App {
                rate,
                ..self.app.clone()
            };
            self.cost_with(&changed, factor < 1.0)
        });
        ServedExplanation {
            group,
            member,
            relaxations: self.relaxations(&self.plan.groups[group], &slo_prices),
            slo_prices,
            rate_prices,
        }
    }

    fn slo_prices(&self) -> Vec<WhatIf<Seconds>> {
        let mut prices = what_if(&SLO_FACTORS, self.app.slo.get(), Seconds::new, |factor, slo| {
            let changed = App {
                slo,
                ..self.app.clone()
            };
            self.cost_with(&changed, factor > 1.0)
        });
        // What serves a tighter SLO serves a looser one as well, where the search finds nothing cheaper.
        for index in 1..prices.len() {
            let (tighter, looser) = (prices[index - 1].change, prices[index].change);
            let cost = |change: CostChange| change.difference_per_second;
            if tighter.map_or(f64::INFINITY, cost) < looser.map_or(f64::INFINITY, cost) {
                prices[index].change = tighter;
            }
        }
        prices
    }

    /// What the plan costs if the application is another. The plan as it is serves an `easier` one as well: where the
    /// search finds nothing cheaper, it stays.
    fn cost_with(&self, changed: &App, easier: bool) -> Option<CostChange> {
        let new = self.with(&self.set.with_app(changed))?;
        let (plan, total) = if easier && new.total > self.total {
            (&self.plan, self.total)
        } else {
            (&new.plan, new.total)
        };
        let (group, member) = plan.place_of(&changed.name)?;
        Some(CostChange {
            plan_per_second: plan.cost_per_second,
            difference_per_second: total - self.total,
            app_per_second: plan.groups[group].members[member].cost_per_second,
        })
    }

    fn relaxations(&self, group: &GroupPlan, slo_prices: &[WhatIf<Seconds>]) -> Vec<Relaxation> {
        let own = slo_prices
            .iter()
            .find(|price| price.factor >= RELAXED)
            .and_then(|price| price.change);
        let mut found = vec![own.map(|change| Relaxation {
            constraint: Constraint::Slo,
            saving_per_second: self.worth(-change.difference_per_second),
        })];
        if let Some(tightest) = group.members.first().filter(|it| it.slo < self.app.slo) {
            let constraint = Constraint::SloOf {
                app: tightest.app.clone(),
                slo: tightest.slo,
            };
            let longer = self.declared(tightest).and_then(|app| {
                Some(App {
                    slo: Seconds::new(app.slo.get() * RELAXED).ok()?,
                    ..app.clone()
                })
            });
            found.push(self.relaxed(constraint, longer));
        }
        if self.request.platform.billing() == Billing::PerReplica {
            let late = (100.0 - self.app.percentile.get()) * RELAXED;
            let lenient = Percentile::new(100.0 - late).ok().map(|percentile| App {
                percentile,
                ..self.app.clone()
            });
            found.push(self.relaxed(Constraint::Percentile, lenient));
        }
        found.push(self.with_less_memory());
        found.extend(self.with_one_more_device().map(Some));
        found.push(self.without_headroom());
        let mut found: Vec<Relaxation> = found.into_iter().flatten().collect();
        if found.iter().all(|relaxation| relaxation.saving_per_second <= 0.0) {
            let slower = Rate::new(self.app.rate.get() / RELAXED).ok().map(|rate| App {
                rate,
                ..self.app.clone()
            });
            found.extend(self.relaxed(Constraint::Capacity, slower));
        }
        // Stable: what was looked at first comes first.
        found.sort_by(|a, b| b.saving_per_second.total_cmp(&a.saving_per_second));
        found
    }

    fn declared(&self, member: &Member) -> Option<&App> {
        self.set.apps().iter().find(|app| app.name == member.app)
    }

    fn relaxed(&self, constraint: Constraint, changed: Option<App>) -> Option<Relaxation> {
        let set = self.set.with_app(&changed?);
        Some(self.saving(constraint, &set))
    }

    fn with_less_memory(&self) -> Option<Relaxation> {
        let profile = self.set.profile();
        let needs_any = profile.gpu().iter().any(|gpu| gpu.memory().with_batch(1).0 > 0);
        needs_any.then(|| {
            let set = self.set.with_profile(profile.with_part_of_memory(1.0 / RELAXED));
            self.saving(Constraint::DeviceMemory, &set)
        })
    }

    /// What one more device in each pool of a limited number would save on all models.
    fn with_one_more_device(&self) -> impl Iterator<Item = Relaxation> {
        let pools = self.request.platform.gpu_pools().iter();
        pools.filter_map(|pool| {
            let saving = self.session.saving_of_one_more_device(self.request, pool.name());
            Some(Relaxation {
                constraint: Constraint::Devices {
                    pool: pool.name().to_owned(),
                },
                saving_per_second: self.worth(saving.ok().flatten()?),
            })
        })
    }

    /// What a plan saves that leaves no headroom, if there is any.
    fn without_headroom(&self) -> Option<Relaxation> {
        let platform = &self.request.platform;
        if platform.headroom().is_none() {
            return None;
        }
        let request = PlanRequest {
            platform: platform.clone().with_headroom(Headroom::NONE),
            models: self.request.models.clone(),
        };
        let new = planned(self.session, &request, self.set).ok().flatten();
        Some(self.saved(Constraint::Headroom, new))
    }

    /// What the plan of an easier set saves on the applications that are served now.
    fn saving(&self, constraint: Constraint, easier: &ModelSet) -> Relaxation {
        self.saved(constraint, self.with(easier))
    }

    /// What another plan saves on the applications that are served now, where the plan as it is would do as well, so that the saving is never below zero.
    fn saved(&self, constraint: Constraint, new: Option<Planned>) -> Relaxation {
        let saving = new.map_or(0.0, |new| {
            let members = new.plan.groups.iter().flat_map(|group| &group.members);
            let newly_served: f64 = members
                .filter(|member| self.plan.infeasible.iter().any(|app| app.app == member.app))
                .map(|member| member.cost_per_second)
                .sum();
            self.total - (new.total - newly_served)
        });
        Relaxation {
            constraint,
            saving_per_second: self.worth(saving),
        }
    }

    /// A saving, or zero where it is none but for rounding.
    fn worth(&self, saving: f64) -> f64 {
        if saving > self.total * ROUNDING {
            saving
        } else {
            0.0
        }
    }

    /// The largest rate that the application could have alone, where its rate is what stands in the way.
    fn nearest_rate(&self, reason: &InfeasibleReason) -> Option<Rate> {
        let InfeasibleReason::RateTooHigh {
            rate, needed, limit, ..
        } = reason
        else {
            return None;
        };
        let serves = |rate: f64| {
            let slower = App {
                rate: Rate::new(rate).ok()?,
                ..self.app.clone()
            };
            let new = self.with(&self.set.only(&slower))?;
            new.plan.infeasible.is_empty().then_some(slower.rate)
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of replicas")]
        let carried = rate * f64::from(*limit) / *needed as f64;
        // Replicas that are nearly always busy carry the rate, but keep no SLO: some part of it is left.
        let (mut low, mut high) = (carried / 2.0, carried.min(*rate));
        let mut found = serves(low)?;
        for _ in 0..RATE_STEPS {
            let middle = low.midpoint(high);
            match serves(middle) {
                Some(rate) => (low, found) = (middle, rate),
                None => high = middle,
            }
        }
        Some(found)
    }
}

/// The plan at each factor of a number; factors that lead out of what the number may be are left out.
fn what_if<T: Copy, E>(
    factors: &[f64],
    now: f64,
    checked: impl Fn(f64) -> Result<T, E>,
    cost: impl Fn(f64, T) -> Option<CostChange>,
) -> Vec<WhatIf<T>> {
    factors
        .iter()
        .filter_map(|&factor| {
            let value = checked(now * factor).ok()?;
            Some(WhatIf {
                factor,
                value,
                change: cost(factor, value),
            })
        })
        .collect()
}
