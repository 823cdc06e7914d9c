//! The Knative Service of a group in Knative mode. The plan decides how many replicas there are: Knative never scales it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use serde::Serialize;

use crate::runtime::pod_template::{Mode, pod_spec};
use crate::serve::build::{labels, metadata};
use crate::serve::validate::Workload;

/// API group of Knative Serving.
pub(crate) const GROUP: &str = "serving.knative.dev";
/// Version of its API.
pub(crate) const VERSION: &str = "v1";

/// The Knative Service as a kind of the API.
pub(crate) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, "Service"))
}

#[derive(Serialize)]
struct ServiceBody {
    spec: ServiceSpec,
}

#[derive(Serialize)]
struct ServiceSpec {
    template: RevisionTemplate,
}

#[derive(Serialize)]
struct RevisionTemplate {
    metadata: RevisionMetadata,
    spec: RevisionSpec,
}

#[derive(Serialize)]
struct RevisionMetadata {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RevisionSpec {
    /// One batch at a time: the gateway's rule, kept by queue-proxy as well.
    container_concurrency: i64,
    #[serde(flatten)]
    pod: PodSpec,
}

/// Builds it.
pub(crate) fn knative_service(workload: &Workload) -> DynamicObject {
    let replicas = workload.replicas.to_string();
    let annotations = [
        "autoscaling.knative.dev/min-scale",
        "autoscaling.knative.dev/max-scale",
    ]
    .map(|key| (key.to_owned(), replicas.clone()));
    let body = ServiceBody {
        spec: ServiceSpec {
            template: RevisionTemplate {
                metadata: RevisionMetadata {
                    labels: labels(workload),
                    annotations: annotations.into(),
                },
                spec: RevisionSpec {
                    container_concurrency: 1,
                    pod: pod_spec(&workload.runtime, Mode::Knative),
                },
            },
        },
    };
    let mut metadata = metadata(workload, workload.group.clone());
    // Callers come through the gateway only: no route to the outside.
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(
        "networking.knative.dev/visibility".to_owned(),
        "cluster-local".to_owned(),
    );
    let resource = resource();
    DynamicObject {
        types: Some(TypeMeta {
            api_version: resource.api_version,
            kind: resource.kind,
        }),
        metadata,
        // Serialising structs of strings, numbers and maps with string keys cannot fail; null would be refused by the API.
        data: serde_json::to_value(body).unwrap_or_default(),
    }
}
