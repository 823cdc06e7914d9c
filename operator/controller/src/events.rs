//! Events on objects: what changed, once.

use std::time::Duration;

use harmonybatch_api::Condition;
use harmonybatch_api::conditions::reason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// How long the API server may take to store an event; a lost one is only logged.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest note that the API server takes, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Writes events in the controller's name.
pub(crate) struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events of this process.
    pub(crate) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: "harmonybatch.dev/controller".to_owned(),
            instance: std::env::var("HOSTNAME").ok(),
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// One event on one object.
    pub(crate) async fn publish<K>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) where
        K: Resource<DynamicType = ()>,
    {
        self.publish_on(&object.object_ref(&()), type_, reason, action, note)
            .await;
    }

    /// One event on the object of a reference.
    pub(crate) async fn publish_on(
        &self,
        object: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(cut(note).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(LIMIT, self.recorder.publish(&event, object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason, "an event was not stored"),
            Err(_) => tracing::warn!(reason, "an event was not stored in time"),
        }
    }

    /// One event for every condition whose status or reason changed.
    pub(crate) async fn publish_changes<K>(
        &self,
        object: &K,
        old: &[Condition],
        new: &[Condition],
        action: &str,
    ) where
        K: Resource<DynamicType = ()>,
    {
        for condition in changed(old, new) {
            // What starts or is being measured is not there yet, and that is no trouble.
            let passes = [reason::STARTING, reason::MEASURING, reason::STALE];
            let trouble = condition.status == "False" && !passes.contains(&condition.reason.as_str());
            let type_ = if trouble {
                EventType::Warning
            } else {
                EventType::Normal
            };
            let reason = event_reason(condition);
            self.publish(object, type_, &reason, action, &condition.message)
                .await;
        }
    }
}

/// The conditions of `new` whose status or reason is another than in `old`.
fn changed<'a>(old: &'a [Condition], new: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    new.iter().filter(|condition| {
        !old.iter().any(|before| {
            before.type_ == condition.type_
                && before.status == condition.status
                && before.reason == condition.reason
        })
    })
}

/// A condition that holds has no reason worth reading but its type.
fn event_reason(condition: &Condition) -> String {
    if condition.status == "True" {
        condition.type_.clone()
    } else {
        condition.reason.clone()
    }
}

fn cut(note: &str) -> &str {
    let mut end = note.len().min(NOTE_LIMIT);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}
