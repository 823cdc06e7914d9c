//! How long a plan takes: `cargo bench -p harmonybatch-planner`.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(dead_code, reason = "only a part of the fixture is used")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/planner/fixture.rs"]
mod fixture;
#[path = "../tests/planner/random.rs"]
mod random;

use std::time::Instant;

use harmonybatch_planner::{App, Billing, Plan};

use fixture::{Coefficients, MODELS, plan_exactly, plan_one};
use random::Random;

/// A way to plan, and what the table calls it.
type Way = (&'static str, fn(&Coefficients, Vec<App>) -> Plan);

fn main() {
    let ways: [Way; 3] = [
        ("PerInvocation, paper", |model, apps| {
            plan_one(Billing::PerInvocation, model, apps)
        }),
        ("PerInvocation, exact", plan_exactly),
        ("PerReplica", |model, apps| {
            plan_one(Billing::PerReplica, model, apps)
        }),
    ];
    println!(
        "{:<22}{:<10}{:>6}{:>12}{:>8}",
        "billing and law", "model", "apps", "ms", "groups"
    );
    for (name, way) in ways {
        for model in &MODELS {
            for count in [12, 100, 1000] {
                let apps = Random::seeded(7).apps(count, (0.2, 1.0), (0.05, 50.0));
                let start = Instant::now();
                let plan = way(model, apps);
                let taken = start.elapsed().as_secs_f64() * 1e3;
                println!(
                    "{name:<22}{:<10}{count:>6}{taken:>12.2}{:>8}",
                    model.name,
                    plan.groups.len()
                );
            }
        }
    }
}
