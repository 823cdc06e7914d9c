//! The comparison of the HarmonyBatch paper (IWQoS 2024, arXiv 2405.05633), section V, rebuilt from its published data:
//! `cargo bench -p harmonybatch-planner --bench paper`. Ends with a failure where an invariant does not hold.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(dead_code, reason = "only parts of the fixtures are used")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

#[path = "../../tests/planner/fixture.rs"]
mod fixture;
#[path = "../../tests/planner/random.rs"]
mod random;
#[path = "../../tests/planner/validator.rs"]
mod validator;

mod columns;
mod cost;
mod overhead;
mod program;
mod settings;
mod trace;
mod verdicts;

use std::process::ExitCode;

use verdicts::Verdicts;

fn main() -> ExitCode {
    let mut verdicts = Verdicts::default();
    cost::print(&mut verdicts);
    trace::print(&mut verdicts);
    overhead::print();
    verdicts.print()
}
