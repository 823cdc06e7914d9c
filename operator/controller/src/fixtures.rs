//! Objects for the tests, written as users write them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use harmonybatch_api::inference_group::Member;
use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel, InferencePlatform, yaml};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Config};
use serde_json::Value;
use tokio::net::TcpListener;

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

/// A group without members; parsed once, because the property tests need thousands.
static GROUP: LazyLock<InferenceGroup> = LazyLock::new(|| {
    parse(
        "apiVersion: harmonybatch.dev/v1alpha1
kind: InferenceGroup
metadata: {name: any, namespace: shop, generation: 3}
spec:
  modelRef: {name: mlp}
  planGeneration: 1
  image: example.org/runtime:1
  device: {cpu: {limit: 150m}}
  batchSize: 8
  dispatch: Eager
  replicas: 2
  serving: Deployment
  members: []",
    )
});

/// A group of that model with these members, which has not run yet.
pub(crate) fn group(name: &str, plan_generation: i64, members: &[&str]) -> InferenceGroup {
    let member = |app: &&str| Member {
        app: (*app).to_owned(),
        service_name: format!("{app}-infer"),
        slo: "500ms".to_owned(),
        percentile: "99".to_owned(),
        rate: "5/s".to_owned(),
        timeout: "2s".to_owned(),
        max_wait: "0s".to_owned(),
        admission: None,
    };
    let mut group = GROUP.clone();
    group.metadata.name = Some(name.to_owned());
    group.metadata.uid = Some(format!("{name}-uid"));
    group.spec.plan_generation = plan_generation;
    group.spec.members = members.iter().map(member).collect();
    group
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): tests draw the same numbers for ever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in (0, 1].
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A time until something that happens at this rate.
    pub(crate) fn exponential(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    /// How often something happened that does so `mean` times in the mean.
    pub(crate) fn poisson(&mut self, mean: f64) -> f64 {
        let (mut count, mut clock) = (0.0, self.exponential(1.0));
        while clock < mean {
            count += 1.0;
            clock += self.exponential(1.0);
        }
        count
    }
}

/// A client of an API server on this machine that answers so: status and body to method, path and body.
pub(crate) async fn api_server(
    answer: impl Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    let (code, told) = answer(&parts.method, parts.uri.path(), &body);
                    let told = Full::new(Bytes::from(told.to_string()));
                    Ok::<_, Infallible>(Response::builder().status(code).body(told).unwrap())
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    let mut config = Config::new(url.parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// A time `seconds` after the epoch.
pub(crate) fn at(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap())
}
