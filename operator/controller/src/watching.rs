//! Keeps a local copy of every kind that the reconcilers read, and tells them what changed.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt, stream};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// Pauses between attempts to watch anew. The library's own reach a minute, for which a change after an outage would be unseen; a dozen
/// watches that try every few seconds are no load.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What a watch saw.
pub(crate) enum Change<'a, K> {
    /// One object was made or changed.
    Applied(&'a K),
    /// One object was deleted.
    Deleted(&'a K),
    /// The list was fetched anew, after the first start or a lost connection: objects may have gone unseen.
    Relisted,
}

/// Watches one kind for ever, keeps its store current, and calls `changed` after the store has the change.
pub(crate) async fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    mut changed: impl FnMut(Change<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let kind = api.resource_url().to_owned();
    let pauses = ExponentialBuilder::default()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE);
    let backoff = ExponentialBackoff::from(pauses.without_max_times().with_jitter());
    let mut events = pin!(watcher(api, config).backoff(backoff));
    while let Some(event) = events.next().await {
        match event {
            Ok(mut event) => {
                // Nobody reads them, and they are most of an object's size.
                event = event.modify(|object| object.managed_fields_mut().clear());
                writer.apply_watcher_event(&event);
                match &event {
                    Event::Apply(object) => changed(Change::Applied(object)),
                    Event::Delete(object) => changed(Change::Deleted(object)),
                    Event::InitDone => changed(Change::Relisted),
                    Event::Init | Event::InitApply(_) => {}
                }
            }
            Err(error) => tracing::warn!(%kind, %error, "the watch broke and is made anew"),
        }
    }
}

/// The keys that wait to be reconciled. Holds each once, so it is bounded by the number of objects and loses none.
pub(crate) struct Dirty<T> {
    waiting: Mutex<BTreeSet<T>>,
    some: Notify,
}

impl<T: Ord> Dirty<T> {
    /// Nothing waits.
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::new(BTreeSet::new()),
            some: Notify::new(),
        }
    }

    /// Puts a key in; one that waits already stays once.
    pub(crate) fn mark(&self, key: T) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        self.some.notify_one();
    }

    fn pop(&self) -> Option<T> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_first()
    }

    /// The keys as they come, for one consumer, for ever.
    pub(crate) fn stream(&self) -> impl Stream<Item = T> {
        stream::unfold(self, |dirty| async move {
            loop {
                let woken = dirty.some.notified();
                if let Some(key) = dirty.pop() {
                    return Some((key, dirty));
                }
                woken.await;
            }
        })
    }
}
