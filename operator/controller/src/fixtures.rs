//! Objects for the tests, written as users write them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel, InferencePlatform, yaml};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> T {
    yaml::parse(Path::new("fixture"), text).unwrap()
}

/// A platform with CPU up to 4 vCPU and a simulated pool of A10.
pub(crate) fn platform() -> InferencePlatform {
    parse(
        r#"
apiVersion: harmonybatch.dev/v1alpha1
kind: InferencePlatform
metadata: {name: default, generation: 1}
spec:
  prices: {vcpuSecond: "0.000013", gpuUnitSecond: "0.000015", request: "0.00000013"}
  cpu: {min: 50m, max: 4, step: 50m}
  gpuPools:
    - name: a10
      device: a10
      unitsPerDevice: 24
      memoryPerUnit: 1Gi
      slice: 2ms
      backend: {extendedResource: {name: harmonybatch.dev/gpu-slice, quantity: Units}}
      placement:
        nodeSelector: {gpu: a10}
        tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
"#,
    )
}

/// A model whose latencies make sharing pay.
pub(crate) fn model() -> InferenceModel {
    parse(
        r#"
apiVersion: harmonybatch.dev/v1alpha1
kind: InferenceModel
metadata: {name: mlp, namespace: shop, uid: model-uid, generation: 1}
spec:
  runtime:
    image: example.org/runtime:1
    args: [serve]
    env: [{name: THREADS, value: "1"}, {name: TOKEN, valueFrom: {secretKeyRef: {name: hub, key: token}}}]
    modelName: net
    memory: {base: 256Mi, perRow: 2Mi}
    volumes: [{name: weights, mountPath: /weights, readOnly: true, persistentVolumeClaim: {claimName: weights}}]
    imagePullSecrets: [{name: pull}]
  maxBatchSize: 8
  profile:
    cpu:
      - batch: 1
        mean: {exponential: {alpha: 300ms, beta: "0.2", gamma: 15ms}}
        max: {exponential: {alpha: 400ms, beta: "0.2", gamma: 25ms}}
      - batch: 8
        mean: {exponential: {alpha: 400ms, beta: "0.2", gamma: 22ms}}
        max: {exponential: {alpha: 500ms, beta: "0.2", gamma: 35ms}}
"#,
    )
}

/// An application of that model.
pub(crate) fn app(name: &str, slo: &str, rate: &str) -> InferenceApp {
    parse(&format!(
        "apiVersion: harmonybatch.dev/v1alpha1
kind: InferenceApp
metadata: {{name: {name}, namespace: shop, uid: {name}-uid, generation: 1}}
spec: {{modelRef: {{name: mlp}}, slo: {{latency: {slo}}}, rate: {rate}}}"
    ))
}

/// A group of that model with these members, neither of which has run yet.
pub(crate) fn group(name: &str, plan_generation: i64, members: &[&str]) -> InferenceGroup {
    let members: Vec<String> = members
        .iter()
        .map(|app| {
            format!(
                "{{app: {app}, serviceName: {app}-infer, slo: 500ms, percentile: '99', rate: 5/s, timeout: 2s, maxWait: 0s}}"
            )
        })
        .collect();
    parse(&format!(
        "apiVersion: harmonybatch.dev/v1alpha1
kind: InferenceGroup
metadata: {{name: {name}, namespace: shop, uid: {name}-uid, generation: 3}}
spec:
  modelRef: {{name: mlp}}
  planGeneration: {plan_generation}
  image: example.org/runtime:1
  device: {{cpu: {{limit: 150m}}}}
  batchSize: 8
  dispatch: Eager
  replicas: 2
  serving: Deployment
  members: [{}]",
        members.join(", ")
    ))
}

/// A time `seconds` after the epoch.
pub(crate) fn at(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap())
}
