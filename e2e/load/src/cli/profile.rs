//! `load measure`, `load profile` and `load fit`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use e2e_load::measure::{Effort, Endpoint, Measurement};
use e2e_load::profile::{Curves, Origin, Progress, Sweep, curves, sweep, yaml};
use e2e_load::{App, parse_duration};

use super::{Format, output};

/// What to ask for, and for how long.
#[derive(Args)]
struct Asking {
    /// Batch sizes.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4,8")]
    batches: Vec<usize>,
    /// Batches of each size that are measured at most.
    #[arg(long, default_value_t = 200)]
    iterations: u32,
    /// Time for each size, after which no further batch is sent.
    #[arg(long, default_value = "8s", value_parser = parse_duration)]
    time: Duration,
    /// Batches of each size that are measured at least, whatever the time.
    #[arg(long, default_value_t = 10)]
    least: u32,
    /// Batches of each size that are sent first and not counted.
    #[arg(long, default_value_t = 3)]
    warm_up: u32,
    /// Name of the model.
    #[arg(long, default_value = "mlp")]
    model: String,
    /// Numbers in a row.
    #[arg(long, default_value_t = 64)]
    columns: usize,
}

impl Asking {
    fn effort(&self) -> Effort {
        Effort {
            warm_up: self.warm_up,
            iterations: self.iterations,
            time: self.time,
            least: self.least,
        }
    }

    /// Neither rate nor SLO matters where one batch follows the other.
    fn app(&self, host: &str, path: &str) -> App {
        let app = App::new("measure", host, 0.0, Duration::MAX);
        App {
            model: self.model.clone(),
            columns: self.columns,
            path: path.to_owned(),
            ..app
        }
    }
}

#[derive(Args)]
pub(super) struct Measure {
    /// The endpoint: HOST:PORT.
    #[arg(long)]
    target: String,
    /// Host header; the target if it is not given.
    #[arg(long)]
    host: Option<String>,
    /// What comes before /v2 in the path.
    #[arg(long, default_value = "")]
    path: String,
    /// The CPU limit under which the endpoint runs, noted in the measurements so that `load fit` can use them.
    #[arg(long)]
    vcpu: Option<f64>,
    #[command(flatten)]
    asking: Asking,
    /// How to print the measurements.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Measure {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let app = self.asking.app(
            self.host.as_deref().unwrap_or(&self.target),
            self.path.trim_end_matches('/'),
        );
        let mut endpoint = Endpoint::new(self.target.clone(), app);
        let mut measurements = Vec::new();
        for &batch in &self.asking.batches {
            let measured = endpoint.measure(batch, self.asking.effort()).await?;
            measurements.push(Measurement {
                vcpu: self.vcpu,
                ..measured
            });
        }
        match self.output {
            Format::Json => output::result(&serde_json::to_string_pretty(&measurements)?),
            Format::Table => output::result(&table(&measurements)),
        }
        Ok(())
    }
}

#[derive(Args)]
pub(super) struct Profile {
    /// The runtime's binary.
    #[arg(long)]
    runtime: PathBuf,
    /// A further argument of `runtime serve`, such as --width=1024.
    #[arg(
        long = "runtime-argument",
        value_name = "ARGUMENT",
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
    /// CPU limits in vCPU, each of which gets a control group and a process of its own.
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.2,0.3,0.5,0.8,1.0")]
    cpus: Vec<f64>,
    #[command(flatten)]
    asking: Asking,
    /// Write the measurements here, as JSON.
    #[arg(long)]
    points: Option<PathBuf>,
    /// Write the profile here instead of printing it.
    #[arg(long)]
    yaml: Option<PathBuf>,
}

impl Profile {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let plan = Sweep {
            runtime: self.runtime,
            arguments: self.arguments,
            vcpus: self.cpus,
            app: self.asking.app("localhost", ""),
            effort: self.asking.effort(),
            batches: self.asking.batches,
        };
        let measurements = sweep(&plan, |progress| match progress {
            Progress::Started { vcpu, after } => {
                output::progress(&format!("{vcpu} vCPU: ready after {:.2} s", after.as_secs_f64()));
            }
            Progress::Measured(measured) => output::progress(&format!(
                "  batch {}: mean {:.1} ms, max {:.1} ms of {}",
                measured.batch, measured.mean_ms, measured.max_ms, measured.iterations
            )),
        })
        .await?;
        if let Some(file) = &self.points {
            write(file, &serde_json::to_string_pretty(&measurements)?)?;
        }
        fitted(&measurements, self.yaml.as_deref())
    }
}

#[derive(Args)]
pub(super) struct Fit {
    /// JSON list of measurements with their CPU limits.
    file: PathBuf,
    /// Write the profile here instead of printing it.
    #[arg(long)]
    yaml: Option<PathBuf>,
}

impl Fit {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let text = fs::read_to_string(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        let measurements = serde_json::from_str::<Vec<Measurement>>(&text)
            .with_context(|| format!("{} is not a list of measurements", self.file.display()))?;
        fitted(&measurements, self.yaml.as_deref())
    }
}

fn fitted(measurements: &[Measurement], file: Option<&Path>) -> anyhow::Result<()> {
    let curves = curves(measurements)?;
    output::progress(&comparison(measurements, &curves));
    let text = yaml(
        &curves,
        &Origin {
            hardware: hardware(),
            date: today(),
        },
    );
    if let Some(file) = file {
        return write(file, &text);
    }
    output::result(&text);
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, format!("{}\n", text.trim_end())).with_context(|| format!("write {}", file.display()))
}

fn table(measurements: &[Measurement]) -> String {
    let mut text = format!(
        "{:>6} {:>6} {:>11} {:>11} {:>11}\n",
        "BATCH", "COUNT", "MEAN", "P50", "MAX"
    );
    for Measurement {
        batch,
        iterations,
        mean_ms,
        p50_ms,
        max_ms,
        ..
    } in measurements
    {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{batch:>6} {iterations:>6} {mean_ms:>9.2}ms {p50_ms:>9.2}ms {max_ms:>9.2}ms"
        );
    }
    text
}

/// Every measurement beside its fit.
fn comparison(measurements: &[Measurement], curves: &[Curves]) -> String {
    let mut text = format!(
        "{:>6} {:>6} {:>6} {:>10} {:>10} {:>7} {:>10} {:>10}\n",
        "BATCH", "VCPU", "COUNT", "MEAN", "FIT", "ERROR", "MAX", "FIT"
    );
    for fitted in curves {
        let own = measurements
            .iter()
            .filter(|measured| measured.batch == fitted.batch);
        for (measured, vcpu) in own.filter_map(|measured| Some((measured, measured.vcpu?))) {
            let (mean, max) = (fitted.mean.at(vcpu) * 1e3, fitted.max.at(vcpu) * 1e3);
            let error = 100.0 * (mean / measured.mean_ms - 1.0);
            let _ = writeln!(
                text,
                "{:>6} {vcpu:>6.2} {:>6} {:>8.1}ms {mean:>8.1}ms {error:>+6.1}% {:>8.1}ms {max:>8.1}ms",
                measured.batch, measured.iterations, measured.mean_ms, measured.max_ms
            );
        }
        let (mean, largest) = (fitted.mean_error * 100.0, fitted.largest_error * 100.0);
        let _ = writeln!(
            text,
            "{:>6} fit of the mean: off by {mean:.1}% on average, {largest:.1}% at most",
            fitted.batch
        );
    }
    text
}

/// The processor's name, as far as the kernel knows it.
fn hardware() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpus.lines()
            .find(|line| line.starts_with(name))?
            .split_once(": ")
            .map(|(_, value)| value)
    };
    let name = field("model name")
        .unwrap_or(std::env::consts::ARCH)
        .replace(['"', '\\'], "");
    let model = field("model\t").map_or_else(String::new, |model| format!(" (model {model})"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}{model}, {cores} cores")
}

/// The day in UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is dated where it is taken"
)]
fn today() -> String {
    let days = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400);
    civil(days)
}

/// The proleptic Gregorian date of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_543, "2026-03-31"),
            (47_540, "2100-02-28"),
        ] {
            assert_eq!(civil(days), date);
        }
    }
}
