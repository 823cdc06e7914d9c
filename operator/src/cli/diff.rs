//! `harmonybatch diff`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use harmonybatch_planner::{PlanDiff, diff};

use crate::cli::print;

mod machine;
mod page;
pub(crate) mod written;

/// What a script gets for an error where it asked for a difference.
const ERROR: u8 = 2;

/// Compares two plans: groups that come, go, split, merge, are resized or swap members, changed promises and costs, and the
/// replicas that the switch needs, since new ones are up before old ones go.
///
/// Each plan is a file that `harmonybatch plan -o json` or `-o yaml` wrote, - for standard input, or YAML with InferenceApps,
/// InferenceModels and InferencePlatforms (a file or a folder), which is planned first.
///
/// Exit status: 0, with --exit-code 1 where the plans differ, and 2 for an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  harmonybatch plan -f apps/ -o json > before.json\n  \
                        harmonybatch diff before.json apps/\n  harmonybatch diff --exit-code before.json after.json -o json"
)]
pub(crate) struct Arguments {
    /// The plan before
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The plan after
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    /// End with status 1 where the plans differ
    #[arg(long)]
    exit_code: bool,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For machines
    Json,
    /// For machines and people
    Yaml,
}

/// One model's difference with the currency of its prices.
struct Named {
    diff: PlanDiff,
    currency: String,
}

/// Reads, compares, prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    compare(arguments).or_else(|error| {
        print::error(&format!("error: {}", crate::told(&error)));
        Ok(ExitCode::from(ERROR))
    })
}

fn compare(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (Some(old), Some(new)) = (written::read(&arguments.old)?, written::read(&arguments.new)?) else {
        return Ok(ExitCode::from(ERROR));
    };
    let diffs: Vec<Named> = diff(&old.outlines, &new.outlines)
        .into_iter()
        .map(|diff| Named {
            currency: new
                .currency(&diff)
                .or_else(|| old.currency(&diff))
                .unwrap_or_default(),
            diff,
        })
        .collect();
    print::output(&match arguments.output {
        Form::Text => page::render(&diffs),
        Form::Json => machine::json(&diffs)?,
        Form::Yaml => machine::yaml(&diffs)?,
    })?;
    let differ = diffs.iter().any(|named| !named.diff.is_empty());
    Ok(if differ && arguments.exit_code {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
