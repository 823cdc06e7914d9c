//! Every field that a person writes, with a wrong type, a wrong unit, zero, a negative, a huge and a missing value: the real API server
//! refuses each, names the field, and nothing is stored.

use harmonybatch_api::{InferenceApp, InferenceModel, InferencePlatform};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::scenario::Scenario;

/// What a field holds, and so which values are bad.
#[derive(Clone, Copy)]
enum Holds {
    /// A duration above zero.
    Latency,
    /// A duration; zero is a value too.
    Duration,
    Rate,
    Percentile,
    /// A decimal above zero.
    Positive,
    /// A decimal; zero is a value too.
    Decimal,
    Cpu,
    Memory,
    /// An integer of at least 1.
    Count,
    Name,
    /// One of a few words.
    Word,
    Text,
}

impl Holds {
    #[expect(
        clippy::too_many_lines,
        reason = "a table, one line a value once it is formatted"
    )]
    fn bad(self) -> Vec<Value> {
        let huge = "9".repeat(33);
        let wrong_type = [json!(["a", "list"]), json!({ "an": "object" }), json!(true)];
        let own = match self {
            Self::Latency => vec![
                json!(5),
                json!("5"),
                json!("5 min"),
                json!("5h"),
                json!("0ms"),
                json!("-5ms"),
                json!("1e9s"),
                json!(huge + "s"),
                json!("NaNs"),
                json!(""),
            ],
            Self::Duration => vec![
                json!(5),
                json!("5"),
                json!("5h"),
                json!("-5ms"),
                json!("1e9s"),
                json!(huge + "s"),
                json!("infs"),
                json!(""),
            ],
            Self::Rate => vec![
                json!(5),
                json!("5"),
                json!("5/d"),
                json!("5ms"),
                json!("0/s"),
                json!("-5/s"),
                json!("1e9/s"),
                json!(huge + "/s"),
                json!("NaN/s"),
                json!(""),
            ],
            Self::Percentile => vec![
                json!(99),
                json!("99%"),
                json!("p99"),
                json!("0"),
                json!("-99"),
                json!("100"),
                json!("1e1"),
                json!(huge),
                json!(""),
            ],
            Self::Positive => vec![
                json!(0.5),
                json!("0"),
                json!("0.0"),
                json!("-1"),
                json!("1e-5"),
                json!("1 USD"),
                json!(huge),
                json!("NaN"),
                json!(""),
            ],
            Self::Decimal => vec![
                json!(0.5),
                json!("-1"),
                json!("1e-5"),
                json!("1 USD"),
                json!(huge),
                json!("inf"),
                json!(""),
            ],
            Self::Cpu => vec![
                json!("1 core"),
                json!("100Mi"),
                json!("-1"),
                json!(-1),
                json!(0),
                json!("1e3"),
                json!(huge),
                json!(""),
            ],
            Self::Memory => vec![
                json!("1 GB"),
                json!("100m"),
                json!("-1Gi"),
                json!(-1),
                json!("1e9"),
                json!(huge + "Gi"),
                json!(""),
            ],
            Self::Count => vec![
                json!("8"),
                json!(0),
                json!(-8),
                json!(1.5),
                json!(4_000_000_000_u64),
            ],
            Self::Name => vec![
                json!(5),
                json!("Upper"),
                json!("dot.ted"),
                json!("-x"),
                json!("a".repeat(64)),
                json!(""),
            ],
            Self::Word => vec![json!(5), json!("Sometimes"), json!("")],
            Self::Text => vec![json!(5), json!("x".repeat(600)), json!("")],
        };
        own.into_iter().chain(wrong_type).collect()
    }
}

/// A field: where, what it holds, and whether it may be absent.
type Field = (&'static str, Holds, bool);

const APP: &[Field] = &[
    ("/spec/modelRef/name", Holds::Name, false),
    ("/spec/slo/latency", Holds::Latency, false),
    ("/spec/slo/percentile", Holds::Percentile, true),
    ("/spec/timeout", Holds::Latency, true),
    ("/spec/rate", Holds::Rate, false),
    ("/spec/batching", Holds::Word, true),
    ("/spec/serviceName", Holds::Name, true),
];

const MODEL: &[Field] = &[
    ("/spec/runtime/image", Holds::Text, false),
    ("/spec/runtime/port", Holds::Count, true),
    ("/spec/runtime/modelName", Holds::Text, true),
    ("/spec/runtime/readinessPath", Holds::Text, true),
    ("/spec/runtime/readinessPort", Holds::Count, true),
    ("/spec/runtime/memory/base", Holds::Memory, false),
    ("/spec/runtime/memory/perRow", Holds::Memory, true),
    ("/spec/maxBatchSize", Holds::Count, false),
    ("/spec/platformRef/name", Holds::Name, true),
    ("/spec/protocol", Holds::Word, true),
    ("/spec/profile/cpu/0/batch", Holds::Count, false),
    (
        "/spec/profile/cpu/0/mean/exponential/alpha",
        Holds::Duration,
        false,
    ),
    (
        "/spec/profile/cpu/0/mean/exponential/beta",
        Holds::Positive,
        false,
    ),
    ("/spec/profile/cpu/0/max/exponential/gamma", Holds::Latency, false),
    ("/spec/profile/cpu/1/mean/hyperbolic/work", Holds::Latency, false),
    (
        "/spec/profile/cpu/1/mean/hyperbolic/fixed",
        Holds::Duration,
        false,
    ),
    (
        "/spec/profile/cpu/1/max/throttled/parallelism",
        Holds::Positive,
        false,
    ),
    ("/spec/profile/gpu/0/device", Holds::Name, false),
    ("/spec/profile/gpu/0/perRow", Holds::Latency, false),
    ("/spec/profile/gpu/0/fixed", Holds::Duration, false),
    ("/spec/profile/gpu/0/memory/base", Holds::Memory, false),
];

const PLATFORM: &[Field] = &[
    ("/spec/currency", Holds::Word, true),
    ("/spec/billing", Holds::Word, true),
    ("/spec/prices/vcpuSecond", Holds::Positive, false),
    ("/spec/prices/gpuUnitSecond", Holds::Decimal, true),
    ("/spec/prices/request", Holds::Decimal, true),
    ("/spec/overhead", Holds::Duration, true),
    ("/spec/cpu/min", Holds::Cpu, false),
    ("/spec/cpu/max", Holds::Cpu, false),
    ("/spec/cpu/step", Holds::Cpu, false),
    ("/spec/gpuPools/0/name", Holds::Name, false),
    ("/spec/gpuPools/0/device", Holds::Name, false),
    ("/spec/gpuPools/0/unitsPerDevice", Holds::Count, false),
    ("/spec/gpuPools/0/memoryPerUnit", Holds::Memory, false),
    ("/spec/gpuPools/0/slice", Holds::Latency, false),
    ("/spec/gpuPools/0/latencyModel", Holds::Word, true),
    (
        "/spec/gpuPools/0/backend/extendedResource/name",
        Holds::Text,
        false,
    ),
    (
        "/spec/gpuPools/0/backend/extendedResource/quantity",
        Holds::Word,
        false,
    ),
    ("/spec/serving", Holds::Word, true),
    ("/spec/planner", Holds::Word, true),
];

fn app() -> Value {
    let spec = json!({
        "modelRef": { "name": "mlp" }, "slo": { "latency": "500ms", "percentile": "99" }, "timeout": "2s", "rate": "5/s",
        "batching": "Shared", "serviceName": "search-infer"
    });
    json!({ "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceApp", "metadata": { "name": "good" }, "spec": spec })
}

fn model() -> Value {
    let curve = json!({ "exponential": { "alpha": "100ms", "beta": "0.5", "gamma": "10ms" } });
    let spec = json!({
        "runtime": { "image": "example.org/net:1", "port": 8080, "modelName": "net", "readinessPath": "/v2/health/ready", "readinessPort": 8080, "memory": { "base": "64Mi", "perRow": "1Mi" } },
        "maxBatchSize": 8, "platformRef": { "name": "default" }, "protocol": "OIPv2JSON",
        "profile": {
            "cpu": [
                { "batch": 1, "mean": curve, "max": curve },
                {
                    "batch": 2,
                    "mean": { "hyperbolic": { "work": "100ms", "fixed": "10ms" } },
                    "max": { "throttled": { "work": "100ms", "parallelism": "1", "period": "100ms" } }
                }
            ],
            "gpu": [{ "device": "a10", "perRow": "1ms", "fixed": "2ms", "memory": { "base": "1Gi", "perRow": "0" } }]
        }
    });
    json!({ "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceModel", "metadata": { "name": "good" }, "spec": spec })
}

fn platform() -> Value {
    let backend =
        json!({ "extendedResource": { "name": "harmonybatch.dev/gpu-slice", "quantity": "Units" } });
    let pool = json!({
        "name": "a10", "device": "a10", "unitsPerDevice": 24, "memoryPerUnit": "1Gi", "slice": "2ms", "latencyModel": "FixedShare", "backend": backend
    });
    let spec = json!({
        "currency": "USD", "billing": "PerReplica", "overhead": "5ms", "serving": "Auto", "planner": "Optimal",
        "prices": { "vcpuSecond": "0.000013", "gpuUnitSecond": "0.000015", "request": "0.00000013" },
        "cpu": { "min": "50m", "max": "1", "step": "50m" }, "gpuPools": [pool]
    });
    json!({ "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferencePlatform", "metadata": { "name": "good" }, "spec": spec })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_is_refused_by_its_name() {
    let scenario = Scenario::begin("bad-input").await;
    let client = scenario.cluster.client();
    let mut complaints =
        check::<InferenceApp>(&client, &scenario.namespace, "inferenceapps", &app(), APP).await;
    complaints.extend(
        check::<InferenceModel>(&client, &scenario.namespace, "inferencemodels", &model(), MODEL).await,
    );
    complaints
        .extend(check::<InferencePlatform>(&client, "", "inferenceplatforms", &platform(), PLATFORM).await);
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_contradict_each_other_are_refused_by_name() {
    let scenario = Scenario::begin("contradictions").await;
    let client = scenario.cluster.client();
    let cases: [(&str, Value, &str, Value, &[&str]); 2] = [
        (
            "inferenceapps",
            app(),
            "/spec/timeout",
            json!("400ms"),
            &["timeout", "slo.latency"],
        ),
        (
            "inferenceplatforms",
            platform(),
            "/spec/cpu/min",
            json!("2"),
            &["cpu", "min", "max"],
        ),
    ];
    for (plural, mut object, field, value, named) in cases {
        *object.pointer_mut(field).unwrap() = value.clone();
        let namespace = if plural == "inferenceplatforms" {
            ""
        } else {
            &scenario.namespace
        };
        match create(&client, namespace, plural, &object).await {
            Ok(()) => panic!("{plural} {field} = {value} was accepted"),
            Err(said) => assert!(
                named.iter().all(|name| said.contains(name)),
                "{plural} {field} = {value}: {said}"
            ),
        }
    }
    scenario.end().await;
}

/// Tries each bad value of each field, and the field's absence; what was accepted, or refused without its name.
async fn check<K: Serialize + DeserializeOwned>(
    client: &Client,
    namespace: &str,
    plural: &str,
    good: &Value,
    fields: &[Field],
) -> Vec<String> {
    serde_json::from_value::<K>(good.clone())
        .unwrap_or_else(|error| panic!("the good {plural} is not one: {error}"));
    create(client, namespace, plural, good)
        .await
        .unwrap_or_else(|said| panic!("the good {plural} was refused: {said}"));
    let mut complaints = Vec::new();
    for (field, holds, optional) in fields {
        let name = field.rsplit('/').next().unwrap();
        let mut tries: Vec<(String, Value)> = holds
            .bad()
            .into_iter()
            .map(|value| (value.to_string(), with(good, field, Some(value))))
            .collect();
        if !optional {
            tries.push(("nothing".to_owned(), with(good, field, None)));
        }
        for (value, object) in tries {
            match create(client, namespace, plural, &object).await {
                Ok(()) => complaints.push(format!("{plural} {field} = {value} was accepted")),
                Err(said) if !said.contains(name) => complaints.push(format!(
                    "{plural} {field} = {value} is refused without the field's name: {said}"
                )),
                Err(_) => (),
            }
        }
    }
    complaints
}

fn with(good: &Value, field: &str, value: Option<Value>) -> Value {
    let mut object = good.clone();
    let (parent, name) = field.rsplit_once('/').unwrap();
    let parent = object
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .unwrap_or_else(|| panic!("no {field}"));
    assert!(parent.contains_key(name), "the good object has no {field}");
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    object
}

/// Creates the object in a dry run: everything that the API server checks, and nothing stored.
async fn create(client: &Client, namespace: &str, plural: &str, object: &Value) -> Result<(), String> {
    let kind = object["kind"].as_str().unwrap();
    let resource = kube::api::ApiResource {
        group: "harmonybatch.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "harmonybatch.dev/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    let api: Api<kube::api::DynamicObject> = if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let dry_run = PostParams {
        dry_run: true,
        field_manager: Some("e2e".to_owned()),
    };
    let object = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    match api.create(&dry_run, &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{plural}: {error}"),
    }
}
