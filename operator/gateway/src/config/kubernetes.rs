//! Snapshots from the Kubernetes API: InferenceGroups of all namespaces, and the EndpointSlices of what serves them.
//!
//! Whatever happens to the API, the last good configuration stands: a failed watch is tried again for ever, a list that is under way replaces
//! nothing until it is complete, and an object that does not parse keeps the meaning that it had.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt as _};
use harmonybatch_api::{InferenceGroup, names::GROUP_LABEL};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, ExponentialBackoff},
    },
};
use tokio::sync::watch;

use super::{ConfigSource, Snapshot, read};
use crate::{
    peers::{Members, PeerSource},
    run::Membership,
};

/// A watch that has shown nothing for so long is begun anew: its connection may be dead without a sign.
const SILENCE_LIMIT: Duration = Duration::from_mins(5);

/// Pauses between attempts to watch anew. The library's own reach a minute, for which a replica that came or went would be unseen.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Watches the cluster; the snapshots end when the returned future is dropped.
pub fn watch(client: Client) -> (ConfigSource, impl Future<Output = ()> + Send) {
    let (sender, source) = watch::channel(None);
    (source, run(client, sender))
}

async fn run(client: Client, sender: watch::Sender<Option<Arc<Snapshot>>>) {
    let groups = Api::<DeserializeGuard<InferenceGroup>>::all(client.clone());
    let slices = Api::<DeserializeGuard<EndpointSlice>>::all(client);
    let mut groups = pin!(events(groups, watcher::Config::default()));
    let mut slices = pin!(events(slices, watcher::Config::default().labels(GROUP_LABEL)));
    let (mut known_groups, mut known_slices) = (Known::default(), Known::default());
    loop {
        let changed = tokio::select! {
            Some(event) = groups.next() => known_groups.apply(event, |object: &DeserializeGuard<InferenceGroup>| {
                match &object.0 {
                    Ok(group) => read::group(group).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }),
            Some(event) = slices.next() => known_slices.apply(event, |object: &DeserializeGuard<EndpointSlice>| {
                object.0.as_ref().map(read::slice).map_err(ToString::to_string)
            }),
        };
        if changed && known_groups.complete && known_slices.complete {
            let snapshot = read::snapshot(known_groups.objects.values(), known_slices.objects.values());
            sender.send_if_modified(|present| {
                let differs = present.as_deref() != Some(&snapshot);
                if differs {
                    *present = Some(Arc::new(snapshot));
                }
                differs
            });
        }
    }
}

/// Watches the EndpointSlices of the gateways' own Service; the lists end when the returned future is dropped.
pub fn watch_peers(
    client: Client,
    membership: &Membership,
) -> (PeerSource, impl Future<Output = ()> + Send + use<>) {
    const PORT: &str = "admin";
    let (sender, source) = watch::channel(Arc::default());
    let of_service = format!("{}={}", read::SERVICE_LABEL, membership.service);
    let api = Api::<DeserializeGuard<EndpointSlice>>::namespaced(client, &membership.namespace);
    let following = async move {
        let mut slices = pin!(events(api, watcher::Config::default().labels(&of_service)));
        let mut known = Known::default();
        while let Some(event) = slices.next().await {
            let changed = known.apply(event, |object: &DeserializeGuard<EndpointSlice>| {
                object.0.as_ref().map(read::slice).map_err(ToString::to_string)
            });
            if changed {
                let slices = || known.objects.values();
                let members = Members::new(
                    slices().flat_map(|slice| slice.addresses(PORT)),
                    slices().flat_map(read::Slice::all),
                );
                sender.send_if_modified(|present| {
                    let differs = **present != members;
                    if differs {
                        tracing::info!(?members, "the gateways changed");
                        *present = Arc::new(members);
                    }
                    differs
                });
            }
        }
    };
    (source, following)
}

/// Events of one kind, for ever.
fn events<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let attempts = futures::stream::repeat(()).flat_map(move |()| {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(SHORTEST_PAUSE)
            .with_max_delay(LONGEST_PAUSE);
        let backoff = ExponentialBackoff::from(pauses.without_max_times().with_jitter());
        let events = Box::pin(watcher::watcher(api.clone(), config.clone()).backoff(backoff));
        futures::stream::unfold(events, |mut events| async move {
            let event = tokio::time::timeout(SILENCE_LIMIT, events.next()).await.ok()??;
            Some((event, events))
        })
    });
    attempts.filter_map(|event| async move {
        event
            .inspect_err(|error| tracing::warn!(kind = %K::kind(&K::DynamicType::default()), %error, "cannot watch; the last known configuration stands"))
            .ok()
    })
}

/// The objects of one kind.
struct Known<T> {
    objects: HashMap<(String, String), T>,
    /// Objects of a list that is not complete.
    listing: HashMap<(String, String), T>,
    complete: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            listing: HashMap::new(),
            complete: false,
        }
    }
}

impl<T: Clone> Known<T> {
    /// Takes an event in; whether the objects may have changed. What is listed anew counts when the list is complete.
    fn apply<K: Resource>(&mut self, event: Event<K>, read: impl Fn(&K) -> Result<T, String>) -> bool
    where
        K::DynamicType: Default,
    {
        let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Init => {
                self.listing = HashMap::new();
                return false;
            }
            Event::InitApply(object) => {
                let name = name(&object);
                if let Some(value) = self.value(&name, &object, read) {
                    self.listing.insert(name, value);
                }
                return false;
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.listing);
                self.complete = true;
            }
            Event::Apply(object) => {
                let name = name(&object);
                if let Some(value) = self.value(&name, &object, read) {
                    self.objects.insert(name, value);
                }
            }
            Event::Delete(object) => {
                self.objects.remove(&name(&object));
            }
        }
        self.complete
    }

    /// What an object means: what it meant before where it cannot be read.
    fn value<K: Resource>(
        &self,
        name: &(String, String),
        object: &K,
        read: impl Fn(&K) -> Result<T, String>,
    ) -> Option<T>
    where
        K::DynamicType: Default,
    {
        read(object).map_or_else(
            |error| {
                let kind = K::kind(&K::DynamicType::default()).into_owned();
                tracing::warn!(%kind, namespace = %name.0, name = %name.1, %error, "cannot read; what it said before stands");
                self.objects.get(name).cloned()
            },
            Some,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(name: &str, value: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.data = Some(BTreeMap::from([("value".to_owned(), value.to_owned())]));
        object
    }

    fn read(object: &ConfigMap) -> Result<String, String> {
        let value = object
            .data
            .as_ref()
            .and_then(|data| data.get("value"))
            .cloned()
            .unwrap_or_default();
        if value == "broken" { Err(value) } else { Ok(value) }
    }

    fn values(known: &Known<String>) -> Vec<&str> {
        let mut values: Vec<_> = known.objects.values().map(String::as_str).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn a_list_replaces_nothing_until_it_is_complete_and_a_broken_object_keeps_its_meaning() {
        let mut known = Known::default();
        for event in [
            Event::Init,
            Event::InitApply(object("a", "1")),
            Event::InitApply(object("b", "broken")),
        ] {
            assert!(!known.apply(event, read));
        }
        assert!(known.apply(Event::InitDone, read));
        assert_eq!(values(&known), ["1"]);
        known.apply(Event::Apply(object("a", "broken")), read);
        known.apply(Event::Apply(object("c", "3")), read);
        assert_eq!(values(&known), ["1", "3"]);
        assert!(!known.apply(Event::Init, read));
        assert!(!known.apply(Event::InitApply(object("a", "broken")), read));
        assert_eq!(values(&known), ["1", "3"]);
        known.apply(Event::InitDone, read);
        assert_eq!(values(&known), ["1"]);
        known.apply(Event::Delete(object("a", "broken")), read);
        assert_eq!(values(&known), Vec::<&str>::new());
    }
}
