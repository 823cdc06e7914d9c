//! `harmonybatch gateway`

mod listener;
mod observability;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use harmonybatch_api::quantity::{Duration, Memory};
use harmonybatch_gateway::{Membership, Options};

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
    /// Name of the gateways' own Service. With it every group is owned by one of the ready gateways, and the others hand its requests on
    #[arg(
        long,
        env = "HARMONYBATCH_SERVICE",
        value_name = "NAME",
        requires_all = ["namespace", "address"]
    )]
    service: Option<String>,
    /// Namespace of that Service
    #[arg(long, env = "HARMONYBATCH_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Address of this Pod, as that Service has it
    #[arg(long, env = "HARMONYBATCH_ADDRESS", value_name = "IP")]
    address: Option<IpAddr>,
    #[command(flatten)]
    listener: listener::Arguments,
    #[command(flatten)]
    observability: observability::Arguments,
    #[command(flatten)]
    telemetry: telemetry::Arguments,
}

impl Arguments {
    fn membership(&self) -> Option<Membership> {
        Some(Membership {
            service: self.service.clone()?,
            namespace: self.namespace.clone()?,
            address: self.address?,
        })
    }
}

/// Runs the gateway until SIGTERM and the drain after it.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::start(&arguments.telemetry)?;
    process::block_on(async move {
        let shutdown = process::shutdown()?;
        let client = process::client().await?;
        let membership = arguments.membership();
        let mut options = Options {
            listen: arguments.listen,
            admin: arguments.admin,
            cluster_domain: arguments.cluster_domain,
            drain: arguments.drain.into(),
            membership,
            request_memory: usize::try_from(arguments.memory.bytes() / 4).unwrap_or(usize::MAX),
            ..Options::default()
        };
        arguments.listener.set(&mut options);
        arguments.observability.set(&mut options);
        harmonybatch_gateway::run(options, client, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
