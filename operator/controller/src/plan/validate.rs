//! From what users wrote to what the planner takes: each object is parsed once, and one that is wrong is named and left out.

use std::collections::{BTreeMap, BTreeSet};

use harmonybatch_api::conditions::reason;
use harmonybatch_api::inference_app::{Overflow, RateSource};
use harmonybatch_api::inference_model::Correcting;
use harmonybatch_api::quantity::{Duration, Rate};
use harmonybatch_api::{InferenceApp, InferenceModel, InferencePlatform, names};
use harmonybatch_planner::{
    App, Billing, Corrections, ModelProfile, ModelSet, PlanRequest, Platform, ReplanRule,
};
use kube::ResourceExt;

use super::traces::Traces;

mod app;
mod model;
mod platform;

/// Namespace and name of an object; the namespace is empty for an InferencePlatform.
pub type Key = (String, String);

/// What users wrote, as it is in the cluster or in files.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// All platforms.
    pub platforms: Vec<InferencePlatform>,
    /// All models.
    pub models: Vec<InferenceModel>,
    /// All applications.
    pub apps: Vec<InferenceApp>,
    /// The recorded arrivals that they name.
    pub traces: Traces,
    /// What the gateways saw of the applications whose rate is observed; one that is not here is planned for the declared rate.
    pub rates: BTreeMap<Key, Rate>,
    /// By what the gateways' measurements correct models' profiles; one that is not here is planned as its profile says.
    pub corrections: BTreeMap<Key, Corrections>,
}

/// One kind that users write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// InferencePlatform.
    Platform,
    /// InferenceModel.
    Model,
    /// InferenceApp.
    App,
}

impl Kind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "InferencePlatform",
            Self::Model => "InferenceModel",
            Self::App => "InferenceApp",
        }
    }
}

/// Why one object is left out of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One of [`reason`]'s words.
    pub reason: &'static str,
    /// The field, what was found, what is allowed, what to do.
    pub message: String,
}

impl Problem {
    /// A problem that is new.
    pub fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }

    /// A field that is wrong.
    fn invalid(message: String) -> Self {
        Self::new(reason::INVALID, message)
    }
}

/// What a plan of groups needs to know of an application past what the planner takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The model that it names.
    pub model: String,
    /// Name of the Service for its callers.
    pub service_name: String,
    /// Its SLO, as it was written.
    pub slo: String,
    /// Its percentile, as it was written.
    pub percentile: String,
    /// The rate that is planned for: the declared one as it was written, or what the gateways saw.
    pub rate: String,
    /// Which of the two.
    pub rate_source: RateSource,
    /// Its deadline.
    pub timeout: Duration,
    /// What the gateway lets in of its requests.
    pub admitted: Admitted,
}

/// What the gateway lets in of an application's requests, before its batch size is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admitted {
    /// Rows per second for long.
    pub rate: f64,
    /// Rows that its bursts bring beyond that rate.
    pub excess: f64,
    /// What becomes of others.
    pub overflow: Overflow,
}

/// When the plan of a platform gives way to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// What is worth a change.
    pub rule: ReplanRule,
    /// How long a plan stays before changes of rates alone may bring a cheaper one.
    pub min_interval: std::time::Duration,
}

/// The good objects as the planner takes them, and what is wrong with the others.
#[derive(Clone, Debug, Default)]
pub struct Validated {
    /// One request a platform that any good model names.
    pub requests: BTreeMap<String, PlanRequest>,
    /// When their plans give way to others.
    pub patience: BTreeMap<String, Patience>,
    /// The contracts of all good applications.
    pub contracts: BTreeMap<Key, Contract>,
    /// Why the others were left out.
    pub problems: BTreeMap<(Kind, Key), Problem>,
}

impl Validated {
    /// What is wrong with an object, if anything is.
    pub fn problem(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Problem> {
        self.problems
            .get(&(kind, (namespace.to_owned(), name.to_owned())))
    }

    fn reject(&mut self, kind: Kind, key: Key, problem: Problem) {
        self.problems.insert((kind, key), problem);
    }
}

/// The key of an object.
pub fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Reads everything. `taken` are the names of Services that exist and are not ours, by namespace and name.
pub fn validate(inputs: &Inputs, taken: &BTreeSet<Key>) -> Validated {
    let mut validated = Validated::default();
    let mut platforms = BTreeMap::new();
    for written in &inputs.platforms {
        let read = platform::platform(&written.spec)
            .and_then(|platform| Ok((platform, platform::patience(&written.spec)?)));
        match read {
            Ok((platform, patience)) => {
                platforms.insert(written.name_any(), platform);
                validated.patience.insert(written.name_any(), patience);
            }
            Err(problem) => validated.reject(Kind::Platform, key(written), problem),
        }
    }
    let mut profiles = BTreeMap::new();
    for written in &inputs.models {
        let platform = &written.spec.platform_ref.name;
        let broken = validated.problem(Kind::Platform, "", platform).is_some();
        let profile = if platforms.contains_key(platform) {
            model::profile(written).map(|profile| corrected(profile, written, inputs))
        } else {
            Err(no_platform(platform, broken))
        };
        match profile {
            Ok(profile) => {
                profiles.insert(key(written), (platform.clone(), profile));
            }
            Err(problem) => validated.reject(Kind::Model, key(written), problem),
        }
    }
    let billed: BTreeMap<Key, (&str, Billing)> = profiles
        .iter()
        .filter_map(|(model, (platform, _))| {
            Some((
                model.clone(),
                (platform.as_str(), platforms.get(platform)?.billing()),
            ))
        })
        .collect();
    let apps = read_apps(inputs, taken, &billed, &mut validated);
    for ((namespace, name), (platform, profile)) in profiles {
        let apps = apps
            .get(&(namespace.clone(), name.clone()))
            .cloned()
            .unwrap_or_default();
        let set = ModelSet::new(namespace.clone(), name.clone(), profile, apps);
        match (set, platforms.get(&platform)) {
            (Ok(set), Some(described)) => validated
                .requests
                .entry(platform)
                .or_insert_with(|| PlanRequest {
                    platform: described.clone(),
                    models: Vec::new(),
                })
                .models
                .push(set),
            (Err(error), _) => {
                let problem = Problem::invalid(error.to_string());
                validated.reject(Kind::Model, (namespace, name), problem);
            }
            (Ok(_), None) => {}
        }
    }
    validated
}

/// The profile as plans follow it.
fn corrected(profile: ModelProfile, model: &InferenceModel, inputs: &Inputs) -> ModelProfile {
    let corrections = inputs.corrections.get(&key(model));
    match (corrections, model.spec.profile.correction) {
        (Some(corrections), Correcting::Auto) => profile.corrected(corrections.clone()),
        _ => profile,
    }
}

/// A model's profile as it is written, and the platform that it is planned on, where both are good.
pub(crate) fn profile_on(
    platforms: &[InferencePlatform],
    model: &InferenceModel,
) -> Option<(Platform, ModelProfile)> {
    let mut platforms = platforms.iter();
    let platform = platforms.find(|platform| platform.name_any() == model.spec.platform_ref.name)?;
    let platform = platform::platform(&platform.spec).ok()?;
    Some((platform, model::profile(model).ok()?))
}

fn no_platform(platform: &str, broken: bool) -> Problem {
    let state = if broken {
        "is not accepted: see its condition Accepted"
    } else {
        "does not exist: create it"
    };
    Problem::new(
        reason::PLATFORM_NOT_FOUND,
        format!("platformRef.name: InferencePlatform {platform} {state}, or name another"),
    )
}

/// The good applications of every model that is planned.
fn read_apps(
    inputs: &Inputs,
    taken: &BTreeSet<Key>,
    models: &BTreeMap<Key, (&str, Billing)>,
    validated: &mut Validated,
) -> BTreeMap<Key, Vec<App>> {
    let mut apps: BTreeMap<Key, Vec<App>> = BTreeMap::new();
    let mut services: BTreeMap<Key, String> = BTreeMap::new();
    let mut sorted: Vec<&InferenceApp> = inputs.apps.iter().collect();
    // Of two that want one Service name, the older keeps it.
    sorted.sort_by_cached_key(|written| {
        (
            written.creation_timestamp().map(|time| time.0.as_nanosecond()),
            key(*written),
        )
    });
    for written in sorted {
        let (namespace, name) = key(written);
        let model = (namespace.clone(), written.spec.model_ref.name.clone());
        let service = service_name(written);
        let service_key = (namespace.clone(), service.clone());
        let observed = inputs.rates.get(&(namespace.clone(), name.clone()));
        let read = app::app(written, &inputs.traces, observed).and_then(|read| {
            let Some(&(platform, billing)) = models.get(&model) else {
                return Err(no_model(
                    &model,
                    validated.problem(Kind::Model, &model.0, &model.1),
                ));
            };
            app::check_billing(&read.0, platform, billing)?;
            if taken.contains(&service_key) {
                return Err(name_taken(&service, "Service", "it was not made for this app"));
            }
            match services.get(&service_key) {
                Some(other) => Err(name_taken(
                    &service,
                    "InferenceApp",
                    &format!("InferenceApp {other} has it"),
                )),
                None => Ok(read),
            }
        });
        match read {
            Ok((app, contract)) => {
                services.insert(service_key, name.clone());
                apps.entry(model).or_default().push(app);
                validated.contracts.insert((namespace, name), contract);
            }
            Err(problem) => validated.reject(Kind::App, (namespace, name), problem),
        }
    }
    apps
}

/// The name of the Service for an application's callers.
pub(super) fn service_name(app: &InferenceApp) -> String {
    app.spec
        .service_name
        .clone()
        .unwrap_or_else(|| names::caller_service_name(&app.name_any()))
}

fn no_model((namespace, name): &Key, problem: Option<&Problem>) -> Problem {
    let state = match problem {
        Some(problem) => format!("is not accepted: {}", problem.message),
        None => format!("does not exist in namespace {namespace}: create it, or name another"),
    };
    Problem::new(
        reason::MODEL_NOT_FOUND,
        format!("modelRef.name: InferenceModel {name} {state}"),
    )
}

fn name_taken(service: &str, kind: &str, why: &str) -> Problem {
    let message = if kind == "Service" {
        format!(
            "serviceName: a Service {service} exists and {why}: choose another serviceName, or delete that Service"
        )
    } else {
        format!("serviceName {service}: {why}: choose another serviceName")
    };
    Problem::new(reason::SERVICE_NAME_TAKEN, message)
}

#[cfg(test)]
mod tests;
