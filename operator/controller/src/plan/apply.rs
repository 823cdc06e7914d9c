//! Writes the groups that differ from what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::InferenceGroup;
use harmonybatch_api::inference_group::InferenceGroupSpec;
use harmonybatch_api::names::PLAN_MANAGER;
use kube::api::Api;
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};

use super::validate::{Key, key};
use crate::cluster;
use crate::events::Events;

/// Specs of the groups as the last plan wanted them, without their numbers: what differs from them was changed by hand.
pub(crate) type Wanted = BTreeMap<Key, InferenceGroupSpec>;

/// Applies the groups that are new or differ: first those that nobody has yet or that gain members, so that an application has a
/// new home before its old one lets go. Returns what the API server holds of those that were applied.
pub(crate) async fn groups(
    client: &Client,
    events: &Events,
    last: &mut Wanted,
    mut wanted: Vec<InferenceGroup>,
    existing: &[Arc<InferenceGroup>],
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
        let unnumbered = InferenceGroupSpec {
            plan_generation: 0,
            ..group.spec.clone()
        };
        let before = last.get(&key(&group)) == Some(&unnumbered);
        now.insert(key(&group), unnumbered);
        let old = find(&group);
        if old.is_some_and(|old| same(old, &group)) {
            continue;
        }
        let api: Api<InferenceGroup> =
            Api::namespaced(client.clone(), &group.namespace().unwrap_or_default());
        let applied = cluster::apply(&api, PLAN_MANAGER, &group).await?;
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
