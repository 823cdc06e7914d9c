//! Plans for arrivals that come in bursts, against a simulation of their own: other code, other random numbers.

use std::sync::Arc;

use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{
    App, ArrivalProcess, Billing, Burst, GroupPlan, InfeasibleReason, Plan, PlanRequest, Simulation, Trace,
    simulate_plan,
};

use crate::fixture::{Coefficients, GPT2, MODELS, VGG19, app, plan, plan_exactly, plan_one, request};
use crate::holdout::play;
use crate::random::Random;

fn burst(factor: f64, duration: f64) -> ArrivalProcess {
    ArrivalProcess::Burst(Burst::new(factor, Seconds::new(duration).unwrap()).unwrap())
}

fn with(arrivals: &ArrivalProcess, apps: &[App]) -> Vec<App> {
    let with = |app: &App| App {
        arrivals: arrivals.clone(),
        ..app.clone()
    };
    apps.iter().map(with).collect()
}

/// Arrivals in `span` seconds at this mean rate in bursts, by the definition in [`Burst`].
pub(crate) fn stream(rate: f64, (factor, duration): (f64, f64), span: f64, random: &mut Random) -> Vec<f64> {
    let in_bursts = 0.5 / factor;
    let mut arrivals = Vec::new();
    let mut now = 0.0;
    let mut bursting = random.unit() <= in_bursts;
    while now < span {
        let (density, mean) = if bursting {
            (factor * rate, duration)
        } else {
            // The other half of the requests, in the rest of the time.
            (
                0.5 * rate / (1.0 - in_bursts),
                duration * (1.0 - in_bursts) / in_bursts,
            )
        };
        let end = now + random.exponential(1.0 / mean);
        let mut arrival = now + random.exponential(density);
        while arrival < end.min(span) {
            arrivals.push(arrival);
            arrival += random.exponential(density);
        }
        now = end;
        bursting = !bursting;
    }
    arrivals
}

/// Arrivals of a group whose members all have bursts: each member on its own.
fn bursty(group: &GroupPlan, burst: (f64, f64), requests: f64, random: &mut Random) -> Vec<(f64, usize)> {
    let total: f64 = group.members.iter().map(|member| member.rate.get()).sum();
    let mut arrivals = Vec::new();
    for (index, member) in group.members.iter().enumerate() {
        let own = stream(member.rate.get(), burst, requests / total, random);
        arrivals.extend(own.into_iter().map(|arrival| (arrival, index)));
    }
    arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
    arrivals
}

/// Applications on fresh streams with the declared bursts, those below their percentile, and the price relative to the
/// plans for Poisson arrivals.
fn hold_out(sets: usize, most: usize, (factor, duration): (f64, f64), requests: f64) -> (u32, u32, f64, f64) {
    let mut random = Random::seeded(0x0062_7572_7374);
    let (mut apps, mut below, mut worst) = (0, 0, 0.0_f64);
    let (mut cost, mut smooth) = (0.0, 0.0);
    for (set, count) in (0..sets).zip((1..=most).cycle()) {
        let model = &MODELS[set % MODELS.len()];
        let set = random.apps(count, (0.2, 2.0), (0.5, 20.0));
        let poisson = plan_one(Billing::PerReplica, model, set.clone());
        let plan = plan_one(Billing::PerReplica, model, with(&burst(factor, duration), &set));
        assert!(
            plan.cost_per_second >= poisson.cost_per_second * (1.0 - 1e-9),
            "bursts never make it cheaper: {} below {}",
            plan.cost_per_second,
            poisson.cost_per_second
        );
        cost += plan.cost_per_second;
        smooth += poisson.cost_per_second;
        for group in &plan.groups {
            assert!(group.verified, "{group:#?}");
            let arrivals = bursty(group, (factor, duration), requests, &mut random);
            for ((served, late), member) in play(model, group, &arrivals, &mut random)
                .into_iter()
                .zip(&group.members)
            {
                if served < 2000 {
                    continue;
                }
                let short = member.percentile.get() / 100.0 - (1.0 - f64::from(late) / f64::from(served));
                apps += 1;
                below += u32::from(short > 0.0);
                worst = worst.max(short);
            }
        }
    }
    (apps, below, worst, cost / smooth)
}

#[test]
fn plans_for_bursts_keep_their_promises_in_bursts_and_are_not_cheaper() {
    let (apps, below, worst, price) = hold_out(4, 2, (4.0, 2.0), 100_000.0);
    assert!(apps >= 4 && price > 1.0, "{apps} applications at {price}");
    assert!(
        below <= 1 && worst < 0.003,
        "{below} of {apps} below, worst by {worst}"
    );
}

#[test]
#[ignore = "sixty sets three times take minutes: cargo test --release -p harmonybatch-planner --test planner bursts -- --ignored --nocapture"]
#[expect(clippy::print_stderr, reason = "the figures are what a person runs this for")]
fn at_most_one_application_in_fifty_falls_below_its_percentile_in_bursts() {
    for (factor, duration) in [(2.0, 10.0), (4.0, 2.0), (4.0, 10.0), (10.0, 1.0)] {
        let (apps, below, worst, price) = hold_out(60, 6, (factor, duration), 1e6);
        eprintln!(
            "bursts {factor} x {duration} s: {below} of {apps} applications below their percentile, the worst by {:.3} points; \
             {price:.2} times the price of the Poisson plans",
            worst * 100.0
        );
        assert!(below * 50 <= apps && worst < 0.005);
    }
}

fn simulated(model: &Coefficients, apps: Vec<App>, arrivals: &ArrivalProcess, requests: u64) -> (Plan, f64) {
    let told = request(Billing::PerReplica, model, apps);
    let found = plan(&told).remove(0);
    let arriving = request(Billing::PerReplica, model, with(arrivals, told.models[0].apps()));
    let simulation = Simulation { requests, seed: 3 };
    let groups = simulate_plan(&arriving.platform, &arriving.models[0], &found, simulation);
    let attained = groups
        .iter()
        .flat_map(|group| &group.as_ref().unwrap().apps)
        .map(|app| app.attainment)
        .fold(1.0, f64::min);
    (found, attained)
}

#[test]
fn a_plan_for_poisson_arrivals_breaks_in_bursts_that_one_for_bursts_keeps() {
    let apps = vec![app("search", 0.5, 5.0), app("cart", 0.8, 10.0)];
    let arrivals = burst(8.0, 5.0);
    let (_, smooth) = simulated(&VGG19, apps.clone(), &ArrivalProcess::Poisson, 200_000);
    assert!(smooth >= 0.99, "{smooth} under the arrivals that it was made for");
    let (_, surprised) = simulated(&VGG19, apps.clone(), &arrivals, 200_000);
    assert!(surprised < 0.98, "{surprised} in bursts");
    let (_, prepared) = simulated(&VGG19, with(&arrivals, &apps), &arrivals, 400_000);
    assert!(prepared >= 0.99, "{prepared} with a plan for bursts");
}

#[test]
fn a_simulated_plan_counts_every_request_batch_and_cent() {
    let apps = vec![app("search", 0.5, 5.0), app("cart", 0.8, 10.0)];
    for billing in [Billing::PerReplica, Billing::PerInvocation] {
        let PlanRequest { platform, models } = request(billing, &VGG19, apps.clone());
        let found = match billing {
            Billing::PerReplica => plan_one(billing, &VGG19, apps.clone()),
            // The paper's law takes batches for full that are not.
            Billing::PerInvocation => plan_exactly(&VGG19, apps.clone()),
        };
        let simulation = Simulation {
            requests: 200_000,
            seed: 1,
        };
        let groups = simulate_plan(&platform, &models[0], &found, simulation);
        assert_eq!(groups.len(), found.groups.len());
        for (seen, group) in groups.iter().zip(&found.groups) {
            let seen = seen.as_ref().unwrap();
            let answered: u64 = seen.apps.iter().map(|app| app.requests).sum();
            // What waits as the count begins or ends is counted on one side only.
            assert!(answered.abs_diff(200_000) < 100, "{answered}");
            let rows: u64 = (1..).zip(&seen.batches).map(|(rows, count)| rows * count).sum();
            assert!(rows.abs_diff(answered) < 100, "{rows}");
            assert_eq!(seen.batches.len(), group.batch_size.get() as usize);
            assert!(
                (seen.mean_batch() / group.predicted.mean_batch - 1.0).abs() < 0.1,
                "{billing:?}: {seen:?}"
            );
            let predicted = group.predicted.cost_per_second;
            assert!(
                (seen.cost_per_second / predicted - 1.0).abs() < 0.1,
                "{billing:?}: {seen:?}"
            );
            for (app, member) in seen.apps.iter().zip(&group.members) {
                assert!(app.kept && app.attainment >= 0.99, "{app:?}");
                assert!(app.p50 <= app.p90 && app.p90 <= app.p99 && app.p99 <= app.max);
                assert!(app.p99.get() <= member.slo.get() * 1.01, "{app:?}");
            }
        }
    }
}

#[test]
fn arrivals_that_the_formulas_do_not_know_are_refused_where_runs_are_billed() {
    let trace = ArrivalProcess::Trace(Arc::new(Trace::new(&[0.0, 1.0, 5.0]).unwrap()));
    for arrivals in [burst(2.0, 1.0), trace] {
        let mut apps = with(&arrivals, &[app("bursty", 0.5, 5.0)]);
        apps.push(app("even", 0.5, 5.0));
        let found = plan_one(Billing::PerInvocation, &VGG19, apps);
        assert_eq!(found.infeasible.len(), 1);
        assert_eq!(found.infeasible[0].app, "bursty");
        assert_eq!(found.infeasible[0].reason, InfeasibleReason::ArrivalsNotPoisson);
        assert_eq!(found.groups.len(), 1);
    }
}

#[test]
fn the_order_of_bursty_applications_changes_no_byte() {
    let trace = |gaps: f64| Arc::new(Trace::new(&[0.0, 1.0, gaps, gaps + 0.1]).unwrap());
    let (first, second) = (trace(3.0), trace(4.0));
    let arrivals = [
        ArrivalProcess::Poisson,
        ArrivalProcess::Trace(Arc::clone(&first)),
        burst(3.0, 1.0),
        ArrivalProcess::Trace(second),
        ArrivalProcess::Trace(first),
    ];
    let mut apps: Vec<App> = (0..)
        .zip(arrivals)
        .map(|(index, arrivals)| App {
            arrivals,
            ..app(&format!("app-{index}"), 1.0 + 0.1 * f64::from(index), 2.0)
        })
        .collect();
    let forth = format!("{:?}", plan_one(Billing::PerReplica, &GPT2, apps.clone()));
    apps.reverse();
    assert_eq!(forth, format!("{:?}", plan_one(Billing::PerReplica, &GPT2, apps)));
}

/// Extremes that a user may write: no panic, no hang, and every application is planned or named.
#[test]
fn bursts_beyond_reason_are_planned_or_named() {
    for (factor, duration, rate) in [
        (1000.0, 1e6, 1e-9),
        (1000.0, 1e6, 1e9),
        (1.0 + 1e-12, 1e-300, 1e9),
        (1000.0, 1e-300, 1e-9),
        (2.0, 1e6, 100.0),
    ] {
        let apps = with(
            &burst(factor, duration),
            &[app("odd", 0.5, rate), app("other", 0.7, 1.0)],
        );
        let found = plan_one(Billing::PerReplica, &VGG19, apps);
        let planned: usize = found.groups.iter().map(|group| group.members.len()).sum();
        assert_eq!(planned + found.infeasible.len(), 2);
    }
}
