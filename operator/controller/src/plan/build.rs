//! The objects that a plan asks for: one InferenceGroup a planned group, one Service an application's callers.

use std::collections::{BTreeMap, BTreeSet};

use harmonybatch_api::inference_app::ModelRef;
use harmonybatch_api::inference_group::{Admission, InferenceGroupSpec, Member, Prediction, ServingMode};
use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::inference_platform::Serving;
use harmonybatch_api::quantity::{Duration, Rate};
use harmonybatch_api::{
    CpuSize, Device, Dispatch, GpuShare, InferenceApp, InferenceGroup, InferenceModel, names,
};
use harmonybatch_planner as planner;
use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{GroupPlan, Plan};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::money;
use super::naming::{self, Identity};
use super::validate::{Admitted, Contract, Key};

/// A model with its plan and its groups.
pub(crate) struct Planned<'a> {
    pub(crate) model: &'a InferenceModel,
    pub(crate) plan: Plan,
    pub(crate) groups: ModelGroups,
}

/// The groups of one model as its plan wants them, and those that it does not want.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelGroups {
    /// In the order of the plan's groups.
    pub(crate) wanted: Vec<InferenceGroup>,
    /// Names of the existing groups that no planned group took over.
    pub(crate) unwanted: Vec<String>,
    /// The number of the plan: the highest that any of its groups bears.
    pub(crate) plan_generation: i64,
}

/// What the planner calls a device, in the API's words.
pub fn device(device: &planner::Device) -> Device {
    match device {
        planner::Device::Cpu { vcpu } => Device::Cpu(CpuSize {
            limit: format!("{}m", vcpu.millis()),
        }),
        planner::Device::Gpu { pool, units } => Device::Gpu(GpuShare {
            pool: pool.clone(),
            units: integer(units.get()),
        }),
    }
}

/// What a planned group's name stands for.
pub fn identity(image: &str, group: &GroupPlan) -> Identity {
    Identity {
        image: image.to_owned(),
        device: device(&group.device),
        batch_size: integer(group.batch_size.get()),
        members: group.members.iter().map(|member| member.app.clone()).collect(),
    }
}

/// Builds the groups of one model. `existing` are all its groups; `contracts` those of its applications.
pub(crate) fn groups(
    plan: &Plan,
    model: &InferenceModel,
    contracts: &BTreeMap<Key, Contract>,
    existing: &[&InferenceGroup],
    serving: impl Fn(&planner::Device) -> ServingMode,
) -> ModelGroups {
    let image = &model.spec.runtime.image;
    let identities: Vec<Identity> = plan.groups.iter().map(|group| identity(image, group)).collect();
    let names = naming::name(&plan.model, &identities, existing);
    let unwanted: Vec<&InferenceGroup> = existing
        .iter()
        .copied()
        .filter(|group| !names.contains(&group.name_any()))
        .collect();
    let last = last_generation(model, existing);
    let mut plan_generation = 0;
    let wanted = names
        .iter()
        .zip(&plan.groups)
        .map(|(name, group)| {
            let mut spec = spec(plan, group, image, contracts, serving(&group.device));
            let old = existing.iter().find(|old| old.name_any() == *name);
            spec.plan_generation = match old {
                Some(old) if keeps_generation(old, &spec, &unwanted) => old.spec.plan_generation,
                _ => last + 1,
            };
            plan_generation = plan_generation.max(spec.plan_generation);
            built(model, name, spec)
        })
        .collect();
    ModelGroups {
        wanted,
        unwanted: unwanted.iter().map(|group| group.name_any()).collect(),
        plan_generation: plan_generation.max(if plan.groups.is_empty() { last } else { 0 }),
    }
}

/// The highest number that any plan of the model has borne.
fn last_generation(model: &InferenceModel, existing: &[&InferenceGroup]) -> i64 {
    let of_groups = existing.iter().flat_map(|group| {
        let active = group.status.as_ref().and_then(|status| status.active.as_ref());
        [
            Some(group.spec.plan_generation),
            active.map(|active| active.plan_generation),
        ]
    });
    let of_model = model.status.as_ref().and_then(|status| status.plan_generation);
    of_groups.chain([of_model]).flatten().max().unwrap_or(0)
}

/// Whether the plan leaves the group as it is. A group that a former plan had given up, and whose members an unwanted group
/// holds under the same or a higher number, needs a new number to win them back.
fn keeps_generation(old: &InferenceGroup, new: &InferenceGroupSpec, unwanted: &[&InferenceGroup]) -> bool {
    let generation = old.spec.plan_generation;
    let same = InferenceGroupSpec {
        plan_generation: generation,
        ..new.clone()
    } == old.spec;
    let apps: BTreeSet<&str> = new.members.iter().map(|member| member.app.as_str()).collect();
    let rivals = unwanted
        .iter()
        .filter(|rival| rival.spec.plan_generation >= generation);
    same && !rivals
        .flat_map(|rival| &rival.spec.members)
        .any(|member| apps.contains(member.app.as_str()))
}

fn built(model: &InferenceModel, name: &str, spec: InferenceGroupSpec) -> InferenceGroup {
    let mut group = InferenceGroup::new(name, spec);
    group.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: model.namespace(),
        labels: Some(labels(&[
            (names::GROUP_LABEL, name),
            (names::MODEL_LABEL, &model.name_any()),
            (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        ])),
        owner_references: model.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    group
}

fn spec(
    plan: &Plan,
    group: &GroupPlan,
    image: &str,
    contracts: &BTreeMap<Key, Contract>,
    serving: ServingMode,
) -> InferenceGroupSpec {
    let members = group.members.iter().filter_map(|member| {
        let contract = contracts.get(&(plan.namespace.clone(), member.app.clone()))?;
        Some(Member {
            app: member.app.clone(),
            service_name: contract.service_name.clone(),
            slo: contract.slo.clone(),
            percentile: contract.percentile.clone(),
            rate: contract.rate.clone(),
            timeout: contract.timeout.to_string(),
            max_wait: max_wait(member.max_wait),
            admission: Some(admission(&contract.admitted, group.batch_size.get())),
        })
    });
    let predicted = &group.predicted;
    InferenceGroupSpec {
        model_ref: ModelRef {
            name: plan.model.clone(),
        },
        plan_generation: 0,
        image: image.to_owned(),
        device: device(&group.device),
        batch_size: integer(group.batch_size.get()),
        dispatch: dispatch(group.dispatch),
        replicas: integer(group.replicas),
        serving,
        members: members.collect(),
        prediction: Some(Prediction {
            mean_latency: Some(duration(predicted.mean_service)),
            max_latency: Some(duration(predicted.max_service)),
            mean_batch: Some(format!("{:.2}", predicted.mean_batch)),
            utilization: Some(format!("{:.0}%", predicted.utilization * 100.0)),
            cost_per_million: Some(money::per_million(predicted.cost_per_request)),
            cost_per_month: Some(money::per_month(predicted.cost_per_second)),
        }),
    }
}

/// The contract of an application in a group with this batch size.
fn admission(admitted: &Admitted, batch_size: u32) -> Admission {
    /// Rows that few requests may bring at once, however low their rate is.
    const FEW: f64 = 32.0;
    /// Seconds of the rate that a caller may save up, at most.
    const SAVED: f64 = 10.0;
    const MOST: f64 = 1e9;
    let burst = FEW.max(2.0 * f64::from(batch_size)).max(admitted.excess);
    #[expect(clippy::cast_possible_truncation, reason = "at most a billion")]
    let rows = |rows: f64| rows.ceil().min(MOST) as i64;
    Admission {
        rate: Rate::at_least(admitted.rate)
            .map_or_else(|| format!("{}/s", admitted.rate), |rate| rate.to_string()),
        burst: rows(burst),
        most: rows(burst.max(SAVED * admitted.rate / 1.25)),
        overflow: admitted.overflow,
    }
}

/// What the planner calls a dispatch policy, in the API's words.
pub fn dispatch(dispatch: planner::Dispatch) -> Dispatch {
    match dispatch {
        planner::Dispatch::Eager => Dispatch::Eager,
        planner::Dispatch::Timed => Dispatch::Timed,
    }
}

/// A predicted time, to the microsecond.
pub fn duration(seconds: Seconds) -> String {
    Duration::from_secs_f64(seconds.get()).map_or_else(|| "0s".to_owned(), |duration| duration.to_string())
}

/// A longest wait, rounded down to the microsecond: rounded up it might cost the SLO.
pub(crate) fn max_wait(seconds: Seconds) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1e6 seconds by its type"
    )]
    let micros = (seconds.get() * 1e6).floor() as u64;
    Duration::from_nanos(micros * 1000).to_string()
}

/// Counts of the planner are far below two thousand million.
fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// How a group of the platform is run.
pub(crate) fn serving_mode(
    serving: Serving,
    knative_served: bool,
    protocol: Protocol,
    device: &planner::Device,
) -> ServingMode {
    match (serving, device) {
        (Serving::Knative, _) => ServingMode::Knative,
        // Knative asks for readiness on the port that it serves, where a runtime of gRPC has no HTTP.
        (Serving::Auto, planner::Device::Cpu { .. }) if knative_served && protocol != Protocol::OipV2Grpc => {
            ServingMode::Knative
        }
        // For a GPU even where Knative is: a new Revision starts before the old one ends, and nothing says here that the pool has
        // a share to spare for that.
        (Serving::Deployment | Serving::Auto, _) => ServingMode::Deployment,
    }
}

/// The Service for an application's callers: a name in the app's own namespace for the gateway, which tells apps by Host.
pub(crate) fn caller_service(app: &InferenceApp, name: &str, gateway_host: &str) -> Service {
    Service {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: app.namespace(),
            labels: Some(labels(&[
                (names::APP_LABEL, &app.name_any()),
                (names::MANAGED_BY_LABEL, names::MANAGED_BY),
            ])),
            owner_references: app.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(gateway_host.to_owned()),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: 80,
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Whether a Service was made for this application's callers: its owner says so, whatever became of its labels.
pub(crate) fn is_caller_service_of(service: &Service, app: &InferenceApp) -> bool {
    service
        .metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| Some(&owner.uid) == app.metadata.uid.as_ref())
}

#[cfg(test)]
mod tests;
