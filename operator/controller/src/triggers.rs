//! Who is told of a change: the plan, or the groups that it concerns.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel, names};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::{Notify, watch as latest};
use tokio::task::JoinSet;

use crate::stores::{Stores, Writers};
use crate::watching::{Change, Dirty, watch};
use crate::{Options, serve};

/// Who is told of a change.
pub(crate) struct Triggers {
    pub(crate) plan: Arc<Notify>,
    /// Namespace and name of groups.
    pub(crate) serve: Dirty<(String, String)>,
    /// Told of every change of a model or of a Job that measures one.
    pub(crate) profiles: Arc<Notify>,
    pub(crate) stores: Arc<Stores>,
}

impl Triggers {
    /// Anything may have changed.
    pub(crate) fn everything(&self) {
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
        self.inputs_with(concerned, |_| None)
    }

    /// The same where a plan reads something of the status, too.
    fn inputs_with<K: Resource, C: Fn(&InferenceGroup, &K) -> bool>(
        self: &Arc<Self>,
        concerned: C,
        read: fn(&K) -> Option<String>,
    ) -> impl FnMut(Change<'_, K>) + use<K, C> {
        let triggers = Arc::clone(self);
        // By UID, what a plan reads of an object: its generation, whether it is being deleted, and something of its status.
        let mut seen: HashMap<Option<String>, (Option<i64>, bool, Option<String>)> = HashMap::new();
        move |change| {
            let (object, news) = match change {
                Change::Relisted => {
                    seen.clear();
                    return triggers.everything();
                }
                Change::Applied(object) => {
                    let meta = object.meta();
                    let state = (meta.generation, meta.deletion_timestamp.is_some(), read(object));
                    let before = seen.insert(meta.uid.clone(), state.clone());
                    (object, before != Some(state))
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
pub(crate) fn watch_everything(
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
        jobs,
        knative_services,
        slices,
    } = writers;
    let changed = triggers.inputs(|_, _| true);
    parts.spawn(
        watch(Api::all(client.clone()), all(), platforms, changed).map(|()| "watch of InferencePlatforms"),
    );
    let mut changed = triggers.inputs_with(
        move |group, model: &DeserializeGuard<InferenceModel>| {
            model_of(group, &model.name_any(), model.namespace())
        },
        measured,
    );
    let profiles = Arc::clone(&triggers.profiles);
    let changed = move |change: Change<'_, _>| {
        profiles.notify_one();
        changed(change);
    };
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
    let profiles = Arc::clone(&triggers.profiles);
    let measuring = watcher::Config::default().labels(names::PROFILED_MODEL_LABEL);
    let jobs = watch(Api::all(client.clone()), measuring, jobs, move |_| {
        profiles.notify_one();
    });
    parts.spawn(jobs.map(|()| "watch of Jobs"));
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

/// What was measured of a model, as text that differs with it.
fn measured(model: &DeserializeGuard<InferenceModel>) -> Option<String> {
    let status = model.0.as_ref().ok()?.status.as_ref()?;
    serde_json::to_string(status.profile.as_ref()?).ok()
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
