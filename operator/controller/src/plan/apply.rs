//! Writes the groups and Services that differ from what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::InferenceGroup;
use harmonybatch_api::inference_group::InferenceGroupSpec;
use harmonybatch_api::names::PLAN_MANAGER;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};

use super::validate::{Key, key};
use crate::cluster::{self, call};
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

/// Makes or repairs the Service for an application's callers. One that appears under the name meanwhile is not touched: a new
/// one is made by POST, which fails if the name is taken, and an old one is changed only if it is the one that was seen.
pub(crate) async fn caller_service(
    client: &Client,
    wanted: &Service,
    existing: Option<&Service>,
) -> Result<(), cluster::Error> {
    let namespace = wanted.namespace().unwrap_or_default();
    let api: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let name = wanted.name_any();
    match existing {
        None => {
            let params = PostParams {
                dry_run: false,
                field_manager: Some(PLAN_MANAGER.to_owned()),
            };
            call(
                || format!("create Service {namespace}/{name}"),
                api.create(&params, wanted),
            )
            .await?;
        }
        Some(existing) if !routes_alike(existing, wanted) => {
            let mut wanted = wanted.clone();
            wanted.metadata.uid.clone_from(&existing.metadata.uid);
            cluster::apply(&api, PLAN_MANAGER, &wanted).await?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn routes_alike(existing: &Service, wanted: &Service) -> bool {
    let route = |service: &Service| {
        let spec = service.spec.clone().unwrap_or_default();
        let ports: Vec<_> = spec
            .ports
            .into_iter()
            .flatten()
            .map(|port| (port.name, port.port))
            .collect();
        (spec.type_, spec.external_name, ports)
    };
    route(existing) == route(wanted)
}
