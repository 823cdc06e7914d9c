//! What is refused, with which status, and that it disturbs nobody.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use harmonybatch_gateway::{Options, batcher::Limits};
use http::StatusCode;
use serde_json::{Value, json};
use support::{Gateway, Mood, Runtime, group, member, options, request, snapshot, soon};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

#[tokio::test]
async fn a_bad_request_is_told_its_field_and_disturbs_nobody() {
    let runtime = Runtime::start().await;
    let gateway = Gateway::start(snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]))
    .await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = request("x", 0, 2);
        change(&mut body);
        body.to_string()
    };
    let table = [
        ("{".to_owned(), "body"),
        (with(&|body| body["inputs"] = json!([])), "inputs"),
        (
            with(&|body| body["inputs"][0]["shape"] = json!([2, 3])),
            "inputs[0].data",
        ),
        (
            with(&|body| body["inputs"][0]["datatype"] = json!("FP31")),
            "inputs[0].datatype",
        ),
        (
            with(&|body| body["outputs"] = json!([{"name": "y", "parameters": {"binary_data": 1}}])),
            "outputs[0].parameters",
        ),
    ];
    for (body, field) in table {
        let answer = soon(gateway.post("search-infer.shop", "/v2/models/mlp/infer", &body))
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        assert!(
            answer.json["error"].as_str().unwrap().starts_with(field),
            "{body}: {}",
            answer.text
        );
    }
    assert_eq!(runtime.rows(), Vec::<u64>::new());
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_whether_announced_or_not() {
    let runtime = Runtime::start().await;
    let options = Options {
        body_limit: 1000,
        ..options()
    };
    let config = snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]);
    let gateway = Gateway::start_with(Some(config), options).await;
    let answer = soon(gateway.infer("search", &request("x", 0, 400)))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        soon(gateway.infer("search", &request("x", 0, 4)))
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_request_past_its_timeout_is_504_and_is_never_sent() {
    let runtime = Runtime::start_held().await;
    let members = [
        member("search", EAGER, LONG),
        member("hasty", EAGER, Duration::from_millis(50)),
    ];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[runtime.address])])).await;
    let plug = gateway.infer("search", &request("plug", 0, 1));
    runtime.batches(1).await;
    let late = soon(gateway.infer("hasty", &request("late", 0, 1)))
        .await
        .unwrap();
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(late.text.contains("no replica was free"), "{}", late.text);
    gateway.until_queued(0).await;
    runtime.permits.add_permits(1);
    soon(plug).await.unwrap();
    // In a batch already: the batch goes on, the caller is told.
    let slow = soon(gateway.infer("hasty", &request("slow", 0, 1)))
        .await
        .unwrap();
    assert_eq!(slow.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(slow.text.contains("still at work"), "{}", slow.text);
    assert_eq!(runtime.rows(), [1, 1]);
}

#[tokio::test]
async fn full_queues_refuse_an_application_with_429_and_everyone_with_503() {
    let runtime = Runtime::start_held().await;
    let members = [member("search", EAGER, LONG), member("feed", EAGER, LONG)];
    let limits = Limits {
        rows_per_app: 4,
        rows_per_group: 6,
        ..Limits::default()
    };
    let options = Options { limits, ..options() };
    let config = snapshot([group("mlp-a", &members, &[runtime.address])]);
    let gateway = Gateway::start_with(Some(config), options).await;
    let plug = gateway.infer("search", &request("plug", 0, 1));
    runtime.batches(1).await;
    let waiting = gateway.infer("search", &request("a", 0, 4));
    gateway.until_queued(4).await;
    let table = [
        ("search", 1, StatusCode::TOO_MANY_REQUESTS),
        ("feed", 3, StatusCode::SERVICE_UNAVAILABLE),
    ];
    for (app, rows, status) in table {
        let answer = soon(gateway.infer(app, &request("b", 0, rows))).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let fits = gateway.infer("feed", &request("c", 0, 2));
    gateway.until_queued(6).await;
    runtime.permits.add_permits(10);
    for call in [plug, waiting, fits] {
        assert_eq!(soon(call).await.unwrap().status, StatusCode::OK);
    }
    let (_, observed) = gateway.admin("/observed").await;
    let observed: Value = serde_json::from_str(&observed).unwrap();
    let search = observed["apps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|app| app["app"] == "search")
        .unwrap();
    assert_eq!(
        (&search["rows"], &search["admitted"], &search["refused"]),
        (&json!(6), &json!(2), &json!(1))
    );
}

#[tokio::test]
async fn a_bad_answer_of_the_runtime_is_502() {
    let runtime = Runtime::start().await;
    let gateway = Gateway::start(snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]))
    .await;
    let output = |output: Value| json!({"model_name": "net", "outputs": [output]}).to_string();
    let table = [
        (
            Mood::Answer(StatusCode::OK, "<html>".to_owned()),
            502,
            "not valid",
        ),
        (
            Mood::Answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                r#"{"error":"no memory"}"#.to_owned(),
            ),
            502,
            "500: no memory",
        ),
        (
            Mood::Answer(StatusCode::BAD_REQUEST, r#"{"error":"bad scale"}"#.to_owned()),
            400,
            "bad scale",
        ),
        (
            Mood::Answer(
                StatusCode::OK,
                output(json!({"name": "y", "shape": [2], "datatype": "FP32", "data": [1, 2]})),
            ),
            502,
            "the batch has 1 rows",
        ),
        (
            Mood::Answer(
                StatusCode::OK,
                output(json!({"name": "y", "shape": [1], "datatype": "FP32", "data": [1, 2]})),
            ),
            502,
            "has 2 elements, its shape says 1",
        ),
        (
            Mood::Answer(
                StatusCode::OK,
                json!({"id": "batch-other", "outputs": []}).to_string(),
            ),
            502,
            "has id",
        ),
        (Mood::HangUp, 502, "broke off"),
        (Mood::Echo, 200, ""),
    ];
    for (mood, status, says) in table {
        runtime.set_mood(mood.clone());
        let answer = soon(gateway.infer("search", &request("x", 0, 1))).await.unwrap();
        assert_eq!(answer.status, status, "{mood:?}: {}", answer.text);
        assert!(answer.text.contains(says), "{mood:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn bodies_hold_no_more_memory_than_there_is() {
    let runtime = Runtime::start_held().await;
    let members = [member("search", EAGER, LONG)];
    let options = Options {
        request_memory: 64 << 10,
        ..options()
    };
    let config = snapshot([group("mlp-a", &members, &[runtime.address])]);
    let gateway = Gateway::start_with(Some(config), options).await;
    // About 40 KiB each: the one is held while it is in a batch too.
    let large = |id: &str| {
        let data: Vec<u64> = (10_000..16_800).collect();
        json!({"id": id, "inputs": [{"name": "INPUT0", "shape": [1, 6_800], "datatype": "FP32", "data": data}]})
    };
    let first = gateway.infer("search", &large("first"));
    runtime.batches(1).await;
    let refused = soon(gateway.infer("search", &large("second"))).await.unwrap();
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        refused.text
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.text.contains("memory"), "{}", refused.text);
    runtime.permits.add_permits(10);
    assert_eq!(soon(first).await.unwrap().status, StatusCode::OK);
    let again = soon(gateway.infer("search", &large("again"))).await.unwrap();
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    let (_, observed) = gateway.admin("/observed").await;
    let observed: Value = serde_json::from_str(&observed).unwrap();
    assert_eq!(observed["apps"][0]["refused"], 1);
}

#[tokio::test]
async fn a_405_names_the_method_to_use() {
    let gateway = Gateway::start(snapshot([group("mlp-a", &[member("search", EAGER, LONG)], &[])])).await;
    let answer = gateway.get("search-infer.shop", "/v2/models/mlp/infer").await;
    assert_eq!(
        (answer.status, &answer.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let answer = soon(gateway.post("search-infer.shop", "/v2/health/ready", ""))
        .await
        .unwrap();
    assert_eq!(
        (answer.status, &answer.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET".parse().unwrap())
    );
}
