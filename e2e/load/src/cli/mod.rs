//! The command line: options in, tables and files out.

mod output;
mod profile;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Load and latency of servers of the Open Inference Protocol v2.
#[derive(Parser)]
#[command(name = "load", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send Poisson arrivals of several applications, and say whether each kept its SLO. Exit status 1 if one did not, 2
    /// if nothing could be sent.
    Run(run::Run),
    /// Send one batch at a time to one endpoint, and print its latency.
    Measure(profile::Measure),
    /// Measure a runtime at several CPU limits, and print its latency profile.
    Profile(profile::Profile),
    /// Print the latency profile of measurements in a file (`load profile --points FILE` writes one).
    Fit(profile::Fit),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// Says why there is no result, with its causes.
pub(crate) fn failed(error: &anyhow::Error) {
    output::progress(&format!("error: {error:#}"));
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Run(options) => return options.run().await,
        Command::Measure(options) => options.run().await?,
        Command::Profile(options) => options.run().await?,
        Command::Fit(options) => options.run()?,
    }
    Ok(ExitCode::SUCCESS)
}
