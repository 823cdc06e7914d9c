//! What the plan says: of latencies and cost in the objects' statuses, of batches by `harmonybatch simulate` over the same objects; and what it would
//! have said, had the profile known how much CPU time batches took in the end ([`at_slowdown`]).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use harmonybatch_api::inference_model::CpuLatency;
use harmonybatch_api::{InferenceApp, InferenceModel, InferencePlatform, quantity};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::configurations::Configuration;
use super::place::{Place, Served};

/// Seconds in a month, as the plan counts them: 730 hours.
const MONTH: f64 = 730.0 * 3600.0;
/// Most that two plans for the same objects may differ in.
const SAME: f64 = 0.02;

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
    let output = simulated(place, served, product, 1.0).await?;
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

/// The latencies of the same plan where batches take so many times as long.
pub(super) async fn at_slowdown(
    place: &Place<'_>,
    configuration: &Configuration,
    served: &Served,
    product: &Path,
    factor: f64,
) -> Result<Vec<Latency>> {
    let output = simulated(place, served, product, factor).await?;
    let of = |name: &str| {
        let mut apps = output.groups().flat_map(|group| &group.apps);
        let found = apps.find(|app| app.app == name);
        found
            .map(|app| Latency {
                mean: app.mean_ms / 1e3,
                p99: app.p99_ms / 1e3,
            })
            .with_context(|| format!("`harmonybatch simulate` says nothing of {name}"))
    };
    configuration.apps.iter().map(|asked| of(asked.name)).collect()
}

/// Seconds of CPU that the model's profile says for batches of 1, 2, ... rows, of each so many; none where it is no CPU that computes, or the profile
/// has a form that knows no work.
pub(super) async fn cpu_time(place: &Place<'_>, batches: &[u64]) -> Result<Option<f64>> {
    let model = place.api::<InferenceModel>().get(place.network.name).await?;
    let (profile, _) = model.profile_in_force();
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

async fn simulated(place: &Place<'_>, served: &Served, product: &Path, slowdown: f64) -> Result<Output> {
    let folder = std::env::temp_dir().join(format!("harmonybatch-accuracy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let model = place.api::<InferenceModel>().get(place.network.name).await?;
    let platform = place
        .of_the_cluster::<InferencePlatform>(place.network.platform_name())
        .await?;
    write(&folder, &model)?;
    write(&folder, &platform)?;
    for app in &served.apps {
        write(&folder, app)?;
    }
    let mut simulate = Command::new(product);
    simulate.arg("simulate").arg("--filename").arg(&folder).args([
        "--output",
        "json",
        "--slowdown",
        &slowdown.to_string(),
    ]);
    let said = simulate.output();
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    let said = said.context("cannot start `harmonybatch simulate`")?;
    // It says so by its status where an SLO is not kept, and what it found all the same.
    if !said.status.success() && said.stdout.is_empty() {
        bail!(
            "`harmonybatch simulate`: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    serde_json::from_slice(&said.stdout).context("what `harmonybatch simulate` says")
}

/// As `kubectl get -o json` does, without who manages what.
fn write<K>(folder: &Path, object: &K) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Serialize,
{
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    let file = folder.join(format!("{}-{}.json", K::kind(&()), object.name_any()));
    std::fs::write(&file, serde_json::to_vec(&object)?)
        .with_context(|| format!("cannot write {}", file.display()))
}
