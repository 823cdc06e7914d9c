//! `harmonybatch gateway`

mod listener;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use harmonybatch_api::quantity::{Duration, Memory};
use harmonybatch_gateway::Options;

use crate::cli::process;
use crate::telemetry;

/// Takes the callers' requests, batches them by group with a deadline for every application, and sends the batches to the
/// groups' replicas. The chart starts it.
///
/// At SIGTERM it stops being ready, takes no new connections a moment later, answers what it holds, and ends after --drain at the
/// latest.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where callers connect
    #[arg(
        long,
        env = "HARMONYBATCH_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Where probes, metrics and the controller connect
    #[arg(
        long,
        env = "HARMONYBATCH_ADMIN",
        default_value = "0.0.0.0:9090",
        value_name = "ADDRESS"
    )]
    admin: SocketAddr,
    /// Domain of the cluster, for the names that callers use
    #[arg(
        long,
        env = "HARMONYBATCH_CLUSTER_DOMAIN",
        default_value = "cluster.local",
        value_name = "DOMAIN"
    )]
    cluster_domain: String,
    /// Longest time from SIGTERM to the end
    #[arg(
        long,
        env = "HARMONYBATCH_DRAIN",
        default_value = "30s",
        value_name = "DURATION"
    )]
    drain: Duration,
    /// Memory that the process may use. A quarter of it may hold the bodies of requests, as a request costs more than its body; beyond that
    /// callers are told to come back
    #[arg(
        long,
        env = "HARMONYBATCH_MEMORY",
        default_value = "1Gi",
        value_name = "MEMORY"
    )]
    memory: Memory,
    #[command(flatten)]
    listener: listener::Arguments,
    #[command(flatten)]
    telemetry: telemetry::Arguments,
}

/// Runs the gateway until SIGTERM and the drain after it.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::start(&arguments.telemetry)?;
    process::block_on(async move {
        let shutdown = process::shutdown()?;
        let client = process::client().await?;
        let mut options = Options {
            listen: arguments.listen,
            admin: arguments.admin,
            cluster_domain: arguments.cluster_domain,
            drain: arguments.drain.into(),
            request_memory: usize::try_from(arguments.memory.bytes() / 4).unwrap_or(usize::MAX),
            ..Options::default()
        };
        arguments.listener.set(&mut options);
        harmonybatch_gateway::run(options, client, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
