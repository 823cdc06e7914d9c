//! How long a plan takes: `cargo bench -p harmonybatch-planner -- [PART OF A NAME] [NUMBER OF APPS...]`; the least of several runs.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(dead_code, reason = "only a part of the fixture is used")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/planner/fixture.rs"]
mod fixture;
#[path = "../tests/planner/random.rs"]
mod random;

use std::time::Instant;

use harmonybatch_planner::{App, Billing, Plan};

use fixture::{Coefficients, MODELS, plan_as_the_paper, plan_exactly, plan_one};
use random::Random;

/// A way to plan, and what the table calls it.
type Way = (&'static str, fn(&Coefficients, Vec<App>) -> Plan);

fn main() {
    let ways: [Way; 3] = [
        ("PerInvocation, paper", plan_as_the_paper),
        ("PerInvocation, exact", plan_exactly),
        ("PerReplica", |model, apps| {
            plan_one(Billing::PerReplica, model, apps)
        }),
    ];
    // Cargo adds flags of its own.
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let (numbers, names): (Vec<_>, Vec<_>) =
        arguments.partition(|argument| argument.parse::<usize>().is_ok());
    let wanted = names.first();
    let mut counts: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![12, 100, 1000];
    }
    println!(
        "{:<22}{:<10}{:>6}{:>12}{:>8}  cost/s",
        "billing and law", "model", "apps", "ms", "groups"
    );
    for (name, way) in ways {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        for model in &MODELS {
            for &count in &counts {
                let apps = Random::seeded(7).apps(count, (0.2, 1.0), (0.05, 50.0));
                let mut taken = f64::INFINITY;
                let mut runs = 0.0;
                let plan = loop {
                    let start = Instant::now();
                    let plan = way(model, apps.clone());
                    taken = taken.min(start.elapsed().as_secs_f64() * 1e3);
                    runs += 1.0;
                    if runs * taken > 200.0 || runs > 20.0 {
                        break plan;
                    }
                };
                println!(
                    "{name:<22}{:<10}{count:>6}{taken:>12.2}{:>8}  {:.6e}",
                    model.name,
                    plan.groups.len(),
                    plan.cost_per_second
                );
            }
        }
    }
}
