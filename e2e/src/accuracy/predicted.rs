//! What the plan says: of latencies and cost in the objects' statuses, of batches by `harmonybatch simulate` over the same objects; and what it would
//! have said of the very arrivals that came, and had the profile known how much CPU time batches took in the end ([`in_hindsight`]).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use harmonybatch_api::inference_model::CpuLatency;
use harmonybatch_api::{InferenceApp, InferenceModel, InferencePlatform, quantity};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::configurations::Configuration;
use super::drive::Driven;
use super::place::{Place, Served};

/// Seconds in a month, as the plan counts them: 730 hours.
const MONTH: f64 = 730.0 * 3600.0;
/// Most that two plans for the same objects may differ in.
const SAME: f64 = 0.02;
/// How often the arrivals that came are played: what is drawn beside them, the work of batches and the moments at which quotas are given, is not what it was.
const PLAYED: u32 = 20;

/// The predictions for a configuration.
pub(super) struct Predicted {
    /// Of each application, in the order of the configuration.
    pub(super) apps: Vec<Latency>,
    /// Share of batches of 1, 2, ... rows.
    pub(super) batches: Vec<f64>,
    /// Part of the time in which a replica computes.
    pub(super) utilization: f64,
    /// In the platform's currency a second.
    pub(super) cost: f64,
}

/// Seconds.
#[derive(Debug, Default)]
pub(super) struct Latency {
    pub(super) mean: f64,
    pub(super) p99: f64,
}

#[derive(Deserialize)]
struct Output {
    simulations: Vec<ModelOutput>,
}

impl Output {
    fn groups(&self) -> impl Iterator<Item = &GroupOutput> {
        self.simulations.iter().flat_map(|model| &model.groups)
    }
}

#[derive(Deserialize)]
struct ModelOutput {
    groups: Vec<GroupOutput>,
    infeasible: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupOutput {
    apps: Vec<AppOutput>,
    seconds: f64,
    batches: Vec<u64>,
    utilization: f64,
    cpu_seconds: Option<f64>,
    cost_per_second: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppOutput {
    app: String,
    mean_ms: f64,
    p99_ms: f64,
}

/// Reads the statuses, and has the product simulate the plan of the same objects.
pub(super) async fn of(place: &Place<'_>, served: &Served, product: &Path) -> Result<Predicted> {
    let apps: Result<Vec<_>> = served.apps.iter().map(latency).collect();
    let mut cost = 0.0;
    for group in &served.groups {
        let prediction = group.spec.prediction.as_ref();
        let month = prediction.and_then(|prediction| prediction.cost_per_month.as_deref());
        cost += month
            .context("a group without a predicted cost")?
            .parse::<f64>()?
            / MONTH;
    }
    let objects = Objects::of(place, served).await?;
    let output = objects.simulated(product, &[])?;
    let groups: Vec<&GroupOutput> = output.groups().collect();
    let refused = output
        .simulations
        .iter()
        .any(|model| !model.infeasible.is_empty());
    let price: f64 = groups.iter().map(|group| group.cost_per_second).sum();
    if refused || groups.len() != served.groups.len() || (price / cost - 1.0).abs() > SAME {
        bail!(
            "`harmonybatch simulate` plans {} groups for {price} a second from the same objects, the controller {} for {cost}",
            groups.len(),
            served.groups.len()
        );
    }
    let mut batches = Vec::new();
    let (mut busy, mut seconds) = (0.0, 0.0);
    for group in groups {
        batches.resize(batches.len().max(group.batches.len()), 0.0);
        for (sum, &count) in batches.iter_mut().zip(&group.batches) {
            #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
            let rate = count as f64 / group.seconds;
            *sum += rate;
        }
        busy += group.utilization;
        seconds += 1.0;
    }
    let total: f64 = batches.iter().sum();
    Ok(Predicted {
        apps: apps?,
        batches: batches.into_iter().map(|rate| rate / total).collect(),
        utilization: busy / seconds,
        cost,
    })
}

/// What would have been predicted for the arrivals that came.
pub(super) struct Played {
    /// Of each application, in the order of the configuration.
    pub(super) apps: Vec<Latency>,
    /// CPU seconds of a batch in the mean that idle time and stops cost; none where the profile knows no work.
    pub(super) cpu_cost: Option<f64>,
}

/// The same plan under the arrivals that came, where batches take so many times as long.
pub(super) async fn in_hindsight(
    place: &Place<'_>,
    configuration: &Configuration,
    served: &Served,
    driven: &Driven,
    product: &Path,
    slowdown: f64,
) -> Result<Played> {
    let objects = Objects::of(place, served).await?;
    let mut arguments = vec!["--as-recorded".to_owned(), format!("--slowdown={slowdown}")];
    for (index, asked) in configuration.apps.iter().enumerate() {
        let file = objects.recorded(asked.name, &driven.arrivals(index))?;
        arguments.push(format!("--trace={}={}", asked.name, file.display()));
    }
    arguments.push(format!("--requests={}", driven.report.samples.len()));
    let mut found: Vec<Latency> = configuration.apps.iter().map(|_| Latency::default()).collect();
    let (mut batches, mut cpu_time) = (Vec::new(), Some(0.0));
    for seed in 1..=PLAYED {
        let seed = format!("--seed={seed}");
        let output = objects.simulated(product, &[&arguments[..], &[seed]].concat())?;
        for group in output.groups() {
            add(&mut batches, &group.batches);
            cpu_time = cpu_time.zip(group.cpu_seconds).map(|(sum, more)| sum + more);
        }
        for (asked, sum) in configuration.apps.iter().zip(&mut found) {
            let mut apps = output.groups().flat_map(|group| &group.apps);
            let app = apps.find(|app| app.app == asked.name);
            let app =
                app.with_context(|| format!("`harmonybatch simulate` says nothing of {}", asked.name))?;
            sum.mean += app.mean_ms / 1e3 / f64::from(PLAYED);
            sum.p99 += app.p99_ms / 1e3 / f64::from(PLAYED);
        }
    }
    let work = cpu_time_by_profile(place, &batches).await?;
    #[expect(clippy::cast_precision_loss, reason = "counts of batches")]
    let count = batches.iter().sum::<u64>().max(1) as f64;
    Ok(Played {
        apps: found,
        cpu_cost: cpu_time
            .zip(work)
            .map(|(all, work)| (all - work * slowdown) / count),
    })
}

fn add(sums: &mut Vec<u64>, counts: &[u64]) {
    sums.resize(sums.len().max(counts.len()), 0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// Seconds of CPU that the model's profile says for batches of 1, 2, ... rows, of each so many; none where it is no CPU that computes, or the profile
/// has a form that knows no work. What idle time costs is not in it.
pub(super) async fn cpu_time_by_profile(place: &Place<'_>, batches: &[u64]) -> Result<Option<f64>> {
    let model = place.api::<InferenceModel>().get(place.network.name).await?;
    let profile = model.profile_in_force().cpu;
    let mut time = 0.0;
    for (size, &count) in (1..).zip(batches).filter(|(_, count)| **count > 0) {
        let work = match profile
            .iter()
            .find(|entry| entry.batch == size)
            .map(|entry| &entry.mean)
        {
            Some(CpuLatency::Throttled(curve)) => &curve.work,
            Some(CpuLatency::Hyperbolic(curve)) => &curve.work,
            Some(CpuLatency::Exponential(_)) | None => return Ok(None),
        };
        #[expect(clippy::cast_precision_loss, reason = "counts of batches")]
        let count = count as f64;
        time += count * work.parse::<quantity::Duration>()?.as_secs_f64();
    }
    Ok(Some(time))
}

/// What the status of an application says.
fn latency(app: &InferenceApp) -> Result<Latency> {
    let plan = app.status.as_ref().and_then(|status| status.plan.as_ref());
    let latency = plan
        .and_then(|plan| plan.latency.as_ref())
        .context("a plan without latencies")?;
    let seconds = |text: &Option<String>| -> Result<f64> {
        let text = text.as_deref().context("a latency is missing")?;
        Ok(text.parse::<quantity::Duration>()?.as_secs_f64())
    };
    Ok(Latency {
        mean: seconds(&latency.mean)?,
        p99: seconds(&latency.percentile)?,
    })
}

/// The objects of a plan in files, as `harmonybatch simulate` reads them; removed when it goes.
struct Objects {
    folder: PathBuf,
}

impl Objects {
    async fn of(place: &Place<'_>, served: &Served) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("harmonybatch-accuracy-{}", std::process::id()));
        let objects = Self { folder };
        std::fs::create_dir_all(objects.folder.join("arrivals"))
            .with_context(|| format!("cannot make {}", objects.folder.display()))?;
        objects.write(&place.api::<InferenceModel>().get(place.network.name).await?)?;
        let platform = place.network.platform_name();
        objects.write(&place.of_the_cluster::<InferencePlatform>(platform).await?)?;
        for app in &served.apps {
            objects.write(app)?;
        }
        Ok(objects)
    }

    /// As `kubectl get -o json` does, without who manages what.
    fn write<K>(&self, object: &K) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize,
    {
        let mut object = object.clone();
        object.meta_mut().managed_fields = None;
        let file = self
            .folder
            .join(format!("{}-{}.json", K::kind(&()), object.name_any()));
        std::fs::write(&file, serde_json::to_vec(&object)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Arrivals in seconds, in a folder of their own since they are no object.
    fn recorded(&self, app: &str, arrivals: &[f64]) -> Result<PathBuf> {
        let file = self.folder.join("arrivals").join(app);
        let lines: Vec<String> = arrivals.iter().map(|time| format!("{time:.6}")).collect();
        std::fs::write(&file, lines.join("\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn simulated(&self, product: &Path, arguments: &[String]) -> Result<Output> {
        let said = Command::new(product)
            .arg("simulate")
            .arg("--filename")
            .arg(&self.folder)
            .args(["--output", "json"])
            .args(arguments)
            .output()
            .context("cannot start `harmonybatch simulate`")?;
        // It says so by its status where an SLO is not kept, and what it found all the same.
        if !said.status.success() && said.stdout.is_empty() {
            bail!(
                "`harmonybatch simulate`: {}",
                String::from_utf8_lossy(&said.stderr)
            );
        }
        serde_json::from_slice(&said.stdout).context("what `harmonybatch simulate` says")
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // What is left lies in the folder for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
