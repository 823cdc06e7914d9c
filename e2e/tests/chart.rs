//! The chart: what it renders, what it refuses, and that its copies of the kinds are those that `harmonybatch crds` writes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use e2e::cache::Cache;
use e2e::parts::{HELM, Parts};
use e2e::progress::Progress;
use harmonybatch_api::{InferencePlatform, InferencePlatformSpec};
use kube::CustomResourceExt as _;
use serde_json::Value;

/// A value that every rendering needs: where the image lies.
const REPOSITORY: &str = "image.repository=\"registry.example/harmonybatch\"";

fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn helm(arguments: &[&str], values: &[&str]) -> Output {
    static HELM_PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = HELM_PROGRAM.get_or_init(|| {
        let parts = Parts::build(&Cache::locate().unwrap(), &Progress::new()).unwrap();
        parts.program(&HELM, "helm")
    });
    let mut command = Command::new(program);
    // Helm's own folders are not looked at, so that a plugin or a repository of the person who runs the tests changes nothing.
    let home = env!("CARGO_TARGET_TMPDIR");
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(folder, home);
    }
    command.current_dir(repository_root()).args(arguments);
    for value in values {
        command.args(["--set-json", value]);
    }
    command.output().unwrap()
}

fn render(values: &[&str]) -> Output {
    let arguments = [
        "template",
        "harmonybatch",
        "charts/harmonybatch",
        "--namespace",
        "harmonybatch-system",
        "--set-json",
        REPOSITORY,
    ];
    helm(&arguments, values)
}

/// What the chart renders; without the kinds unless a value asks for them, because they are long and have a test of their own.
fn rendered_text(values: &[&str]) -> String {
    let output = render(&[&["crds.install=false"], values].concat());
    assert!(
        output.status.success(),
        "helm template {values:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    let documents = harmonybatch_api::yaml::read(Path::new("rendered"), text).unwrap();
    documents
        .iter()
        .map(|document| document.to_json().unwrap())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}

#[test]
fn the_chart_renders_as_reviewed() {
    insta::assert_snapshot!(rendered_text(&[]));
}

#[test]
fn helm_finds_nothing_to_criticise() {
    for chart in ["charts/harmonybatch", "charts/harmonybatch-crds"] {
        let output = helm(&["lint", "--strict", chart], &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !said.contains("WARNING"),
            "helm lint {chart}: {said}"
        );
    }
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    assert_eq!(rendered_text(&[]), rendered_text(&[]));
}

/// The requirements of the Pod Security Standard `restricted` that a Pod of ours could break.
#[test]
fn every_pod_keeps_to_the_restricted_pod_security_standard() {
    let objects = objects(&rendered_text(&[]));
    let deployments = of_kind(&objects, "Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert!(
            pod["securityContext"]["runAsUser"].as_u64().unwrap() > 0,
            "a kubelet cannot check a name"
        );
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert!(pod[forbidden].is_null(), "{forbidden}");
        }
        let volumes = pod["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(
            volumes.iter().all(|volume| !volume["configMap"].is_null()),
            "{volumes:?}"
        );
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
            assert!(context["capabilities"]["add"].is_null() && context["privileged"].is_null());
            for probe in ["livenessProbe", "readinessProbe"] {
                assert!(
                    container[probe]["httpGet"]["path"].is_string(),
                    "{probe} of {}",
                    container["name"]
                );
            }
            assert!(container["resources"]["requests"]["cpu"].is_string());
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}

/// The kinds that each role may change; everything else it may at most read.
#[test]
fn each_role_may_write_only_what_it_must() {
    let objects = objects(&rendered_text(&[]));
    let roles = [of_kind(&objects, "ClusterRole"), of_kind(&objects, "Role")].concat();
    assert_eq!(roles.len(), 5);
    let mut writes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for role in roles {
        let may = writes.entry(text(role, "/metadata/name")).or_default();
        for rule in role["rules"].as_array().unwrap() {
            for list in ["apiGroups", "resources", "verbs"] {
                let words = rule[list].as_array().unwrap();
                assert!(
                    !words.is_empty() && words.iter().all(|word| !word.as_str().unwrap().contains('*')),
                    "{rule}"
                );
            }
            let writing = |verb: &&Value| !["get", "list", "watch"].contains(&verb.as_str().unwrap());
            let verbs: Vec<&str> = rule["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .filter(writing)
                .map(|verb| verb.as_str().unwrap())
                .collect();
            for resource in rule["resources"].as_array().unwrap() {
                assert_ne!(resource, "secrets");
                if !verbs.is_empty() {
                    let group = rule["apiGroups"][0].as_str().unwrap();
                    may.push(format!(
                        "{group}/{}: {}",
                        resource.as_str().unwrap(),
                        verbs.join(" ")
                    ));
                }
            }
        }
        may.sort();
    }
    let lines = writes.iter().flat_map(|(role, may)| {
        std::iter::once((*role).to_owned()).chain(may.iter().map(|one| format!("  {one}")))
    });
    insta::assert_snapshot!(lines.map(|line| line + "\n").collect::<String>());
}

#[test]
fn each_rule_of_a_role_says_why_it_is_there() {
    for component in ["controller", "gateway", "users"] {
        let file = repository_root().join(format!("charts/harmonybatch/templates/{component}/rbac.yaml"));
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut rules = 0;
        for pair in lines
            .windows(2)
            .filter(|pair| pair[1].trim_start().starts_with("- apiGroups:"))
        {
            rules += 1;
            assert!(
                pair[0].trim_start().starts_with('#'),
                "{component}: no reason before {}",
                pair[1]
            );
        }
        assert!(rules > 0, "no rules in {}", file.display());
    }
}

/// Namespaced objects carry their namespace, so that `helm template | kubectl apply -f -` puts them where Helm would.
#[test]
fn everything_is_labelled_and_in_the_release_namespace() {
    for object in objects(&rendered_text(&[])) {
        assert_eq!(
            text(&object, "/metadata/labels/app.kubernetes.io~1name"),
            "harmonybatch",
            "{object}"
        );
        if !text(&object, "/kind").starts_with("Cluster") {
            assert_eq!(
                text(&object, "/metadata/namespace"),
                "harmonybatch-system",
                "{object}"
            );
        }
    }
}

#[test]
fn services_and_selectors_meet_their_pods() {
    let objects = objects(&rendered_text(&[]));
    for object in of_kind(&objects, "Service") {
        let selector = object["spec"]["selector"].as_object().unwrap();
        let selected = of_kind(&objects, "Deployment").into_iter().find(|deployment| {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            selector.iter().all(|(name, value)| &labels[name] == value)
        });
        let deployment = selected.unwrap_or_else(|| panic!("{} selects nothing", object["metadata"]["name"]));
        let ports = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
            .as_array()
            .unwrap();
        for port in object["spec"]["ports"].as_array().unwrap() {
            assert!(
                ports
                    .iter()
                    .any(|container| container["name"] == port["targetPort"]),
                "{port}"
            );
        }
    }
}

/// The old gateway must still be there while nodes learn of the new one, and have its full time to drain after that.
#[test]
fn the_gateway_has_time_to_drain_whatever_is_set() {
    for (lame_duck, drain) in [(5, 30), (1, 1), (20, 600)] {
        let values = [
            format!("gateway.lameDuckSeconds={lame_duck}"),
            format!("gateway.drainSeconds={drain}"),
        ];
        let objects = objects(&rendered_text(&values.each_ref().map(String::as_str)));
        let gateway = of_kind(&objects, "Deployment")
            .into_iter()
            .find(|deployment| deployment["metadata"]["name"] == "harmonybatch-gateway")
            .unwrap();
        let pod = &gateway["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], lame_duck);
        assert!(
            container["args"]
                .as_array()
                .unwrap()
                .contains(&format!("--drain={drain}s").into())
        );
        assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > i64::from(lame_duck + drain));
        let update = &gateway["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(
            (&update["maxUnavailable"], &update["maxSurge"]),
            (&0.into(), &1.into())
        );
    }
}

#[test]
fn without_an_image_the_chart_says_how_to_get_one() {
    let output = helm(&["template", "harmonybatch", "charts/harmonybatch"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("image.repository is empty") && said.contains("e2e image"),
        "{said}"
    );
}

#[test]
fn bad_values_are_refused_with_the_name_of_the_field() {
    let digest = format!("image.digest=\"sha256:{}\"", "g".repeat(64));
    let cases: &[(&str, &str)] = &[
        ("imgae={}", "imgae"),
        ("image.repositry=\"a\"", "repositry"),
        (
            "image.repository=\"registry.example/harmonybatch:1\"",
            "/image/repository",
        ),
        ("image.repository=7", "/image/repository"),
        ("image.tag=\"not a tag\"", "/image/tag"),
        ("image.tag=1.5", "/image/tag"),
        (&digest, "/image/digest"),
        ("image.pullPolicy=\"Sometimes\"", "/image/pullPolicy"),
        ("image.pullSecrets=\"one\"", "/image/pullSecrets"),
        ("image.pullSecrets=[\"Bad_Name\"]", "/image/pullSecrets/0"),
        ("clusterDomain=\"cluster.local.\"", "/clusterDomain"),
        ("clusterDomain=\"\"", "/clusterDomain"),
        ("crds.install=\"yes\"", "/crds/install"),
        ("crds.other=true", "/crds"),
        ("controller.replicas=2", "replicas"),
        ("controller.logLevel=\"verbose\"", "/controller/logLevel"),
        (
            "controller.resources.requests.cpu=\"-1\"",
            "/controller/resources/requests/cpu",
        ),
        (
            "controller.resources.requests.cpu=1",
            "/controller/resources/requests/cpu",
        ),
        (
            "controller.resources.limits.memory=\"64MB\"",
            "/controller/resources/limits/memory",
        ),
        ("controller.resources.limits.gpu=\"1\"", "gpu"),
        (
            "controller.priorityClassName=\"Very High\"",
            "/controller/priorityClassName",
        ),
        (
            "controller.nodeSelector={\"zone\":1}",
            "/controller/nodeSelector/zone",
        ),
        (
            "controller.tolerations=[{\"op\":\"Exists\"}]",
            "/controller/tolerations/0",
        ),
        (
            "controller.podLabels={\"app.kubernetes.io/name\":\"x\"}",
            "app.kubernetes.io/name",
        ),
        ("gateway.replicas=2", "/gateway/replicas"),
        ("gateway.replicas=0", "/gateway/replicas"),
        ("gateway.replicas=\"1\"", "/gateway/replicas"),
        ("gateway.drainSeconds=0", "/gateway/drainSeconds"),
        ("gateway.drainSeconds=\"30s\"", "/gateway/drainSeconds"),
        ("gateway.drainSeconds=1e9", "/gateway/drainSeconds"),
        ("gateway.lameDuckSeconds=0", "/gateway/lameDuckSeconds"),
        ("gateway.lameDuckSeconds=0.5", "/gateway/lameDuckSeconds"),
        ("gateway.podAnnotations={\"a\":true}", "/gateway/podAnnotations/a"),
        ("gateway=null", "gateway"),
        ("platform.prices.vcpuSecond=null", "vcpuSecond"),
        ("platform.price={}", "price"),
        ("platform.currency=\"euro\"", "/platform/currency"),
        ("platform.billing=\"PerHour\"", "/platform/billing"),
        (
            "platform.prices.vcpuSecond=0.000013",
            "/platform/prices/vcpuSecond",
        ),
        ("platform.prices.vcpuSecond=\"-1\"", "/platform/prices/vcpuSecond"),
        ("platform.overhead=\"5\"", "/platform/overhead"),
        ("platform.cpu.max=\"all\"", "/platform/cpu/max"),
        ("platform.cpu.min=-1", "/platform/cpu/min"),
        ("platform.gpuPools=[{\"name\":\"a10\"}]", "/platform/gpuPools/0"),
        ("platform.serving=\"knative\"", "/platform/serving"),
        ("platform.planner=\"Fast\"", "/platform/planner"),
    ];
    for (value, field) in cases {
        let output = render(&[value]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} was taken");
        assert!(
            said.contains("don't meet the specifications of the schema"),
            "{value}: {said}"
        );
        assert!(said.contains(field), "{value}: {field} is not in {said}");
    }
}

#[test]
fn good_values_reach_the_objects() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let digest_value = format!("image.digest=\"{digest}\"");
    let cases: &[(&str, &str)] = &[
        ("image.tag=\"v1.2\"", "image: registry.example/harmonybatch:v1.2"),
        (
            &digest_value,
            &format!("image: registry.example/harmonybatch@{digest}"),
        ),
        (
            "image.repository=\"localhost:5000/a/b\"",
            "image: localhost:5000/a/b:",
        ),
        ("image.pullPolicy=\"Never\"", "imagePullPolicy: Never"),
        (
            "image.pullSecrets=[\"registry\"]",
            "imagePullSecrets:\n        - name: registry",
        ),
        ("clusterDomain=\"k8s.example\"", "--cluster-domain=k8s.example"),
        ("controller.logLevel=\"debug\"", "value: debug"),
        (
            "gateway.resources.limits={\"cpu\":\"2\",\"memory\":\"1.5Gi\"}",
            "memory: 1.5Gi",
        ),
        ("gateway.priorityClassName=\"high\"", "priorityClassName: high"),
        (
            "gateway.nodeSelector={\"kubernetes.io/os\":\"linux\"}",
            "nodeSelector:\n        kubernetes.io/os: linux",
        ),
        (
            "gateway.tolerations=[{\"key\":\"gpu\",\"operator\":\"Exists\"}]",
            "tolerations:\n        - key: gpu",
        ),
        (
            "gateway.podAnnotations={\"prometheus.io/scrape\":\"true\"}",
            "prometheus.io/scrape: \"true\"",
        ),
        ("controller.podLabels={\"team\":\"ml\"}", "team: ml"),
    ];
    for (value, expected) in cases {
        let text = rendered_text(&[value]);
        assert!(text.contains(expected), "{value}: {expected:?} is not in\n{text}");
    }
}

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
    let pool = r#"{"name":"a10","device":"a10","unitsPerDevice":24,"memoryPerUnit":"1Gi","slice":"2ms","latencyModel":"FixedShare",
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

/// File name to text of the YAML files directly in a folder.
fn yaml_files(folder: &str) -> BTreeMap<String, String> {
    let folder = repository_root().join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| {
        (
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            std::fs::read_to_string(&path).unwrap(),
        )
    })
    .collect()
}

#[test]
fn the_chart_installs_the_kinds_that_the_code_defines() {
    let (generated, copies) = (yaml_files("crds"), yaml_files("charts/harmonybatch-crds/files"));
    assert!(
        !generated.is_empty(),
        "crds/ holds no kinds: cargo run -p harmonybatch -- crds --write crds"
    );
    assert!(
        generated == copies,
        "the copies are stale: rm charts/harmonybatch-crds/files/*; cp crds/*.yaml charts/harmonybatch-crds/files/"
    );
}

#[test]
fn kinds_are_rendered_as_they_are_and_kept_unless_told_otherwise() {
    let kept = serde_json::json!({"helm.sh/resource-policy": "keep"});
    for (keep, expected) in [("crds.keep=true", kept), ("crds.keep=false", Value::Null)] {
        let mut rendered = objects(&rendered_text(&["crds.install=true", keep]));
        rendered.retain(|object| object["kind"] == "CustomResourceDefinition");
        for definition in &mut rendered {
            assert_eq!(definition["metadata"]["annotations"].take(), expected, "{keep}");
            definition["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("annotations");
        }
        let files: Vec<Value> = yaml_files("crds")
            .values()
            .flat_map(|text| objects(text))
            .collect();
        let by_name = |objects: Vec<Value>| {
            objects
                .into_iter()
                .map(|object| (text(&object, "/metadata/name").to_owned(), object))
                .collect::<BTreeMap<_, _>>()
        };
        assert!(
            by_name(rendered) == by_name(files),
            "{keep}: the kinds are rendered otherwise than crds/*.yaml"
        );
    }
}
