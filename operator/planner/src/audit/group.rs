//! One group: its members, its function, its waits and what it costs.

use std::cmp::Ordering;

use super::function::Function;
use super::violation::Breach;
use super::{MOST_MEMBERS, MOST_REPLICAS, ROUNDING, at_most, close, out_of_order, price};
use crate::app::App;
use crate::plan::{Dispatch, GroupPlan, Member};
use crate::platform::{ArrivalModel, Billing, Platform};
use crate::profile::ModelProfile;
use crate::units::Seconds;

/// What is wrong, with the group as a whole or with one of its members.
pub(super) enum Found {
    Group(Breach),
    Member(usize, Breach),
}

impl From<Breach> for Found {
    fn from(breach: Breach) -> Self {
        Self::Group(breach)
    }
}

/// Checks a group; `apps` are its members as they were declared.
pub(super) fn check(
    platform: &Platform,
    profile: &ModelProfile,
    apps: &[&App],
    group: &GroupPlan,
) -> Result<(), Found> {
    membership(apps, group)?;
    numbers(group)?;
    let function = Function::on(&group.device, platform, profile)?;
    function.holds(group.batch_size.get())?;
    if !(1..=MOST_REPLICAS).contains(&group.replicas) {
        let (found, limit) = (group.replicas, MOST_REPLICAS);
        return Err(Breach::WrongReplicas { found, limit }.into());
    }
    times(platform, &function, group)?;
    match platform.billing() {
        Billing::PerInvocation => by_invocation(platform, &function, group)?,
        Billing::PerReplica => by_replica(platform, &function, group)?,
    }
    costs(group)
}

/// Whether the first may stand before the second: tightest SLO first, equal SLOs by name.
pub(super) fn in_order(first: &Member, second: &Member) -> bool {
    match first.slo.get().total_cmp(&second.slo.get()) {
        Ordering::Less => true,
        Ordering::Equal => first.app < second.app,
        Ordering::Greater => false,
    }
}

fn membership(apps: &[&App], group: &GroupPlan) -> Result<(), Found> {
    let count = group.members.len();
    if count == 0 {
        return Err(Breach::NoMembers.into());
    }
    if count > MOST_MEMBERS {
        let (found, limit) = (count, MOST_MEMBERS);
        return Err(Breach::TooManyMembers { found, limit }.into());
    }
    for (index, (app, member)) in apps.iter().zip(&group.members).enumerate() {
        let fail = |breach| Err(Found::Member(index, breach));
        if app.isolated && count > 1 {
            return fail(Breach::IsolationBroken { others: count - 1 });
        }
        for (figure, found, declared) in [
            ("slo", member.slo.get(), app.slo.get()),
            ("percentile", member.percentile.get(), app.percentile.get()),
            ("rate", member.rate.get(), app.rate.get()),
        ] {
            if found.to_bits() != declared.to_bits() {
                return fail(Breach::NotAsDeclared {
                    figure,
                    found,
                    declared,
                });
            }
        }
    }
    match group
        .members
        .windows(2)
        .find(|pair| !in_order(&pair[0], &pair[1]))
    {
        Some(pair) => Err(out_of_order("members", &pair[0].app, &pair[1].app).into()),
        None => Ok(()),
    }
}

/// Every figure is a number, and within what it can be at all. Durations are numbers by their type.
fn numbers(group: &GroupPlan) -> Result<(), Found> {
    let bounded = |figure, found: f64, least, most| {
        // A number that is none lies in no range.
        if (least..=most).contains(&found) {
            Ok(())
        } else {
            Err(Breach::OutOfBounds {
                figure,
                found,
                least,
                most,
            })
        }
    };
    let predicted = &group.predicted;
    let batch = f64::from(group.batch_size.get());
    bounded("cost per second", predicted.cost_per_second, 0.0, f64::MAX)?;
    bounded("cost per request", predicted.cost_per_request, 0.0, f64::MAX)?;
    bounded("mean batch", predicted.mean_batch, 1.0, batch * (1.0 + ROUNDING))?;
    bounded("utilization", predicted.utilization, 0.0, 1.0 + ROUNDING)?;
    for (index, member) in group.members.iter().enumerate() {
        let of_member = |figure, found, least, most| {
            bounded(figure, found, least, most).map_err(|breach| Found::Member(index, breach))
        };
        let explanation = &member.explanation;
        of_member("cost per second", member.cost_per_second, 0.0, f64::MAX)?;
        of_member("cost per request", member.cost_per_request, 0.0, f64::MAX)?;
        of_member("cost alone", explanation.alone.cost_per_second, 0.0, f64::MAX)?;
        of_member(
            "cost per request alone",
            explanation.alone.cost_per_request,
            0.0,
            f64::MAX,
        )?;
        of_member("saving", explanation.saving, 0.0, 1.0)?;
        if let Some(runner_up) = &explanation.runner_up {
            of_member("factor of the runner-up", runner_up.factor, 1.0, f64::MAX)?;
        }
        if let Some(simulated) = member.simulated {
            of_member("attainment", simulated.attainment, 0.0, 1.0)?;
            of_member("attainment if slowest", simulated.attainment_if_slowest, 0.0, 1.0)?;
        }
    }
    Ok(())
}

/// Times of the function, and that the promised bounds are within the SLOs.
fn times(platform: &Platform, function: &Function<'_>, group: &GroupPlan) -> Result<(), Found> {
    let batch = group.batch_size.get();
    let miscalculated = |figure, found: Seconds, expected: f64| {
        // What leaves the bounds of a duration is brought back to them.
        let expected = Seconds::clamped(expected).get();
        if close(found.get(), expected) {
            return Ok(());
        }
        let found = found.get();
        Err(Breach::Miscalculated {
            figure,
            found,
            expected,
        })
    };
    let predicted = &group.predicted;
    miscalculated("mean service", predicted.mean_service, function.mean(batch))?;
    miscalculated("longest service", predicted.max_service, function.longest(batch))?;
    for (index, member) in group.members.iter().enumerate() {
        let fail = |breach| Err(Found::Member(index, breach));
        if group.dispatch == Dispatch::Eager && member.max_wait > Seconds::ZERO {
            return fail(Breach::WaitsThoughEager {
                found: member.max_wait,
            });
        }
        if !at_most(member.latency_bound.get(), member.slo.get()) {
            return fail(Breach::BoundAboveSlo {
                found: member.latency_bound,
                slo: member.slo,
            });
        }
        // Requests that wait for others are promised to be in time behind none; where batches queue, each takes its own time.
        let slow = function.using(platform.headroom());
        let longest = match platform.billing() {
            Billing::PerInvocation => slow.longest_up_to(batch),
            Billing::PerReplica => slow.longest(batch),
        };
        let latest = member.max_wait.get() + longest + platform.overhead().get();
        if group.dispatch == Dispatch::Timed && !at_most(latest, member.slo.get()) {
            return fail(Breach::TooLate {
                wait: member.max_wait,
                service: Seconds::clamped(longest),
                overhead: platform.overhead(),
                slo: member.slo,
            });
        }
    }
    Ok(())
}

/// Every batch has a function of its own, and there is no queue to simulate.
fn by_invocation(platform: &Platform, function: &Function<'_>, group: &GroupPlan) -> Result<(), Found> {
    if group.dispatch == Dispatch::Eager {
        return Err(Breach::NotTimed.into());
    }
    verdict(group, false)?;
    let (rate, batch) = (rate_of(group), group.batch_size.get());
    let predicted = &group.predicted;
    let busy = rate / predicted.mean_batch * function.invoked_mean(batch);
    miscalculated(
        "utilization",
        predicted.utilization,
        busy / f64::from(group.replicas),
    )?;
    if platform.arrivals() == ArrivalModel::Paper {
        return Ok(price::as_the_paper(platform, function, group)?);
    }
    // The mean cost of a request lies between those of the batches that occur.
    let fee = platform.prices().request.get();
    let per_row =
        (1..=batch).map(|rows| (function.invoked_mean(rows) * function.price + fee) / f64::from(rows));
    let (least, most) = per_row.fold((f64::INFINITY, 0.0_f64), |(least, most), cost| {
        (least.min(cost), most.max(cost))
    });
    let found = predicted.cost_per_second;
    let slack = rate * price::rounding_of_sums(platform, function, batch);
    if at_most(rate * least, found + slack) && at_most(found, rate * most) {
        Ok(())
    } else {
        Err(Breach::OutOfBounds {
            figure: "cost per second",
            found,
            least: rate * least,
            most: rate * most,
        }
        .into())
    }
}

/// Batches queue for pods that stay up: the verdict is a simulation's, and the cost a product.
fn by_replica(platform: &Platform, function: &Function<'_>, group: &GroupPlan) -> Result<(), Found> {
    let (rate, batch, replicas) = (
        rate_of(group),
        f64::from(group.batch_size.get()),
        f64::from(group.replicas),
    );
    let slow = function.using(platform.headroom());
    let capacity = replicas * batch / slow.mean(group.batch_size.get());
    if !at_most(rate, capacity) {
        return Err(Breach::Overloaded { rate, capacity }.into());
    }
    let (single, overhead) = (slow.longest(1), platform.overhead());
    if let Some(tightest) = group.members.first()
        && !at_most(single + overhead.get(), tightest.slo.get())
    {
        let service = Seconds::clamped(single);
        let slo = tightest.slo;
        return Err(Found::Member(
            0,
            Breach::TooSlow {
                service,
                overhead,
                slo,
            },
        ));
    }
    verdict(group, group.verified)?;
    for (index, member) in group.members.iter().enumerate() {
        let needed = member.percentile.fraction();
        if let Some(simulated) = member.simulated
            && simulated.attainment < needed
        {
            let found = simulated.attainment;
            return Err(Found::Member(index, Breach::NotAttained { found, needed }));
        }
    }
    miscalculated(
        "cost per second",
        group.predicted.cost_per_second,
        replicas * function.price,
    )
}

/// A group is verified where all of its members were simulated, and not where none was.
fn verdict(group: &GroupPlan, verified: bool) -> Result<(), Found> {
    let members = group.members.len();
    let simulated = group
        .members
        .iter()
        .filter(|member| member.simulated.is_some())
        .count();
    if group.verified == verified && simulated == if verified { members } else { 0 } {
        return Ok(());
    }
    Err(Breach::WrongVerdict {
        verified: group.verified,
        simulated,
        members,
    }
    .into())
}

/// The parts of the cost sum to it, and the costs of a request follow from those of a second.
fn costs(group: &GroupPlan) -> Result<(), Found> {
    let whole = group.predicted.cost_per_second;
    let sum: f64 = group.members.iter().map(|member| member.cost_per_second).sum();
    if !close(sum, whole) {
        let parts = "the members' costs";
        return Err(Breach::DoesNotAddUp { parts, sum, whole }.into());
    }
    miscalculated(
        "cost per request",
        group.predicted.cost_per_request,
        whole / rate_of(group),
    )?;
    for (index, member) in group.members.iter().enumerate() {
        let expected = member.cost_per_second / member.rate.get();
        if !close(member.cost_per_request, expected) {
            let breach = Breach::Miscalculated {
                figure: "cost per request",
                found: member.cost_per_request,
                expected,
            };
            return Err(Found::Member(index, breach));
        }
    }
    Ok(())
}

fn miscalculated(figure: &'static str, found: f64, expected: f64) -> Result<(), Found> {
    if close(found, expected) {
        return Ok(());
    }
    Err(Breach::Miscalculated {
        figure,
        found,
        expected,
    }
    .into())
}

/// Rows per second of all members.
pub(super) fn rate_of(group: &GroupPlan) -> f64 {
    group.members.iter().map(|member| member.rate.get()).sum()
}
