//! Objects of the mode that the group no longer has: they go when the new mode is ready and every gateway routes by it.

use std::time::Duration;

use harmonybatch_api::InferenceGroup;
use harmonybatch_api::inference_group::ServingMode;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::DynamicObject;
use kube::runtime::controller::Action;

use crate::cluster;
use crate::gateways::Acknowledged;
use crate::serve::{Context, Error, REGULARLY, knative_resource};

/// How often the gateways are asked while something waits for them.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Deletes the other mode's objects if they may go, and says when to look again. `switched`: the new mode is ready, or nobody
/// routes to the group. `generation`: that of the group's `active`.
pub(crate) async fn remove(
    group: &InferenceGroup,
    switched: bool,
    generation: Option<i64>,
    context: &Context,
) -> Result<Action, Error> {
    let namespace = group.namespace().unwrap_or_default();
    let name = group.name_any();
    let (deployment, service, knative) = match group.spec.serving {
        ServingMode::Knative => (
            context.stores.deployment(&namespace, &name),
            context.stores.service(&namespace, &name),
            None,
        ),
        ServingMode::Deployment => (None, None, context.stores.knative_service(&namespace, &name)),
    };
    if deployment.is_none() && service.is_none() && knative.is_none() {
        return Ok(Action::requeue(REGULARLY));
    }
    if !switched {
        return Ok(Action::requeue(REGULARLY));
    }
    if let Some(generation) = generation {
        match context.gateways.acknowledged().await {
            Ok(gateways) if all_route_by(&namespace, &name, generation, &gateways) => {}
            Ok(_) => return Ok(Action::requeue(ASK_AGAIN)),
            Err(error) => {
                tracing::info!(group = %name, %error, "the former serving objects stay until the gateways answer");
                return Ok(Action::requeue(ASK_AGAIN));
            }
        }
    }
    let owned = |owners: Option<&Vec<_>>| owners.is_some_and(|owners: &Vec<_>| is_owner(owners, group));
    if let Some(deployment) = deployment.filter(|it| owned(it.metadata.owner_references.as_ref())) {
        let api: Api<Deployment> = Api::namespaced(context.client.clone(), &namespace);
        cluster::delete(&api, &*deployment).await?;
    }
    if let Some(service) = service.filter(|it| owned(it.metadata.owner_references.as_ref())) {
        let api: Api<Service> = Api::namespaced(context.client.clone(), &namespace);
        cluster::delete(&api, &*service).await?;
    }
    if let Some(knative) = knative.filter(|it| owned(it.metadata.owner_references.as_ref())) {
        let api: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), &namespace, &knative_resource());
        cluster::delete(&api, &*knative).await?;
    }
    Ok(Action::requeue(REGULARLY))
}

fn is_owner(
    owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
    group: &InferenceGroup,
) -> bool {
    owners
        .iter()
        .any(|owner| Some(&owner.uid) == group.metadata.uid.as_ref())
}

/// Whether no gateway routes the group by a number below `generation`. One that does not know the group routes nothing to it.
fn all_route_by(namespace: &str, name: &str, generation: i64, gateways: &[Acknowledged]) -> bool {
    gateways
        .iter()
        .flat_map(|gateway| &gateway.groups)
        .filter(|group| group.namespace == namespace && group.name == name)
        .all(|group| group.plan_generation >= generation)
}
