//! What the gateway may route to a group: make before break.
//!
//! `status.active` takes over the spec when the pods for it are ready. A member that the spec no longer lists stays until its new
//! group is active with it, be it a group of another model; a member that is not to be served at all (deleted, infeasible)
//! leaves at once.

use harmonybatch_api::InferenceGroup;
use harmonybatch_api::inference_group::{Active, Endpoints, Member};
use harmonybatch_api::inference_model::Protocol;
use kube::ResourceExt;

/// Where the pods for the current spec are reached, once all of them are ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Where the gateway finds the replicas.
    pub(crate) endpoints: Endpoints,
    /// Knative: what wakes them.
    pub(crate) wake_url: Option<String>,
}

/// What does not depend on readiness, of model and platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    /// Name of the model in the runtime's paths.
    pub(crate) model_name: String,
    /// Whether the runtime may be asked the same thing twice.
    pub(crate) idempotent: bool,
    /// What the runtime speaks.
    pub(crate) protocol: Protocol,
    /// The platform's overhead.
    pub(crate) overhead: String,
}

impl Routing {
    /// What is routed by already.
    pub(crate) fn kept(active: &Active) -> Self {
        Self {
            model_name: active.model_name.clone(),
            idempotent: active.idempotent,
            protocol: active.protocol,
            overhead: active.overhead.clone(),
        }
    }
}

/// Where an application wants to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// By the group's model.
    Here,
    /// By another model.
    Elsewhere,
    /// Nowhere: it was deleted, or no plan can serve it.
    Nowhere,
}

/// The next `status.active` of `group`. `siblings` are the groups of its namespace; `wish` says where an application wants to
/// be served; `reached` is None while the spec's pods are not ready.
pub(crate) fn active<'a>(
    group: &InferenceGroup,
    siblings: &(impl Iterator<Item = &'a InferenceGroup> + Clone),
    wish: impl Fn(&str) -> Wish,
    reached: Option<&Reached>,
    routing: &Routing,
) -> Option<Active> {
    let old = group.status.as_ref().and_then(|status| status.active.as_ref());
    let spec = &group.spec;
    let listed = |app: &str| spec.members.iter().any(|member| member.app == app);
    let stays = |member: &&Member| match wish(&member.app) {
        Wish::Nowhere => false,
        Wish::Here if listed(&member.app) => true,
        Wish::Here | Wish::Elsewhere => !taken_over(&member.app, group, siblings.clone()),
    };
    let Some(reached) = reached else {
        let mut kept = old?.clone();
        kept.members = old?.members.iter().filter(stays).cloned().collect();
        return Some(kept);
    };
    let departing = old.map(|old| old.members.as_slice()).unwrap_or_default();
    let departing = departing.iter().filter(|member| !listed(&member.app));
    let members = spec.members.iter().chain(departing).filter(stays);
    Some(Active {
        plan_generation: spec.plan_generation,
        members: members.cloned().collect(),
        batch_size: spec.batch_size,
        dispatch: spec.dispatch,
        replicas: spec.replicas,
        model_name: routing.model_name.clone(),
        idempotent: routing.idempotent,
        protocol: routing.protocol,
        overhead: routing.overhead.clone(),
        endpoints: reached.endpoints.clone(),
        wake_url: reached.wake_url.clone(),
    })
}

/// Whether the application's new home routes it: of the other groups whose spec lists it, the one with the highest plan
/// generation, provided that its `active` lists it too.
///
/// The home is told by the spec, because numbers alone cannot tell it: a later plan that changes this group again and leaves the
/// home as it is gives this group the higher number.
fn taken_over<'a>(
    app: &str,
    group: &InferenceGroup,
    siblings: impl Iterator<Item = &'a InferenceGroup>,
) -> bool {
    let lists = |members: &[Member]| members.iter().any(|member| member.app == app);
    let home = siblings
        .filter(|sibling| {
            sibling.name_any() != group.name_any() && sibling.metadata.deletion_timestamp.is_none()
        })
        .filter(|sibling| lists(&sibling.spec.members))
        .max_by_key(|sibling| sibling.spec.plan_generation);
    home.and_then(|home| home.status.as_ref()?.active.as_ref())
        .is_some_and(|active| lists(&active.members))
}

#[cfg(test)]
mod tests;
