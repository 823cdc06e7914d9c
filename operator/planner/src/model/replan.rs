//! Plans again with a plan that runs: what runs stays unless it has to change, or a change is worth it.
//!
//! Rates jitter, and a plan that followed every one of them would restart pods all day. So an application keeps the rate that its
//! group was planned for while its rate stays within a step of that; only upwards it follows, where what runs would no
//! longer keep an SLO. The plan that disturbs least is taken, as long as the new one is not cheaper by a set part: what
//! runs; the same members, some on other functions ([`running`]); what is new or changed placed where there is room, the others left where
//! they are ([`placing`]); the new plan. Where peace is worth more than cost, the first of them that keeps every SLO.

mod placing;
mod running;

use std::cell::OnceCell;
use std::collections::HashMap;

use running::{Arrangement, Running};

use super::{ModelPlanner, plan_model};
use crate::PlanRequest;
use crate::app::{App, ModelSet};
use crate::diff::{GroupOutline, MemberOutline, PlanOutline};
use crate::plan::Plan;
use crate::platform::{ArrivalModel, Billing};
use crate::provision::{Exact, Paper, PerReplica, Standing};
use crate::session::{PlanError, Session};
use crate::units::Rate;
use crate::{audit, inventory};

/// When a plan that runs is given up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplanRule {
    /// The part of its cost that another plan must save, 0 to 1.
    pub min_saving: f64,
    /// How far a rate may go from the one that was planned for, as a part of it, before that is a change.
    pub rate_step: f64,
    /// What decides between plans that keep every SLO.
    pub prefer: Preference,
}

/// What decides between plans that keep every SLO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preference {
    /// The cost: the plan that disturbs least of those that no other beats by [`ReplanRule::min_saving`].
    #[default]
    LeastCost,
    /// The peace of what runs: the plan that disturbs least, whatever another would save. Nobody is moved to make room for somebody else.
    LeastChange,
}

impl Default for ReplanRule {
    fn default() -> Self {
        Self {
            min_saving: 0.05,
            rate_step: 0.2,
            prefer: Preference::LeastCost,
        }
    }
}

/// Why something changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplanReason {
    /// An application that could be served is in no group.
    #[error("application {0} is new")]
    AppAdded(String),
    /// An application of a group is gone.
    #[error("application {0} is gone")]
    AppGone(String),
    /// An application asks for another SLO, percentile or for a group of its own.
    #[error("application {0} promises something else")]
    PromiseChanged(String),
    /// An application's rate left the step around the one that was planned for.
    #[error("the rate of application {0} has changed")]
    RateChanged(String),
    /// What runs no longer keeps the SLOs of a group, or is no longer on offer.
    #[error("group {0} no longer keeps its SLOs")]
    GroupBroken(String),
    /// What runs and what is new do not fit on the devices of a pool together.
    #[error("the devices of a gpu pool do not suffice for what runs and what is new")]
    PoolExhausted,
    /// Another plan is cheaper by enough.
    #[error("another plan is cheaper")]
    Saving,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplanDecision {
    /// Everything runs on as it is.
    Kept,
    /// Every group keeps its members; some get another function.
    Resized(ReplanReason),
    /// What is new or changed was placed; every other application stays with those that it is with.
    Amended(ReplanReason),
    /// The groups are formed anew.
    Replanned(ReplanReason),
}

/// The plan of one model, with regard to what runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Replanned {
    /// The plan to follow; its rates are those that it holds for, at least the declared ones where those are within the step.
    pub plan: Plan,
    /// How it came about.
    pub decision: ReplanDecision,
    /// What to pass as the old plan the next time.
    pub held: PlanOutline,
}

/// Plans all models again, in order of namespace and model. `old` is what runs, with the rates that it was planned for; names
/// and costs in it do not matter. Where `may_save` is false only what must change does, and nothing is searched if
/// nothing must.
pub fn replan(
    request: &PlanRequest,
    old: &[PlanOutline],
    rule: &ReplanRule,
    may_save: bool,
) -> Result<Vec<Replanned>, PlanError> {
    Session::new().replan(request, old, rule, may_save)
}

impl Session {
    /// As [`replan`], with what this session remembers.
    pub fn replan(
        &self,
        request: &PlanRequest,
        old: &[PlanOutline],
        rule: &ReplanRule,
        may_save: bool,
    ) -> Result<Vec<Replanned>, PlanError> {
        replanned(request, old, rule, may_save, self)
    }
}

fn replanned(
    request: &PlanRequest,
    old: &[PlanOutline],
    rule: &ReplanRule,
    may_save: bool,
    session: &Session,
) -> Result<Vec<Replanned>, PlanError> {
    let of = |namespace: &str, model: &str| {
        let mut plans = old.iter();
        let found = plans.find(|old| old.namespace == namespace && old.model == model);
        found.map_or(&[][..], |old| &old.groups)
    };
    let models = request
        .models
        .iter()
        .map(|set| with_held_rates(set, of(set.namespace(), set.model()), rule));
    let planned_for = PlanRequest {
        platform: request.platform.clone(),
        models: models.collect(),
    };
    // All models at once, and only where it is asked for.
    let new: OnceCell<Result<Vec<Plan>, PlanError>> = OnceCell::new();
    let mut found: Vec<Replanned> = planned_for
        .models
        .iter()
        .map(|set| {
            let again = Again {
                session,
                request: &planned_for,
                set,
                new: &new,
                old: of(set.namespace(), set.model()),
                rule,
                may_save,
            };
            match (request.platform.billing(), request.platform.arrivals()) {
                (Billing::PerReplica, _) => again.decide::<PerReplica>(),
                (Billing::PerInvocation, ArrivalModel::Paper) => again.decide::<Paper>(),
                (Billing::PerInvocation, ArrivalModel::Exact) => again.decide::<Exact>(),
            }
        })
        .collect();
    // Each model was judged by itself: what runs on and what is new may together want more devices than there are.
    let together: Vec<Plan> = found.iter().map(|it| it.plan.clone()).collect();
    if !inventory::holds(&planned_for.platform, &together) {
        let plans = new.get_or_init(|| new_plans(session, &planned_for));
        found = plans
            .iter()
            .flatten()
            .map(|plan| Replanned::anew(plan.clone(), ReplanReason::PoolExhausted))
            .collect();
    }
    if let Some(Err(error)) = new.into_inner() {
        return Err(error);
    }
    session.check()?;
    for set in &planned_for.models {
        let ours = |it: &&Replanned| {
            (it.plan.namespace.as_str(), it.plan.model.as_str()) == (set.namespace(), set.model())
        };
        if let Some(replanned) = found.iter().find(ours) {
            audit::check_plan(&planned_for.platform, set, &replanned.plan)?;
        }
    }
    found.sort_by(|a, b| (&a.plan.namespace, &a.plan.model).cmp(&(&b.plan.namespace, &b.plan.model)));
    Ok(found)
}

fn new_plans(session: &Session, request: &PlanRequest) -> Result<Vec<Plan>, PlanError> {
    Ok(session.plan_platform(request)?.plans)
}

impl PlanRequest {
    /// The same request with so many fourths of every correction of a model whose corrections are some, as [`Corrections::fourths`] has them.
    #[must_use]
    pub fn with_fourths_of_corrections(&self, fourths: u8) -> Self {
        let models = self.models.iter().map(|set| {
            let corrections = set.profile().corrections().fourths(fourths);
            set.with_profile(set.profile().clone().corrected(corrections))
        });
        Self {
            platform: self.platform.clone(),
            models: models.collect(),
        }
    }

    /// Whether the other request is the same but for what goes on changing by itself: rates, and corrections of profiles.
    pub fn differs_in_rates_and_corrections_only(&self, other: &Self) -> bool {
        let same_apps = |ours: &ModelSet, theirs: &ModelSet| {
            ours.apps().len() == theirs.apps().len()
                && ours.apps().iter().zip(theirs.apps()).all(|(ours, theirs)| {
                    *ours
                        == App {
                            rate: ours.rate,
                            ..theirs.clone()
                        }
                })
        };
        self.platform == other.platform
            && self.models.len() == other.models.len()
            && self.models.iter().zip(&other.models).all(|(ours, theirs)| {
                let corrections = theirs.profile().corrections().clone();
                (ours.namespace(), ours.model()) == (theirs.namespace(), theirs.model())
                    && ours.profile().clone().corrected(corrections) == *theirs.profile()
                    && same_apps(ours, theirs)
            })
    }
}

fn within_step(now: Rate, held: Rate, rule: &ReplanRule) -> bool {
    let step = 1.0 + rule.rate_step;
    (held.get() / step..=held.get() * step).contains(&now.get())
}

/// Everybody in the groups, by name; of one that is in two the first.
fn members(old: &[GroupOutline]) -> HashMap<&str, &MemberOutline> {
    let mut members = HashMap::new();
    for member in old.iter().flat_map(|group| &group.members) {
        members.entry(member.app.as_str()).or_insert(member);
    }
    members
}

/// The applications with the rates to plan for: the held one or the declared one, whichever is higher, within the step;
/// else the declared one.
fn with_held_rates(set: &ModelSet, old: &[GroupOutline], rule: &ReplanRule) -> ModelSet {
    let members = members(old);
    set.with_rates(|app| match members.get(app.name.as_str()) {
        Some(held) if within_step(app.rate, held.rate, rule) && held.rate > app.rate => held.rate,
        _ => app.rate,
    })
}

/// One model and what its decision depends on.
struct Again<'r> {
    session: &'r Session,
    request: &'r PlanRequest,
    set: &'r ModelSet,
    /// The new plans of all models, once one was asked for.
    new: &'r OnceCell<Result<Vec<Plan>, PlanError>>,
    old: &'r [GroupOutline],
    rule: &'r ReplanRule,
    may_save: bool,
}

impl Again<'_> {
    fn decide<P: Standing>(&self) -> Replanned {
        let planner = ModelPlanner::<P>::new(&self.request.platform, self.set, self.session);
        let (candidates, infeasible) = planner.screen();
        let running = Running::new(&planner, &candidates, &infeasible, self.old);
        let peace = self.rule.prefer == Preference::LeastChange;
        let kept = running.kept();
        let change = running.must_change(self.rule);
        let nothing_to_do = change.is_none() && (peace || !self.may_save);
        let broken = || {
            let group = kept.as_ref().err().copied();
            group.map(|group| ReplanReason::GroupBroken(group.clone()))
        };
        let reason = change.or_else(broken).unwrap_or(ReplanReason::Saving);
        if let Ok(kept) = kept
            && running.unplaced().is_none()
            && (nothing_to_do || self.good_enough(&kept))
        {
            return Replanned::new(kept, ReplanDecision::Kept);
        }
        // The same groups are no plan for an application that is in none.
        let complete = running.unplaced().is_none();
        let mended = || complete.then(|| running.mended()).flatten();
        let resized = || complete.then(|| running.resized()).flatten();
        let same_groups = |found: Option<Arrangement>| {
            let found = found.filter(|found| self.good_enough(found))?;
            Some((found, ReplanDecision::Resized(reason.clone())))
        };
        let placed = |found: Option<Arrangement>| {
            let found = found.filter(|found| self.good_enough(found))?;
            Some((found, ReplanDecision::Amended(reason.clone())))
        };
        let found = if peace {
            // Who has changed is taken out, so that those it was with stay as they are.
            placed(running.amended(self.rule, false)).or_else(|| same_groups(mended()))
        } else {
            same_groups(mended())
                .or_else(|| same_groups(resized()))
                .or_else(|| placed(running.amended(self.rule, false)))
                .or_else(|| placed(running.amended(self.rule, true)))
        };
        match found {
            Some((found, decision)) => Replanned::new(found, decision),
            None => Replanned::anew(self.new_plan(), reason),
        }
    }

    /// Whether no other plan is better by enough.
    fn good_enough(&self, found: &Arrangement) -> bool {
        if self.rule.prefer == Preference::LeastChange {
            return true;
        }
        let (new, plan) = (self.new_plan(), &found.plan);
        plan.infeasible == new.infeasible
            && new.cost_per_second >= plan.cost_per_second * (1.0 - self.rule.min_saving)
    }

    fn new_plan(&self) -> Plan {
        let plans = self.new.get_or_init(|| new_plans(self.session, self.request));
        let ours = |plan: &&Plan| plan.namespace == self.set.namespace() && plan.model == self.set.model();
        // Every model of a request has its plan.
        let found = plans.iter().flatten().find(ours).cloned();
        found.unwrap_or_else(|| plan_model(&self.request.platform, self.set, self.session))
    }
}

impl Replanned {
    fn new(found: Arrangement, decision: ReplanDecision) -> Self {
        Self {
            held: PlanOutline::new(&found.plan, &found.names),
            plan: found.plan,
            decision,
        }
    }

    fn anew(plan: Plan, reason: ReplanReason) -> Self {
        Self {
            held: PlanOutline::new(&plan, &[]),
            plan,
            decision: ReplanDecision::Replanned(reason),
        }
    }
}
