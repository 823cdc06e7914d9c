//! `load run`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use e2e_load::{App, Plan, parse_duration};

use super::{Format, output};

#[derive(Args)]
pub(super) struct Run {
    /// Where all requests go: HOST:PORT.
    #[arg(long)]
    target: String,
    /// An application: NAME=HOST,RATE,SLO, then any of rows=N, path=/PREFIX, model=NAME, columns=N. HOST is the Host header.
    #[arg(long = "app", required = true, value_name = "APP")]
    apps: Vec<App>,
    /// How long to send.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    duration: Duration,
    /// How much of that, at the start, is left out of the report.
    #[arg(long, value_parser = parse_duration)]
    warm_up: Option<Duration>,
    /// How long after its due time a request is given up.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// Seed of the arrivals and the nonces.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests in flight at most.
    #[arg(long, default_value_t = 4096)]
    in_flight: usize,
    /// Requests in all at most.
    #[arg(long, default_value_t = 1_000_000)]
    requests: usize,
    /// Percent of each application's requests that must be answered within its SLO.
    #[arg(long, default_value_t = 95.0)]
    attainment: f64,
    /// How to print the report.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Run {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let plan = Plan {
            warm_up: self.warm_up.unwrap_or_default(),
            seed: self.seed,
            timeout: self.timeout,
            in_flight: self.in_flight,
            requests: self.requests,
            ..Plan::new(self.target, self.apps, self.duration)
        };
        let report = e2e_load::run(plan).await?;
        let kept = report.holds(self.attainment);
        match self.output {
            Format::Json => output::result(&serde_json::to_string_pretty(&report)?),
            Format::Table => {
                let verdict = if kept {
                    "every SLO kept"
                } else {
                    "NOT every SLO kept"
                };
                output::result(&format!(
                    "{report}{verdict} (at least {}% within it, none failed)",
                    self.attainment
                ));
            }
        }
        Ok(if kept {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
