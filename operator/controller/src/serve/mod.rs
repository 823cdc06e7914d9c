//! Serve: runs one InferenceGroup, as the plan wants it.
//!
//! The steps, in order: gather (model, platform, siblings and what runs, from the local copies); [`validate`] into one
//! [`validate::Workload`]; [`build`] the objects of the group's mode; [`apply`] them; [`observed`] reads what the API server says of
//! them; [`active`] decides what the gateway may route; [`status`] says it. Objects of the other mode go last, when every gateway
//! has left them ([`leftovers`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harmonybatch_api::conditions::{self, PLANNED, reason};
use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::names::SERVE_MANAGER;
use harmonybatch_api::{InferenceGroup, InferenceGroupStatus, InferenceModel, InferencePlatform};
use kube::api::Api;
use kube::core::ApiResource;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::watch;

use crate::cluster;
use crate::events::Events;
use crate::gateways::Gateways;
use crate::metrics::Metrics;
use crate::serve::active::{Routing, Wish};
pub(crate) use crate::serve::apply::Sent;
use crate::serve::apply::Stored;
use crate::serve::resources::Resources;
use crate::stores::Stores;
use crate::trouble::trouble;

mod active;
mod apply;
mod build;
mod leftovers;
mod observed;
mod resources;
mod status;
mod validate;

/// How long one reconcile may take.
const LIMIT: Duration = Duration::from_mins(1);
/// First and longest pause after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Reconciled even if nothing was seen to change, in case a watch missed something.
const REGULARLY: Duration = Duration::from_mins(5);

/// The Knative Service as a kind of the API.
pub(crate) fn knative_resource() -> ApiResource {
    build::knative_service::resource()
}

/// What every reconcile needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) stores: Arc<Stores>,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Metrics,
    /// Whether the API of Knative Serving is served.
    pub(crate) knative_served: watch::Receiver<bool>,
    pub(crate) sent: Sent,
    /// How often in a row a group could not be reconciled, by namespace and name.
    pub(crate) failures: Mutex<HashMap<(String, String), u32>>,
}

/// Why a group was not reconciled. The variant is the event's reason and the metric's label.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The group's model is gone: the group will be, too.
    #[error("InferenceModel {0} does not exist")]
    ModelNotFound(String),
    /// The model's platform is gone.
    #[error("InferencePlatform {0} does not exist")]
    PlatformNotFound(String),
    /// Knative mode without Knative.
    #[error(
        "the API serving.knative.dev/v1 is not served: install Knative Serving, or set serving: Deployment on the InferencePlatform"
    )]
    KnativeNotFound,
    /// The group cannot be built as it is.
    #[error(transparent)]
    Invalid(#[from] validate::Error),
    /// The API server did not do what was asked.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The whole reconcile took too long.
    #[error("not done within {} s", LIMIT.as_secs())]
    Timeout,
}

impl Error {
    /// The variant, as events and metrics have it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::ModelNotFound(_) => reason::MODEL_NOT_FOUND,
            Self::PlatformNotFound(_) => reason::PLATFORM_NOT_FOUND,
            Self::KnativeNotFound => reason::KNATIVE_NOT_FOUND,
            Self::Invalid(error) => error.reason(),
            Self::Cluster(error) if error.is_refusal() => reason::REFUSED,
            Self::Cluster(_) => "Cluster",
            Self::Timeout => "Timeout",
        }
    }

    /// Whether it is the objects that are wrong, so that only a change of them helps.
    fn is_of_the_objects(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_refusal(),
            Self::Timeout => false,
            Self::ModelNotFound(_) | Self::PlatformNotFound(_) | Self::KnativeNotFound | Self::Invalid(_) => {
                true
            }
        }
    }
}

/// Reconciles one group.
pub(crate) async fn reconcile(group: Arc<InferenceGroup>, context: Arc<Context>) -> Result<Action, Error> {
    let _timer = context.metrics.time("serve");
    if group.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let outcome = match tokio::time::timeout(LIMIT, Box::pin(steps(&group, &context))).await {
        Ok(Err(error)) if error.is_of_the_objects() => {
            tracing::info!(group = %id(&group), reason = error.reason(), %error, "a group cannot be run as it is");
            context.metrics.failed("serve", error.reason());
            let status = status::failed(&group, error.reason(), error.to_string(), &cluster::now());
            write_status(&group, status, &context)
                .await
                .map(|()| Action::requeue(REGULARLY))
        }
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout),
    };
    if outcome.is_ok() {
        let key = (group.namespace().unwrap_or_default(), group.name_any());
        context.sent.retain(|namespace, name| {
            let group = name.strip_suffix("-serve").unwrap_or(name);
            let lives = |group| context.stores.group(namespace, group).is_some();
            lives(group) || lives(name)
        });
        context
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(namespace, name), _| {
                (namespace, name) != (&key.0, &key.1) && context.stores.group(namespace, name).is_some()
            });
    }
    outcome
}

/// What to do after a failure: say it, and try again, later each time.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that kube's Controller asks for"
)]
pub(crate) fn failed(group: Arc<InferenceGroup>, error: &Error, context: Arc<Context>) -> Action {
    tracing::warn!(group = %id(&group), reason = error.reason(), %error, "a group was not reconciled");
    context.metrics.failed("serve", error.reason());
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (group.namespace().unwrap_or_default(), group.name_any());
    let count = failures.entry(key).or_default();
    *count = count.saturating_add(1);
    let (first, longest) = BACK_OFF;
    Action::requeue(
        first
            .saturating_mul(2_u32.saturating_pow(*count - 1))
            .min(longest),
    )
}

async fn steps(group: &InferenceGroup, context: &Context) -> Result<Action, Error> {
    let namespace = group.namespace().unwrap_or_default();
    let name = group.name_any();
    let (model, platform) = gather(group, &context.stores)?;
    if group.spec.serving == ServingMode::Knative && !*context.knative_served.borrow() {
        return Err(Error::KnativeNotFound);
    }
    let workload = validate::validate(group, &model, &platform)?;
    let stored = stored(&namespace, &name, &context.stores);
    let left_behind = left_behind(group, &model, &stored);
    let applied = if left_behind {
        // Of the other mode there may be objects still, which are not what the spec asks for.
        match group.spec.serving {
            ServingMode::Deployment => Resources::applied(stored.deployment, stored.service, None),
            ServingMode::Knative => Resources::applied(None, None, stored.knative_service),
        }
    } else {
        let prepared = build::build(&workload, group.spec.serving);
        let outcome = Box::pin(apply::apply(
            &context.client,
            &context.sent,
            prepared,
            stored,
            &namespace,
        ))
        .await?;
        for object in &outcome.put_back {
            let note = format!("{object} had been changed or deleted by hand and was put back");
            context
                .events
                .publish(group, EventType::Warning, "PutBack", "Serve", &note)
                .await;
        }
        outcome.applied
    };
    let pods = context.stores.pods(&namespace, &name);
    let pods: Vec<_> = pods.iter().map(|pod| &**pod).collect();
    let observed = observed::observe(&applied, group.spec.replicas, &pods);
    let siblings = context.stores.groups_of(&namespace);
    let active = active::active(
        group,
        &siblings.iter().map(|sibling| &**sibling),
        |app| wish(&namespace, app, &group.spec.model_ref.name, &context.stores),
        observed.reached.as_ref(),
        &routing(group, left_behind, &model, &platform),
    );
    let switched = observed.reached.is_some() || active.is_none();
    let status = status::status(group, &observed, trouble(pods), active, &cluster::now());
    let generation = status.active.as_ref().map(|active| active.plan_generation);
    write_status(group, status, context).await?;
    leftovers::remove(group, switched, generation, context).await
}

fn gather(group: &InferenceGroup, stores: &Stores) -> Result<(InferenceModel, InferencePlatform), Error> {
    let namespace = group.namespace().unwrap_or_default();
    let name = &group.spec.model_ref.name;
    let model = stores
        .model(&namespace, name)
        .ok_or_else(|| Error::ModelNotFound(name.clone()))?;
    let platform = &model.spec.platform_ref.name;
    let platform = stores
        .platform(platform)
        .ok_or_else(|| Error::PlatformNotFound(platform.clone()))?;
    Ok((model, platform))
}

fn stored(namespace: &str, group: &str, stores: &Stores) -> Stored {
    Stored {
        deployment: stores.deployment(namespace, group).map(Arc::unwrap_or_clone),
        service: stores.service(namespace, group).map(Arc::unwrap_or_clone),
        knative_service: stores.knative_service(namespace, group).map(Arc::unwrap_or_clone),
    }
}

/// Whether the model has moved on to another image: the plan will replace the group, and until then its pods must stay as they
/// are, because the model's other fields belong to the new image.
fn left_behind(group: &InferenceGroup, model: &InferenceModel, stored: &Stored) -> bool {
    let runs = match group.spec.serving {
        ServingMode::Deployment => stored.deployment.is_some() && stored.service.is_some(),
        ServingMode::Knative => stored.knative_service.is_some(),
    };
    group.spec.image != model.spec.runtime.image && runs
}

/// What the gateway must know of the runtime. That of an image which the model has left is what it was.
fn routing(
    group: &InferenceGroup,
    left_behind: bool,
    model: &InferenceModel,
    platform: &InferencePlatform,
) -> Routing {
    let active = group.status.as_ref().and_then(|status| status.active.as_ref());
    if let Some(active) = active.filter(|_| left_behind) {
        return Routing::kept(active);
    }
    Routing {
        model_name: model
            .spec
            .runtime
            .model_name
            .clone()
            .unwrap_or_else(|| model.name_any()),
        idempotent: model.spec.idempotent,
        protocol: model.spec.protocol,
        overhead: platform.spec.overhead.clone(),
    }
}

/// Where an application wants to be served. One that is not accepted, or that this version cannot read, keeps the place that it has;
/// one that cannot be planned loses it.
fn wish(namespace: &str, app: &str, model: &str, stores: &Stores) -> Wish {
    let app = match stores.app(namespace, app) {
        Some(app) if app.metadata.deletion_timestamp.is_none() => app,
        None if stores.has_app(namespace, app) => return Wish::Here,
        _ => return Wish::Nowhere,
    };
    let status = app.status.clone().unwrap_or_default();
    let refused = conditions::find(&status.conditions, PLANNED).is_some_and(|planned| {
        planned.status == "False"
            && planned.reason == reason::INFEASIBLE
            && planned.observed_generation == app.metadata.generation
    });
    match refused {
        true => Wish::Nowhere,
        false if app.spec.model_ref.name == model => Wish::Here,
        false => Wish::Elsewhere,
    }
}

async fn write_status(
    group: &InferenceGroup,
    status: InferenceGroupStatus,
    context: &Context,
) -> Result<(), Error> {
    let old = group.status.as_ref();
    if !status::differs(old, &status) {
        return Ok(());
    }
    let api: Api<InferenceGroup> =
        Api::namespaced(context.client.clone(), &group.namespace().unwrap_or_default());
    let before = old.map(|old| old.conditions.clone()).unwrap_or_default();
    let conditions = status.conditions.clone();
    match cluster::apply_status(&api, SERVE_MANAGER, group, status).await {
        // Deleted meanwhile: nobody reads it any more.
        Err(error) if error.code() == Some(404) => return Ok(()),
        written => written?,
    };
    context
        .events
        .publish_changes(group, &before, &conditions, "Serve")
        .await;
    Ok(())
}

fn id(group: &InferenceGroup) -> String {
    format!("{}/{}", group.namespace().unwrap_or_default(), group.name_any())
}
