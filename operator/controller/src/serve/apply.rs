//! Sends a group's objects to the API server, and tells where somebody else had changed one of them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use harmonybatch_api::names::SERVE_MANAGER;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use kube::core::DynamicObject;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster;
use crate::serve::knative_resource;
use crate::serve::resources::{Applied, Prepared, Resources};

/// What was sent last for each object, by kind, namespace and name: an object that is still the same is not sent again.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    last: Mutex<HashMap<(String, String, String), Last>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    fingerprint: u64,
    uid: Option<String>,
    generation: Option<i64>,
}

/// What the watches know of the group's objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) deployment: Option<Deployment>,
    pub(crate) service: Option<Service>,
    pub(crate) knative_service: Option<DynamicObject>,
}

/// The outcome: what the API server holds, and which objects were put back.
pub(crate) struct Outcome {
    pub(crate) applied: Resources<Applied>,
    /// Kind and name of objects that somebody had changed or deleted.
    pub(crate) put_back: Vec<String>,
}

/// Applies whatever differs from what was sent last.
pub(crate) async fn apply(
    client: &Client,
    sent: &Sent,
    prepared: Resources<Prepared>,
    stored: Stored,
    namespace: &str,
) -> Result<Outcome, cluster::Error> {
    let (deployment, service, knative_service) = prepared.into_parts();
    let mut put_back = Vec::new();
    let deployment = match deployment {
        Some(object) => {
            let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            Some(one(&api, "Deployment", sent, object, stored.deployment, &mut put_back).await?)
        }
        None => None,
    };
    let service = match service {
        Some(object) => {
            let api: Api<Service> = Api::namespaced(client.clone(), namespace);
            Some(one(&api, "Service", sent, object, stored.service, &mut put_back).await?)
        }
        None => None,
    };
    let knative_service = match knative_service {
        Some(object) => {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &knative_resource());
            Some(
                one(
                    &api,
                    "Knative Service",
                    sent,
                    object,
                    stored.knative_service,
                    &mut put_back,
                )
                .await?,
            )
        }
        None => None,
    };
    Ok(Outcome {
        applied: Resources::applied(deployment, service, knative_service),
        put_back,
    })
}

async fn one<K>(
    api: &Api<K>,
    kind: &str,
    sent: &Sent,
    object: K,
    stored: Option<K>,
    put_back: &mut Vec<String>,
) -> Result<K, cluster::Error>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let key = (
        kind.to_owned(),
        object.namespace().unwrap_or_default(),
        object.name_any(),
    );
    let fingerprint = fingerprint(&object);
    let last = sent.get(&key).filter(|last| last.fingerprint == fingerprint);
    // A Service has no generation, so whoever changes one is seen only by comparing.
    let intact = stored
        .as_ref()
        .is_some_and(|stored| stored.meta().generation.is_some() || contains(&json(stored), &json(&object)));
    if let (Some(last), Some(stored), true) = (&last, &stored, intact)
        && *last == state(stored, fingerprint)
    {
        return Ok(stored.clone());
    }
    let applied = cluster::apply(api, SERVE_MANAGER, &object).await?;
    let now = state(&applied, fingerprint);
    if last.is_some_and(|last| last != now) || (stored.is_some() && !intact) {
        put_back.push(format!("{kind} {}", object.name_any()));
    }
    sent.set(key, now);
    Ok(applied)
}

impl Sent {
    fn get(&self, key: &(String, String, String)) -> Option<Last> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    fn set(&self, key: (String, String, String), last: Last) {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, last);
    }

    /// Forgets objects of groups that are gone.
    pub(crate) fn retain(&self, lives: impl Fn(&str, &str) -> bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|(_, namespace, name), _| lives(namespace, name));
    }
}

fn state<K: Resource>(object: &K, fingerprint: u64) -> Last {
    Last {
        fingerprint,
        uid: object.meta().uid.clone(),
        generation: object.meta().generation,
    }
}

fn fingerprint<K: Serialize>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    json(object).to_string().hash(&mut hasher);
    hasher.finish()
}

fn json<K: Serialize>(object: &K) -> serde_json::Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether everything in `part` is in `whole`, too.
fn contains(whole: &serde_json::Value, part: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (whole, part) {
        (Object(whole), Object(part)) => part
            .iter()
            .all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part))),
        (Array(whole), Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}
