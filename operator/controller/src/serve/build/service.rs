//! The headless Service of a group in Deployment mode: its EndpointSlices are where the gateway finds the replicas.

use harmonybatch_api::names;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::serve::build::{metadata, selector};
use crate::serve::validate::Workload;

/// Builds it.
pub(crate) fn service(workload: &Workload) -> Service {
    Service {
        metadata: metadata(workload, workload.deployment_name()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(selector(workload)),
            ports: Some(vec![ServicePort {
                name: Some(names::RUNTIME_PORT.to_owned()),
                port: i32::from(workload.runtime.port),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(names::RUNTIME_PORT.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
