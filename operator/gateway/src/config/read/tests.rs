#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn member(app: &str) -> Value {
    json!({"app": app, "serviceName": format!("{app}-infer"), "slo": "500ms", "percentile": "99", "rate": "5/s",
        "timeout": "2s", "maxWait": "212.5ms"})
}

fn object() -> Value {
    json!({
        "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceGroup",
        "metadata": {"name": "mlp-aaaaa", "namespace": "shop"},
        "spec": {"modelRef": {"name": "mlp"}, "planGeneration": 4, "image": "i", "device": {"cpu": {"limit": "1"}},
            "batchSize": 8, "dispatch": "Timed", "replicas": 1, "serving": "Deployment",
            "members": [member("search"), member("later")]},
        "status": {"active": {"planGeneration": 3, "members": [member("search"), member("gone")], "batchSize": 6,
            "dispatch": "Timed", "replicas": 1, "modelName": "net", "overhead": "5ms",
            "endpoints": {"service": "mlp-aaaaa-serve", "port": "http"}}},
    })
}

fn read(object: &Value) -> Result<Group, String> {
    let object: InferenceGroup = serde_json::from_value(object.clone()).unwrap();
    group(&object).map_err(|error| error.to_string())
}

fn endpoint_slice(service: &str, ports: &Value, endpoints: &Value) -> Slice {
    let object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": ports, "endpoints": endpoints});
    slice(&serde_json::from_value(object).unwrap())
}

#[test]
fn what_the_runtime_speaks_is_read() {
    let table = [
        ("OIPv2JSON", Wire::Json),
        ("OIPv2Binary", Wire::Binary),
        ("OIPv2GRPC", Wire::Grpc),
    ];
    for (protocol, wire) in table {
        let mut object = object();
        object["status"]["active"]["protocol"] = json!(protocol);
        let group = read(&object).unwrap();
        let snapshot = snapshot([&group].into_iter(), [].iter());
        assert_eq!(snapshot.groups[&Key::new("shop", "mlp-aaaaa")].wire, wire);
    }
}

#[test]
fn what_is_active_is_routed_and_what_is_only_planned_is_known() {
    let group = read(&object()).unwrap();
    let ports = json!([{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}]);
    let endpoints = json!([
        {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.1"], "conditions": {}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.2"]},
    ]);
    let slices = [
        endpoint_slice("mlp-aaaaa-serve", &ports, &endpoints),
        endpoint_slice("mlp-aaaaa-other", &ports, &json!([{"addresses": ["10.0.0.9"]}])),
    ];
    let snapshot = snapshot([&group].into_iter(), slices.iter());
    let config = &snapshot.groups[&Key::new("shop", "mlp-aaaaa")];
    assert_eq!((config.plan_generation, config.batch_size), (3, 6));
    assert_eq!((&*config.model, &*config.runtime_model), ("mlp", "net"));
    // A group of before the field was there says nothing of it.
    assert_eq!(config.wire, Wire::Json);
    let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let members: Vec<_> = config
        .members
        .iter()
        .map(|member| (&*member.app, member.departing))
        .collect();
    assert_eq!(members, [("search", false), ("gone", true)]);
    assert_eq!(config.members[0].max_wait, Duration::from_micros(212_500));
    assert_eq!(config.members[0].timeout, Duration::from_secs(2));
    let planned: Vec<_> = snapshot.planned.iter().map(|(app, _)| &*app.name).collect();
    assert_eq!(planned, ["later", "search"]);
}

#[test]
fn a_service_that_is_renamed_has_both_names_until_both_groups_are_replaced() {
    let (old, mut new) = (object(), object());
    new["metadata"]["name"] = json!("mlp-bbbbb");
    new["spec"]["members"][0]["serviceName"] = json!("find-infer");
    let (old, new) = (read(&old).unwrap(), read(&new).unwrap());
    let search = |groups: [&Group; 2]| {
        let planned = snapshot(groups.into_iter(), [].iter()).planned.into_iter();
        let services = planned.filter(|(app, _)| &*app.name == "search");
        services
            .map(|(_, service)| service.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(search([&old, &new]), ["find-infer", "search-infer"]);
    assert_eq!(search([&new, &old]), ["find-infer", "search-infer"]);
}

#[test]
fn eager_means_that_nobody_waits() {
    let mut object = object();
    object["status"]["active"]["dispatch"] = json!("Eager");
    let group = read(&object).unwrap();
    assert_eq!(group.active.unwrap().0.members[0].max_wait, Duration::ZERO);
}

#[test]
fn a_group_that_was_never_ready_or_serves_nobody_is_not_routed_to() {
    let mut object = object();
    object["status"]["active"]["members"] = json!([]);
    assert!(read(&object).unwrap().active.is_none());
    object["status"] = json!({});
    assert!(read(&object).unwrap().active.is_none());
}

#[test]
fn a_value_without_meaning_names_its_field() {
    let table = [
        (
            "/status/active/batchSize",
            json!(0),
            "status.active.batchSize: must be at least 1",
        ),
        (
            "/status/active/wakeUrl",
            json!("https://x"),
            "status.active.wakeUrl: not an http URL",
        ),
        (
            "/status/active/members/1/slo",
            json!("fast"),
            "status.active.members[1].slo: ",
        ),
    ];
    for (field, value, says) in table {
        let mut object = object();
        object["status"]["active"]["wakeUrl"] = json!("http://x.y");
        *object.pointer_mut(field).unwrap() = value;
        let error = read(&object).unwrap_err();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn a_wake_url_is_host_and_port() {
    let table = [
        ("http://a.b", Some(("a.b", 80))),
        ("http://a.b:8080/x", Some(("a.b", 8080))),
        ("a.b", None),
    ];
    for (url, address) in table {
        assert_eq!(Wake::from_url(url).as_ref().map(Wake::address), address, "{url}");
    }
}
