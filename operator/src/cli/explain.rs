//! `harmonybatch explain`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use harmonybatch_controller::plan::{self, Inputs};
use harmonybatch_planner::{AppExplanation, explain};

use super::plan::{currency, load, names};
use crate::cli::print;

mod machine;
mod near;
mod page;

/// Tells everything about one application: where it runs and with whom, what it costs and why that is its fair share, which
/// constraint binds, and what another SLO or rate would cost. Where it cannot be served: what would make it feasible.
///
/// Every price comes from planning the whole model again with that one number changed. Exit status: 0, or 1 where the input is wrong
/// or there is no such application.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  harmonybatch explain search -f crds/samples\n  \
                        harmonybatch explain search -n shop -f model.yaml -f apps/ -o json")]
pub(crate) struct Arguments {
    /// Name of the InferenceApp
    #[arg(value_name = "APP")]
    app: String,
    /// YAML file, folder of YAML files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "DIR|FILE", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Namespace of the application; needed where applications of several namespaces have its name
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A page for people
    Text,
    /// For machines
    Json,
    /// For machines and people
    Yaml,
}

/// An explanation with what the output needs beside it.
struct Named {
    explanation: AppExplanation,
    /// Names of the plan's groups, in their order.
    names: Vec<String>,
    /// Currency of its prices.
    currency: String,
}

/// Reads, plans, explains, prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some((files, validated)) = load(&arguments.filename)? else {
        return Ok(ExitCode::FAILURE);
    };
    let (namespace, model) = find(&files.inputs, &arguments.app, arguments.namespace.as_deref())?;
    let (platform, request) = validated
        .requests
        .iter()
        .find(|(_, request)| {
            let mut sets = request.models.iter();
            sets.any(|set| set.namespace() == namespace && set.model() == model)
        })
        .ok_or_else(|| anyhow!("InferenceModel {namespace}/{model} is in no plan"))?;
    let explanation = explain(request, &namespace, &model, &arguments.app)?;
    let named = Named {
        names: names(&files.inputs, &explanation.plan),
        explanation,
        currency: currency(&files.inputs, platform),
    };
    print::output(&match arguments.output {
        Form::Text => page::render(&named),
        Form::Json => machine::json(&named)?,
        Form::Yaml => machine::yaml(&named)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Namespace and model of the application.
fn find(inputs: &Inputs, app: &str, namespace: Option<&str>) -> anyhow::Result<(String, String)> {
    let all = inputs
        .apps
        .iter()
        .map(|written| (plan::key(written), &written.spec.model_ref.name));
    let elsewhere = all
        .clone()
        .find(|((its, name), _)| name == app && namespace.is_some_and(|namespace| namespace != its));
    let here: Vec<_> = all
        .filter(|((its, _), _)| namespace.is_none_or(|namespace| namespace == its))
        .collect();
    let found: Vec<_> = here.iter().filter(|((_, name), _)| name == app).collect();
    match found.as_slice() {
        [((namespace, _), model)] => Ok((namespace.clone(), (*model).clone())),
        [] => {
            let known: Vec<&str> = here.iter().map(|((_, name), _)| name.as_str()).collect();
            let place = namespace.map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
            if let Some(((its, _), _)) = elsewhere {
                bail!("no InferenceApp {app}{place}: the files have one in namespace {its}");
            }
            bail!("no InferenceApp {app}{place}{}", near::hint(app, &known))
        }
        several => {
            let namespaces: Vec<&str> = several
                .iter()
                .map(|((namespace, _), _)| namespace.as_str())
                .collect();
            bail!(
                "InferenceApp {app} is in namespaces {}: choose one with -n",
                namespaces.join(" and ")
            )
        }
    }
}
