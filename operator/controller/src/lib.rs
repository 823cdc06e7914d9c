//! The reconcilers of HarmonyBatch.
//!
//! [`run`] watches the kinds of [`harmonybatch_api`] and what is made for them, and keeps four things going: [`plan`], which
//! turns applications into InferenceGroups; [`serve`], which runs each group; [`observe`], which writes on every application what
//! the gateways measured; [`profiles`], which measures the models that ask for it. They share the local copies of the watches and speak to each other only through the API: plan writes
//! group specs, serve writes group statuses, plan reads those.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use harmonybatch_api::quantity::Rate;
use harmonybatch_api::{InferenceGroup, InferencePlatformSpec};
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::{Notify, watch as latest};
use tokio::task::JoinSet;

use crate::gateways::Gateways;
use crate::metrics::Metrics;
use crate::triggers::{Triggers, watch_everything};
use crate::watching::Dirty;

mod admin;
mod cluster;
mod discovery;
mod events;
#[cfg(test)]
mod fixtures;
mod gateways;
pub mod measured_pod;
mod metrics;
mod observe;
pub mod plan;
mod profiles;
mod runtime;
mod serve;
mod stores;
mod triggers;
mod trouble;
mod watching;

/// How many groups are reconciled at the same time.
const SERVED_AT_ONCE: u16 = 8;

/// Between two questions whether Knative is served, until there is an answer.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(1);

/// How long the first list of Knative Services is waited for.
const KNATIVE_LIST_LIMIT: Duration = Duration::from_secs(30);

/// How the controller is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the gateway's Service.
    pub namespace: String,
    /// Name of the gateway's Service.
    pub gateway_service: String,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Whether the gateway serves its callers over TLS.
    pub gateway_tls: bool,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub listen: SocketAddr,
    /// Spec of the InferencePlatform `default`, made if the cluster has none.
    pub platform: Option<InferencePlatformSpec>,
    /// Our own image, which the Jobs run that measure models. Without it no model is measured.
    pub image: Option<String>,
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
        profiles: Arc::new(Notify::new()),
        serve: Dirty::new(),
        stores: Arc::clone(&stores),
    });

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
    let shared = Shared {
        client: client.clone(),
        stores: Arc::clone(&stores),
        gateways: Arc::new(Gateways::new(stores.gateway_slices())),
        events: Arc::new(events::Events::new(client.clone())),
        metrics,
        knative_served,
        rates: latest::Sender::default(),
        drifts: latest::Sender::default(),
    };
    let observer = shared.observer(Arc::clone(&triggers.plan));
    let worker = shared.planner(&options, Arc::clone(&triggers.plan));
    let profiles = shared.profiles(&options, Arc::clone(&triggers.profiles));
    let context = Arc::new(shared.server());
    let main = async move {
        // A plan made before every list is there would take running groups for unwanted ones.
        if !stores.wait_until_ready().await {
            return "a watch ended";
        }
        first_discovery(&client, &served).await;
        // What runs must be known before it is judged; without an answer the group's own errors say what is wrong.
        let knative = *served.borrow();
        if knative {
            let listed = tokio::time::timeout(KNATIVE_LIST_LIMIT, stores.wait_until_knative_is_ready()).await;
            if listed != Ok(true) {
                tracing::warn!("the Knative Services were not listed within {KNATIVE_LIST_LIMIT:?}");
            }
        }
        tracing::info!(knative, "all lists have arrived");
        ready.send_replace(true);
        let refreshed = Arc::clone(&triggers);
        tokio::select! {
            () = worker.run() => "plan",
            () = observer.run() => "observe",
            () = profiles.run() => "profiles",
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

/// What the reconcilers have in common.
struct Shared {
    client: Client,
    stores: Arc<stores::Stores>,
    gateways: Arc<Gateways>,
    events: Arc<events::Events>,
    metrics: Metrics,
    knative_served: latest::Receiver<bool>,
    /// The observed rates to plan for.
    rates: latest::Sender<BTreeMap<plan::Key, Rate>>,
    /// How far the batches of models are from their profiles.
    drifts: latest::Sender<BTreeMap<plan::Key, Vec<plan::Drift>>>,
}

impl Shared {
    fn observer(&self, replan: Arc<Notify>) -> observe::Observer {
        observe::Observer {
            client: self.client.clone(),
            stores: Arc::clone(&self.stores),
            gateways: Arc::clone(&self.gateways),
            events: Arc::clone(&self.events),
            metrics: self.metrics.clone(),
            started: tokio::time::Instant::now(),
            written: BTreeMap::new(),
            arrivals: observe::Arrivals::default(),
            rates: self.rates.clone(),
            drifting: observe::Drifts::default(),
            drifts: self.drifts.clone(),
            replan,
        }
    }

    fn profiles(&self, options: &Options, changed: Arc<Notify>) -> profiles::Profiles {
        profiles::Profiles {
            client: self.client.clone(),
            stores: Arc::clone(&self.stores),
            events: Arc::clone(&self.events),
            metrics: self.metrics.clone(),
            changed,
            image: options.image.clone(),
            made: None,
        }
    }

    fn planner(&self, options: &Options, changed: Arc<Notify>) -> plan::Worker {
        let session = Arc::default();
        plan::Worker {
            client: self.client.clone(),
            stores: Arc::clone(&self.stores),
            events: Arc::clone(&self.events),
            metrics: self.metrics.clone(),
            knative_served: self.knative_served.clone(),
            changed,
            rates: self.rates.subscribe(),
            drifts: self.drifts.subscribe(),
            gateway_host: format!(
                "{}.{}.svc.{}",
                options.gateway_service, options.namespace, options.cluster_domain
            ),
            platform: options.platform.clone(),
            decided: BTreeMap::new(),
            session: Arc::clone(&session),
            recordings: plan::Recordings::default(),
            started: tokio::time::Instant::now(),
            reports: plan::Reports::new(session),
            wanted: BTreeMap::new(),
            publisher: plan::Publisher {
                client: self.client.clone(),
                events: Arc::clone(&self.events),
                cluster_domain: options.cluster_domain.clone(),
                tls: options.gateway_tls,
            },
            removal: plan::Removal {
                client: self.client.clone(),
                stores: Arc::clone(&self.stores),
                gateways: Arc::clone(&self.gateways),
                events: Arc::clone(&self.events),
                metrics: self.metrics.clone(),
                waiting: BTreeMap::new(),
            },
        }
    }

    fn server(&self) -> serve::Context {
        serve::Context {
            client: self.client.clone(),
            stores: Arc::clone(&self.stores),
            gateways: Arc::clone(&self.gateways),
            events: Arc::clone(&self.events),
            metrics: self.metrics.clone(),
            knative_served: self.knative_served.clone(),
            sent: serve::Sent::default(),
            failures: std::sync::Mutex::default(),
        }
    }
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
                // Nothing tells when the API server answers again: it is asked, and no more often than that.
                tokio::time::sleep(DISCOVERY_PAUSE).await;
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
