//! Plans again with a plan that runs: what runs stays unless it has to change, or a change is worth it.
//!
//! Rates jitter, and a plan that followed every one of them would restart pods all day. So an application keeps the rate that its
//! group was planned for while its rate stays within a step of that; only upwards it follows, where what runs would no
//! longer keep an SLO. Of three plans the one that disturbs least is taken, as long as the new one is not cheaper by a
//! set part: what runs; the same members on other functions; the new plan.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, ModelPlanner, Settled, plan_model};
use crate::PlanRequest;
use crate::app::{App, ModelSet};
use crate::arrival::Load;
use crate::diff::{GroupOutline, MemberOutline, PlanOutline};
use crate::plan::{GroupPlan, InfeasibleApp, Plan};
use crate::platform::{ArrivalModel, Billing};
use crate::provision::{Choice, Exact, Operation, Paper, PerReplica, Standing};
use crate::session::{PlanError, Session};
use crate::units::Rate;
use crate::{audit, inventory};

/// Promises that differ by less than this, relatively, are the same: they may have been written and read again.
const ROUNDING: f64 = 1e-9;

/// When a plan that runs is given up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplanRule {
    /// The part of its cost that another plan must save, 0 to 1.
    pub min_saving: f64,
    /// How far a rate may go from the one that was planned for, as a part of it, before that is a change.
    pub rate_step: f64,
}

impl Default for ReplanRule {
    fn default() -> Self {
        Self {
            min_saving: 0.05,
            rate_step: 0.2,
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
            .map(|plan| {
                let decision = ReplanDecision::Replanned(ReplanReason::PoolExhausted);
                Replanned::new(plan.clone(), decision, &[])
            })
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
    /// Whether the other request is the same but for rates.
    pub fn differs_in_rates_only(&self, other: &Self) -> bool {
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
                (ours.namespace(), ours.model(), ours.profile())
                    == (theirs.namespace(), theirs.model(), theirs.profile())
                    && same_apps(ours, theirs)
            })
    }
}

fn within_step(now: Rate, held: Rate, rule: &ReplanRule) -> bool {
    let step = 1.0 + rule.rate_step;
    (held.get() / step..=held.get() * step).contains(&now.get())
}

fn member<'a>(old: &'a [GroupOutline], app: &str) -> Option<&'a MemberOutline> {
    old.iter()
        .flat_map(|group| &group.members)
        .find(|member| member.app == app)
}

/// The applications with the rates to plan for: the held one or the declared one, whichever is higher, within the step;
/// else the declared one.
fn with_held_rates(set: &ModelSet, old: &[GroupOutline], rule: &ReplanRule) -> ModelSet {
    set.with_rates(|app| match member(old, &app.name) {
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
        let running = Running {
            planner: &planner,
            candidates: candidates.iter().map(|it| (it.app.name.as_str(), it)).collect(),
            infeasible: &infeasible,
            old: self.old,
        };
        let names: Vec<String> = self.old.iter().map(|group| group.name.clone()).collect();
        let kept = running.plan(Running::kept);
        let (kept, reason) = match (kept, running.must_change(self.rule)) {
            (Ok(plan), None) if !self.may_save => return Replanned::new(plan, ReplanDecision::Kept, &names),
            (Ok(plan), reason) => (Some(plan), reason.unwrap_or(ReplanReason::Saving)),
            (Err(group), reason) => (
                None,
                reason.unwrap_or_else(|| ReplanReason::GroupBroken(group.clone())),
            ),
        };
        let new = self.new_plan();
        let good_enough = |plan: &Plan| {
            plan.infeasible == new.infeasible
                && running.unplaced().is_none()
                && new.cost_per_second >= plan.cost_per_second * (1.0 - self.rule.min_saving)
        };
        if let Some(plan) = kept
            && good_enough(&plan)
        {
            return Replanned::new(plan, ReplanDecision::Kept, &names);
        }
        match running.plan(Running::resized) {
            Ok(plan) if good_enough(&plan) => Replanned::new(plan, ReplanDecision::Resized(reason), &names),
            _ => Replanned::new(new, ReplanDecision::Replanned(reason), &[]),
        }
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
    fn new(plan: Plan, decision: ReplanDecision, names: &[String]) -> Self {
        Self {
            held: PlanOutline::new(&plan, names),
            plan,
            decision,
        }
    }
}

/// What runs, and the applications as they are now.
struct Running<'p, 'a, P> {
    planner: &'p ModelPlanner<'a, P>,
    candidates: BTreeMap<&'p str, &'p Candidate<'a>>,
    infeasible: &'p [InfeasibleApp],
    old: &'p [GroupOutline],
}

impl<'p, 'a, P: Standing> Running<'p, 'a, P> {
    /// The first change of an application that what runs was not made for.
    fn must_change(&self, rule: &ReplanRule) -> Option<ReplanReason> {
        let same = |old: f64, new: f64| (old - new).abs() <= ROUNDING * old.abs().max(new.abs());
        let declared: BTreeMap<&str, &App> = self
            .planner
            .set
            .apps()
            .iter()
            .map(|app| (app.name.as_str(), app))
            .collect();
        for group in self.old {
            for held in &group.members {
                let name = held.app.clone();
                let Some(app) = declared.get(held.app.as_str()) else {
                    return Some(ReplanReason::AppGone(name));
                };
                let alone = group.members.len() == 1;
                if !same(held.slo.get(), app.slo.get())
                    || !same(held.percentile.get(), app.percentile.get())
                    || (app.isolated && !alone)
                {
                    return Some(ReplanReason::PromiseChanged(name));
                }
                if !within_step(app.rate, held.rate, rule) {
                    return Some(ReplanReason::RateChanged(name));
                }
            }
        }
        self.unplaced().map(|app| ReplanReason::AppAdded(app.to_owned()))
    }

    /// An application that could be served and is in no group.
    fn unplaced(&self) -> Option<&'p str> {
        self.candidates
            .keys()
            .copied()
            .find(|app| member(self.old, app).is_none())
    }

    /// The groups as they are, less the applications that are gone, each served as `serve` says; or the name of the first
    /// that cannot be.
    fn plan(
        &self,
        serve: impl Fn(&Self, &GroupOutline, &[Load]) -> Option<(Choice, Operation)>,
    ) -> Result<Plan, &'p String> {
        let mut groups: Vec<GroupPlan> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for group in self.old {
            let mut members: Vec<&Candidate<'a>> = Vec::new();
            for held in &group.members {
                let gone = self.planner.set.apps().iter().all(|app| app.name != held.app);
                match self.candidates.get(held.app.as_str()) {
                    Some(candidate) if seen.insert(&held.app) => members.push(candidate),
                    None if gone => {}
                    // In two groups at once, or no longer feasible: that is not a plan.
                    _ => return Err(&group.name),
                }
            }
            if members.iter().any(|member| member.app.isolated) && members.len() > 1 {
                return Err(&group.name);
            }
            members.sort_by(|a, b| {
                a.load
                    .slo
                    .total_cmp(&b.load.slo)
                    .then(a.app.name.cmp(&b.app.name))
            });
            if members.is_empty() {
                continue;
            }
            let loads: Vec<Load> = members.iter().map(|member| member.load).collect();
            let (choice, operation) = serve(self, group, &loads).ok_or(&group.name)?;
            let alone = match members.as_slice() {
                [_] => vec![choice],
                _ => members.iter().map(|member| member.alone).collect(),
            };
            groups.push(self.planner.build_group(&Settled {
                members,
                alone,
                choice,
                operation: Some(operation),
            }));
        }
        let served: Vec<Load> = seen
            .iter()
            .filter_map(|app| Some(self.candidates.get(app)?.load))
            .collect();
        Ok(self.planner.plan_of(groups, self.infeasible.to_vec(), &served))
    }

    /// On the function that runs.
    fn kept(&self, group: &GroupOutline, loads: &[Load]) -> Option<(Choice, Operation)> {
        let planner = self.planner;
        let function = planner
            .catalogue
            .functions
            .iter()
            .position(|function| function.site.device(planner.platform) == group.device)?;
        let batch = group.batch_size.get();
        if batch as usize > planner.catalogue.functions[function].service.len() || group.replicas == 0 {
            return None;
        }
        let choice = Choice {
            function,
            batch,
            replicas: group.replicas,
            dispatch: group.dispatch,
            cost_per_second: 0.0,
        };
        planner
            .provisioner
            .stands(planner.platform, &planner.catalogue, loads, &choice)
    }

    /// On the function that is cheapest now; what runs where that is as cheap.
    fn resized(&self, group: &GroupOutline, loads: &[Load]) -> Option<(Choice, Operation)> {
        let planner = self.planner;
        let cheapest = planner
            .provisioner
            .choose(loads)
            .and_then(|choice| planner.provisioner.settle(&planner.catalogue, loads, &choice));
        match (self.kept(group, loads), cheapest) {
            (Some(kept), Some(cheapest)) if kept.0.cost_per_second > cheapest.0.cost_per_second => {
                Some(cheapest)
            }
            (Some(kept), _) => Some(kept),
            (None, cheapest) => cheapest,
        }
    }
}
