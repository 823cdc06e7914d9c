//! Reads plans as `harmonybatch plan` writes them; objects are planned and read from what that would have written.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use harmonybatch_api::yaml;
use harmonybatch_planner::units::{BatchSize, GpuUnits, Percentile, Rate, Seconds, Vcpu};
use harmonybatch_planner::{Billing, Device, Dispatch, GroupOutline, MemberOutline, PlanDiff, PlanOutline};
use serde::Deserialize;

use crate::cli::plan;

#[derive(Deserialize)]
struct Written {
    plans: Vec<ModelPlan>,
}

#[derive(Deserialize)]
struct ModelPlan {
    namespace: String,
    model: String,
    billing: BillingForm,
    #[serde(default)]
    currency: String,
    groups: Vec<Group>,
    infeasible: Vec<Infeasible>,
    total: Total,
}

#[derive(Clone, Copy, Deserialize)]
enum BillingForm {
    PerReplica,
    PerInvocation,
}

#[derive(Clone, Copy, Deserialize)]
enum DispatchForm {
    Eager,
    Timed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    device: DeviceForm,
    batch_size: u32,
    dispatch: DispatchForm,
    replicas: u32,
    members: Vec<Member>,
    predicted: Total,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum DeviceForm {
    Cpu { vcpu: f64 },
    Gpu { pool: String, units: u32 },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    app: String,
    slo_ms: f64,
    percentile: f64,
    rate_per_second: f64,
    max_wait_ms: f64,
    latency_bound_ms: Option<f64>,
    cost_per_second: Option<f64>,
}

#[derive(Deserialize)]
struct Infeasible {
    app: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    cost_per_second: f64,
}

/// Plans as they are compared.
pub(crate) struct Plans {
    pub(crate) outlines: Vec<PlanOutline>,
    currencies: BTreeMap<(String, String), String>,
}

impl Plans {
    /// The currency of a model's prices, if it is in these plans.
    pub(super) fn currency(&self, diff: &PlanDiff) -> Option<String> {
        self.currencies
            .get(&(diff.namespace.clone(), diff.model.clone()))
            .filter(|currency| !currency.is_empty())
            .cloned()
    }

    fn new(written: Written) -> anyhow::Result<Self> {
        let mut plans = Self {
            outlines: Vec::new(),
            currencies: BTreeMap::new(),
        };
        for plan in written.plans {
            let key = (plan.namespace.clone(), plan.model.clone());
            if plans.currencies.insert(key, plan.currency.clone()).is_some() {
                bail!("model {}/{} stands twice", plan.namespace, plan.model);
            }
            plans.outlines.push(plan.outline()?);
        }
        Ok(plans)
    }
}

impl ModelPlan {
    fn outline(self) -> anyhow::Result<PlanOutline> {
        let place = format!("model {}/{}", self.namespace, self.model);
        let groups = self.groups.into_iter().map(|group| {
            let name = group.name.clone();
            group.outline().with_context(|| format!("{place}, group {name}"))
        });
        Ok(PlanOutline {
            groups: groups.collect::<anyhow::Result<_>>()?,
            namespace: self.namespace,
            model: self.model,
            billing: match self.billing {
                BillingForm::PerReplica => Billing::PerReplica,
                BillingForm::PerInvocation => Billing::PerInvocation,
            },
            infeasible: self.infeasible.into_iter().map(|it| it.app).collect(),
            cost_per_second: amount(self.total.cost_per_second)?,
        })
    }
}

impl Group {
    fn outline(self) -> anyhow::Result<GroupOutline> {
        Ok(GroupOutline {
            name: self.name,
            device: match self.device {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates, and is checked"
                )]
                DeviceForm::Cpu { vcpu } => Device::Cpu {
                    vcpu: Vcpu::from_millis((vcpu * 1000.0).round() as u32)?,
                },
                DeviceForm::Gpu { pool, units } => Device::Gpu {
                    pool,
                    units: GpuUnits::new(units)?,
                },
            },
            batch_size: BatchSize::new(self.batch_size)?,
            dispatch: match self.dispatch {
                DispatchForm::Eager => Dispatch::Eager,
                DispatchForm::Timed => Dispatch::Timed,
            },
            replicas: self.replicas,
            members: self
                .members
                .into_iter()
                .map(Member::outline)
                .collect::<anyhow::Result<_>>()?,
            cost_per_second: amount(self.predicted.cost_per_second)?,
        })
    }
}

impl Member {
    fn outline(self) -> anyhow::Result<MemberOutline> {
        Ok(MemberOutline {
            slo: Seconds::from_millis(self.slo_ms)?,
            percentile: Percentile::new(self.percentile)?,
            rate: Rate::new(self.rate_per_second)?,
            max_wait: Seconds::from_millis(self.max_wait_ms)?,
            latency_bound: self.latency_bound_ms.map(Seconds::from_millis).transpose()?,
            cost_per_second: self.cost_per_second.map(amount).transpose()?,
            app: self.app,
        })
    }
}

fn amount(cost: f64) -> anyhow::Result<f64> {
    if cost.is_finite() && cost >= 0.0 {
        Ok(cost)
    } else {
        Err(anyhow!("costPerSecond {cost} must be 0 or more"))
    }
}

/// Reads a written plan, or plans what a folder or file describes; nothing where an object of it is wrong, after it was said
/// what.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Plans>> {
    if path.is_dir() {
        return planned(path);
    }
    let from_stdin = path.as_os_str() == "-";
    let text = if from_stdin {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
    };
    let documents = yaml::read(path, &text)?;
    let first = documents.first().map(yaml::Document::to_json).transpose()?;
    match first {
        Some(document) if document.get("plans").is_some() && document.get("kind").is_none() => {
            let written: Written = serde_json::from_value(document)
                .with_context(|| format!("{}: not a plan that `harmonybatch plan` wrote", path.display()))?;
            let plans = Plans::new(written).with_context(|| path.display().to_string())?;
            Ok(Some(plans))
        }
        _ if from_stdin => bail!("-: not a plan that `harmonybatch plan -o json` or `-o yaml` wrote"),
        _ => planned(path),
    }
}

fn planned(path: &Path) -> anyhow::Result<Option<Plans>> {
    let Some((files, validated)) = plan::load(&[path.to_owned()])? else {
        return Ok(None);
    };
    let text = plan::machine::json(&plan::named(&files.inputs, &validated)?, &[])?;
    Ok(Some(Plans::new(serde_json::from_str(&text)?)?))
}
