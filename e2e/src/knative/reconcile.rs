//! From a Service to Revisions, Deployments and Services, and back to a status.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service as PlainService};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::objects::{Revision, RevisionStatus, Service, ServiceStatus};
use super::{MANAGER, SERVICE_LABEL, build, status};

/// For this long the status speaks of the spec before the last change: whoever trusts it without looking at `observedGeneration` is caught.
const LAG: Duration = Duration::from_millis(300);
/// After this time a Revision without traffic is ended; in Knative at the earliest after the autoscaler's window of 6 s.
const RETIRE_AFTER: Duration = Duration::from_secs(8);
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct Context {
    client: Client,
    /// When a generation of a Service was first seen, by uid.
    seen: Mutex<BTreeMap<String, (i64, Instant)>>,
}

/// Reconciles every Service of the cluster, for ever.
pub(super) async fn run(client: Client) {
    let context = Arc::new(Context {
        client: client.clone(),
        seen: Mutex::default(),
    });
    let made = || watcher::Config::default().labels(SERVICE_LABEL);
    Controller::new(Api::<Service>::all(client.clone()), watcher::Config::default())
        .owns(Api::<Revision>::all(client.clone()), made())
        .watches(Api::<Deployment>::all(client.clone()), made(), |deployment| {
            service_of(&deployment)
        })
        .watches(Api::<Pod>::all(client), made(), |pod| service_of(&pod))
        .run(reconcile, |service, error, _| retry(&service, error), context)
        .for_each(|_| std::future::ready(()))
        .await;
}

fn service_of<K: Resource>(made: &K) -> Option<ObjectRef<Service>> {
    let name = made.labels().get(SERVICE_LABEL)?;
    Some(ObjectRef::new(name).within(&made.namespace()?))
}

fn retry(service: &Service, error: &kube::Error) -> Action {
    say(&format!(
        "{}/{}: {error}",
        service.namespace().unwrap_or_default(),
        service.name_any()
    ));
    Action::requeue(RETRY_AFTER)
}

/// To the component's log.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "knative-stand-in: {text}");
}

async fn reconcile(service: Arc<Service>, context: Arc<Context>) -> Result<Action, kube::Error> {
    if service.metadata.deletion_timestamp.is_some() {
        // Owner references do the cleaning.
        return Ok(Action::await_change());
    }
    if let Some(rest) = context.lag_left(&service) {
        return Ok(Action::requeue(rest));
    }
    let place = Place {
        client: &context.client,
        namespace: service.namespace().unwrap_or_default(),
    };
    let mut revisions = place.made_for::<Revision>(&service).await?;
    revisions.sort_by_key(Revision::number);
    let created = place.latest_revision(&service, revisions.last()).await?;
    if revisions.last().map(kube::ResourceExt::name_any) != created.metadata.name {
        revisions.push(created);
    }
    let ready_before = revisions.iter().rposition(Revision::is_ready);
    let pods = place.made_for::<Pod>(&service).await?;
    let now = Time(Timestamp::now());
    for index in ready_before.unwrap_or_default()..revisions.len() {
        // Of the Revisions between the ready one and the latest, none ever serves.
        if Some(index) == ready_before || index + 1 == revisions.len() {
            revisions[index] = place.serve(&revisions[index], &pods, &now).await?;
        }
    }
    let ready = revisions.iter().rposition(Revision::is_ready);
    let (created, ready) = (
        &revisions[revisions.len() - 1],
        ready.map(|index| &revisions[index]),
    );
    if let Some(ready) = ready {
        place.apply(&build::route_service(&service, ready)).await?;
    }
    place
        .write_service_status(&service, status::of_service(&service, created, ready, &now))
        .await?;
    place.retire(&revisions, ready, &now).await
}

impl Context {
    /// How long the status still has to be of the generation before.
    fn lag_left(&self, service: &Service) -> Option<Duration> {
        let generation = service.metadata.generation.unwrap_or_default();
        let observed = service
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = service.uid().unwrap_or_default();
        if observed == Some(generation) {
            seen.remove(&uid);
            return None;
        }
        let entry = seen.entry(uid).or_insert_with(|| (generation, Instant::now()));
        if entry.0 != generation {
            *entry = (generation, Instant::now());
        }
        LAG.checked_sub(entry.1.elapsed()).filter(|rest| !rest.is_zero())
    }
}

/// The namespace of one Service.
struct Place<'a> {
    client: &'a Client,
    namespace: String,
}

impl Place<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn made_for<K>(&self, service: &Service) -> Result<Vec<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let label = format!("{SERVICE_LABEL}={}", service.name_any());
        Ok(self
            .api::<K>()
            .list(&ListParams::default().labels(&label))
            .await?
            .items)
    }

    async fn apply<K>(&self, object: &K) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + Debug,
    {
        self.api::<K>()
            .patch(
                &object.name_any(),
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(object),
            )
            .await
    }

    /// The newest Revision if it is of the Service's template, else a new one.
    async fn latest_revision(
        &self,
        service: &Service,
        newest: Option<&Revision>,
    ) -> Result<Revision, kube::Error> {
        let wanted = build::template_digest(&service.spec.template);
        match newest {
            Some(newest) if newest.annotations().get(build::TEMPLATE) == Some(&wanted) => Ok(newest.clone()),
            _ => {
                let revision = build::revision(service, newest.map_or(0, Revision::number) + 1);
                say(&format!(
                    "{}/{}: a new Revision",
                    self.namespace,
                    revision.name_any()
                ));
                self.apply(&revision).await
            }
        }
    }

    /// Runs a Revision and says how it does.
    async fn serve(&self, revision: &Revision, pods: &[Pod], now: &Time) -> Result<Revision, kube::Error> {
        let deployment = self.apply(&build::deployment(revision)).await?;
        self.apply(&build::private_service(revision)).await?;
        self.apply::<PlainService>(&build::public_service(revision))
            .await?;
        let of_revision =
            |pod: &&Pod| pod.labels().get("serving.knative.dev/revision") == revision.metadata.name.as_ref();
        let pods: Vec<Pod> = pods.iter().filter(of_revision).cloned().collect();
        let status = status::of_revision(revision, &deployment, &pods, now);
        if revision.status.as_ref() == Some(&status) {
            return Ok(revision.clone());
        }
        self.write_revision_status(revision, status).await
    }

    async fn write_revision_status(
        &self,
        revision: &Revision,
        status: RevisionStatus,
    ) -> Result<Revision, kube::Error> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<Revision>()
            .patch_status(&revision.name_any(), &PatchParams::default(), &patch)
            .await
    }

    async fn write_service_status(
        &self,
        service: &Service,
        status: ServiceStatus,
    ) -> Result<(), kube::Error> {
        if service.status.as_ref() == Some(&status) {
            return Ok(());
        }
        // The status is of the generation that was read: a change since then makes its own round.
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<Service>()
            .patch_status(&service.name_any(), &PatchParams::default(), &patch)
            .await
            .map(drop)
    }

    /// Ends the Revisions before the ready one, a while after it took over.
    async fn retire(
        &self,
        revisions: &[Revision],
        ready: Option<&Revision>,
        now: &Time,
    ) -> Result<Action, kube::Error> {
        let Some(ready) = ready else {
            return Ok(Action::await_change());
        };
        let before: Vec<&Revision> = revisions
            .iter()
            .filter(|revision| revision.number() < ready.number())
            .collect();
        if before.is_empty() {
            return Ok(Action::await_change());
        }
        let conditions = ready
            .status
            .as_ref()
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default();
        let since = super::objects::condition(conditions, "Ready")
            .and_then(|ready| ready.last_transition_time.clone());
        let for_how_long = since
            .map(|since| now.0.duration_since(since.0))
            .and_then(|span| Duration::try_from(span).ok())
            .unwrap_or_default();
        if let Some(rest) = RETIRE_AFTER
            .checked_sub(for_how_long)
            .filter(|rest| !rest.is_zero())
        {
            return Ok(Action::requeue(rest));
        }
        for revision in before {
            match self
                .api::<Deployment>()
                .delete(
                    &format!("{}-deployment", revision.name_any()),
                    &DeleteParams::background(),
                )
                .await
            {
                Ok(_) => say(&format!("{}/{}: ended", self.namespace, revision.name_any())),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Action::await_change())
    }
}
