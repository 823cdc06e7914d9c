//! `harmonybatch plan`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use harmonybatch_controller::plan::{self, Inputs, Kind};
use harmonybatch_planner::{
    ArrivalModel, Baseline, BaselinePlan, ModelSet, Plan, PlanError, PlanOutline, PlanRequest, Session,
};

use crate::cli::{arrivals, print, report};

pub(crate) mod baselines;
mod keep;
pub(crate) mod machine;
pub(crate) mod pools;
pub(crate) mod read;
pub(crate) mod table;

/// What a script gets where an application cannot be planned.
const INFEASIBLE: u8 = 2;

/// Reads InferenceApps, InferenceModels and InferencePlatforms from YAML files, as `kubectl apply` does, and prints the groups
/// that the operator would run: which applications share batches, on what, and what it costs.
///
/// Objects without a namespace are in `default`. Models that name no platform are planned on the InferencePlatform `default`;
/// where the files have none, it is one with the CPU prices of the HarmonyBatch paper and no GPUs. Recorded arrivals (spec.trace) are read from the
/// ConfigMaps in the same files.
///
/// Every application is planned for its declared rate, also where its rateSource is Observed: no gateway is asked.
///
/// Exit status: 0 if every application is planned, 2 if one cannot be (the others are still planned and printed),
/// 1 if the input is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  harmonybatch plan -f crds/samples-paper\n  harmonybatch plan -f model.yaml -f apps/ -o json\n  \
                  harmonybatch plan -f apps/ --trace search=arrivals.csv\n  \
                  harmonybatch plan -f apps/ --report plan.html\n  \
                  harmonybatch plan -f apps/ --keep before.json -o json > after.json"
)]
pub(crate) struct Arguments {
    /// YAML file, folder of YAML files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "DIR|FILE", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    /// Law of the batch size that prices a group where billing is PerInvocation
    #[arg(long, value_name = "LAW", default_value = "exact")]
    model: Law,
    /// Compare the plan with other ways to serve the same applications, at the same prices
    #[arg(long, value_name = "WHICH")]
    baseline: Option<Compared>,
    /// Plan for the arrivals in a file: one line each, in order, beginning with seconds or YYYY-MM-DD HH:MM:SS; the time is scaled so that their mean
    /// rate is the application's; may be given several times
    #[arg(long, value_name = "[NAMESPACE/]APP=FILE")]
    trace: Vec<arrivals::Trace>,
    /// Plan as the operator does where this plan runs: keep it as far as the platform's spec.replan says. What `harmonybatch plan -o json` or `-o yaml`
    /// wrote, - for standard input; what changes and why is said on standard error
    #[arg(long, value_name = "OLD")]
    keep: Option<PathBuf>,
    /// Write a page for a browser as well, in one file that fetches nothing: groups, costs, latencies, what other SLOs would cost, other planners.
    /// A report that is there already is replaced, any other file is left alone
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// How many applications of each model the report prices other SLOs of, those that cost most first; each takes three plans of its whole
    /// platform. By default as many as take a minute at most, and three at least
    #[arg(long, value_name = "APPS", requires = "report")]
    report_prices: Option<usize>,
}

/// Law of the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Law {
    /// Exact for Poisson arrivals: a batch costs what a batch of its size costs
    Exact,
    /// Equivalent timeout of the HarmonyBatch paper (Eq. 5): every batch is taken to be full
    Paper,
}

/// What a plan is compared with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Compared {
    /// With everything below
    All,
    /// One group for each application, on its best device
    Alone,
    /// BATCH (SC 2020): one group for each application, on CPU only
    Batch,
    /// MBS+ (INFOCOM 2021), merged as the HarmonyBatch paper extends it
    Mbs,
    /// Two-stage merging of the HarmonyBatch paper
    TwoStage,
}

impl Compared {
    /// The baselines that it stands for, in the order in which they are shown.
    pub(crate) fn baselines(self) -> &'static [Baseline] {
        match self {
            Self::All => &Baseline::ALL,
            Self::Alone => &[Baseline::Alone],
            Self::Batch => &[Baseline::Batch],
            Self::Mbs => &[Baseline::Mbs],
            Self::TwoStage => &[Baseline::TwoStage],
        }
    }
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
    /// What it is compared with, if anything.
    pub(crate) baselines: Vec<BaselinePlan>,
}

/// Reads, plans, prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.baseline.is_some() && arguments.model == Law::Paper {
        anyhow::bail!("--baseline prices all plans by the exact law: leave out --model paper");
    }
    // Before minutes of planning, not after.
    let target = arguments.report.as_deref().map(report::Target::at).transpose()?;
    let Some((files, mut validated)) = load(&arguments.filename)? else {
        return Ok(ExitCode::FAILURE);
    };
    arrivals::declare(&mut validated, &arguments.trace, arrivals::Tempo::Scaled, &[])?;
    let law = match arguments.model {
        Law::Exact => ArrivalModel::Exact,
        Law::Paper => ArrivalModel::Paper,
    };
    for request in validated.requests.values_mut() {
        request.platform = request.platform.clone().with_arrivals(law);
    }
    let session = Session::new();
    let old = match &arguments.keep {
        Some(path) => match keep::read(path)? {
            Some(old) => Some(old),
            None => return Ok(ExitCode::FAILURE),
        },
        None => None,
    };
    let (mut plans, limited) = planned(&session, &files.inputs, &validated, old.as_deref())?;
    if let Some(which) = arguments.baseline {
        for named in &mut plans {
            if let Some((request, _)) = request_of(&validated, &named.plan) {
                named.baselines = baselines::compare(request, &named.plan, which.baselines());
            }
        }
    }
    let text = match arguments.output {
        Form::Table => table::render(&plans) + &pools::render(&limited),
        Form::Json => machine::json(&plans, &limited)?,
        Form::Yaml => machine::yaml(&plans, &limited)?,
    };
    print::output(&text)?;
    if let Some(target) = target {
        let wishes = report::Wishes {
            command: command(),
            priced: arguments.report_prices,
            compare: arguments.model == Law::Exact,
        };
        let page = report::render(&report::gather(&session, &validated, &plans, &limited, wishes)?);
        target.write(&page)?;
        print::error(&format!("report: {}", target.given().display()));
    }
    let refused = plans.iter().any(|named| !named.plan.infeasible.is_empty());
    Ok(if refused {
        ExitCode::from(INFEASIBLE)
    } else {
        ExitCode::SUCCESS
    })
}

/// This command, as it was typed but for quotes.
fn command() -> String {
    let arguments = std::env::args_os().skip(1);
    let words = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let all: Vec<String> = std::iter::once("harmonybatch".to_owned()).chain(words).collect();
    all.join(" ")
}

/// The request that a plan answers, and the model's applications in it.
pub(crate) fn request_of<'a>(
    validated: &'a plan::Validated,
    plan: &Plan,
) -> Option<(&'a PlanRequest, &'a ModelSet)> {
    validated.requests.values().find_map(|request| {
        let mut sets = request.models.iter();
        let set = sets.find(|set| (set.namespace(), set.model()) == (&plan.namespace, &plan.model))?;
        Some((request, set))
    })
}

/// Reads and validates files; nothing where an object is wrong, after it was said what.
pub(crate) fn load(filename: &[PathBuf]) -> anyhow::Result<Option<(read::Files, plan::Validated)>> {
    let files = read::read(filename)?;
    let validated = plan::validate(&files.inputs, &std::collections::BTreeSet::new());
    for ((kind, key), problem) in &validated.problems {
        print::error(&format!("error: {}", files.locate(*kind, key, &problem.message)));
    }
    let good = validated.problems.is_empty();
    Ok(good.then_some((files, validated)))
}

/// Plans everything that was read, in order of namespace and model.
pub(crate) fn named(inputs: &Inputs, validated: &plan::Validated) -> Result<Vec<Named>, PlanError> {
    Ok(planned(&Session::new(), inputs, validated, None)?.0)
}

/// The same, with what the plans take of limited pools, and with regard to plans that run.
fn planned(
    session: &Session,
    inputs: &Inputs,
    validated: &plan::Validated,
    old: Option<&[PlanOutline]>,
) -> Result<(Vec<Named>, Vec<pools::Limited>), PlanError> {
    let (mut plans, mut limited) = (Vec::new(), Vec::new());
    for (platform, request) in &validated.requests {
        let (planned, kept) = match (old, validated.patience.get(platform)) {
            (Some(old), Some(patience)) => keep::plan(request, old, patience, session)?,
            _ => (session.plan_platform(request)?, Vec::new()),
        };
        limited.extend(pools::Limited::of(platform, request, &planned, session)?);
        let currency = currency(inputs, platform);
        let mut kept = kept.into_iter();
        plans.extend(planned.plans.into_iter().map(|plan| {
            let fresh = names(inputs, &plan);
            let names = match kept.next() {
                Some(kept) => {
                    print::error(kept.said());
                    kept.names(fresh)
                }
                None => fresh,
            };
            Named {
                names,
                baselines: Vec::new(),
                plan,
                currency: currency.clone(),
            }
        }));
    }
    for gone in keep::gone(old.unwrap_or_default(), inputs) {
        print::error(&gone);
    }
    plans.sort_by(|a, b| (&a.plan.namespace, &a.plan.model).cmp(&(&b.plan.namespace, &b.plan.model)));
    Ok((plans, limited))
}

/// The currency of a platform.
pub(crate) fn currency(inputs: &Inputs, platform: &str) -> String {
    let described = inputs.platforms.iter().find(|it| plan::key(*it).1 == platform);
    described.map_or_else(String::new, |it| it.spec.currency.clone())
}

/// The names that the controller would give on a cluster without groups.
pub(crate) fn names(inputs: &Inputs, plan: &Plan) -> Vec<String> {
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
