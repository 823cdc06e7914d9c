//! The one task that plans: woken by any change, it waits until changes pause, then reconciles every platform.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::conditions::reason;
use harmonybatch_api::names::{self, PLAN_MANAGER};
use harmonybatch_api::quantity::Rate;
use harmonybatch_api::{InferenceGroup, InferencePlatform, InferencePlatformSpec};
use harmonybatch_planner::{Session, Stop};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::apply::{self, Wanted};
use super::build::{self, Planned};
use super::callers;
use super::decide::{Decided, decide_again};
use super::drift::Drift;
use super::gather::{Gathered, gather};
use super::publish::{Pools, Publisher};
use super::recordings::Recordings;
use super::refusals::Refusals;
use super::removal::Removal;
use super::reports::Reports;
use super::running::running;
use super::validate::{Key, Validated, key, validate};
use crate::cluster::{self, call};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::stores::Stores;

/// A burst of changes (`kubectl apply` of a folder) becomes one plan if they come closer together than this.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// First and longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How often the gateways are asked while a group waits to be deleted.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a Service name that somebody else has, and what the API server refused, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// Reconciled even if nothing was seen to change, in case a watch missed something.
const REGULARLY: Duration = Duration::from_mins(5);
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
}

/// Stops the search when nobody waits for it any more: a process that ends does not wait for a plan.
struct StopOnDrop(Option<Stop>);

impl StopOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.request();
        }
    }
}

impl Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "Cluster",
            Self::Planner(_) => "Planner",
        }
    }
}

/// The plan reconciler.
pub(crate) struct Worker {
    pub(crate) client: Client,
    pub(crate) stores: Arc<Stores>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Metrics,
    /// Whether the API of Knative Serving is served.
    pub(crate) knative_served: watch::Receiver<bool>,
    /// Notified by every watch whose objects a plan depends on.
    pub(crate) changed: Arc<Notify>,
    /// The observed rates to plan for.
    pub(crate) rates: watch::Receiver<BTreeMap<Key, Rate>>,
    /// How far the batches of models are from their profiles.
    pub(crate) drifts: watch::Receiver<BTreeMap<Key, Vec<Drift>>>,
    /// DNS name of the gateway's Service.
    pub(crate) gateway_host: String,
    /// Spec of the platform `default`, made if the cluster has none.
    pub(crate) platform: Option<InferencePlatformSpec>,
    /// What was decided last for every platform: the same request has the same plan, and needs no search.
    pub(crate) decided: BTreeMap<String, Decided>,
    /// What planning remembers.
    pub(crate) session: Arc<Session>,
    /// The ConfigMaps with recorded arrivals.
    pub(crate) recordings: Recordings,
    /// From when the times in there count.
    pub(crate) started: Instant,
    /// What is said of the platforms' pools.
    pub(crate) reports: Reports,
    /// The groups as the last plan wanted them.
    pub(crate) wanted: Wanted,
    /// Writes statuses.
    pub(crate) publisher: Publisher,
    /// Deletes groups.
    pub(crate) removal: Removal,
}

impl Worker {
    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let timer = self.metrics.time("plan");
            // Every call to the API server has its limit, and the search takes as long as it takes: ended early, it would only begin anew.
            let outcome = self.reconcile().await;
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
                // Lets the rest of a burst arrive: one search instead of many.
                tokio::time::sleep(DEBOUNCE).await;
            }
        }
    }

    /// The steps, in order. Returns how long until the next look if nothing changes.
    async fn reconcile(&mut self) -> Result<Duration, Error> {
        self.make_platform().await?;
        let rates = self.rates.borrow().clone();
        let drifts = self.drifts.borrow().clone();
        let gathered = gather(&self.client, &self.stores, &mut self.recordings, &rates, &drifts).await?;
        let validated = validate(&gathered.inputs, &gathered.taken);
        self.decide(&gathered, &validated).await?;
        self.reports.follow(&self.decided, &self.changed);
        let planned = self.build(&gathered, &validated);
        let wanted = planned.iter().flat_map(|it| it.groups.wanted.clone()).collect();
        let mut refusals = Refusals::default();
        let applied = apply::groups(
            &self.client,
            &self.events,
            &mut self.wanted,
            wanted,
            &gathered.groups,
            &mut refusals,
        )
        .await?;
        self.catch_up(&applied).await;
        let again = callers::apply(
            &self.client,
            &self.gateway_host,
            &gathered,
            &validated,
            &mut refusals,
        )
        .await?;
        if again {
            self.changed.notify_one();
        }
        let groups = self.stores.groups();
        self.publisher
            .publish(
                &gathered,
                &validated,
                &planned,
                &Pools {
                    decided: &self.decided,
                    reports: &self.reports,
                },
                &groups,
                &refusals,
            )
            .await?;
        let waits = self.removal.remove(&gathered, &planned).await?;
        if !refusals.is_empty() {
            self.metrics.failed("plan", reason::REFUSED);
        }
        let pause = match (waits, gathered.taken.is_empty() && refusals.is_empty()) {
            (true, _) => ASK_AGAIN,
            (false, false) => LOOK_AGAIN,
            (false, true) => REGULARLY,
        };
        Ok(match self.recordings.next_look(Instant::now()) {
            Some(due) => pause.min(due),
            None => pause,
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
            let (runs, session) = (running(&gathered.groups), Arc::clone(&self.session));
            let waiting = StopOnDrop(Some(self.session.stop()));
            let decided = tokio::task::spawn_blocking(move || {
                decide_again(&input, last.as_ref(), &runs, &patience, now, &session)
            })
            .await?;
            waiting.disarm();
            let decided = match decided {
                Ok(decided) => decided,
                // What runs is better than a plan that is not one.
                Err(error) => {
                    tracing::error!(%platform, %error, "no plan: what was decided before stays");
                    self.metrics.failed("plan", "Unplanned");
                    continue;
                }
            };
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
                let protocol = model.spec.protocol;
                let serving =
                    |device: &_| build::serving_mode(platform.spec.serving, knative, protocol, device);
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
        if applied.iter().all(seen) {
            return;
        }
        // The watch of groups says that something changed after the store has it.
        let caught_up = async {
            while !applied.iter().all(seen) {
                self.changed.notified().await;
            }
        };
        if tokio::time::timeout(CATCH_UP, caught_up).await.is_err() {
            tracing::warn!("the watch of InferenceGroups lags behind what was written");
        }
        // What was heard here may have been something else.
        self.changed.notify_one();
    }
}
