//! Reads the local copies of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use harmonybatch_api::InferenceGroup;
use harmonybatch_api::quantity::Rate;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::build::is_caller_service_of;
use super::drift::{self, Drift};
use super::observed;
use super::recordings::Recordings;
use super::traces::Traces;
use super::validate::{Inputs, Key, service_name};
use crate::cluster;
use crate::stores::Stores;

/// Everything that a plan depends on, and what there is of it.
pub(crate) struct Gathered {
    /// What users wrote.
    pub(crate) inputs: Inputs,
    /// How far the batches of models are from their profiles.
    pub(crate) drifts: BTreeMap<Key, Vec<Drift>>,
    /// All groups that are not being deleted.
    pub(crate) groups: Vec<Arc<InferenceGroup>>,
    /// The Services for callers that exist and are ours.
    pub(crate) caller_services: Vec<Arc<Service>>,
    /// Names of Services that an application wants and that somebody else has.
    pub(crate) taken: BTreeSet<Key>,
}

/// Reads everything. Only a Service name that no watch knows, and a ConfigMap with recorded arrivals now and then, cost a call.
pub(crate) async fn gather(
    client: &Client,
    stores: &Stores,
    recordings: &mut Recordings,
    rates: &BTreeMap<Key, Rate>,
    told: &BTreeMap<Key, Vec<Drift>>,
) -> Result<Gathered, cluster::Error> {
    let apps = stores.apps();
    let mut inputs = Inputs {
        platforms: stores.platforms(),
        models: stores.models(),
        rates: observed::rates(&apps, rates),
        apps,
        traces: Traces::new(),
        corrections: BTreeMap::new(),
    };
    inputs
        .platforms
        .retain(|platform| platform.metadata.deletion_timestamp.is_none());
    inputs
        .models
        .retain(|model| model.metadata.deletion_timestamp.is_none());
    inputs
        .apps
        .retain(|app| app.metadata.deletion_timestamp.is_none());
    let drifts = drift::drifts(&inputs.models, told);
    inputs.corrections = drifts
        .iter()
        .map(|(model, drifts)| (model.clone(), drift::corrections(drifts)))
        .collect();
    inputs.traces = recordings.gather(client, &inputs.apps, Instant::now()).await?;
    let mut caller_services = stores.caller_services();
    let mut taken = BTreeSet::new();
    for app in &inputs.apps {
        let wanted = (app.namespace().unwrap_or_default(), service_name(app));
        let ours = caller_services.iter().any(|service| {
            (service.namespace().unwrap_or_default(), service.name_any()) == wanted
                && is_caller_service_of(service, app)
        });
        if ours {
            continue;
        }
        match find(client, &wanted).await? {
            // Ours, without the label by which we watch.
            Some(service) if is_caller_service_of(&service, app) => caller_services.push(Arc::new(service)),
            Some(_) => drop(taken.insert(wanted)),
            None => {}
        }
    }
    let mut groups = stores.groups();
    groups.retain(|group| group.metadata.deletion_timestamp.is_none());
    groups.sort_by_key(|group| (group.namespace(), group.name_any()));
    Ok(Gathered {
        inputs,
        drifts,
        groups,
        caller_services,
        taken,
    })
}

/// A Service that no watch shows. Where it may not be read, making one will say more.
async fn find(client: &Client, (namespace, name): &Key) -> Result<Option<Service>, cluster::Error> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    match cluster::call(|| format!("get Service {namespace}/{name}"), api.get_opt(name)).await {
        Err(error) if error.is_refusal() => Ok(None),
        outcome => outcome,
    }
}
