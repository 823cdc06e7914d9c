//! `harmonybatch plan`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use harmonybatch_controller::plan::{self, Inputs, Kind};
use harmonybatch_planner::Plan;

use crate::cli::{arrivals, print};

pub(crate) mod machine;
pub(crate) mod read;
pub(crate) mod table;

/// What a script gets where an application cannot be planned.
const INFEASIBLE: u8 = 2;

/// Reads InferenceApps, InferenceModels and InferencePlatforms from YAML files, as `kubectl apply` does, and prints the groups
/// that the operator would run: which applications share batches, on what, and what it costs.
///
/// Objects without a namespace are in `default`. Models that name no platform are planned on the InferencePlatform `default`;
/// where the files have none, it is one with the CPU prices of the HarmonyBatch paper and no GPUs.
///
/// Exit status: 0 if every application is planned, 2 if one cannot be (the others are still planned and printed),
/// 1 if the input is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  harmonybatch plan -f crds/samples-paper\n  harmonybatch plan -f model.yaml -f apps/ -o json\n  \
                  harmonybatch plan -f apps/ --trace search=arrivals.csv"
)]
pub(crate) struct Arguments {
    /// YAML file, folder of YAML files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "DIR|FILE", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    /// Plan for the arrivals in a file: one line each, in order, beginning with seconds or YYYY-MM-DD HH:MM:SS; the time is scaled so that their mean
    /// rate is the application's; may be given several times
    #[arg(long, value_name = "[NAMESPACE/]APP=FILE")]
    trace: Vec<arrivals::Trace>,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Table,
    /// For machines
    Json,
    /// For machines and people
    Yaml,
}

/// One model's plan with what the output needs beside it.
pub(crate) struct Named {
    /// The planner's plan.
    pub(crate) plan: Plan,
    /// Names of its groups, in their order.
    pub(crate) names: Vec<String>,
    /// Currency of its prices.
    pub(crate) currency: String,
}

/// Reads, plans, prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = read::read(&arguments.filename)?;
    let mut validated = plan::validate(&files.inputs, &std::collections::BTreeSet::new());
    if !validated.problems.is_empty() {
        for ((kind, key), problem) in &validated.problems {
            print::error(&format!("error: {}", files.locate(*kind, key, &problem.message)));
        }
        return Ok(ExitCode::FAILURE);
    }
    arrivals::declare(&mut validated, &arguments.trace, &[])?;
    let plans = named(&files.inputs, &validated);
    let text = match arguments.output {
        Form::Table => table::render(&plans),
        Form::Json => machine::json(&plans)?,
        Form::Yaml => machine::yaml(&plans)?,
    };
    print::output(&text)?;
    let refused = plans.iter().any(|named| !named.plan.infeasible.is_empty());
    Ok(if refused {
        ExitCode::from(INFEASIBLE)
    } else {
        ExitCode::SUCCESS
    })
}

pub(crate) fn named(inputs: &Inputs, validated: &plan::Validated) -> Vec<Named> {
    let mut plans: Vec<Named> = validated
        .requests
        .iter()
        .flat_map(|(platform, request)| {
            let described = inputs.platforms.iter().find(|it| plan::key(*it).1 == *platform);
            let currency = described.map_or_else(String::new, |it| it.spec.currency.clone());
            plan::decide(request).into_iter().map(move |plan| Named {
                names: names(inputs, &plan),
                plan,
                currency: currency.clone(),
            })
        })
        .collect();
    plans.sort_by(|a, b| (&a.plan.namespace, &a.plan.model).cmp(&(&b.plan.namespace, &b.plan.model)));
    plans
}

/// The names that the controller would give on a cluster without groups.
fn names(inputs: &Inputs, plan: &Plan) -> Vec<String> {
    let model = inputs
        .models
        .iter()
        .find(|model| plan::key(*model) == (plan.namespace.clone(), plan.model.clone()));
    let image = model.map_or("", |model| &model.spec.runtime.image);
    let identities: Vec<_> = plan
        .groups
        .iter()
        .map(|group| plan::identity(image, group))
        .collect();
    plan::name(&plan.model, &identities, &[])
}

/// Where an object stands, for messages.
fn title(kind: Kind, (namespace, name): &plan::Key) -> String {
    match kind {
        Kind::Platform => format!("{} {name}", kind.as_str()),
        Kind::Model | Kind::App => format!("{} {namespace}/{name}", kind.as_str()),
    }
}
