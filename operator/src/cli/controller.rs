//! `harmonybatch controller`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use harmonybatch_api::InferencePlatformSpec;
use harmonybatch_controller::Options;

use crate::cli::process;
use crate::telemetry;

/// Watches InferenceApps, InferenceModels and InferencePlatforms, plans, and runs the planned groups. The chart starts it;
/// run exactly one.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Namespace that the gateway runs in
    #[arg(long, env = "HARMONYBATCH_NAMESPACE", value_name = "NAMESPACE")]
    namespace: String,
    /// Name of the gateway's Service
    #[arg(
        long,
        env = "HARMONYBATCH_GATEWAY_SERVICE",
        default_value = "harmonybatch-gateway",
        value_name = "NAME"
    )]
    gateway_service: String,
    /// Domain of the cluster, for the addresses that callers use
    #[arg(
        long,
        env = "HARMONYBATCH_CLUSTER_DOMAIN",
        default_value = "cluster.local",
        value_name = "DOMAIN"
    )]
    cluster_domain: String,
    /// The gateway serves its callers over TLS: addresses of applications begin with https
    #[arg(long, env = "HARMONYBATCH_GATEWAY_TLS")]
    gateway_tls: bool,
    /// Where /metrics, /livez and /readyz are served
    #[arg(
        long,
        env = "HARMONYBATCH_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// YAML file with the spec of the InferencePlatform `default`, made if the cluster has none
    #[arg(long, env = "HARMONYBATCH_PLATFORM", value_name = "FILE")]
    platform: Option<PathBuf>,
    /// This program's own image, which the Jobs run that measure models (profile.from: Measure)
    #[arg(long, env = "HARMONYBATCH_IMAGE", value_name = "IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    telemetry: telemetry::Arguments,
}

/// Runs the controller until SIGTERM.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::start(&arguments.telemetry)?;
    let platform = arguments.platform.as_deref().map(read_platform).transpose()?;
    process::block_on(async move {
        let shutdown = process::shutdown()?;
        let client = process::client().await?;
        let options = Options {
            namespace: arguments.namespace,
            gateway_service: arguments.gateway_service,
            cluster_domain: arguments.cluster_domain,
            gateway_tls: arguments.gateway_tls,
            listen: arguments.listen,
            platform,
            image: arguments.image,
        };
        harmonybatch_controller::run(options, client, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn read_platform(file: &Path) -> anyhow::Result<InferencePlatformSpec> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    harmonybatch_api::yaml::parse(file, &text).context("read the spec of an InferencePlatform")
}
