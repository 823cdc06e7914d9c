//! The Services for callers: one for each accepted application, which leads to the gateway.

use harmonybatch_api::names::PLAN_MANAGER;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::build;
use super::gather::Gathered;
use super::refusals::Refusals;
use super::validate::{Validated, key};
use crate::cluster::{self, call};

/// Makes the Services of the accepted applications, and deletes those whose application has another name for it now. True if a name
/// was taken by somebody, or made by us unseen, since it was gathered: the next look tells which. What is refused is noted, and the
/// others go on.
pub(crate) async fn apply(
    client: &Client,
    gateway_host: &str,
    gathered: &Gathered,
    validated: &Validated,
    refusals: &mut Refusals,
) -> Result<bool, cluster::Error> {
    let mut look_again = false;
    for app in &gathered.inputs.apps {
        let Some(contract) = validated.contracts.get(&key(app)) else {
            continue;
        };
        let services = gathered.caller_services.iter().map(|service| &**service);
        let (current, outdated): (Vec<&Service>, Vec<_>) = services
            .filter(|service| {
                service.namespace() == app.namespace() && build::is_caller_service_of(service, app)
            })
            .partition(|service| service.name_any() == contract.service_name);
        let wanted = build::caller_service(app, &contract.service_name, gateway_host);
        match put(client, &wanted, current.first().copied()).await {
            Err(error) if error.code() == Some(409) => look_again = true,
            Err(error) if error.is_refusal() => refusals.caller_service(app, &error),
            outcome => outcome?,
        }
        let api: Api<Service> = Api::namespaced(client.clone(), &app.namespace().unwrap_or_default());
        for service in outdated {
            cluster::delete(&api, service).await?;
        }
    }
    Ok(look_again)
}

/// Makes or repairs the Service for an application's callers. One that appears under the name meanwhile is not touched: a new
/// one is made by POST, which fails if the name is taken, and an old one is changed only if it is the one that was seen.
async fn put(client: &Client, wanted: &Service, existing: Option<&Service>) -> Result<(), cluster::Error> {
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
        Some(existing) if !alike(existing, wanted) => {
            let mut wanted = wanted.clone();
            wanted.metadata.uid.clone_from(&existing.metadata.uid);
            cluster::apply(&api, PLAN_MANAGER, &wanted).await?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn alike(existing: &Service, wanted: &Service) -> bool {
    let ours = |service: &Service| {
        let spec = service.spec.clone().unwrap_or_default();
        let ports: Vec<_> = spec
            .ports
            .into_iter()
            .flatten()
            .map(|port| (port.name, port.port))
            .collect();
        (spec.type_, spec.external_name, ports, service.labels().clone())
    };
    let (existing, wanted) = (ours(existing), ours(wanted));
    let labelled = wanted
        .3
        .iter()
        .all(|(key, value)| existing.3.get(key) == Some(value));
    labelled && (existing.0, existing.1, existing.2) == (wanted.0, wanted.1, wanted.2)
}
