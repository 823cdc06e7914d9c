//! The defaults that Knative's webhook writes into a Service (`pkg/apis/serving/v1/{revision,route}_defaults.go`, with the values of
//! `pkg/apis/config/defaults.go`). They work on JSON, so that a field which the stand-in does not know stays as it is.

use serde_json::{Map, Value, json};

const TIMEOUT_SECONDS: i64 = 300;
const RESPONSE_START_TIMEOUT_SECONDS: i64 = 300;

/// Writes the defaults into the spec of a Service; `creating` as opposed to changing one.
pub(super) fn apply(spec: &mut Value, creating: bool) {
    if let Some(revision) = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut) {
        revision_defaults(revision, creating);
    }
    if let Some(spec) = spec.as_object_mut() {
        traffic_defaults(spec);
    }
}

fn revision_defaults(revision: &mut Map<String, Value>, creating: bool) {
    if revision
        .get("timeoutSeconds")
        .and_then(Value::as_i64)
        .unwrap_or_default()
        == 0
    {
        revision.insert("timeoutSeconds".to_owned(), json!(TIMEOUT_SECONDS));
    }
    if revision["timeoutSeconds"].as_i64() > Some(RESPONSE_START_TIMEOUT_SECONDS) {
        default(
            revision,
            "responseStartTimeoutSeconds",
            json!(RESPONSE_START_TIMEOUT_SECONDS),
        );
    }
    default(revision, "containerConcurrency", json!(0));
    if creating {
        default(revision, "enableServiceLinks", json!(false));
    }
    let writable: Vec<String> = writable_volumes(revision);
    let Some(containers) = revision.get_mut("containers").and_then(Value::as_array_mut) else {
        return;
    };
    let alone = containers.len() == 1;
    for (index, container) in containers.iter_mut().enumerate() {
        let Some(container) = container.as_object_mut() else {
            continue;
        };
        let name = if alone {
            "user-container".to_owned()
        } else {
            format!("user-container-{index}")
        };
        default(container, "name", json!(name));
        default(container, "resources", json!({}));
        let has_ports = container
            .get("ports")
            .and_then(Value::as_array)
            .is_some_and(|ports| !ports.is_empty());
        if alone || has_ports {
            default(container, "readinessProbe", json!({}));
        }
        if let Some(probe) = container.get_mut("readinessProbe").and_then(Value::as_object_mut) {
            probe_defaults(probe);
        }
        let mounts = container.get_mut("volumeMounts").and_then(Value::as_array_mut);
        for mount in mounts.into_iter().flatten() {
            let named = mount["name"]
                .as_str()
                .is_some_and(|name| writable.iter().any(|volume| volume == name));
            if !named && mount.is_object() {
                mount["readOnly"] = json!(true);
            }
        }
    }
}

fn probe_defaults(probe: &mut Map<String, Value>) {
    if !["tcpSocket", "httpGet", "exec", "grpc"]
        .iter()
        .any(|handler| probe.contains_key(*handler))
    {
        probe.insert("tcpSocket".to_owned(), json!({ "port": 0 }));
    }
    default(probe, "successThreshold", json!(1));
    if probe
        .get("periodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|period| period != 0)
    {
        default(probe, "failureThreshold", json!(3));
        default(probe, "timeoutSeconds", json!(1));
    }
}

fn writable_volumes(revision: &Map<String, Value>) -> Vec<String> {
    let volumes = revision.get("volumes").and_then(Value::as_array);
    let writable = |volume: &&Value| {
        ["emptyDir", "persistentVolumeClaim", "ephemeral"]
            .iter()
            .any(|source| volume.get(source).is_some())
    };
    volumes
        .into_iter()
        .flatten()
        .filter(writable)
        .filter_map(|volume| volume["name"].as_str().map(str::to_owned))
        .collect()
}

fn traffic_defaults(spec: &mut Map<String, Value>) {
    let traffic = spec.entry("traffic").or_insert_with(|| json!([]));
    let Some(targets) = traffic.as_array_mut() else {
        return;
    };
    if targets.is_empty() {
        targets.push(json!({ "latestRevision": true, "percent": 100 }));
    }
    for target in targets.iter_mut().filter_map(Value::as_object_mut) {
        let latest = !target.contains_key("revisionName");
        default(target, "latestRevision", json!(latest));
        default(target, "percent", json!(0));
    }
}

fn default(object: &mut Map<String, Value>, field: &str, value: Value) {
    if object.get(field).is_none_or(Value::is_null) {
        object.insert(field.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut spec: Value, expected: &Value) {
        apply(&mut spec, true);
        assert_eq!(&spec, expected);
        let once = spec.clone();
        apply(&mut spec, false);
        assert_eq!(spec, once, "a second time changes nothing");
    }

    #[test]
    fn what_is_absent_gets_a_default() {
        check(
            json!({ "template": { "spec": { "containers": [{ "image": "i", "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }], "volumes": [{ "name": "v", "configMap": { "name": "c" } }] } } }),
            &json!({
                "template": { "spec": {
                    "containerConcurrency": 0, "timeoutSeconds": 300, "enableServiceLinks": false,
                    "containers": [{
                        "image": "i", "name": "user-container", "resources": {}, "readinessProbe": { "successThreshold": 1, "tcpSocket": { "port": 0 } },
                        "volumeMounts": [{ "name": "v", "mountPath": "/v", "readOnly": true }],
                    }],
                    "volumes": [{ "name": "v", "configMap": { "name": "c" } }],
                } },
                "traffic": [{ "latestRevision": true, "percent": 100 }],
            }),
        );
    }

    #[test]
    fn what_is_there_stays() {
        let spec = json!({
            "template": { "spec": {
                "containerConcurrency": 1, "timeoutSeconds": 600, "responseStartTimeoutSeconds": 7, "enableServiceLinks": true,
                "containers": [{
                    "image": "i", "name": "runtime", "resources": { "limits": { "cpu": "1" } }, "ports": [{ "containerPort": 8080 }],
                    "readinessProbe": { "successThreshold": 1, "periodSeconds": 2, "failureThreshold": 3, "timeoutSeconds": 1, "httpGet": { "path": "/ready" } },
                    "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                }],
                "volumes": [{ "name": "v", "emptyDir": {} }],
            } },
            "traffic": [{ "revisionName": "a-00001", "latestRevision": false, "percent": 100 }],
        });
        check(spec.clone(), &spec);
    }
}
