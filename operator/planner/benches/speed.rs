//! How long a plan takes: `cargo bench -p harmonybatch-planner --bench speed -- [PARTS OF NAMES...] [NUMBER OF APPS...]`; the least of several runs.
//!
//! Besides it prints how long an unchanged application set takes to be planned again by a session that knows it, with what runs as its input, how far the plan is at
//! most above the cheapest, and at the end the most memory that the process ever held.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(dead_code, reason = "only a part of the fixture is used")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/planner/fixture.rs"]
mod fixture;
#[path = "../tests/planner/random.rs"]
mod random;

use std::time::Instant;

use harmonybatch_planner::units::BatchSize;
use harmonybatch_planner::{
    App, ArrivalModel, Billing, CpuLatency, ModelProfile, ModelSet, Plan, PlanOutline, PlanRequest,
    ReplanDecision, ReplanRule, Session, Throttled,
};

use fixture::{MODELS, platform, profile};
use random::Random;

/// What the table calls a way to plan, how it bills and with which law of the batch size.
type Way = (&'static str, Billing, ArrivalModel);

fn asked(way: Way, (name, profile): &(&'static str, ModelProfile), apps: Vec<App>) -> PlanRequest {
    PlanRequest {
        platform: platform(way.1).with_arrivals(way.2),
        models: vec![ModelSet::new("shop", *name, profile.clone(), apps).unwrap()],
    }
}

/// The published models, and one on CPU alone whose batches stand still where a quota is spent.
fn profiles() -> Vec<(&'static str, ModelProfile)> {
    const PERIOD: f64 = 0.1;
    let published = MODELS.iter().map(|model| (model.name, profile(model)));
    let entry = |batch: u32| {
        let work = 0.01 + 0.02 * f64::from(batch);
        let curve = |work: f64| Throttled::new(work, 2.0, PERIOD).unwrap().into();
        CpuLatency {
            batch: BatchSize::new(batch).unwrap(),
            mean: curve(work),
            max: curve(1.3 * work),
        }
    };
    let largest = BatchSize::new(8).unwrap();
    let throttled = ModelProfile::new((1..=8).map(entry).collect(), Vec::new(), largest).unwrap();
    published.chain([("throttled", throttled)]).collect()
}

/// The least milliseconds of several runs, and what they give.
fn least<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let (mut taken, mut runs) = (f64::INFINITY, 0.0);
    loop {
        let start = Instant::now();
        let found = run();
        taken = taken.min(start.elapsed().as_secs_f64() * 1e3);
        runs += 1.0;
        if runs * taken > 200.0 || runs > 20.0 {
            return (taken, found);
        }
    }
}

/// How long the same request takes again, beside the plan that runs.
fn again(request: &PlanRequest, plan: &Plan, session: &Session) -> f64 {
    let names: Vec<String> = (0..plan.groups.len())
        .map(|group| format!("group-{group}"))
        .collect();
    let running = [PlanOutline::new(plan, &names)];
    let replan = || {
        session
            .replan(request, &running, &ReplanRule::default(), true)
            .unwrap()
    };
    replan();
    let (taken, found) = least(replan);
    assert_eq!(found[0].decision, ReplanDecision::Kept);
    taken
}

/// The most memory that the process held at a time, in MiB.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}

fn main() {
    let ways: [Way; 3] = [
        (
            "PerInvocation, paper",
            Billing::PerInvocation,
            ArrivalModel::Paper,
        ),
        (
            "PerInvocation, exact",
            Billing::PerInvocation,
            ArrivalModel::Exact,
        ),
        ("PerReplica", Billing::PerReplica, ArrivalModel::Exact),
    ];
    // Cargo adds flags of its own.
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let (numbers, names): (Vec<_>, Vec<_>) =
        arguments.partition(|argument| argument.parse::<usize>().is_ok());
    let mut counts: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![12, 100, 1000];
    }
    println!(
        "{:<22}{:<10}{:>6}{:>12}{:>12}{:>8}{:>14}{:>10}",
        "billing and law", "model", "apps", "ms", "again, ms", "groups", "cost/s", "at most"
    );
    let models = profiles();
    for way in ways {
        let (name, ..) = way;
        for model in &models {
            let row = format!("{name} {}", model.0);
            if !names.iter().all(|part| row.contains(part.as_str())) {
                continue;
            }
            for &count in &counts {
                let request = asked(
                    way,
                    model,
                    Random::seeded(7).apps(count, (0.2, 1.0), (0.05, 50.0)),
                );
                let (taken, (session, plan)) = least(|| {
                    let session = Session::new();
                    let plan = session.plan_platform(&request).unwrap().plans.remove(0);
                    (session, plan)
                });
                println!(
                    "{name:<22}{:<10}{count:>6}{taken:>12.2}{:>12.2}{:>8}{:>14.6e}{:>9.1}%",
                    model.0,
                    again(&request, &plan, &session),
                    plan.groups.len(),
                    plan.cost_per_second,
                    (plan.cost_per_second / plan.least_cost_per_second - 1.0) * 100.0
                );
            }
        }
    }
    if let Some(peak) = peak_memory() {
        println!("at most {peak:.0} MiB");
    }
}
