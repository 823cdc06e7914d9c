//! What Knative's webhook refuses, as far as HarmonyBatch could write it (`pkg/apis/serving/{fieldmask,k8s_validation}.go` and
//! `pkg/apis/autoscaling/annotation_validation.go`). The texts are Knative's.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

const POD_FIELDS: &[&str] = &[
    "serviceAccountName",
    "containers",
    "volumes",
    "imagePullSecrets",
    "enableServiceLinks",
];
/// Fields of a Revision beside those of a Pod.
const REVISION_FIELDS: &[&str] = &[
    "containerConcurrency",
    "timeoutSeconds",
    "responseStartTimeoutSeconds",
    "idleTimeoutSeconds",
];
/// Fields of a Pod that a key of the ConfigMap `config-features` allows.
const FEATURES: &[(&str, &str)] = &[
    ("affinity", "kubernetes.podspec-affinity"),
    (
        "topologySpreadConstraints",
        "kubernetes.podspec-topologyspreadconstraints",
    ),
    ("hostAliases", "kubernetes.podspec-hostaliases"),
    ("nodeSelector", "kubernetes.podspec-nodeselector"),
    ("runtimeClassName", "kubernetes.podspec-runtimeclassname"),
    ("tolerations", "kubernetes.podspec-tolerations"),
    ("securityContext", "kubernetes.podspec-securitycontext"),
    (
        "shareProcessNamespace",
        "kubernetes.podspec-shareprocessnamespace",
    ),
    ("priorityClassName", "kubernetes.podspec-priorityclassname"),
    ("schedulerName", "kubernetes.podspec-schedulername"),
    ("initContainers", "kubernetes.podspec-init-containers"),
    ("dnsPolicy", "kubernetes.podspec-dnspolicy"),
    ("dnsConfig", "kubernetes.podspec-dnsconfig"),
    ("hostIPC", "kubernetes.podspec-hostipc"),
    ("hostPID", "kubernetes.podspec-hostpid"),
    ("hostNetwork", "kubernetes.podspec-hostnetwork"),
];
const CONTAINER_FIELDS: &[&str] = &[
    "name",
    "args",
    "command",
    "env",
    "workingDir",
    "envFrom",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
];
const PORT_FIELDS: &[&str] = &["containerPort", "name", "protocol"];
const SECURITY_FIELDS: &[&str] = &[
    "capabilities",
    "readOnlyRootFilesystem",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "allowPrivilegeEscalation",
    "seccompProfile",
    "privileged",
];
const PORT_NAMES: &[&str] = &["", "h2c", "http1"];
const RESERVED_PORTS: &[i64] = &[8008, 8012, 8013, 8022, 9090, 9091];
const RESERVED_VARIABLES: &[&str] = &["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"];
const LONGEST_TIMEOUT_SECONDS: i64 = 600;
const HIGHEST_CONCURRENCY: i64 = 1000;

/// What is wrong with the spec of a Service, in the order in which it was found. `features` is the content of `config-features`.
pub(super) fn problems(spec: &Value, features: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    let template = &spec["template"];
    let Some(revision) = template["spec"].as_object() else {
        return vec!["missing field(s): spec.template.spec".to_owned()];
    };
    scale_annotations(&template["metadata"]["annotations"], &mut problems);
    bounds(revision, &mut problems);
    pod(revision, features, &mut problems);
    let containers = revision
        .get("containers")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if containers.is_empty() {
        problems.push("missing field(s): spec.template.spec.containers".to_owned());
    }
    let with_ports = containers
        .iter()
        .filter(|container| {
            container["ports"]
                .as_array()
                .is_some_and(|ports| !ports.is_empty())
        })
        .count();
    if with_ports > 1 {
        problems.push("expected exactly one, got both: spec.template.spec.containers.ports".to_owned());
    }
    for (index, one) in containers.iter().enumerate() {
        container(
            one,
            &format!("spec.template.spec.containers[{index}]"),
            &mut problems,
        );
    }
    problems
}

fn scale_annotations(annotations: &Value, problems: &mut Vec<String>) {
    let mut scale = |name: &str| {
        let text = annotations[format!("autoscaling.knative.dev/{name}")].as_str()?;
        let number = text.parse::<u32>().ok();
        if number.is_none() {
            problems.push(format!(
                "invalid value: {text}: spec.template.metadata.annotations.autoscaling.knative.dev/{name}"
            ));
        }
        number
    };
    let (min, max) = (scale("min-scale"), scale("max-scale"));
    scale("initial-scale");
    if let (Some(min), Some(max)) = (min, max)
        && max != 0
        && max < min
    {
        problems.push(format!(
            "max-scale={max} is less than min-scale={min}: spec.template.metadata.annotations"
        ));
    }
}

fn bounds(revision: &Map<String, Value>, problems: &mut Vec<String>) {
    for (field, highest) in [
        ("timeoutSeconds", LONGEST_TIMEOUT_SECONDS),
        ("containerConcurrency", HIGHEST_CONCURRENCY),
    ] {
        if let Some(value) = revision.get(field).and_then(Value::as_i64)
            && !(0..=highest).contains(&value)
        {
            problems.push(format!(
                "expected 0 <= {value} <= {highest}: spec.template.spec.{field}"
            ));
        }
    }
}

fn pod(revision: &Map<String, Value>, features: &BTreeMap<String, String>, problems: &mut Vec<String>) {
    for (field, value) in revision {
        let enabled = || {
            FEATURES
                .iter()
                .any(|(name, key)| name == field && features.get(*key).is_some_and(|flag| flag != "disabled"))
        };
        let no_token = || field == "automountServiceAccountToken" && value == &Value::Bool(false);
        if !POD_FIELDS.contains(&field.as_str())
            && !REVISION_FIELDS.contains(&field.as_str())
            && !enabled()
            && !no_token()
        {
            problems.push(format!("must not set the field(s): spec.template.spec.{field}"));
        }
    }
}

fn container(container: &Value, path: &str, problems: &mut Vec<String>) {
    only(container, CONTAINER_FIELDS, path, problems);
    only(
        &container["securityContext"],
        SECURITY_FIELDS,
        &format!("{path}.securityContext"),
        problems,
    );
    if container["securityContext"]["privileged"] == true {
        problems.push(format!(
            "must not set the field(s): {path}.securityContext.privileged"
        ));
    }
    if container["name"] == "queue-proxy" {
        problems.push(format!(
            "\"queue-proxy\" is a reserved container name: {path}.name"
        ));
    }
    if container["image"].as_str().is_none_or(str::is_empty) {
        problems.push(format!("missing field(s): {path}.image"));
    }
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        let name = variable["name"].as_str().unwrap_or_default();
        if RESERVED_VARIABLES.contains(&name) {
            problems.push(format!(
                "\"{name}\" is a reserved environment variable: {path}.env[{index}].name"
            ));
        }
    }
    let ports = container["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.len() > 1 {
        problems.push(format!("More than one container port is set: {path}.ports"));
    }
    for (index, port) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        only(port, PORT_FIELDS, &path, problems);
        let name = port["name"].as_str().unwrap_or_default();
        if !PORT_NAMES.contains(&name) {
            problems.push(format!(
                "Port name {name} is not allowed: {path}; Name must be empty, or one of: 'h2c', 'http1'"
            ));
        }
        if let Some(number) = port["containerPort"]
            .as_i64()
            .filter(|number| RESERVED_PORTS.contains(number))
        {
            problems.push(format!(
                "{number} is a reserved port, please use a different value: {path}.containerPort"
            ));
        }
    }
}

fn only(object: &Value, fields: &[&str], path: &str, problems: &mut Vec<String>) {
    let others = object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| !fields.contains(&field.as_str()));
    problems.extend(others.map(|(field, _)| format!("must not set the field(s): {path}.{field}")));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({ "template": {
            "metadata": { "annotations": { "autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/max-scale": "2" } },
            "spec": { "containerConcurrency": 1, "timeoutSeconds": 60, "enableServiceLinks": false, "automountServiceAccountToken": false, "containers": [{
                "name": "runtime", "image": "i", "ports": [{ "containerPort": 8080, "name": "http1" }], "env": [{ "name": "A", "value": "b" }],
                "securityContext": { "runAsNonRoot": true },
            }] },
        } })
    }

    fn check(pointer: &str, value: Value, expected: &str) {
        let mut spec = good();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        spec.pointer_mut(parent).expect("a parent")[field] = value;
        let found = problems(&spec, &BTreeMap::new());
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{pointer}: {found:?}"
        );
    }

    #[test]
    fn a_good_service_is_taken() {
        assert_eq!(problems(&good(), &BTreeMap::new()), Vec::<String>::new());
    }

    #[test]
    fn a_bad_one_is_refused_with_the_field() {
        let container = "/template/spec/containers/0";
        check(
            "/template/metadata/annotations",
            json!({ "autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/max-scale": "1" }),
            "max-scale=1 is less than min-scale=2",
        );
        check(
            "/template/metadata/annotations",
            json!({ "autoscaling.knative.dev/min-scale": "two" }),
            "invalid value: two",
        );
        check(
            &format!("{container}/lifecycle"),
            json!({}),
            "containers[0].lifecycle",
        );
        check(
            &format!("{container}/name"),
            json!("queue-proxy"),
            "reserved container name",
        );
        check(&format!("{container}/image"), json!(""), "containers[0].image");
        check(
            &format!("{container}/env"),
            json!([{ "name": "PORT" }]),
            "env[0].name",
        );
        check(
            &format!("{container}/ports"),
            json!([{ "containerPort": 8080, "name": "http" }]),
            "Port name http is not allowed",
        );
        check(
            &format!("{container}/ports"),
            json!([{ "containerPort": 8012 }]),
            "8012 is a reserved port",
        );
        check(
            &format!("{container}/ports"),
            json!([{ "containerPort": 1 }, { "containerPort": 2 }]),
            "More than one",
        );
        check(
            &format!("{container}/securityContext"),
            json!({ "privileged": true }),
            "privileged",
        );
        check(
            "/template/spec/nodeSelector",
            json!({}),
            "spec.template.spec.nodeSelector",
        );
        check(
            "/template/spec/automountServiceAccountToken",
            json!(true),
            "automountServiceAccountToken",
        );
        check(
            "/template/spec/containerConcurrency",
            json!(1001),
            "containerConcurrency",
        );
        check("/template/spec/timeoutSeconds", json!(-1), "timeoutSeconds");
        check(
            "/template/spec/containers",
            json!([]),
            "spec.template.spec.containers",
        );
    }

    #[test]
    fn a_feature_allows_its_field() {
        let mut spec = good();
        spec["template"]["spec"]["nodeSelector"] = json!({ "gpu": "a10" });
        let features =
            |flag: &str| BTreeMap::from([("kubernetes.podspec-nodeselector".to_owned(), flag.to_owned())]);
        assert_eq!(problems(&spec, &features("enabled")).len(), 0);
        assert_eq!(problems(&spec, &features("disabled")).len(), 1);
    }
}
