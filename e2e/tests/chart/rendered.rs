//! What is rendered, and that its parts meet.

use serde_json::Value;

use crate::{helm, objects, of_kind, rendered_text, text};

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
fn tls_brings_its_secrets_to_the_gateway_and_its_port_to_the_service() {
    let tls = "gateway.tls={\"secretName\":\"gateway-tls\",\"clientCaSecretName\":\"callers\"}";
    let objects = objects(&rendered_text(&[tls]));
    let named = |kind| {
        let mut all = of_kind(&objects, kind).into_iter();
        all.rfind(|object| text(object, "/metadata/name") == "harmonybatch-gateway")
            .unwrap()
    };
    let told_of_tls = |objects: &[Value]| {
        let all = of_kind(objects, "Deployment").into_iter();
        let mut arguments = all.flat_map(|deployment| {
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            container["args"].as_array().unwrap()
        });
        arguments.any(|argument| argument == "--gateway-tls")
    };
    assert!(told_of_tls(&objects) && !told_of_tls(&self::objects(&rendered_text(&[]))));
    let (deployment, service) = (named("Deployment"), named("Service"));
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let (mounts, volumes) = (&container["volumeMounts"], &pod["volumes"]);
    let files = [
        ("tls-cert", 0, "tls.crt"),
        ("tls-key", 0, "tls.key"),
        ("tls-client-ca", 1, "ca.crt"),
    ];
    for (option, mount, file) in files {
        let folder = mounts[mount]["mountPath"].as_str().unwrap();
        let argument = format!("--{option}={folder}/{file}");
        let arguments = container["args"].as_array().unwrap();
        assert!(
            arguments.iter().any(|said| said == argument.as_str()),
            "{argument}"
        );
        assert_eq!(mounts[mount]["name"], volumes[mount]["name"]);
    }
    assert_eq!(volumes[0]["secret"]["secretName"], "gateway-tls");
    assert_eq!(volumes[1]["secret"]["secretName"], "callers");
}
