//! The platform that a release makes is one of its kind.

use std::collections::BTreeSet;
use std::path::Path;

use harmonybatch_api::{InferencePlatform, InferencePlatformSpec};
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{objects, of_kind, rendered_text, repository_root, text};

/// The platform goes from the values through a ConfigMap into the controller, which reads it as the kind's spec.
fn platform(values: &[&str]) -> InferencePlatformSpec {
    let objects = objects(&rendered_text(values));
    let file = text(of_kind(&objects, "ConfigMap")[0], "/data/platform.yaml");
    harmonybatch_api::yaml::parse(Path::new("platform.yaml"), file).unwrap()
}

#[test]
fn the_platform_of_the_values_is_a_spec_of_its_kind() {
    let platform = platform(&["platform.overhead=\"7ms\"", "platform.cpu.max=1"]);
    assert_eq!(platform.overhead, "7ms");
    assert_eq!(platform.cpu.unwrap().max, "1");
}

#[test]
fn a_gpu_pool_may_use_every_field_of_the_kind() {
    let pool = r#"{"name":"a10","device":"a10","unitsPerDevice":24,"devices":2,"memoryPerUnit":"1Gi","slice":"2ms","latencyModel":"FixedShare",
        "backend":{"extendedResource":{"name":"example.com/gpu-slice","quantity":"Units"}},
        "placement":{"nodeSelector":{"gpu":"a10"},"tolerations":[{"key":"gpu","operator":"Exists","effect":"NoSchedule"}],"schedulerName":"s","runtimeClassName":"r"}}"#;
    let platform = platform(&[&format!("platform.gpuPools=[{pool}]")]);
    assert_eq!(platform.gpu_pools[0].units_per_device, 24);
}

/// Names of all properties below a schema, with their paths; `$ref`s are looked up in `root`.
fn properties(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    let schema = schema["$ref"].as_str().map_or(schema, |reference| {
        let pointer = reference.trim_start_matches('#');
        root.pointer(pointer).unwrap_or_else(|| panic!("no {reference}"))
    });
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        properties(property, root, &path, found);
        found.insert(path);
    }
    if schema["items"].is_object() {
        properties(&schema["items"], root, &format!("{path}[]"), found);
    }
}

#[test]
fn the_schema_of_the_platform_has_the_fields_of_its_kind() {
    let file = repository_root().join("charts/harmonybatch/values.schema.json");
    let values: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let crd = serde_json::to_value(InferencePlatform::crd()).unwrap();
    let (mut in_values, mut in_kind) = (BTreeSet::new(), BTreeSet::new());
    properties(&values["properties"]["platform"], &values, "", &mut in_values);
    let kind = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .unwrap();
    properties(kind, &crd, "", &mut in_kind);
    assert!(!in_kind.is_empty());
    assert_eq!(
        in_values, in_kind,
        "left: charts/harmonybatch/values.schema.json, right: InferencePlatformSpec"
    );
}
