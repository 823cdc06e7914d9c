//! Values that are refused, and those that reach the objects.

use crate::{helm, render, rendered_text};

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
        ("gateway.replicas=33", "/gateway/replicas"),
        ("gateway.replicas=0", "/gateway/replicas"),
        ("gateway.replicas=\"1\"", "/gateway/replicas"),
        ("gateway.drainSeconds=0", "/gateway/drainSeconds"),
        ("gateway.drainSeconds=\"30s\"", "/gateway/drainSeconds"),
        ("gateway.drainSeconds=1e9", "/gateway/drainSeconds"),
        ("gateway.lameDuckSeconds=0", "/gateway/lameDuckSeconds"),
        ("gateway.lameDuckSeconds=0.5", "/gateway/lameDuckSeconds"),
        ("gateway.podAnnotations={\"a\":true}", "/gateway/podAnnotations/a"),
        (
            "gateway.tls={\"secretName\":\"\",\"clientCaSecretName\":\"callers\"}",
            "/gateway/tls/clientCaSecretName",
        ),
        ("gateway.tls.secretName=\"A\"", "/gateway/tls/secretName"),
        (
            "gateway.listener={\"maxConnections\":0}",
            "/gateway/listener/maxConnections",
        ),
        (
            "gateway.listener={\"idleTimeout\":60}",
            "/gateway/listener/idleTimeout",
        ),
        ("gateway.listener={\"timeout\":\"60s\"}", "/gateway/listener"),
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
    check_refused(cases);
}

#[test]
fn bad_values_of_traces_and_the_access_log_are_refused() {
    check_refused(&[
        ("gateway.accessLog=\"some\"", "/gateway/accessLog"),
        (
            "gateway.traces.endpoint=\"collector:4318\"",
            "/gateway/traces/endpoint",
        ),
        ("gateway.traces.ratio=2", "/gateway/traces/ratio"),
        ("gateway.traces.headers=\"a=b\"", "/gateway/traces"),
    ]);
}

fn check_refused(cases: &[(&str, &str)]) {
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
        ("gateway.accessLog=\"all\"", "--access-log=all"),
        (
            "gateway.traces={\"endpoint\":\"http://collector.observability:4318\",\"ratio\":0.00001}",
            "--traces=http://collector.observability:4318\n            - --trace-ratio=1e-05",
        ),
        (
            "gateway.traces={\"endpoint\":\"https://collector.example\",\"headersSecretName\":\"collector\"}",
            "name: collector\n                  key: headers",
        ),
        ("controller.logLevel=\"debug\"", "value: debug"),
        (
            "gateway.resources.limits={\"cpu\":\"2\",\"memory\":\"1.5Gi\"}",
            "memory: 1.5Gi",
        ),
        (
            "gateway.listener={\"maxConnections\":1000000}",
            "- --max-connections=1000000\n",
        ),
        (
            "gateway.listener={\"maxHeadFields\":50}",
            "- --max-head-fields=50\n",
        ),
        (
            "gateway.listener={\"minBodyRate\":\"4Ki\"}",
            "- --min-body-rate=4Ki\n",
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
        ("gateway.replicas=2", "kind: PodDisruptionBudget"),
    ];
    for (value, expected) in cases {
        let text = rendered_text(&[value]);
        assert!(text.contains(expected), "{value}: {expected:?} is not in\n{text}");
    }
}
