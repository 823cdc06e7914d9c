//! `harmonybatch`: one binary for planning, controlling and batching.

mod cli;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// Of the gateway's time for a request this takes 6 %, where the C library's took 9 % (`perf record` of the benchmark `proxy`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Serves one DNN model to many applications: groups them by SLO and rate, gives every group its cheapest function, and
/// batches their requests.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the plan for the applications, models and platform in some YAML files, without a cluster
    Plan(cli::plan::Arguments),
    /// Explain one application: where it runs and with whom, what it costs, what binds, and what other promises would cost
    Explain(cli::explain::Arguments),
    /// Compare two plans: groups, costs and promises, and what the switch needs
    Diff(cli::diff::Arguments),
    /// Play requests through the plan for some YAML files, and print what every application would see
    Simulate(cli::simulate::Arguments),
    /// Tell how bursty recorded arrivals are, and which spec.burst is as bursty
    Burstiness(cli::burstiness::Arguments),
    /// Measure how long a model takes for batches of every size, and write the InferenceModel from which its groups are planned
    Profile(Box<cli::profile::Arguments>),
    /// Print the CustomResourceDefinitions, or write them to a folder
    Crds(cli::crds::Arguments),
    /// Run the controller: plan, serve and observe the applications of a cluster
    Controller(cli::controller::Arguments),
    /// Run the gateway: batch the callers' requests
    Gateway(Box<cli::gateway::Arguments>),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Plan(arguments) => cli::plan::run(&arguments),
        Command::Explain(arguments) => cli::explain::run(&arguments),
        Command::Diff(arguments) => cli::diff::run(&arguments),
        Command::Simulate(arguments) => cli::simulate::run(&arguments),
        Command::Burstiness(arguments) => cli::burstiness::run(&arguments),
        Command::Profile(arguments) => cli::profile::run(&arguments),
        Command::Crds(arguments) => cli::crds::run(&arguments),
        Command::Controller(arguments) => cli::controller::run(arguments),
        Command::Gateway(arguments) => cli::gateway::run(*arguments),
    };
    outcome.unwrap_or_else(|error| {
        cli::print::error(&format!("error: {}", told(&error)));
        ExitCode::FAILURE
    })
}

/// The error and its causes in one line; a cause that the error tells already is not told twice.
fn told(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .reduce(|told, cause| {
            if told.ends_with(&cause) {
                told
            } else {
                format!("{told}: {cause}")
            }
        })
        .unwrap_or_default()
}
