//! `harmonybatch burstiness`

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use harmonybatch_api::quantity::{Duration, Rate};
use harmonybatch_api::{arrival_times, yaml};
use harmonybatch_planner::units::{Rate as RowsPerSecond, Seconds};
use harmonybatch_planner::{Burst, Dispersion, Trace};
use serde::Serialize;

use crate::cli::plan::{Form, table};
use crate::cli::print;

/// Of a row for each window.
const COLUMNS: [&str; 5] = [
    "WINDOW",
    "WINDOWS",
    "INDEX OF DISPERSION",
    "POISSON BELOW",
    "OF THE BURST",
];

/// Tells how bursty recorded arrivals are, and which spec.burst of an InferenceApp is as bursty.
///
/// The index of dispersion is the variance of the number of arrivals in a window by their mean: about 1 where requests do not know of each other, more where
/// they come in bursts. The burst is the one whose indices are next to these (least squares of relative errors). It knows one rate within bursts and one
/// between them: a record whose index still grows at the longest window has bursts, or a rate that drifts, that are longer than it can say. spec.trace
/// plans for the record itself, and is the one that knows where the bursts of several applications coincide.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  harmonybatch burstiness arrivals.csv\n  harmonybatch burstiness arrivals.csv --rate 20/s\n  \
                  harmonybatch burstiness arrivals.csv --window 1s,10s,60s -o json"
)]
pub(crate) struct Arguments {
    /// Arrivals of one application: one line each, in order, beginning with seconds or YYYY-MM-DD HH:MM:SS
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The rate that the application will declare: the record's time is scaled to it, as with spec.trace. By default the record's own
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Windows to count in, of the scaled time. By default they double from one with two arrivals in the mean to a twentieth of the record
    #[arg(long, value_name = "DURATION", value_delimiter = ',')]
    window: Vec<Duration>,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
}

/// Reads, counts, fits, prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let said = || arguments.file.display().to_string();
    let found = Found::of(arguments).with_context(said)?;
    print::output(&match arguments.output {
        Form::Table => found.table(&arguments.file)?,
        Form::Json => serde_json::to_string_pretty(&found)? + "\n",
        Form::Yaml => yaml::write(&found)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    arrivals: usize,
    span_seconds: f64,
    rate_per_second: f64,
    windows: Vec<Window>,
    /// None where the arrivals are no burstier than Poisson ones.
    burst: Option<Declared>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    seconds: f64,
    windows: u32,
    index_of_dispersion: f64,
    poisson_below: f64,
    of_the_burst: Option<f64>,
}

/// As `spec.burst` has it.
#[derive(Serialize)]
struct Declared {
    factor: String,
    duration: String,
}

impl Found {
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(&arguments.file)?;
        let mut times = arrival_times::read(&text)?;
        let mut trace = Trace::new(&times)?;
        if let Some(rate) = arguments.rate {
            let rate = RowsPerSecond::new(rate.per_second())?;
            let (scale, first) = (trace.rate() / rate.get(), times[0]);
            for time in &mut times {
                *time = (*time - first) * scale;
            }
            trace = Trace::new(&times)?;
        }
        let seen = if arguments.window.is_empty() {
            trace.dispersions()
        } else {
            let counted = |window: &Duration| {
                let length = Seconds::new(window.as_secs_f64())?;
                let seen = trace.dispersion(length);
                seen.with_context(|| {
                    format!(
                        "window {window} does not fit at least twice into {:.1} s",
                        trace.period()
                    )
                })
            };
            arguments
                .window
                .iter()
                .map(counted)
                .collect::<anyhow::Result<_>>()?
        };
        anyhow::ensure!(
            !seen.is_empty(),
            "{} arrivals are too few to count them in windows: forty are enough",
            times.len()
        );
        let rate = RowsPerSecond::new(trace.rate())?;
        let burst = Burst::fitted(rate, &seen);
        let window = |seen: &Dispersion| Window {
            seconds: seen.window.get(),
            windows: seen.windows,
            index_of_dispersion: seen.index,
            poisson_below: seen.poisson_bound(),
            of_the_burst: burst.map(|burst| burst.dispersion(rate, seen.window)),
        };
        Ok(Self {
            arrivals: times.len(),
            span_seconds: trace.period(),
            rate_per_second: trace.rate(),
            windows: seen.iter().map(window).collect(),
            burst: burst.as_ref().map(declared),
        })
    }

    fn table(&self, file: &Path) -> anyhow::Result<String> {
        let mut text = format!(
            "{}: {} arrivals in {:.1} s, {:.2} a second\n",
            file.display(),
            self.arrivals,
            self.span_seconds,
            self.rate_per_second
        );
        let row = |window: &Window| {
            Ok(vec![
                table::duration(Seconds::new(window.seconds)?),
                window.windows.to_string(),
                format!("{:.2}", window.index_of_dispersion),
                format!("{:.2}", window.poisson_below),
                window
                    .of_the_burst
                    .map_or("-".to_owned(), |index| format!("{index:.2}")),
            ])
        };
        let rows: anyhow::Result<Vec<_>> = self.windows.iter().map(row).collect();
        table::columns(&mut text, &COLUMNS, rows?);
        let _ = match &self.burst {
            Some(Declared { factor, duration }) => {
                writeln!(text, "\nburst: {{factor: \"{factor}\", duration: {duration}}}")
            }
            None => writeln!(
                text,
                "\nNo burstier than Poisson arrivals: spec.burst is not needed."
            ),
        };
        Ok(text)
    }
}

/// To three digits, never less bursty than what was fitted.
fn declared(burst: &Burst) -> Declared {
    let up = |value: f64| {
        let digit = 10_f64.powf(value.log10().floor() - 2.0);
        (value / digit - 1e-9).ceil() * digit
    };
    let factor = up(burst.factor()).clamp(1.01, Burst::LARGEST_FACTOR);
    let factor = format!("{factor:.2}");
    let duration = Duration::from_secs_f64(up(burst.duration().get()));
    Declared {
        factor: factor.trim_end_matches('0').trim_end_matches('.').to_owned(),
        duration: duration.map_or_else(|| "1000000s".to_owned(), |duration| duration.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_declared_is_read_again_and_no_less_bursty() {
        for (factor, duration) in [
            (1.000_1, 1e-6),
            (1.267, 85.68),
            (9.751, 4.1),
            (1000.0, 1e6),
            (123.4, 0.012_34),
        ] {
            let burst = Burst::new(factor, Seconds::new(duration).unwrap()).unwrap();
            let Declared {
                factor: said,
                duration: lasting,
            } = declared(&burst);
            let read: f64 = said.parse().unwrap();
            let lasts = lasting.parse::<Duration>().unwrap().as_secs_f64();
            assert!(Burst::new(read, Seconds::new(lasts).unwrap()).is_ok());
            assert!(
                read >= factor && read <= (factor * 1.01).max(1.01),
                "{said} for {factor}"
            );
            assert!(
                lasts >= duration * (1.0 - 1e-6) && lasts <= duration * 1.011 + 1e-6,
                "{lasting} for {duration}"
            );
        }
    }
}
