//! What the samples say: a table, what is wrong with them, and the InferenceModel.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use harmonybatch_api::quantity::Cpu;
use harmonybatch_api::{InferenceModel, yaml};
use harmonybatch_profiler::fit::choice::Reason;
use harmonybatch_profiler::fit::{self, Fit};
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::judge;
use harmonybatch_profiler::model::{Identity, inference_model, inferred};
use harmonybatch_profiler::points::{Point, after_idle, points};
use harmonybatch_profiler::samples::{Device, Header, Samples};

use super::{Arguments, REFUSED, plot};
use crate::cli::plan::table;
use crate::cli::print;

/// As a file's name.
const STANDARD_OUTPUT: &str = "-";

/// What the samples say.
pub(super) struct Judged {
    pub(super) points: Vec<Point>,
    /// The fit, or why there is none.
    pub(super) fit: Result<Fit, String>,
    /// Whether nothing was refused.
    pub(super) good: bool,
}

/// Judges and fits, and says both. `left_out` are CPU limits that were not measured because the others tell them.
pub(super) fn judge(
    arguments: &Arguments,
    goal: Goal,
    files: &[(Header, Samples)],
    left_out: &[Cpu],
) -> anyhow::Result<Judged> {
    let points = points(files, goal)?;
    let fit = fit::fit(&points, after_idle(files), goal);
    let form = fit
        .as_ref()
        .ok()
        .and_then(|fit| fit.choice.as_ref())
        .map(|choice| choice.form);
    let problems = judge::problems(&points, goal, form);
    let (accepted, refused): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| {
        arguments
            .accept
            .iter()
            .any(|accepted| accepted.kind() == problem.kind())
    });
    for problem in &accepted {
        print::error(&format!("accepted: {problem}"));
    }
    for problem in &refused {
        print::error(&format!("refused: {problem}"));
    }
    let fit = if refused.is_empty() {
        fit.map_err(|error| error.to_string())
    } else {
        Err(
            "what is refused is not fitted; --accept noisy, non-monotone or throttled fits it all the same"
                .to_owned(),
        )
    };
    let mut text = render(&points, goal, fit.as_ref().ok());
    if let Some(inferred) = inferred(&points, left_out) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nNot measured in full (--grid full does): {inferred}.");
    }
    if arguments.output.as_deref() == Some(Path::new(STANDARD_OUTPUT)) {
        print::error(text.trim_start());
    } else {
        print::output(text.trim_start())?;
    }
    if let (Some(file), Ok(fit)) = (&arguments.plot, &fit) {
        let model = files.first().map_or("", |(header, _)| header.model.as_str());
        let picture = plot::render(model, &percentile(goal), &points, fit);
        std::fs::write(file, picture).with_context(|| format!("write {}", file.display()))?;
        print::error(&format!("wrote {}", file.display()));
    }
    Ok(Judged {
        good: refused.is_empty(),
        points,
        fit,
    })
}

/// Judges, fits and writes; without an InferenceModel to write, problems are only said.
pub(super) fn conclude(
    arguments: &Arguments,
    goal: Goal,
    identity: Option<&Identity>,
    files: &[(Header, Samples)],
) -> anyhow::Result<ExitCode> {
    let judged = judge(arguments, goal, files, &[])?;
    let (Some(identity), Some(output)) = (identity, &arguments.output) else {
        return Ok(judged.unwritten());
    };
    let fit = match &judged.fit {
        Ok(fit) => fit,
        Err(problem) => return Ok(refused(problem)),
    };
    let headers: Vec<&Header> = files.iter().map(|(header, _)| header).collect();
    write(
        output,
        &inference_model(identity, &headers, &judged.points, fit, &[])?,
    )?;
    Ok(code(true))
}

impl Judged {
    /// The end where nothing is to be written.
    pub(super) fn unwritten(&self) -> ExitCode {
        if let Err(problem) = &self.fit {
            print::error(&format!("not fitted: {problem}"));
        }
        code(self.good)
    }
}

/// The end where something was to be written and cannot be.
pub(super) fn refused(problem: &str) -> ExitCode {
    print::error(&format!("error: no InferenceModel is written: {problem}"));
    code(false)
}

/// Writes the InferenceModel where --output says.
pub(super) fn write(output: &Path, model: &InferenceModel) -> anyhow::Result<()> {
    let model = yaml::write(model)?;
    if output == Path::new(STANDARD_OUTPUT) {
        return print::output(&model);
    }
    std::fs::write(output, model).with_context(|| format!("write {}", output.display()))?;
    print::error(&format!("wrote {}", output.display()));
    Ok(())
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(REFUSED)
    }
}

/// Such as P99.9.
fn percentile(goal: Goal) -> String {
    format!("P{}", (goal.quantile() * 1e4).round() / 1e2)
}

fn render(points: &[Point], goal: Goal, fit: Option<&Fit>) -> String {
    let percentile = percentile(goal);
    let at_most = format!("{percentile} AT MOST");
    let header = [
        "DEVICE",
        "BATCH",
        "SAMPLES",
        "MEAN",
        "+-",
        &percentile,
        &at_most,
        "FIT",
        "OFF",
    ];
    let rows = points.iter().map(|point| {
        let summary = point.summary;
        let fitted = fit.and_then(|fit| fitted(point, fit));
        let off = |fitted: f64| format!("{:+.1}%", (fitted / summary.mean.value - 1.0) * 100.0);
        vec![
            point.device.to_string(),
            point.batch.to_string(),
            summary.count.to_string(),
            milliseconds(summary.mean.value),
            format!("{:.1}%", summary.mean.relative() * 100.0),
            milliseconds(summary.tail.value),
            summary
                .tail
                .high
                .map_or_else(|| "unknown".to_owned(), milliseconds),
            fitted.map_or_else(String::new, milliseconds),
            fitted.map_or_else(String::new, off),
        ]
    });
    let mut text = String::new();
    table::columns(&mut text, &header, rows.collect());
    if let Some(choice) = fit.and_then(|fit| fit.choice.as_ref()) {
        let rows = choice.scores.iter().map(|score| {
            vec![
                score.form.name().to_owned(),
                score.form.coefficients().to_string(),
                format!("{:.1}%", score.error() * 100.0),
                format!("{:.1}%", score.worst() * 100.0),
            ]
        });
        let header = ["FORM", "COEFFICIENTS", "CROSS-VALIDATION", "WORST"];
        table::columns(&mut text, &header, rows.collect());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\nLatency against vCPU is {}: {}.",
            choice.form.name(),
            why(choice.reason)
        );
    }
    if let Some((work, time_constant)) = fit.and_then(Fit::idle_work) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\nA batch that finds the replica idle needs {} of CPU time more, 63% of it after {} of idle time.",
            milliseconds(work),
            milliseconds(time_constant)
        );
    }
    if let Some(fit) = fit {
        let error = fit.error() * 100.0;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\nThe fit is off by {error:.1}% at most, points between the ends being left out of it in turn."
        );
    }
    text
}

/// Why a form was chosen.
fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Error => "it says best what CPU limits take that it was not fitted to",
        Reason::Clusters => {
            "of the forms that say equally well what CPU limits take that they were not fitted to, it alone knows of the two times that batches take under a quota"
        }
        Reason::Simplest => {
            "of the forms that say equally well what CPU limits take that they were not fitted to, it has the fewest coefficients"
        }
        Reason::LeastOfEqual => {
            "of the simplest forms that say equally well what CPU limits take that they were not fitted to, it has the smallest error"
        }
    }
}

fn fitted(point: &Point, fit: &Fit) -> Option<f64> {
    match &point.device {
        Device::Cpu { limit } => {
            let entry = fit.cpu.iter().find(|entry| entry.batch == point.batch)?;
            Some(entry.mean.mean(limit.vcpu()))
        }
        device @ Device::Gpu { .. } => {
            let entry = fit.gpu.iter().find(|entry| entry.device == *device)?;
            Some(entry.mean.at(f64::from(point.batch)))
        }
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2}ms", seconds * 1e3)
}
