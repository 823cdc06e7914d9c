//! The objects that run a group, one file per kind. Pure: a validated [`Workload`] in, whole objects out.

use std::collections::BTreeMap;

use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::names;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;

use crate::serve::resources::{Prepared, Resources};
use crate::serve::validate::Workload;

pub(crate) mod deployment;
pub(crate) mod knative_service;
pub(crate) mod service;

#[cfg(test)]
mod tests;

/// Everything that the group's mode needs.
pub(crate) fn build(workload: &Workload, mode: ServingMode) -> Resources<Prepared> {
    let (deployment, service, knative): (Option<Deployment>, Option<Service>, Option<DynamicObject>) =
        match mode {
            ServingMode::Deployment => (
                Some(deployment::deployment(workload)),
                Some(service::service(workload)),
                None,
            ),
            ServingMode::Knative => (None, None, Some(knative_service::knative_service(workload))),
        };
    Resources::prepared(deployment, service, knative)
}

/// Name, labels and owner of an object made for the group.
fn metadata(workload: &Workload, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(workload.namespace.clone()),
        labels: Some(labels(workload)),
        owner_references: Some(vec![workload.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn labels(workload: &Workload) -> BTreeMap<String, String> {
    [
        (names::GROUP_LABEL, workload.group.as_str()),
        (names::MODEL_LABEL, workload.model.as_str()),
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// What finds the group's pods.
fn selector(workload: &Workload) -> BTreeMap<String, String> {
    BTreeMap::from([(names::GROUP_LABEL.to_owned(), workload.group.clone())])
}
