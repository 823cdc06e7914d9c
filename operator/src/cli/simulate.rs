//! `harmonybatch simulate`

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use harmonybatch_api::quantity::Decimal;
use harmonybatch_api::yaml;
use harmonybatch_controller::plan::{self, money};
use harmonybatch_planner::{
    AppSimulation, CORRECTION_BOUNDS, Correction, Corrections, GroupPlan, GroupSimulation, Member, ModelSet,
    Simulation, simulate_plan,
};
use serde::Serialize;

use crate::cli::arrivals::{self, Tempo};
use crate::cli::plan::{Form, Named, machine, named, read, table};
use crate::cli::print;

/// Requests of each group, where nothing else is asked for.
pub(crate) const REQUESTS: u64 = 200_000;

/// The stream of requests, where nothing else is asked for.
pub(crate) const SEED: u64 = 1;

/// Of a row for each application.
pub(crate) const APP_COLUMNS: [&str; 11] = [
    "APP",
    "GROUP",
    "REQUESTS",
    "SLO",
    "PERCENTILE",
    "WITHIN SLO",
    "KEPT",
    "P50",
    "P90",
    "P99",
    "MAX",
];

/// What a script gets where an application does not keep its SLO, or cannot be planned.
const BROKEN: u8 = 2;

/// Makes the plan that `harmonybatch plan` prints, plays fresh requests through the batching rule that the gateway runs, and prints for every
/// application how many kept its SLO, at which latencies, and for every group its batches, utilization and cost.
///
/// The plan is the one for the arrivals that the applications declare (spec.burst, spec.trace). --burst and --trace change what arrives,
/// so that they show what a surprise would do; with --replan the plan is made for them too. --slowdown shows what a plan has to spare: batches take
/// so many times as long, under a CPU quota by so many times the CPU work, while the plan stays.
///
/// Exit status: 0 if every application keeps its percentile, 2 if one does not or cannot be planned, 1 if the input is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  harmonybatch simulate -f crds/samples\n  harmonybatch simulate -f crds/samples --burst 4,30s\n  \
                  harmonybatch simulate -f crds/samples --burst search=4,30s --replan -o json\n  \
                  harmonybatch simulate -f apps/ --trace search=arrivals.csv --requests 1000000\n  \
                  harmonybatch simulate -f crds/samples --slowdown 1.2"
)]
pub(crate) struct Arguments {
    /// YAML file, folder of YAML files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "DIR|FILE", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Requests of each group
    #[arg(long, default_value_t = REQUESTS, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    requests: u64,
    /// Another number is another stream of requests
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Requests arrive as in a file: one line each, in order, beginning with seconds or YYYY-MM-DD HH:MM:SS; the time is scaled so that their mean
    /// rate is the application's; may be given several times
    #[arg(long, value_name = "[NAMESPACE/]APP=FILE")]
    trace: Vec<arrivals::Trace>,
    /// Play --trace at the times that it has, at whatever rate that is
    #[arg(long, requires = "trace")]
    as_recorded: bool,
    /// Requests arrive in bursts at FACTOR times the mean rate that last for DURATION on average and hold half of all requests: of one
    /// application, or of all; may be given several times
    #[arg(long, value_name = "[[NAMESPACE/]APP=]FACTOR,DURATION")]
    burst: Vec<arrivals::Burst>,
    /// Batches take so many times as long as the plan takes them to, 0.25 to 4; below 1 they are faster
    #[arg(long, value_name = "FACTOR", value_parser = slowdown)]
    slowdown: Option<f64>,
    /// Plan for --trace, --burst and --slowdown too
    #[arg(long)]
    replan: bool,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
}

/// Reads, plans, simulates, prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = read::read(&arguments.filename)?;
    let declared = plan::validate(&files.inputs, &std::collections::BTreeSet::new());
    if !declared.problems.is_empty() {
        for ((kind, key), problem) in &declared.problems {
            print::error(&format!("error: {}", files.locate(*kind, key, &problem.message)));
        }
        return Ok(ExitCode::FAILURE);
    }
    let mut arriving = declared.clone();
    let tempo = if arguments.as_recorded {
        Tempo::AsRecorded
    } else {
        Tempo::Scaled
    };
    arrivals::declare(&mut arriving, &arguments.trace, tempo, &arguments.burst)?;
    if let Some(factor) = arguments.slowdown {
        for request in arriving.requests.values_mut() {
            request.models = request.models.iter().map(|set| slower(set, factor)).collect();
        }
    }
    let plans = named(
        &files.inputs,
        if arguments.replan { &arriving } else { &declared },
    )?;
    let simulation = Simulation {
        requests: arguments.requests,
        seed: arguments.seed,
    };
    let seen: Vec<Seen> = plans
        .iter()
        .map(|named| Seen {
            named,
            groups: play(&arriving, named, simulation),
        })
        .collect();
    let text = match arguments.output {
        Form::Table => seen.iter().map(render).collect::<Vec<_>>().join("\n"),
        Form::Json => serde_json::to_string_pretty(&output(&seen))? + "\n",
        Form::Yaml => yaml::write(&output(&seen))?,
    };
    print::output(&text)?;
    let kept = |seen: &Seen| {
        let apps = seen.groups.iter().flatten().flat_map(|group| &group.apps);
        seen.named.plan.infeasible.is_empty() && apps.into_iter().all(|app| app.kept)
    };
    Ok(if seen.iter().all(kept) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BROKEN)
    })
}

/// Reads `--slowdown`: what a profile may be corrected by.
fn slowdown(text: &str) -> Result<f64, String> {
    let (least, most) = CORRECTION_BOUNDS;
    let factor = text
        .parse::<Decimal>()
        .map_err(|error| error.to_string())?
        .to_f64();
    if (least..=most).contains(&factor) {
        Ok(factor)
    } else {
        Err(format!("must be from {least} to {most}"))
    }
}

/// The same applications, whose batches take so many times as long on every device, beside what corrects their profile already.
fn slower(set: &ModelSet, factor: f64) -> ModelSet {
    let times =
        |correction: Correction| Correction::new(correction.mean() * factor, correction.max() * factor);
    let profile = set.profile();
    let before = profile.corrections();
    let gpu = profile.gpu().iter().map(|entry| {
        let device = entry.device();
        (device.to_owned(), times(before.of_gpu(device)))
    });
    let corrections = Corrections {
        cpu: times(before.cpu),
        gpu: gpu.collect(),
    };
    set.with_profile(profile.clone().corrected(corrections))
}

/// A plan and what came of it, group by group.
struct Seen<'a> {
    named: &'a Named,
    groups: Vec<Option<GroupSimulation>>,
}

impl Seen<'_> {
    fn groups(&self) -> impl Iterator<Item = (&str, &GroupPlan, &GroupSimulation)> {
        let names = self.named.names.iter().zip(&self.named.plan.groups);
        names
            .zip(&self.groups)
            .filter_map(|((name, planned), seen)| Some((name.as_str(), planned, seen.as_ref()?)))
    }
}

fn play(arriving: &plan::Validated, named: &Named, simulation: Simulation) -> Vec<Option<GroupSimulation>> {
    arriving
        .requests
        .values()
        .find_map(|request| {
            let set = request.models.iter().find(|set| {
                (set.namespace(), set.model()) == (named.plan.namespace.as_str(), named.plan.model.as_str())
            })?;
            Some(simulate_plan(&request.platform, set, &named.plan, simulation))
        })
        .unwrap_or_default()
}

fn render(seen: &Seen<'_>) -> String {
    let plan = &seen.named.plan;
    let mut text = format!(
        "Model {}/{} ({}, prices in {})\n",
        plan.namespace,
        plan.model,
        table::terms(plan),
        seen.named.currency
    );
    let apps = seen.groups().flat_map(|(name, planned, seen)| {
        let apps = planned.members.iter().zip(&seen.apps);
        apps.map(move |(member, app)| app_row(name, member, app))
    });
    table::columns(&mut text, &APP_COLUMNS, apps.collect());
    let groups = seen.groups().map(|(name, planned, seen)| {
        vec![
            name.to_owned(),
            plan::device(&planned.device).to_string(),
            planned.replicas.to_string(),
            format!("{:.2} of {}", seen.mean_batch(), planned.batch_size),
            sizes(&seen.batches),
            money::percent(seen.utilization),
            money::per_month(seen.cost_per_second),
        ]
    });
    let header = [
        "GROUP",
        "DEVICE",
        "REPLICAS",
        "MEAN BATCH",
        "ROWS: SHARE OF BATCHES",
        "UTILIZATION",
        "COST/MONTH",
    ];
    table::columns(&mut text, &header, groups.collect());
    for infeasible in &plan.infeasible {
        let refusal = plan::refusal(plan, infeasible);
        let _ = writeln!(text, "\n{} cannot be planned: {refusal}", infeasible.app);
    }
    text
}

/// What one application saw.
pub(crate) fn app_row(group: &str, member: &Member, app: &AppSimulation) -> Vec<String> {
    vec![
        app.app.clone(),
        group.to_owned(),
        app.requests.to_string(),
        table::duration(member.slo),
        format!("{}%", member.percentile.get()),
        percent(app.attainment),
        if app.kept { "yes" } else { "NO" }.to_owned(),
        table::duration(app.p50),
        table::duration(app.p90),
        table::duration(app.p99),
        table::duration(app.max),
    ]
}

/// Not rounded up to what was not reached.
pub(crate) fn percent(share: f64) -> String {
    format!("{}%", (share * 1e5).floor() / 1e3)
}

/// The distribution of batch sizes in ranges that double: `1: 20%, 2: 31%, 3-4: 40%, 5-8: 9%`.
fn sizes(batches: &[u64]) -> String {
    let total: u64 = batches.iter().sum();
    let mut parts = Vec::new();
    let (mut first, mut last) = (1, 1);
    while first <= batches.len() {
        let to = last.min(batches.len());
        let count: u64 = batches[first - 1..to].iter().sum();
        if count > 0 {
            #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
            let share = money::percent(count as f64 / total as f64);
            let range = if first == to {
                first.to_string()
            } else {
                format!("{first}-{to}")
            };
            parts.push(format!("{range}: {share}"));
        }
        first = last + 1;
        last *= 2;
    }
    parts.join(", ")
}

#[derive(Serialize)]
struct Output<'a> {
    simulations: Vec<ModelOutput<'a>>,
}

#[derive(Serialize)]
struct ModelOutput<'a> {
    namespace: &'a str,
    model: &'a str,
    groups: Vec<GroupOutput<'a>>,
    infeasible: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupOutput<'a> {
    name: &'a str,
    seconds: f64,
    apps: Vec<AppOutput<'a>>,
    mean_batch: f64,
    /// Batches of 1, 2, ... rows.
    batches: &'a [u64],
    utilization: f64,
    /// Where the profile says what work is.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    cost_per_second: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppOutput<'a> {
    app: &'a str,
    requests: u64,
    attainment: f64,
    percentile: f64,
    kept: bool,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

fn output<'a>(seen: &'a [Seen<'_>]) -> Output<'a> {
    let millis = |seconds: harmonybatch_planner::units::Seconds| machine::milliseconds(seconds.as_millis());
    let group = |(name, planned, seen): (&'a str, &'a GroupPlan, &'a GroupSimulation)| GroupOutput {
        name,
        seconds: seen.seconds,
        apps: planned
            .members
            .iter()
            .zip(&seen.apps)
            .map(|(member, app)| AppOutput {
                app: &app.app,
                requests: app.requests,
                attainment: app.attainment,
                percentile: member.percentile.get(),
                kept: app.kept,
                mean_ms: millis(app.mean),
                p50_ms: millis(app.p50),
                p90_ms: millis(app.p90),
                p99_ms: millis(app.p99),
                max_ms: millis(app.max),
            })
            .collect(),
        mean_batch: seen.mean_batch(),
        batches: &seen.batches,
        utilization: seen.utilization,
        cpu_seconds: seen.cpu_seconds,
        cost_per_second: seen.cost_per_second,
    };
    let model = |seen: &'a Seen<'_>| ModelOutput {
        namespace: &seen.named.plan.namespace,
        model: &seen.named.plan.model,
        groups: seen.groups().map(group).collect(),
        infeasible: seen
            .named
            .plan
            .infeasible
            .iter()
            .map(|it| it.app.as_str())
            .collect(),
    };
    Output {
        simulations: seen.iter().map(model).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_sizes_are_told_in_ranges_that_double() {
        assert_eq!(sizes(&[10, 20, 5, 15, 50]), "1: 10%, 2: 20%, 3-4: 20%, 5: 50%");
        assert_eq!(sizes(&[4]), "1: 100%");
        assert_eq!(sizes(&[0, 0, 0, 1]), "3-4: 100%");
    }

    #[test]
    fn attainment_is_never_rounded_up() {
        assert_eq!(percent(0.989_999_9), "98.999%");
        assert_eq!(percent(1.0), "100%");
    }
}
