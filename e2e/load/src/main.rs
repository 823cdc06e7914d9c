//! `load run`: open-loop load with a verdict on every SLO. `load measure`: the latency of one endpoint, batch by batch.
//! `load profile`: the latency profile of a runtime on this machine. `load fit`: the same from measurements in a file.

mod cli;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cli::Arguments;

fn main() -> ExitCode {
    work().unwrap_or_else(|error| {
        cli::failed(&error);
        ExitCode::from(2)
    })
}

fn work() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
        tokio::select! {
            result = cli::run(arguments) => result,
            // What was made, a process or a control group, is removed by its owner on the way out.
            _ = terminate.recv() => anyhow::bail!("terminated"),
            _ = interrupt.recv() => anyhow::bail!("interrupted"),
        }
    })
}
