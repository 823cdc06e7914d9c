//! The Deployment of a group in Deployment mode.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::runtime::pod_template::{Mode, pod_spec};
use crate::serve::build::{metadata, selector};
use crate::serve::validate::Workload;

/// Builds it.
pub(crate) fn deployment(workload: &Workload) -> Deployment {
    let metadata = metadata(workload, workload.deployment_name());
    let template_labels = metadata.labels.clone();
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(workload.replicas),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(selector(workload)),
                match_expressions: None,
            },
            // A replica leaves only when its successor is ready.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: template_labels,
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(&workload.runtime, Mode::Deployment)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
