//! Looks at a plan again before anybody follows it.
//!
//! Everything that a plan promises is checked against the request and the definitions alone: who is in which group, whether
//! the function is on offer and holds the batch, waits and longest services against the SLO, costs, devices of the pools, and
//! whether those who are refused are refused for something that is so. Nothing here calls the search, its models of latency
//! and cost, or its packing: an error there does not pass because it was made twice.
//!
//! [`check`] takes microseconds an application and is meant for every plan. What is dear to find another way, the mean cost of a
//! batch under the exact law, is in [`check_thoroughly`], for tests. Whether queues keep an SLO only a simulation tells:
//! that the one which the plan rests on says so is checked here, and a test repeats it on other arrivals.

mod function;
mod group;
mod pools;
mod price;
mod refusal;
mod violation;

use std::collections::HashMap;

use crate::PlanRequest;
use crate::app::{App, ModelSet};
use crate::inventory::PlatformPlan;
use crate::plan::Plan;
use crate::platform::{Billing, Platform};

pub use violation::{Breach, Place, Violation};

/// Figures that are computed in two ways differ by less than this, relatively.
const ROUNDING: f64 = 1e-9;

/// The most replicas of a group, and the most members: what the API takes.
const MOST_REPLICAS: u32 = 10_000;
const MOST_MEMBERS: usize = 256;

/// Finds the first promise that the plans of a platform break, if they break one.
pub fn check(request: &PlanRequest, found: &PlatformPlan) -> Result<(), Violation> {
    let platform = &request.platform;
    for (set, plan) in paired(request, found)? {
        check_plan(platform, set, plan)?;
        if found.shortage.is_none() {
            // Where devices are short, what a member saves others is counted in what it would cost alone.
            no_dearer_than_alone(plan)?;
        }
    }
    pools::check(platform, found)
}

/// The same, and what takes longer: the costs under the exact law.
pub fn check_thoroughly(request: &PlanRequest, found: &PlatformPlan) -> Result<(), Violation> {
    check(request, found)?;
    for (set, plan) in paired(request, found)? {
        check_prices(&request.platform, set, plan)?;
    }
    Ok(())
}

/// Finds the first promise that the plan of one model breaks.
pub fn check_plan(platform: &Platform, set: &ModelSet, plan: &Plan) -> Result<(), Violation> {
    let whole = |breach| Err(in_model(plan, breach));
    if plan.billing != platform.billing() {
        return whole(Breach::WrongBilling {
            found: plan.billing,
            expected: platform.billing(),
        });
    }
    if plan.headroom != platform.headroom() {
        return whole(Breach::WrongHeadroom {
            found: plan.headroom,
            expected: platform.headroom(),
        });
    }
    everybody_is_planned_once(set, plan)?;
    let apps: HashMap<&str, &App> = set.apps().iter().map(|app| (app.name.as_str(), app)).collect();
    for (index, planned) in plan.groups.iter().enumerate() {
        let members: Vec<&App> = planned
            .members
            .iter()
            .filter_map(|member| apps.get(member.app.as_str()).copied())
            .collect();
        group::check(platform, set.profile(), &members, planned).map_err(|found| match found {
            group::Found::Group(breach) => in_group(plan, index, breach),
            group::Found::Member(member, breach) => of_app(plan, &planned.members[member].app, breach),
        })?;
    }
    for pair in plan.groups.windows(2) {
        let (first, second) = (&pair[0].members[0], &pair[1].members[0]);
        if !group::in_order(first, second) {
            return whole(out_of_order("groups", &first.app, &second.app));
        }
    }
    for pair in plan.infeasible.windows(2) {
        if pair[0].app >= pair[1].app {
            return whole(out_of_order(
                "infeasible applications",
                &pair[0].app,
                &pair[1].app,
            ));
        }
    }
    let refusals = refusal::Refusals::new(platform, set.profile());
    for refused in &plan.infeasible {
        if let Some(app) = apps.get(refused.app.as_str()) {
            refusals
                .check(app, refused)
                .map_err(|breach| of_app(plan, &refused.app, breach))?;
        }
    }
    let sum: f64 = plan
        .groups
        .iter()
        .map(|group| group.predicted.cost_per_second)
        .sum();
    if !close(plan.cost_per_second, sum) {
        return whole(Breach::DoesNotAddUp {
            parts: "the groups' costs",
            sum,
            whole: plan.cost_per_second,
        });
    }
    Ok(())
}

/// Compares what a plan says of costs and mean batches with what the definitions give.
pub fn check_prices(platform: &Platform, set: &ModelSet, plan: &Plan) -> Result<(), Violation> {
    if platform.billing() == Billing::PerReplica {
        // What pods cost is a product, which `check_plan` has seen to.
        return Ok(());
    }
    for (index, planned) in plan.groups.iter().enumerate() {
        price::check(platform, set.profile(), planned).map_err(|breach| in_group(plan, index, breach))?;
    }
    Ok(())
}

/// Every model with its plan: the plans are in order of namespace and model.
fn paired<'a>(
    request: &'a PlanRequest,
    found: &'a PlatformPlan,
) -> Result<impl Iterator<Item = (&'a ModelSet, &'a Plan)> + use<'a>, Violation> {
    let mut sets: Vec<&ModelSet> = request.models.iter().collect();
    sets.sort_by_key(|set| (set.namespace(), set.model()));
    let expected = sets.iter().map(|set| (set.namespace(), set.model()));
    let planned = found
        .plans
        .iter()
        .map(|plan| (plan.namespace.as_str(), plan.model.as_str()));
    if !expected.clone().eq(planned.clone()) {
        return Err(Violation {
            place: Place::Platform,
            breach: Box::new(Breach::WrongModels {
                found: list(planned),
                expected: list(expected),
            }),
        });
    }
    Ok(sets.into_iter().zip(&found.plans))
}

fn list<'a>(models: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let names: Vec<String> = models
        .map(|(namespace, model)| format!("{namespace}/{model}"))
        .collect();
    names.join(", ")
}

fn everybody_is_planned_once(set: &ModelSet, plan: &Plan) -> Result<(), Violation> {
    let mut seen: HashMap<&str, bool> = set.apps().iter().map(|app| (app.name.as_str(), false)).collect();
    let grouped = plan.groups.iter().flat_map(|group| &group.members);
    let grouped = grouped.map(|member| member.app.as_str());
    for app in grouped.chain(plan.infeasible.iter().map(|refused| refused.app.as_str())) {
        match seen.get_mut(app) {
            None => return Err(of_app(plan, app, Breach::UnknownApp)),
            Some(true) => return Err(of_app(plan, app, Breach::PlannedTwice)),
            Some(planned) => *planned = true,
        }
    }
    let forgotten = set.apps().iter().find(|app| !seen[app.name.as_str()]);
    forgotten.map_or(Ok(()), |app| Err(of_app(plan, &app.name, Breach::Forgotten)))
}

fn no_dearer_than_alone(plan: &Plan) -> Result<(), Violation> {
    for member in plan.groups.iter().flat_map(|group| &group.members) {
        let alone = member.explanation.alone.cost_per_second;
        if !at_most(member.cost_per_second, alone) {
            let breach = Breach::DearerThanAlone {
                found: member.cost_per_second,
                alone,
            };
            return Err(of_app(plan, &member.app, breach));
        }
    }
    Ok(())
}

/// Whether two figures are the same but for rounding.
fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= ROUNDING * found.abs().max(expected.abs()) + f64::MIN_POSITIVE
}

/// Whether a figure that is not negative is at most another, but for rounding.
fn at_most(found: f64, limit: f64) -> bool {
    found <= limit * (1.0 + ROUNDING) + f64::MIN_POSITIVE
}

fn out_of_order(list: &'static str, first: &str, second: &str) -> Breach {
    Breach::OutOfOrder {
        list,
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

fn in_model(plan: &Plan, breach: Breach) -> Violation {
    let place = Place::Model {
        namespace: plan.namespace.clone(),
        model: plan.model.clone(),
    };
    Violation {
        place,
        breach: Box::new(breach),
    }
}

fn in_group(plan: &Plan, group: usize, breach: Breach) -> Violation {
    let place = Place::Group {
        namespace: plan.namespace.clone(),
        model: plan.model.clone(),
        group,
    };
    Violation {
        place,
        breach: Box::new(breach),
    }
}

fn of_app(plan: &Plan, app: &str, breach: Breach) -> Violation {
    let place = Place::App {
        namespace: plan.namespace.clone(),
        model: plan.model.clone(),
        app: app.to_owned(),
    };
    Violation {
        place,
        breach: Box::new(breach),
    }
}
