//! Logs of the long-running processes, on standard error.

use std::io::{IsTerminal, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How a process logs.
#[derive(Debug, Args)]
#[group(id = "telemetry")]
pub(crate) struct Arguments {
    /// What is logged: a level (error, warn, info, debug, trace), or directives such as `info,harmonybatch_gateway=debug`
    #[arg(long, env = "HARMONYBATCH_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Form of the lines
    #[arg(
        long,
        env = "HARMONYBATCH_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: Format,
}

/// Form of the log's lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts to log; call once.
pub(crate) fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let started = match arguments.log_format {
        Format::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
