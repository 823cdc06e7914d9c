//! The one task that plans: woken by any change, it waits until changes pause, then reconciles every platform.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::names::{self, PLAN_MANAGER};
use harmonybatch_api::{
    InferenceApp, InferenceGroup, InferenceModel, InferencePlatform, InferencePlatformSpec,
};
use harmonybatch_planner::Plan;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::apply;
use super::apply::Wanted;
use super::build::{self, ModelGroups};
use super::decide::{Decided, decide_again, refusal};
use super::gather::{Gathered, gather};
use super::retire::{self, Verdict};
use super::running::running;
use super::status::{self, Place};
use super::validate::{Kind, Validated, key, service_name, validate};
use crate::cluster::{self, call};
use crate::events::Events;
use crate::gateways::{self, Gateways};
use crate::metrics::Metrics;
use crate::stores::Stores;

/// A burst of changes (`kubectl apply` of a folder) becomes one plan if they come closer together than this.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// How long one reconcile may take.
const LIMIT: Duration = Duration::from_mins(1);
/// First and longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How often the gateways are asked while a group waits to be deleted.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a Service name that somebody else has is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// Reconciled even if nothing was seen to change, in case a watch missed something.
const REGULARLY: Duration = Duration::from_mins(5);
/// How long a group may wait for gateways that are not there before that is said.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the local copy may take to show what was just written.
const CATCH_UP: Duration = Duration::from_secs(3);

/// Why a reconcile failed. The variant is the metric's label.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The API server did not do what was asked.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The search itself failed.
    #[error("the planner failed: {0}")]
    Planner(#[from] tokio::task::JoinError),
    /// The whole reconcile took too long.
    #[error("not done within {} s", LIMIT.as_secs())]
    Timeout,
}

impl Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "Cluster",
            Self::Planner(_) => "Planner",
            Self::Timeout => "Timeout",
        }
    }
}

/// The plan reconciler.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) stores: Arc<Stores>,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Metrics,
    /// Whether the API of Knative Serving is served.
    pub(crate) knative_served: watch::Receiver<bool>,
    /// Notified by every watch whose objects a plan depends on.
    pub(crate) changed: Arc<Notify>,
    /// DNS name of the gateway's Service.
    pub(crate) gateway_host: String,
    /// Domain of the cluster.
    pub(crate) cluster_domain: String,
    /// Spec of the platform `default`, made if the cluster has none.
    pub(crate) platform: Option<InferencePlatformSpec>,
    /// What was decided last for every platform: the same request has the same plan, and needs no search.
    pub(crate) decided: BTreeMap<String, Decided>,
    /// From when the times in there count.
    pub(crate) started: Instant,
    /// The groups as the last plan wanted them.
    pub(crate) wanted: Wanted,
    /// Since when a group waits to be deleted, and whether that was said.
    pub(crate) leaving: BTreeMap<(String, String), (Instant, bool)>,
}

/// A model with its plan and its groups.
struct Planned<'a> {
    model: &'a InferenceModel,
    plan: Plan,
    groups: ModelGroups,
}

impl Worker {
    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let timer = self.metrics.time("plan");
            let outcome = match tokio::time::timeout(LIMIT, self.reconcile()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::Timeout),
            };
            drop(timer);
            let pause = match outcome {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    tracing::warn!(reason = error.reason(), %error, "planning failed and is tried again");
                    self.metrics.failed("plan", error.reason());
                    failures = failures.saturating_add(1);
                    let (first, longest) = BACK_OFF;
                    // A failure waits for its time even if something changes: the API server may be the one in trouble.
                    tokio::time::sleep(
                        first
                            .saturating_mul(2_u32.saturating_pow(failures - 1))
                            .min(longest),
                    )
                    .await;
                    continue;
                }
            };
            if tokio::time::timeout(pause, self.changed.notified()).await.is_ok() {
                tokio::time::sleep(DEBOUNCE).await;
            }
        }
    }

    /// The steps, in order. Returns how long until the next look if nothing changes.
    async fn reconcile(&mut self) -> Result<Duration, Error> {
        self.make_platform().await?;
        let gathered = gather(&self.client, &self.stores).await?;
        let validated = validate(&gathered.inputs, &gathered.taken);
        self.decide(&gathered, &validated).await?;
        let planned = self.build(&gathered, &validated);
        let wanted = planned.iter().flat_map(|it| it.groups.wanted.clone()).collect();
        let applied = apply::groups(
            &self.client,
            &self.events,
            &mut self.wanted,
            wanted,
            &gathered.groups,
        )
        .await?;
        self.catch_up(&applied).await;
        self.caller_services(&gathered, &validated).await?;
        self.statuses(&gathered, &validated, &planned).await?;
        let waits = self.retire(&gathered, &planned).await?;
        Ok(match (waits, gathered.taken.is_empty()) {
            (true, _) => ASK_AGAIN,
            (false, false) => LOOK_AGAIN,
            (false, true) => REGULARLY,
        })
    }

    async fn make_platform(&self) -> Result<(), cluster::Error> {
        let Some(spec) = &self.platform else { return Ok(()) };
        if self.stores.platform(names::DEFAULT_PLATFORM).is_some() {
            return Ok(());
        }
        let api: Api<InferencePlatform> = Api::all(self.client.clone());
        let platform = InferencePlatform::new(names::DEFAULT_PLATFORM, spec.clone());
        let params = PostParams {
            dry_run: false,
            field_manager: Some(PLAN_MANAGER.to_owned()),
        };
        match call(
            || "create InferencePlatform default".to_owned(),
            api.create(&params, &platform),
        )
        .await
        {
            Ok(_) => tracing::info!("made InferencePlatform default from the configured file"),
            // It is there already, and the local copy has not seen it yet: it is never changed by us.
            Err(error) if error.code() == Some(409) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Searches for a plan on every platform whose request differs from the last, off the runtime's threads.
    async fn decide(&mut self, gathered: &Gathered, validated: &Validated) -> Result<(), Error> {
        self.decided
            .retain(|platform, _| validated.requests.contains_key(platform));
        for (platform, request) in &validated.requests {
            let Some(&patience) = validated.patience.get(platform) else {
                continue;
            };
            let last = self.decided.get(platform);
            let started = Instant::now();
            let now = started.duration_since(self.started);
            if last.is_some_and(|last| !last.is_due(request, &patience, now)) {
                continue;
            }
            let (input, last) = (request.clone(), last.cloned());
            let runs = running(&gathered.groups);
            let decided = tokio::task::spawn_blocking(move || {
                decide_again(&input, last.as_ref(), &runs, &patience, now)
            })
            .await?;
            self.metrics.planned(started.elapsed());
            tracing::info!(%platform, models = decided.plans.len(), took = ?started.elapsed(), "planned");
            self.decided.insert(platform.clone(), decided);
        }
        Ok(())
    }

    fn build<'a>(&self, gathered: &'a Gathered, validated: &Validated) -> Vec<Planned<'a>> {
        let knative = *self.knative_served.borrow();
        let plans = self.decided.values().flat_map(|decided| decided.plans.iter());
        plans
            .filter_map(|plan| {
                let of_plan =
                    |object: (String, String)| object == (plan.namespace.clone(), plan.model.clone());
                let model = gathered.inputs.models.iter().find(|model| of_plan(key(*model)))?;
                let platform = gathered
                    .inputs
                    .platforms
                    .iter()
                    .find(|platform| platform.name_any() == model.spec.platform_ref.name)?;
                let existing: Vec<&InferenceGroup> = gathered
                    .groups
                    .iter()
                    .map(|group| &**group)
                    .filter(|group| {
                        of_plan((
                            group.namespace().unwrap_or_default(),
                            group.spec.model_ref.name.clone(),
                        ))
                    })
                    .collect();
                let serving = |device: &_| build::serving_mode(platform.spec.serving, knative, device);
                let groups = build::groups(plan, model, &validated.contracts, &existing, serving);
                Some(Planned {
                    model,
                    plan: plan.clone(),
                    groups,
                })
            })
            .collect()
    }

    /// Waits until the local copy shows what was applied, so that the next plan numbers and names are made from it.
    async fn catch_up(&self, applied: &[InferenceGroup]) {
        let seen = |group: &InferenceGroup| {
            let stored = self
                .stores
                .group(&group.namespace().unwrap_or_default(), &group.name_any());
            stored.is_some_and(|stored| stored.metadata.generation >= group.metadata.generation)
        };
        let caught_up = async {
            while !applied.iter().all(seen) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(CATCH_UP, caught_up).await.is_err() {
            tracing::warn!("the watch of InferenceGroups lags behind what was written");
        }
    }

    /// Makes the Services of the accepted applications, and deletes those whose application has another name for it now.
    async fn caller_services(
        &self,
        gathered: &Gathered,
        validated: &Validated,
    ) -> Result<(), cluster::Error> {
        for app in &gathered.inputs.apps {
            let Some(contract) = validated.contracts.get(&key(app)) else {
                continue;
            };
            let ours: Vec<&Service> = gathered
                .caller_services
                .iter()
                .map(|service| &**service)
                .filter(|service| {
                    service.namespace() == app.namespace() && build::is_caller_service_of(service, app)
                })
                .collect();
            let wanted = build::caller_service(app, &contract.service_name, &self.gateway_host);
            let existing = ours
                .iter()
                .find(|service| service.name_any() == contract.service_name)
                .copied();
            match apply::caller_service(&self.client, &wanted, existing).await {
                // The local copy lags, or somebody took the name just now: the next look tells which.
                Err(error) if error.code() == Some(409) => self.changed.notify_one(),
                outcome => outcome?,
            }
            for service in ours
                .iter()
                .filter(|service| service.name_any() != contract.service_name)
            {
                let api: Api<Service> =
                    Api::namespaced(self.client.clone(), &app.namespace().unwrap_or_default());
                cluster::delete(&api, *service).await?;
            }
        }
        Ok(())
    }

    async fn statuses(
        &self,
        gathered: &Gathered,
        validated: &Validated,
        planned: &[Planned<'_>],
    ) -> Result<(), cluster::Error> {
        let now = now();
        let groups = self.stores.groups();
        for app in &gathered.inputs.apps {
            let (namespace, name) = key(app);
            let of_model = planned
                .iter()
                .find(|it| key(it.model) == (namespace.clone(), app.spec.model_ref.name.clone()));
            let problem = validated.problem(Kind::App, &namespace, &name);
            let Some(place) = place(&name, problem, of_model) else {
                continue;
            };
            let nearby: Vec<Arc<InferenceGroup>> = groups
                .iter()
                .filter(|group| group.metadata.namespace == app.metadata.namespace)
                .cloned()
                .collect();
            let url = format!(
                "http://{}.{namespace}.svc.{}",
                service_name(app),
                self.cluster_domain
            );
            let status = status::app(app, &place, &nearby, &url, &now);
            self.write_app(app, status).await?;
        }
        for model in &gathered.inputs.models {
            let (namespace, name) = key(model);
            let plan = planned
                .iter()
                .find(|it| key(it.model) == (namespace.clone(), name.clone()));
            let apps = gathered.inputs.apps.iter().filter(|app| {
                app.metadata.namespace == model.metadata.namespace && app.spec.model_ref.name == name
            });
            let problem = validated.problem(Kind::Model, &namespace, &name);
            let plan = plan.map(|it| (&it.plan, it.groups.plan_generation));
            let status = status::model(model, problem, plan, apps.count(), &now);
            if model.status.as_ref() != Some(&status) {
                let api: Api<InferenceModel> = Api::namespaced(self.client.clone(), &namespace);
                let old = model.status.clone().unwrap_or_default().conditions;
                let new = status.conditions.clone();
                tolerate_gone(cluster::apply_status(&api, PLAN_MANAGER, model, status).await)?;
                self.events.publish_changes(model, &old, &new, "Plan").await;
            }
        }
        for platform in &gathered.inputs.platforms {
            let name = platform.name_any();
            let on_it = planned
                .iter()
                .filter(|it| it.model.spec.platform_ref.name == name);
            let plans: Vec<&Plan> = on_it.map(|it| &it.plan).collect();
            let problem = validated.problem(Kind::Platform, "", &name);
            let status = status::platform(platform, problem, &plans, &now);
            if platform.status.as_ref() != Some(&status) {
                let api: Api<InferencePlatform> = Api::all(self.client.clone());
                let old = platform.status.clone().unwrap_or_default().conditions;
                let new = status.conditions.clone();
                tolerate_gone(cluster::apply_status(&api, PLAN_MANAGER, platform, status).await)?;
                self.events.publish_changes(platform, &old, &new, "Plan").await;
            }
        }
        Ok(())
    }

    async fn write_app(
        &self,
        app: &InferenceApp,
        status: harmonybatch_api::InferenceAppStatus,
    ) -> Result<(), cluster::Error> {
        if !status::app_differs(app.status.as_ref(), &status) {
            return Ok(());
        }
        let api: Api<InferenceApp> =
            Api::namespaced(self.client.clone(), &app.namespace().unwrap_or_default());
        let old = app.status.clone().unwrap_or_default().conditions;
        let new = status.conditions.clone();
        tolerate_gone(cluster::apply_status(&api, PLAN_MANAGER, app, status).await)?;
        self.events.publish_changes(app, &old, &new, "Plan").await;
        Ok(())
    }

    /// Deletes the groups that no plan wants and nobody uses. True while some still wait.
    async fn retire(&mut self, gathered: &Gathered, planned: &[Planned<'_>]) -> Result<bool, cluster::Error> {
        let unwanted = unwanted(gathered, planned);
        let names: BTreeSet<(String, String)> = unwanted.iter().map(|group| key(&***group)).collect();
        self.leaving.retain(|name, _| names.contains(name));
        let wanted: usize = planned.iter().map(|it| it.groups.wanted.len()).sum();
        self.metrics.groups(wanted, unwanted.len());
        let mut answers = None;
        let mut waits = false;
        for group in unwanted {
            let (namespace, name) = key(&**group);
            let active = group.status.as_ref().and_then(|status| status.active.as_ref());
            let verdict = match active {
                // No gateway has ever heard of it.
                None => Verdict::Delete,
                Some(active) => {
                    if answers.is_none() {
                        answers = Some(self.gateways.acknowledged().await);
                    }
                    let apps: Vec<&str> = active.members.iter().map(|member| member.app.as_str()).collect();
                    match &answers {
                        Some(Ok(gateways)) => retire::verdict(&namespace, &name, &apps, gateways),
                        Some(Err(error)) => Verdict::Wait(said(error)),
                        None => Verdict::Wait("the gateways were not asked".to_owned()),
                    }
                }
            };
            match verdict {
                Verdict::Delete => {
                    let api: Api<InferenceGroup> = Api::namespaced(self.client.clone(), &namespace);
                    cluster::delete(&api, &**group).await?;
                    self.events
                        .publish(
                            &**group,
                            EventType::Normal,
                            "Retired",
                            "Plan",
                            "no plan wants the group and no gateway uses it",
                        )
                        .await;
                }
                Verdict::Wait(why) => {
                    waits = true;
                    let (since, said) = *self
                        .leaving
                        .entry((namespace, name))
                        .or_insert((Instant::now(), false));
                    if !said && since.elapsed() >= PATIENCE {
                        let note = format!("no plan wants the group, but it stays: {why}");
                        self.events
                            .publish(&**group, EventType::Warning, "WaitsToLeave", "Plan", &note)
                            .await;
                        self.leaving.insert(key(&**group), (since, true));
                    }
                }
            }
        }
        Ok(waits)
    }
}

/// The groups that exist and that no plan wants: those of planned models by name, and those of models that are gone. Groups of a
/// model that is not accepted now stay as they are.
fn unwanted<'a>(gathered: &'a Gathered, planned: &[Planned<'_>]) -> Vec<&'a Arc<InferenceGroup>> {
    gathered
        .groups
        .iter()
        .filter(|group| {
            let model = (
                group.namespace().unwrap_or_default(),
                group.spec.model_ref.name.clone(),
            );
            planned
                .iter()
                .find(|it| key(it.model) == model)
                .is_some_and(|it| it.groups.unwanted.contains(&group.name_any()))
        })
        .collect()
}

fn place<'a>(
    name: &str,
    problem: Option<&'a super::validate::Problem>,
    planned: Option<&'a Planned<'_>>,
) -> Option<Place<'a>> {
    if let Some(problem) = problem {
        return Some(Place::Rejected(problem));
    }
    let planned = planned?;
    for (group, built) in planned.plan.groups.iter().zip(&planned.groups.wanted) {
        if let Some(member) = group.members.iter().find(|member| member.app == name) {
            return Some(Place::Member {
                name: built.metadata.name.as_deref()?,
                planned: group,
                member,
            });
        }
    }
    let infeasible = planned.plan.infeasible.iter().find(|it| it.app == name)?;
    Some(Place::Infeasible(refusal(&planned.plan.model, infeasible)))
}

/// An object that was deleted meanwhile needs no status.
fn tolerate_gone<K>(outcome: Result<K, cluster::Error>) -> Result<(), cluster::Error> {
    match outcome {
        Err(error) if error.code() == Some(404) => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

fn said(error: &gateways::Error) -> String {
    error.to_string()
}

fn now() -> Time {
    // Seconds are all that the API keeps of a condition's time.
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
