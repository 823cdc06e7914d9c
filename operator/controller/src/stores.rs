//! The local copies of what the reconcilers read, kept current by the watches.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel, InferencePlatform, names};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{DeserializeGuard, DynamicObject};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

use crate::serve::knative_resource;

/// Readers of all stores.
pub(crate) struct Stores {
    platforms: Store<DeserializeGuard<InferencePlatform>>,
    models: Store<DeserializeGuard<InferenceModel>>,
    apps: Store<DeserializeGuard<InferenceApp>>,
    groups: Store<InferenceGroup>,
    deployments: Store<Deployment>,
    services: Store<Service>,
    pods: Store<Pod>,
    jobs: Store<Job>,
    knative_services: Store<DynamicObject>,
    slices: Store<EndpointSlice>,
}

/// The other ends.
pub(crate) struct Writers {
    pub(crate) platforms: Writer<DeserializeGuard<InferencePlatform>>,
    pub(crate) models: Writer<DeserializeGuard<InferenceModel>>,
    pub(crate) apps: Writer<DeserializeGuard<InferenceApp>>,
    pub(crate) groups: Writer<InferenceGroup>,
    pub(crate) deployments: Writer<Deployment>,
    pub(crate) services: Writer<Service>,
    pub(crate) pods: Writer<Pod>,
    pub(crate) jobs: Writer<Job>,
    pub(crate) knative_services: Writer<DynamicObject>,
    pub(crate) slices: Writer<EndpointSlice>,
}

/// Empty stores.
pub(crate) fn stores() -> (Stores, Writers) {
    fn writer<K>() -> Writer<K>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        Writer::new(())
    }
    let writers = Writers {
        platforms: writer(),
        models: writer(),
        apps: writer(),
        groups: writer(),
        deployments: writer(),
        services: writer(),
        pods: writer(),
        jobs: writer(),
        knative_services: Writer::new(knative_resource()),
        slices: writer(),
    };
    let stores = Stores {
        platforms: writers.platforms.as_reader(),
        models: writers.models.as_reader(),
        apps: writers.apps.as_reader(),
        groups: writers.groups.as_reader(),
        deployments: writers.deployments.as_reader(),
        services: writers.services.as_reader(),
        pods: writers.pods.as_reader(),
        jobs: writers.jobs.as_reader(),
        knative_services: writers.knative_services.as_reader(),
        slices: writers.slices.as_reader(),
    };
    (stores, writers)
}

impl Stores {
    /// Waits for the first list of every kind but Knative's, which may not be served. False if a watch ended instead.
    pub(crate) async fn wait_until_ready(&self) -> bool {
        let ready = tokio::try_join!(
            self.platforms.wait_until_ready(),
            self.models.wait_until_ready(),
            self.apps.wait_until_ready(),
            self.groups.wait_until_ready(),
            self.deployments.wait_until_ready(),
            self.services.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.jobs.wait_until_ready(),
            self.slices.wait_until_ready(),
        );
        ready.is_ok()
    }

    /// Waits for the first list of Knative Services, which comes only where they are served.
    pub(crate) async fn wait_until_knative_is_ready(&self) -> bool {
        self.knative_services.wait_until_ready().await.is_ok()
    }

    /// All platforms that can be read.
    pub(crate) fn platforms(&self) -> Vec<InferencePlatform> {
        readable(&self.platforms)
    }

    /// All models that can be read.
    pub(crate) fn models(&self) -> Vec<InferenceModel> {
        readable(&self.models)
    }

    /// All applications that can be read.
    pub(crate) fn apps(&self) -> Vec<InferenceApp> {
        readable(&self.apps)
    }

    /// A platform.
    pub(crate) fn platform(&self, name: &str) -> Option<InferencePlatform> {
        self.platforms
            .get(&ObjectRef::new(name))
            .and_then(|guard| guard.0.clone().ok())
    }

    /// A model.
    pub(crate) fn model(&self, namespace: &str, name: &str) -> Option<InferenceModel> {
        self.models
            .get(&ObjectRef::new(name).within(namespace))
            .and_then(|guard| guard.0.clone().ok())
    }

    /// An application.
    pub(crate) fn app(&self, namespace: &str, name: &str) -> Option<InferenceApp> {
        self.apps
            .get(&ObjectRef::new(name).within(namespace))
            .and_then(|guard| guard.0.clone().ok())
    }

    /// Whether there is such an application, be it one that cannot be read.
    pub(crate) fn has_app(&self, namespace: &str, name: &str) -> bool {
        self.apps.get(&ObjectRef::new(name).within(namespace)).is_some()
    }

    /// All groups.
    pub(crate) fn groups(&self) -> Vec<Arc<InferenceGroup>> {
        self.groups.state()
    }

    /// A group.
    pub(crate) fn group(&self, namespace: &str, name: &str) -> Option<Arc<InferenceGroup>> {
        self.groups.get(&ObjectRef::new(name).within(namespace))
    }

    /// The groups of a namespace.
    pub(crate) fn groups_of(&self, namespace: &str) -> Vec<Arc<InferenceGroup>> {
        self.groups
            .state_filter(|group| group.metadata.namespace.as_deref() == Some(namespace))
    }

    /// The store of groups, for the serve reconciler's queue.
    pub(crate) fn group_store(&self) -> Store<InferenceGroup> {
        self.groups.clone()
    }

    /// The gateway's EndpointSlices.
    pub(crate) fn gateway_slices(&self) -> Store<EndpointSlice> {
        self.slices.clone()
    }

    /// The Services made for callers, of all applications.
    pub(crate) fn caller_services(&self) -> Vec<Arc<Service>> {
        self.services
            .state_filter(|service| service.labels().contains_key(names::APP_LABEL))
    }

    /// The group's Deployment.
    pub(crate) fn deployment(&self, namespace: &str, group: &str) -> Option<Arc<Deployment>> {
        self.deployments
            .get(&ObjectRef::new(&names::serving_name(group)).within(namespace))
    }

    /// The group's headless Service.
    pub(crate) fn service(&self, namespace: &str, group: &str) -> Option<Arc<Service>> {
        self.services
            .get(&ObjectRef::new(&names::serving_name(group)).within(namespace))
    }

    /// The group's Knative Service.
    pub(crate) fn knative_service(&self, namespace: &str, group: &str) -> Option<Arc<DynamicObject>> {
        self.knative_services
            .get(&ObjectRef::new_with(group, knative_resource()).within(namespace))
    }

    /// The group's pods.
    pub(crate) fn pods(&self, namespace: &str, group: &str) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.labels().get(names::GROUP_LABEL).map(String::as_str) == Some(group)
        })
    }
}

impl Stores {
    /// The Jobs that measure a model.
    pub(crate) fn profile_jobs(&self, namespace: &str, model: &str) -> Vec<Arc<Job>> {
        self.jobs.state_filter(|job| {
            job.metadata.namespace.as_deref() == Some(namespace)
                && job.labels().get(names::PROFILED_MODEL_LABEL).map(String::as_str) == Some(model)
        })
    }

    /// A Job that measures any model, and that is active.
    pub(crate) fn active_profile_job(&self, is_active: fn(&Job) -> bool) -> Option<Arc<Job>> {
        self.jobs.find(is_active)
    }
}

/// An object that the schema of this version cannot read (written under another one) stops nobody else.
fn readable<K>(store: &Store<DeserializeGuard<K>>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    store
        .state()
        .iter()
        .filter_map(|guard| match &guard.0 {
            Ok(object) => Some(object.clone()),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), name = ?error.metadata.name, error = %error.error, "unreadable object");
                None
            }
        })
        .collect()
}
