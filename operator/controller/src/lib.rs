//! The reconcilers of HarmonyBatch.
//!
//! [`run`] watches the kinds of [`harmonybatch_api`] and what is made for them, and keeps three things going: [`plan`], which
//! turns applications into InferenceGroups; [`serve`], which runs each group; [`observe`], which writes on every application what
//! the gateways measured. They share the local copies of the watches and speak to each other only through the API: plan writes
//! group specs, serve writes group statuses, plan reads those.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel, InferencePlatformSpec, names};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::{Notify, watch as latest};
use tokio::task::JoinSet;

use crate::gateways::Gateways;
use crate::metrics::Metrics;
use crate::stores::{Stores, Writers};
use crate::watching::{Change, Dirty, watch};

mod admin;
mod cluster;
mod discovery;
mod events;
#[cfg(test)]
mod fixtures;
mod gateways;
mod metrics;
mod observe;
pub mod plan;
mod serve;
mod stores;
mod watching;

/// How many groups are reconciled at the same time.
const SERVED_AT_ONCE: u16 = 8;

/// How the controller is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the gateway's Service.
    pub namespace: String,
    /// Name of the gateway's Service.
    pub gateway_service: String,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub listen: SocketAddr,
    /// Spec of the InferencePlatform `default`, made if the cluster has none.
    pub platform: Option<InferencePlatformSpec>,
}

/// Why the controller could not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part that runs for ever ended.
    #[error("a part of the controller ended: {0}")]
    Ended(String),
}

/// Runs until `shutdown` completes.
pub async fn run(
    options: Options,
    client: Client,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let listener = admin::bind(options.listen)
        .await
        .map_err(|source| RunError::Listen {
            address: options.listen,
            source,
        })?;
    let mut registry = Registry::with_prefix("harmonybatch_controller");
    let metrics = Metrics::register(&mut registry);
    let (ready, readiness) = latest::channel(false);
    let (served, knative_served) = latest::channel(false);
    let (stores, writers) = stores::stores();
    let stores = Arc::new(stores);
    let triggers = Arc::new(Triggers {
        plan: Arc::new(Notify::new()),
        serve: Dirty::new(),
        stores: Arc::clone(&stores),
    });
    let gateways = Arc::new(Gateways::new(stores.gateway_slices()));
    let events = Arc::new(events::Events::new(client.clone()));

    let mut parts: JoinSet<&'static str> = JoinSet::new();
    parts.spawn(admin::serve(listener, Arc::new(registry), readiness).map(|never| match never {}));
    watch_everything(
        &mut parts,
        &client,
        &options,
        writers,
        &triggers,
        knative_served.clone(),
    );
    let observer = observe::Observer {
        client: client.clone(),
        stores: Arc::clone(&stores),
        gateways: Arc::clone(&gateways),
        events: Arc::clone(&events),
        metrics: metrics.clone(),
        written: std::collections::BTreeMap::new(),
    };
    let worker = plan::Worker {
        client: client.clone(),
        stores: Arc::clone(&stores),
        gateways: Arc::clone(&gateways),
        events: Arc::clone(&events),
        metrics: metrics.clone(),
        knative_served: knative_served.clone(),
        changed: Arc::clone(&triggers.plan),
        gateway_host: format!(
            "{}.{}.svc.{}",
            options.gateway_service, options.namespace, options.cluster_domain
        ),
        cluster_domain: options.cluster_domain.clone(),
        platform: options.platform.clone(),
        decided: std::collections::BTreeMap::new(),
        started: tokio::time::Instant::now(),
        wanted: std::collections::BTreeMap::new(),
        leaving: std::collections::BTreeMap::new(),
    };
    let context = Arc::new(serve::Context {
        client: client.clone(),
        stores: Arc::clone(&stores),
        gateways,
        events,
        metrics,
        knative_served,
        sent: serve::Sent::default(),
        failures: std::sync::Mutex::default(),
    });
    let main = async move {
        // A plan made before every list is there would take running groups for unwanted ones.
        if !stores.wait_until_ready().await {
            return "a watch ended";
        }
        first_discovery(&client, &served).await;
        tracing::info!(knative = *served.borrow(), "all lists have arrived");
        ready.send_replace(true);
        let refreshed = Arc::clone(&triggers);
        tokio::select! {
            () = worker.run() => "plan",
            () = observer.run() => "observe",
            () = serve_groups(context, &triggers) => "serve",
            () = discovery::follow(client, served, move || refreshed.everything()) => "discovery",
        }
    };
    parts.spawn(main);
    tokio::select! {
        () = shutdown => {
            tracing::info!("shutting down");
            parts.shutdown().await;
            Ok(())
        }
        ended = parts.join_next() => Err(RunError::Ended(match ended {
            Some(Ok(part)) => part.to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "all".to_owned(),
        })),
    }
}

/// Who is told of a change.
struct Triggers {
    plan: Arc<Notify>,
    /// Namespace and name of groups.
    serve: Dirty<(String, String)>,
    stores: Arc<Stores>,
}

impl Triggers {
    /// Anything may have changed.
    fn everything(&self) {
        self.plan.notify_one();
        self.groups(|_| true);
    }

    /// The groups that a change concerns.
    fn groups(&self, concerned: impl Fn(&InferenceGroup) -> bool) {
        for group in self.stores.groups().iter().filter(|group| concerned(group)) {
            self.serve
                .mark((group.namespace().unwrap_or_default(), group.name_any()));
        }
    }

    /// The group that a labelled object was made for.
    fn group_of(&self, object: &impl ResourceExt) {
        if let (Some(namespace), Some(group)) = (object.namespace(), object.labels().get(names::GROUP_LABEL))
        {
            self.serve.mark((namespace, group.clone()));
        }
    }

    /// A changed object of a kind that users write: the plan hears of it unless only its status changed, and the groups that it
    /// concerns hear of everything.
    fn inputs<K: Resource, C: Fn(&InferenceGroup, &K) -> bool>(
        self: &Arc<Self>,
        concerned: C,
    ) -> impl FnMut(Change<'_, K>) + use<K, C> {
        let triggers = Arc::clone(self);
        // By UID, what a plan reads of an object: its generation, and whether it is being deleted.
        let mut seen: HashMap<Option<String>, (Option<i64>, bool)> = HashMap::new();
        move |change| {
            let (object, news) = match change {
                Change::Relisted => {
                    seen.clear();
                    return triggers.everything();
                }
                Change::Applied(object) => {
                    let meta = object.meta();
                    let state = (meta.generation, meta.deletion_timestamp.is_some());
                    (object, seen.insert(meta.uid.clone(), state) != Some(state))
                }
                Change::Deleted(object) => {
                    seen.remove(&object.meta().uid);
                    (object, true)
                }
            };
            if news {
                triggers.plan.notify_one();
            }
            triggers.groups(|group| concerned(group, object));
        }
    }

    /// A changed object that was made for a group.
    fn made<K: Resource>(self: &Arc<Self>) -> impl FnMut(Change<'_, K>) + use<K> {
        let triggers = Arc::clone(self);
        move |change| match change {
            Change::Applied(object) | Change::Deleted(object) => triggers.group_of(object),
            Change::Relisted => triggers.groups(|_| true),
        }
    }

    /// A changed group concerns itself, the groups that share applications with it (all of its namespace may), and the plan.
    fn group(self: &Arc<Self>) -> impl FnMut(Change<'_, InferenceGroup>) + use<> {
        let triggers = Arc::clone(self);
        move |change| {
            triggers.plan.notify_one();
            match change {
                Change::Applied(changed) | Change::Deleted(changed) => {
                    triggers.groups(|group| group.metadata.namespace == changed.metadata.namespace);
                }
                Change::Relisted => triggers.groups(|_| true),
            }
        }
    }

    /// A changed Service: one made for callers concerns the plan, one made for a group that group.
    fn service(self: &Arc<Self>) -> impl FnMut(Change<'_, Service>) + use<> {
        let triggers = Arc::clone(self);
        move |change| match change {
            Change::Applied(service) | Change::Deleted(service) => {
                if service.labels().contains_key(names::APP_LABEL) {
                    triggers.plan.notify_one();
                }
                triggers.group_of(service);
            }
            Change::Relisted => triggers.everything(),
        }
    }
}

/// Starts a watch of every kind.
fn watch_everything(
    parts: &mut JoinSet<&'static str>,
    client: &Client,
    options: &Options,
    writers: Writers,
    triggers: &Arc<Triggers>,
    mut knative_served: latest::Receiver<bool>,
) {
    let all = watcher::Config::default;
    let made = || watcher::Config::default().labels(names::GROUP_LABEL);
    let ours =
        || watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));
    let model_of = |group: &InferenceGroup, name: &str, namespace: Option<String>| {
        group.spec.model_ref.name == name && group.metadata.namespace == namespace
    };
    let Writers {
        platforms,
        models,
        apps,
        groups,
        deployments,
        services,
        pods,
        knative_services,
        slices,
    } = writers;
    let changed = triggers.inputs(|_, _| true);
    parts.spawn(
        watch(Api::all(client.clone()), all(), platforms, changed).map(|()| "watch of InferencePlatforms"),
    );
    let changed = triggers.inputs(move |group, model: &DeserializeGuard<InferenceModel>| {
        model_of(group, &model.name_any(), model.namespace())
    });
    parts.spawn(watch(Api::all(client.clone()), all(), models, changed).map(|()| "watch of InferenceModels"));
    let changed = triggers.inputs(|group, app: &DeserializeGuard<InferenceApp>| {
        group.metadata.namespace == app.namespace() && lists(group, &app.name_any())
    });
    parts.spawn(watch(Api::all(client.clone()), all(), apps, changed).map(|()| "watch of InferenceApps"));
    parts.spawn(
        watch(Api::all(client.clone()), all(), groups, triggers.group()).map(|()| "watch of InferenceGroups"),
    );
    parts.spawn(
        watch(Api::all(client.clone()), made(), deployments, triggers.made())
            .map(|()| "watch of Deployments"),
    );
    parts.spawn(watch(Api::all(client.clone()), made(), pods, triggers.made()).map(|()| "watch of Pods"));
    parts.spawn(
        watch(Api::all(client.clone()), ours(), services, triggers.service()).map(|()| "watch of Services"),
    );
    let of_gateway = format!("kubernetes.io/service-name={}", options.gateway_service);
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &options.namespace);
    // Nobody waits for a change of these: they are read when gateways are asked.
    let slices = watch(
        api,
        watcher::Config::default().labels(&of_gateway),
        slices,
        |_| {},
    );
    parts.spawn(slices.map(|()| "watch of the gateway's EndpointSlices"));
    let api = Api::all_with(client.clone(), &serve::knative_resource());
    let changed = triggers.made();
    parts.spawn(async move {
        // Watching a kind that is not served would only fill the log.
        let served = knative_served.wait_for(|served| *served).await.is_ok();
        if !served {
            return "discovery";
        }
        watch(api, made(), knative_services, changed).await;
        "watch of Knative Services"
    });
}

/// Whether the group lists the application, in its spec or in what is routed.
fn lists(group: &InferenceGroup, app: &str) -> bool {
    let active = group.status.as_ref().and_then(|status| status.active.as_ref());
    let active = active.map(|active| active.members.as_slice()).unwrap_or_default();
    group
        .spec
        .members
        .iter()
        .chain(active)
        .any(|member| member.app == app)
}

/// Whether Knative is served must be known before the first plan: `Auto` would take its absence for a change of mode.
async fn first_discovery(client: &Client, served: &latest::Sender<bool>) {
    loop {
        match discovery::knative_served(client).await {
            Ok(now) => {
                served.send_replace(now);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "whether Knative is served is asked again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Reconciles every group that is marked, each one at a time and several at once.
async fn serve_groups(context: Arc<serve::Context>, triggers: &Triggers) {
    let marked = triggers
        .serve
        .stream()
        .map(|(namespace, name)| ObjectRef::<InferenceGroup>::new(&name).within(&namespace));
    let store = triggers.stores.group_store();
    let outcomes = kube::runtime::applier(
        |group, context| serve::reconcile(group, context).boxed(),
        serve::failed,
        context,
        store,
        marked.map(Ok::<_, std::convert::Infallible>),
        kube::runtime::controller::Config::default().concurrency(SERVED_AT_ONCE),
    );
    // Every outcome has been logged and counted where it arose.
    outcomes.for_each(|_| std::future::ready(())).await;
}
