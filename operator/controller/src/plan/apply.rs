//! Writes the groups that differ from what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::InferenceGroup;
use harmonybatch_api::inference_group::InferenceGroupSpec;
use harmonybatch_api::names::PLAN_MANAGER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Api;
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};

use super::refusals::Refusals;
use super::validate::{Key, key};
use crate::cluster;
use crate::events::Events;

/// Specs of the groups as the last plan wanted them, without their numbers: what differs from them was changed by hand.
pub(crate) type Wanted = BTreeMap<Key, Remembered>;

/// A group as it was wanted, and what it was when it was applied last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remembered {
    spec: InferenceGroupSpec,
    owners: Option<Vec<OwnerReference>>,
    /// The API server's number of that spec; a hand raises it.
    generation: Option<i64>,
}

/// Applies the groups that are new or differ: first those that nobody has yet or that gain members, so that an application has a
/// new home before its old one lets go. Returns what the API server holds of those that were applied. What is refused is noted, and
/// the others go on.
pub(crate) async fn groups(
    client: &Client,
    events: &Events,
    last: &mut Wanted,
    mut wanted: Vec<InferenceGroup>,
    existing: &[Arc<InferenceGroup>],
    refusals: &mut Refusals,
) -> Result<Vec<InferenceGroup>, cluster::Error> {
    let find = |group: &InferenceGroup| {
        existing
            .iter()
            .find(|old| old.name_any() == group.name_any() && old.namespace() == group.namespace())
    };
    wanted.sort_by_key(|group| match find(group) {
        None => 0,
        Some(old) if loses_members(old, group) => 2,
        Some(_) => 1,
    });
    let mut done = Vec::new();
    let mut now = Wanted::new();
    for group in wanted {
        let old = find(&group);
        let mut remembered = Remembered {
            spec: InferenceGroupSpec {
                plan_generation: 0,
                ..group.spec.clone()
            },
            owners: group.metadata.owner_references.clone(),
            generation: old.and_then(|old| old.metadata.generation),
        };
        // Another owner, or a copy that lags behind our own write, is nobody's hand.
        let before = last.get(&key(&group)).is_some_and(|last| {
            (&last.spec, &last.owners) == (&remembered.spec, &remembered.owners)
                && old.is_none_or(|old| old.spec != group.spec && old.metadata.generation > last.generation)
        });
        if old.is_some_and(|old| same(old, &group)) {
            now.insert(key(&group), remembered);
            continue;
        }
        let api: Api<InferenceGroup> =
            Api::namespaced(client.clone(), &group.namespace().unwrap_or_default());
        let applied = match cluster::apply(&api, PLAN_MANAGER, &group).await {
            Ok(applied) => applied,
            Err(error) if error.is_refusal() => {
                refusals.group(&group, &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        remembered.generation = applied.metadata.generation;
        now.insert(key(&group), remembered);
        let (type_, reason, note) = match old {
            None if before => (
                EventType::Warning,
                "PutBack",
                "the group had been deleted by hand and was made again".to_owned(),
            ),
            Some(_) if before => (
                EventType::Warning,
                "PutBack",
                "the group had been changed by hand and was put back".to_owned(),
            ),
            None => (
                EventType::Normal,
                "Planned",
                format!("the plan asks for a new group on {}", group.spec.device),
            ),
            Some(_) => (
                EventType::Normal,
                "Planned",
                format!("plan {} changes the group", group.spec.plan_generation),
            ),
        };
        events.publish(&applied, type_, reason, "Plan", &note).await;
        done.push(applied);
    }
    *last = now;
    Ok(done)
}

fn loses_members(old: &InferenceGroup, new: &InferenceGroup) -> bool {
    let listed = |app: &str| new.spec.members.iter().any(|member| member.app == app);
    old.spec.members.iter().any(|member| !listed(&member.app))
}

/// Whether nothing that we own of the group differs.
fn same(old: &InferenceGroup, new: &InferenceGroup) -> bool {
    let labels = new
        .labels()
        .iter()
        .all(|(key, value)| old.labels().get(key) == Some(value));
    old.spec == new.spec && labels && old.metadata.owner_references == new.metadata.owner_references
}
