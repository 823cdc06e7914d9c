//! Whole objects, one snapshot a kind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::{Device, GpuShare};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::*;
use crate::fixtures;
use crate::serve::validate::validate;

fn cpu() -> Workload {
    validate(
        &fixtures::group("mlp-aaaaa", 1, &["search"]),
        &fixtures::model(),
        &fixtures::platform(),
    )
    .unwrap()
}

fn gpu() -> Workload {
    let mut group = fixtures::group("mlp-bbbbb", 1, &["search"]);
    group.spec.device = Device::Gpu(GpuShare {
        pool: "a10".to_owned(),
        units: 6,
    });
    let mut model = fixtures::model();
    model.spec.runtime.volumes[0].mount_path = "/tmp".to_owned();
    validate(&group, &model, &fixtures::platform()).unwrap()
}

#[test]
fn a_deployment_has_the_planned_cpu_as_request_and_limit() {
    insta::assert_yaml_snapshot!(deployment::deployment(&cpu()));
}

#[test]
fn a_deployment_on_a_gpu_asks_for_the_share_and_says_it_to_the_runtime() {
    insta::assert_yaml_snapshot!(deployment::deployment(&gpu()));
}

#[test]
fn a_runtime_of_grpc_is_asked_for_readiness_on_its_port_of_http() {
    let mut model = fixtures::model();
    model.spec.protocol = Protocol::OipV2Grpc;
    model.spec.runtime.port = 8081;
    model.spec.runtime.readiness_port = Some(8080);
    let mut group = fixtures::group("mlp-aaaaa", 1, &["search"]);
    group.spec.serving = ServingMode::Deployment;
    let workload = validate(&group, &model, &fixtures::platform()).unwrap();
    let pod = deployment::deployment(&workload)
        .spec
        .unwrap()
        .template
        .spec
        .unwrap();
    let runtime = &pod.containers[0];
    let probe = runtime.readiness_probe.clone().unwrap().http_get.unwrap();
    assert_eq!(probe.port, IntOrString::Int(8080));
    assert_eq!(runtime.ports.as_ref().unwrap()[0].container_port, 8081);
    group.spec.serving = ServingMode::Knative;
    let error = validate(&group, &model, &fixtures::platform()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("protocol: OIPv2GRPC cannot be served by Knative")
    );
}

#[test]
fn a_service_lists_the_replicas_under_the_groups_label() {
    insta::assert_yaml_snapshot!(service::service(&cpu()));
}

#[test]
fn a_knative_service_is_local_and_never_scales_by_itself() {
    insta::assert_yaml_snapshot!(knative_service::knative_service(&cpu()));
}

#[test]
fn each_mode_has_its_own_objects_under_other_names() {
    let (deployment, service, knative) = build(&cpu(), ServingMode::Deployment).into_parts();
    assert!(deployment.is_some() && service.is_some() && knative.is_none());
    let (none, nothing, knative) = build(&cpu(), ServingMode::Knative).into_parts();
    assert!(none.is_none() && nothing.is_none());
    assert_ne!(knative.unwrap().metadata.name, deployment.unwrap().metadata.name);
}

#[test]
fn a_pool_that_is_gone_is_named_with_those_that_there_are() {
    let mut group = fixtures::group("mlp-bbbbb", 1, &["search"]);
    group.spec.device = Device::Gpu(GpuShare {
        pool: "h100".to_owned(),
        units: 6,
    });
    let error = validate(&group, &fixtures::model(), &fixtures::platform()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gpuPools of InferencePlatform default has no pool h100; it has a10"
    );
    assert_eq!(error.reason(), "PoolNotFound");
}
