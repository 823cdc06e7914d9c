//! What is said on every application, model and platform: pure functions of what was there, what was planned, and now.

use std::sync::Arc;

use harmonybatch_api::conditions::{self, ACCEPTED, Observation, PLANNED, READY, Status, reason};
use harmonybatch_api::inference_app::{AppLatency, AppPlan};
use harmonybatch_api::quantity::Rate;
use harmonybatch_api::{
    Condition, Dispatch, InferenceApp, InferenceAppStatus, InferenceGroup, InferenceModel,
    InferenceModelStatus, InferencePlatform, InferencePlatformStatus,
};
use harmonybatch_planner::{GroupPlan, Member, Plan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::build::{self, device, dispatch};
use super::drift::{self, Drift};
use super::money;
use super::refusals::Refusals;
use super::validate::{Contract, Problem};

/// Rates that differ by less than this, relatively, are the same: one was written and read again.
const ROUNDING: f64 = 1e-9;

mod platform;

pub(crate) use platform::PoolsNow;

/// An application's place in its model's plan.
pub(crate) enum Place<'a> {
    /// Left out, because something is wrong with it.
    Rejected(&'a Problem),
    /// In a group.
    Member {
        /// Its namespace.
        namespace: &'a str,
        /// The group's name.
        name: &'a str,
        /// The group as it was planned.
        planned: &'a GroupPlan,
        /// The application in it.
        member: &'a Member,
        /// What was asked for it.
        contract: &'a Contract,
    },
    /// No configuration serves it: why.
    Infeasible(String),
}

/// The status of an application but for what the observer writes. `groups` are all of its namespace.
pub(crate) fn app(
    app: &InferenceApp,
    place: &Place<'_>,
    groups: &[Arc<InferenceGroup>],
    refusals: &Refusals,
    url: &str,
    now: &Time,
) -> InferenceAppStatus {
    let old = app.status.clone().unwrap_or_default();
    let name = app.name_any();
    let generation = app.metadata.generation;
    let routed = groups
        .iter()
        .filter(|group| active_lists(group, &name))
        .max_by_key(|group| generation_of(group));
    let accepted = match place {
        Place::Rejected(problem) => {
            Observation::new(ACCEPTED, false, problem.reason, problem.message.clone())
        }
        _ => Observation::new(
            ACCEPTED,
            true,
            reason::OK,
            "the app is well formed and its model exists",
        ),
    };
    let planned = match place {
        Place::Rejected(problem) => Observation::new(
            PLANNED,
            Status::Unknown,
            problem.reason,
            "the app is not accepted".to_owned(),
        ),
        Place::Infeasible(why) => Observation::new(PLANNED, false, reason::INFEASIBLE, why.clone()),
        Place::Member { name, planned, .. } => {
            let count = planned.members.len();
            let others = match count {
                1 => "alone".to_owned(),
                2 => "with 1 other".to_owned(),
                _ => format!("with {} others", count - 1),
            };
            Observation::new(PLANNED, true, reason::OK, format!("in group {name}, {others}"))
        }
    };
    let ready = match refusals.of_callers(app) {
        Some(why) => Observation::new(READY, false, reason::REFUSED, why.to_owned()),
        None => ready(place, groups, refusals, routed, &accepted, &planned),
    };
    let observations = [accepted, planned, ready];
    let in_force = !matches!(place, Place::Rejected(_));
    InferenceAppStatus {
        observed_generation: generation,
        conditions: conditions::update(&old.conditions, &observations, generation, now),
        group: match place {
            Place::Member { name, .. } => Some((*name).to_owned()),
            Place::Rejected(_) => routed.map(|group| group.name_any()),
            Place::Infeasible(_) => None,
        },
        url: (in_force || routed.is_some()).then(|| url.to_owned()),
        device: match place {
            Place::Member { planned, .. } => Some(device(&planned.device).to_string()),
            _ => None,
        },
        plan: match place {
            Place::Member {
                planned,
                member,
                contract,
                ..
            } => Some(app_plan(planned, member, contract)),
            _ => None,
        },
        observed: None,
    }
}

/// Callers are answered where a group routes the application and has a replica; else the first thing in the way is said.
fn ready(
    place: &Place<'_>,
    groups: &[Arc<InferenceGroup>],
    refusals: &Refusals,
    routed: Option<&Arc<InferenceGroup>>,
    accepted: &Observation,
    planned: &Observation,
) -> Observation {
    let home = match place {
        Place::Member { name, .. } => groups.iter().find(|group| group.name_any() == *name),
        _ => routed,
    };
    let refused = match place {
        Place::Member { name, namespace, .. } => refusals.of_group(namespace, name),
        _ => None,
    };
    let refused = refused.map(|why| (reason::REFUSED.to_owned(), why.to_owned()));
    let complaint = refused.or_else(|| home.and_then(|group| group_not_ready(group)));
    if let (Some(group), false) = (routed, matches!(place, Place::Infeasible(_)))
        && serves(group)
    {
        let name = group.name_any();
        let message = match (home, complaint) {
            (Some(home), Some((_, why))) if home.name_any() != name => {
                format!("served by group {name} until {} is ready: {why}", home.name_any())
            }
            (_, Some((_, why))) => format!("served by group {name}; {why}"),
            _ => format!("served by group {name}"),
        };
        return Observation::new(READY, true, reason::OK, message);
    }
    for obstacle in [accepted, planned] {
        if obstacle.status != Status::True {
            return Observation::new(READY, false, obstacle.reason.clone(), obstacle.message.clone());
        }
    }
    match (home, complaint) {
        (Some(home), Some((reason, why))) => {
            Observation::new(READY, false, reason, format!("group {}: {why}", home.name_any()))
        }
        (Some(home), None) => Observation::new(
            READY,
            false,
            reason::STARTING,
            format!("group {} starts", home.name_any()),
        ),
        (None, Some((reason, why))) => Observation::new(READY, false, reason, why),
        (None, None) => Observation::new(READY, false, reason::STARTING, "the group is being made"),
    }
}

/// Whether a group that routes can answer: all of it is ready, or at least one replica.
fn serves(group: &InferenceGroup) -> bool {
    group.status.as_ref().is_some_and(|status| {
        conditions::is_true(&status.conditions, READY) || status.ready_replicas.unwrap_or(0) > 0
    })
}

/// Why a group is not ready, in its own words; None if it is, or has not said.
fn group_not_ready(group: &InferenceGroup) -> Option<(String, String)> {
    let condition = conditions::find(&group.status.as_ref()?.conditions, READY)?;
    (condition.status != "True").then(|| (condition.reason.clone(), condition.message.clone()))
}

fn active_lists(group: &InferenceGroup, app: &str) -> bool {
    let active = group.status.as_ref().and_then(|status| status.active.as_ref());
    active.is_some_and(|active| active.members.iter().any(|member| member.app == app))
}

fn generation_of(group: &InferenceGroup) -> Option<i64> {
    Some(group.status.as_ref()?.active.as_ref()?.plan_generation)
}

fn app_plan(planned: &GroupPlan, member: &Member, contract: &Contract) -> AppPlan {
    let dispatch = dispatch(planned.dispatch);
    let explanation = &member.explanation;
    AppPlan {
        device: device(&planned.device),
        batch_size: i32::try_from(planned.batch_size.get()).unwrap_or(i32::MAX),
        rate: planned_rate(member, contract),
        rate_source: contract.rate_source,
        dispatch,
        max_wait: (dispatch == Dispatch::Timed).then(|| build::max_wait(member.max_wait)),
        latency: Some(AppLatency {
            mean: member
                .simulated
                .as_ref()
                .map(|simulated| build::duration(simulated.mean)),
            percentile: Some(build::duration(member.latency_bound)),
        }),
        verified: planned.verified,
        cost_per_million: money::per_million(member.cost_per_request),
        cost_per_month: money::per_month(member.cost_per_second),
        saving_alone: Some(money::percent(explanation.saving)),
        because: Some(explanation.to_string()),
    }
}

/// The rate as it was asked for, unless the plan holds for a higher one from before.
fn planned_rate(member: &Member, contract: &Contract) -> Option<String> {
    let planned = member.rate.get();
    let asked = contract.rate.parse::<Rate>().ok()?;
    if (asked.per_second() - planned).abs() <= ROUNDING * planned {
        return Some(contract.rate.clone());
    }
    Rate::from_per_second(planned).map(|rate| rate.to_string())
}

/// The status of a model, whose batches are so far from its profile. `plan` and the number of its plan are absent where the model was rejected.
pub(crate) fn model(
    model: &InferenceModel,
    problem: Option<&Problem>,
    plan: Option<(&Plan, i64)>,
    apps: usize,
    drifts: &[Drift],
    now: &Time,
) -> InferenceModelStatus {
    let old = model.status.clone().unwrap_or_default();
    let generation = model.metadata.generation;
    let accepted = accepted(problem, "the model is well formed and its platform exists");
    let planned = match plan {
        None => Observation::new(
            PLANNED,
            Status::Unknown,
            accepted.reason.clone(),
            "the model is not accepted",
        ),
        Some((plan, _)) => planned(plan),
    };
    let last = old.plan_generation.unwrap_or(0);
    let number = plan.map_or(last, |(_, number)| number.max(last));
    let alone: Option<f64> = plan.map(|(plan, _)| {
        let members = plan.groups.iter().flat_map(|group| &group.members);
        members
            .map(|member| member.explanation.alone.cost_per_second)
            .sum()
    });
    InferenceModelStatus {
        observed_generation: generation,
        conditions: conditions::update(
            &old.conditions,
            &[accepted, planned, drift::condition(model, drifts)],
            generation,
            now,
        ),
        apps: Some(count(apps)),
        groups: Some(count(plan.map_or(0, |(plan, _)| plan.groups.len()))),
        plan_generation: Some(number),
        cost_per_month: plan.map(|(plan, _)| money::per_month(plan.cost_per_second)),
        saving: plan
            .zip(alone)
            .filter(|(_, alone)| *alone > 0.0)
            .map(|((plan, _), alone)| money::percent((1.0 - plan.cost_per_second / alone).max(0.0))),
        last_plan_time: if number > last {
            Some(now.clone())
        } else {
            old.last_plan_time
        },
        profile_drift: drift::written(drifts),
        profile: None,
    }
}

fn planned(plan: &Plan) -> Observation {
    let apps: usize = plan.groups.iter().map(|group| group.members.len()).sum();
    let refused: Vec<String> = plan.infeasible.iter().map(|it| it.app.clone()).collect();
    let placed = format!("{apps} apps in {} groups", plan.groups.len());
    if refused.is_empty() {
        Observation::new(PLANNED, true, reason::OK, placed)
    } else {
        let message = format!(
            "{placed}; cannot be planned: {}; see their condition Planned",
            refused.join(", ")
        );
        // The others are served: the model as a whole is planned unless nobody is.
        Observation::new(PLANNED, apps > 0, reason::INFEASIBLE, message)
    }
}

/// The status of a platform, with the plans of its models and the pools as they use them; nothing of both where nothing is planned on it.
pub(crate) fn platform(
    platform: &InferencePlatform,
    problem: Option<&Problem>,
    plans: &[&Plan],
    pools: Option<&PoolsNow<'_>>,
    now: &Time,
) -> InferencePlatformStatus {
    let old = platform.status.clone().unwrap_or_default();
    let generation = platform.metadata.generation;
    let mut observations = vec![accepted(problem, "the platform is well formed")];
    if !platform.spec.gpu_pools.is_empty() {
        observations.push(platform::devices_suffice(platform, problem, pools));
    }
    let cost: f64 = plans.iter().map(|plan| plan.cost_per_second).sum();
    InferencePlatformStatus {
        observed_generation: generation,
        conditions: conditions::update(&old.conditions, &observations, generation, now),
        models: Some(count(plans.len())),
        cost_per_month: problem.is_none().then(|| money::per_month(cost)),
        gpu_pools: pools.map(platform::gpu_pools).unwrap_or_default(),
        shortage: pools.and_then(platform::shortage),
    }
}

fn accepted(problem: Option<&Problem>, fine: &str) -> Observation {
    match problem {
        Some(problem) => Observation::new(ACCEPTED, false, problem.reason, problem.message.clone()),
        None => Observation::new(ACCEPTED, true, reason::OK, fine),
    }
}

/// Whether the plan's own fields of an application's status differ.
pub(crate) fn app_differs(old: Option<&InferenceAppStatus>, new: &InferenceAppStatus) -> bool {
    let Some(old) = old else { return true };
    let ours = InferenceAppStatus {
        conditions: ours(&old.conditions, &new.conditions),
        observed: None,
        ..old.clone()
    };
    ours != *new
}

/// Whether the plan's own fields of a model's status differ.
pub(crate) fn model_differs(old: Option<&InferenceModelStatus>, new: &InferenceModelStatus) -> bool {
    let Some(old) = old else { return true };
    let ours = InferenceModelStatus {
        conditions: ours(&old.conditions, &new.conditions),
        profile: None,
        ..old.clone()
    };
    ours != *new
}

/// The conditions of the types that this writer writes, in its order.
fn ours(old: &[Condition], new: &[Condition]) -> Vec<Condition> {
    new.iter()
        .filter_map(|condition| conditions::find(old, &condition.type_).cloned())
        .collect()
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
