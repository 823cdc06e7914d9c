//! Callers of every encoding before runtimes of every encoding.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use harmonybatch_gateway::{config::GroupConfig, protocol::Wire};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{Gateway, echo::Echo, group, member, snapshot};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;
const HEADER_LENGTH: &str = "inference-header-content-length";

fn before(wire: Wire, address: std::net::SocketAddr) -> GroupConfig {
    GroupConfig {
        wire,
        ..group("mlp-a", &[member("search", EAGER, LONG)], &[address])
    }
}

/// Posts a body that begins with JSON; the answer's JSON, and what is behind it.
async fn post(gateway: &Gateway, header: &Value, tail: &[u8]) -> (StatusCode, Value, Option<Vec<u8>>) {
    let header = header.to_string();
    let request = Request::post("/v2/models/mlp/infer")
        .header("host", "search-infer.shop")
        .header(HEADER_LENGTH, header.len())
        .body(Full::new(Bytes::from([header.as_bytes(), tail].concat())));
    let (head, body) = support::exchange(gateway.callers, request.unwrap()).await;
    let length = head
        .headers
        .get(HEADER_LENGTH)
        .map(|length| length.to_str().unwrap().parse().unwrap());
    let (header, tail) = body.split_at(length.unwrap_or(body.len()));
    (
        head.status,
        serde_json::from_slice(header).unwrap(),
        length.map(|_| tail.to_vec()),
    )
}

#[tokio::test]
async fn binary_callers_are_served_by_runtimes_of_json_and_of_binary_tensors() {
    for wire in [Wire::Json, Wire::Binary] {
        let runtime = Echo::start().await;
        let gateway = Gateway::start(snapshot([before(wire, runtime.address)])).await;
        let tail = [
            1.5_f32.to_le_bytes().as_slice(),
            &2.0_f32.to_le_bytes(),
            b"\x02\0\0\0ab",
        ]
        .concat();
        let request = |outputs: Value| {
            json!({"id": "mine", "parameters": {"p": 1}, "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "y", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}},
            {"name": "z", "shape": [1], "datatype": "INT8", "data": [-3]},
        ], "outputs": outputs})
        };
        let all = json!([
            {"name": "OUTPUT0", "parameters": {"binary_data": true}},
            {"name": "OUTPUT1", "parameters": {"binary_data": false}},
            {"name": "OUTPUT2", "parameters": {"binary_data": true}},
        ]);
        let (status, answer, behind) = post(&gateway, &request(all), &tail).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["id"], "mine");
        assert_eq!(answer["outputs"][0]["parameters"], json!({"binary_data_size": 8}));
        assert_eq!(answer["outputs"][1]["data"], json!(["ab"]));
        assert_eq!(behind.unwrap(), [&tail[..8], &[0xfd]].concat(), "{answer}");
        let (_, answer, behind) = post(
            &gateway,
            &request(json!([{"name": "OUTPUT0"}, {"name": "OUTPUT1"}, {"name": "OUTPUT2"}])),
            &tail,
        )
        .await;
        assert_eq!(
            (&answer["outputs"][0]["data"], behind),
            (&json!([1.5, 2.0]), None)
        );
        let seen = runtime.seen.lock().unwrap().clone();
        let is_binary = wire == Wire::Binary;
        assert!(
            seen.iter()
                .all(|(header, binary)| *binary == is_binary && header["parameters"]["p"] == 1)
        );
        let (_, metrics) = gateway.admin("/metrics").await;
        let direction = if is_binary {
            "request_to_raw"
        } else {
            "request_to_json"
        };
        let bytes = if is_binary { 4 } else { 28 };
        let line =
            format!(r#"harmonybatch_gateway_conversion_bytes_total{{direction="{direction}"}} {bytes}"#);
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn callers_of_both_forms_share_a_batch() {
    let runtime = Echo::start().await;
    let group = GroupConfig {
        members: vec![member("search", Duration::from_secs(20), LONG)],
        batch_size: 2,
        ..before(Wire::Binary, runtime.address)
    };
    let gateway = Gateway::start(snapshot([group])).await;
    let input = |rest: Value| {
        let mut input = json!({"name": "x", "shape": [1], "datatype": "FP64"});
        input
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        json!({"inputs": [input]})
    };
    let nan = f64::NAN.to_le_bytes();
    let binary = input(json!({"parameters": {"binary_data_size": 8}}));
    let json = input(json!({"data": [0.1]}));
    let (nan, number) = tokio::join!(post(&gateway, &binary, &nan), post(&gateway, &json, &[]));
    assert_eq!(
        (number.0, &number.1["outputs"][0]["data"]),
        (StatusCode::OK, &json!([0.1]))
    );
    // Its rows cannot be written as it asked; the other's can.
    assert_eq!(nan.0, StatusCode::BAD_GATEWAY);
    let says = nan.1["error"].as_str().unwrap();
    assert!(
        says.starts_with("the runtime's output OUTPUT0 has NaN as element 0, which JSON cannot write"),
        "{says}"
    );
    assert_eq!(runtime.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_binary_body_that_is_wrong_is_400() {
    let runtime = Echo::start().await;
    let gateway = Gateway::start(snapshot([before(Wire::Json, runtime.address)])).await;
    let input = |datatype: &str, size: usize| json!({"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": size}}]});
    let table = [
        (
            input("FP64", 8),
            vec![0; 7],
            "inputs[0].parameters: binary_data_size is 8, 7 bytes of the body are left",
        ),
        (
            input("FP64", 4),
            vec![0; 4],
            "inputs[0].data: has 4 bytes, 1 elements of FP64 have 8",
        ),
        (
            input("FP64", 8),
            f64::NAN.to_le_bytes().to_vec(),
            "inputs[0].data: has NaN as element 0",
        ),
        (
            input("FP16", 2),
            vec![0; 2],
            "inputs[0].data: is FP16, which the protocol has only as raw bytes",
        ),
        (
            input("BYTES", 5),
            b"\x01\0\0\0\xff".to_vec(),
            "inputs[0].data: has an element 0 that is not UTF-8",
        ),
    ];
    for (header, tail, says) in table {
        let (status, answer, _) = post(&gateway, &header, &tail).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        assert!(error.starts_with(says), "{error}");
    }
    let request = Request::post("/v2/models/mlp/infer")
        .header("host", "search-infer.shop")
        .header(HEADER_LENGTH, "-1");
    let answer = support::call(gateway.callers, request.body(Full::default()).unwrap()).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (
            StatusCode::BAD_REQUEST,
            r#"{"error":"inference-header-content-length: must be one number of bytes"}"#
        )
    );
    assert!(runtime.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_runtime_that_changes_its_encoding_takes_what_waits_as_far_as_it_can_be_written() {
    let (before_it, after_it) = (Echo::start().await, Echo::start().await);
    let waiting = GroupConfig {
        members: vec![member("search", Duration::from_secs(20), LONG)],
        ..before(Wire::Binary, before_it.address)
    };
    let gateway = Gateway::start(snapshot([waiting])).await;
    let header = json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}]});
    let (nan, number) = (f64::NAN.to_le_bytes(), 0.1_f64.to_le_bytes());
    let change = async {
        gateway.until_queued(2).await;
        gateway.configure(snapshot([before(Wire::Json, after_it.address)]));
    };
    let (nan, number, ()) = tokio::join!(
        post(&gateway, &header, &nan),
        post(&gateway, &header, &number),
        change
    );
    assert_eq!(
        (number.0, &number.1["outputs"][0]["data"]),
        (StatusCode::OK, &json!([0.1]))
    );
    assert_eq!(
        (
            nan.0,
            nan.1["error"]
                .as_str()
                .unwrap()
                .starts_with("inputs[0].data: has NaN")
        ),
        (StatusCode::BAD_REQUEST, true)
    );
    assert!(before_it.seen.lock().unwrap().is_empty());
    assert_eq!(
        after_it.seen.lock().unwrap()[0].0["inputs"][0]["shape"],
        json!([1])
    );
}
