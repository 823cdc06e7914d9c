//! The ConfigMaps with recorded arrivals, as they were when they were last looked at.
//!
//! They are looked at by name, and only those that applications name: a watch would bring every ConfigMap of the cluster here, or need the right to
//! list them. A look asks for the metadata alone; the text, of up to a megabyte, is fetched and read again only where its version is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use harmonybatch_api::InferenceApp;
use harmonybatch_planner::Trace;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::traces::{TracePlace, Traces};
use super::validate::{Key, Problem};
use crate::cluster::{self, call};

/// Longest time until a change is seen, as the field's description promises.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// The same while something is wrong: whoever mends it is waiting.
const LOOK_SOON: Duration = Duration::from_secs(5);
/// Looks at the same time.
const AT_ONCE: usize = 8;

/// What is known of the ConfigMaps that applications name.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    known: BTreeMap<Key, Known>,
}

#[derive(Debug)]
struct Known {
    looked_at: Instant,
    /// The version that was read; none where there was nothing to read.
    version: Option<String>,
    /// What stands under the keys that are named.
    read: BTreeMap<TracePlace, Result<Arc<Trace>, Problem>>,
}

/// A look that is due.
#[derive(Debug, PartialEq)]
struct Look {
    config_map: Key,
    /// The version of which everything is known that is asked for.
    version: Option<String>,
}

/// What a look showed.
enum Seen {
    Unchanged,
    Read(Box<ConfigMap>),
    /// There is nothing to read: why.
    Nothing(&'static str),
}

impl Recordings {
    /// What stands at the places that the applications name.
    pub(crate) async fn gather(
        &mut self,
        client: &Client,
        apps: &[InferenceApp],
        now: Instant,
    ) -> Result<Traces, cluster::Error> {
        let named: BTreeSet<TracePlace> = apps.iter().filter_map(TracePlace::of).collect();
        let looks = stream::iter(self.due(&named, now)).map(|look| async {
            let seen = see(client, &look).await?;
            Ok::<_, cluster::Error>((look.config_map, seen))
        });
        let seen: Vec<(Key, Seen)> = looks.buffer_unordered(AT_ONCE).try_collect().await?;
        for (config_map, seen) in seen {
            self.keep(config_map, &seen, &named, now);
        }
        Ok(self.known.values().flat_map(|known| known.read.clone()).collect())
    }

    /// How long until the next look is due.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Duration> {
        let due = self.known.values().map(Known::due_at).min()?;
        Some(due.saturating_duration_since(now))
    }

    /// Forgets what nobody names any more, and lists the ConfigMaps to look at.
    fn due(&mut self, named: &BTreeSet<TracePlace>, now: Instant) -> Vec<Look> {
        let config_maps: BTreeSet<&Key> = named.iter().map(|place| &place.config_map).collect();
        self.known.retain(|config_map, known| {
            known.read.retain(|place, _| named.contains(place));
            config_maps.contains(config_map)
        });
        let look = |config_map: &&Key| {
            let complete = self.known.get(*config_map).filter(|known| {
                let mut places = named.iter().filter(|place| place.config_map == **config_map);
                places.all(|place| known.read.contains_key(place))
            });
            match complete {
                Some(known) if now < known.due_at() => None,
                known => Some(Look {
                    config_map: (*config_map).clone(),
                    version: known.and_then(|known| known.version.clone()),
                }),
            }
        };
        config_maps.iter().filter_map(look).collect()
    }

    fn keep(&mut self, config_map: Key, seen: &Seen, named: &BTreeSet<TracePlace>, now: Instant) {
        let places = named.iter().filter(|place| place.config_map == config_map);
        let (version, read) = match seen {
            Seen::Unchanged => {
                if let Some(known) = self.known.get_mut(&config_map) {
                    known.looked_at = now;
                }
                return;
            }
            // A megabyte is read in some milliseconds, and once a change.
            Seen::Read(found) => (
                found.resource_version(),
                places.map(|place| (place.clone(), place.read(found))).collect(),
            ),
            Seen::Nothing(state) => (
                None,
                places
                    .map(|place| (place.clone(), Err(place.not_found(state))))
                    .collect(),
            ),
        };
        let known = Known {
            looked_at: now,
            version,
            read,
        };
        self.known.insert(config_map, known);
    }
}

impl Known {
    fn due_at(&self) -> Instant {
        let fine = self.read.values().all(Result::is_ok);
        self.looked_at + if fine { LOOK_AGAIN } else { LOOK_SOON }
    }
}

async fn see(client: &Client, look: &Look) -> Result<Seen, cluster::Error> {
    let (namespace, name) = &look.config_map;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let what = || format!("get ConfigMap {namespace}/{name}");
    let found = async {
        if look.version.is_some() {
            let metadata = call(what, api.get_metadata_opt(name)).await?;
            if metadata.is_some_and(|metadata| metadata.metadata.resource_version == look.version) {
                return Ok::<_, cluster::Error>(Seen::Unchanged);
            }
        }
        let found = call(what, api.get_opt(name)).await?;
        Ok(found.map_or(
            Seen::Nothing("does not exist in the app's namespace: create it, or name another"),
            |found| Seen::Read(Box::new(found)),
        ))
    };
    match found.await {
        Err(error) if error.code() == Some(403) => Ok(Seen::Nothing(
            "may not be read by the controller: let its ClusterRole harmonybatch-controller get configmaps, as the chart does",
        )),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
