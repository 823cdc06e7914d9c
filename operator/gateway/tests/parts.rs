//! Requests of more rows than a batch may have.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use harmonybatch_gateway::config::GroupConfig;
use http::StatusCode;
use serde_json::Value;
use support::{Gateway, Mood, Runtime, echoed, group, member, request, snapshot, soon};

const LONG: Duration = Duration::from_secs(30);

fn of_three(runtime: &Runtime, idempotent: bool) -> GroupConfig {
    GroupConfig {
        batch_size: 3,
        idempotent,
        ..group(
            "mlp-a",
            &[member("search", Duration::ZERO, LONG)],
            &[runtime.address],
        )
    }
}

/// Rows of each batch that a runtime has seen.
fn rows(runtime: &Runtime) -> Vec<u64> {
    let seen = runtime.seen.lock().unwrap();
    let rows = |batch: &Value| batch["inputs"][0]["shape"][0].as_u64().unwrap();
    seen.iter().map(rows).collect()
}

#[tokio::test]
async fn a_runtime_never_sees_more_rows_than_a_batch_has_and_the_caller_gets_all_of_its_own() {
    let runtime = Runtime::start().await;
    let gateway = Gateway::start(snapshot([of_three(&runtime, true)])).await;
    let answer = soon(gateway.infer("search", &request("mine", 10, 7)))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        (&answer.json["id"], answer.data()),
        (&"mine".into(), &echoed(10, 7))
    );
    assert_eq!(answer.json["outputs"][0]["shape"][0], 7);
    assert_eq!(rows(&runtime), [3, 3, 1]);
    // The batch that is told of is the last part's.
    assert_eq!(answer.batch_rows(), 1);
    assert!(answer.headers.contains_key("harmonybatch-batch"));
    let (_, metrics) = gateway.admin("/metrics").await;
    let one = r#"requests_total{namespace="shop",app="search",outcome="within_slo"} 1"#;
    assert!(metrics.contains(one), "{metrics}");
}

#[tokio::test]
async fn where_a_part_gets_no_answer_the_whole_request_fails_once() {
    let runtime = Runtime::start_held().await;
    let gateway = Gateway::start(snapshot([of_three(&runtime, true)])).await;
    let call = gateway.infer("search", &request("mine", 10, 7));
    runtime.batches(1).await;
    runtime.permits.add_permits(1);
    runtime.batches(2).await;
    runtime.set_mood(Mood::Answer(StatusCode::INTERNAL_SERVER_ERROR, "no".to_owned()));
    runtime.permits.add_permits(100);
    let answer = soon(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text);
    assert_eq!(answer.headers["harmonybatch-cause"], "runtime_5xx");
    gateway.until_queued(0).await;
    let (_, metrics) = gateway.admin("/metrics").await;
    for one in [
        r#"requests_total{namespace="shop",app="search",outcome="failed"} 1"#,
        r#"errors_total{namespace="shop",app="search",cause="runtime_5xx"} 1"#,
    ] {
        assert!(metrics.contains(one), "{metrics}");
    }
    runtime.set_mood(Mood::Echo);
    let answer = soon(gateway.infer("search", &request("next", 20, 4)))
        .await
        .unwrap();
    assert_eq!((answer.status, answer.data()), (StatusCode::OK, &echoed(20, 4)));
}

#[tokio::test]
async fn a_request_of_a_model_that_may_be_asked_only_once_passes_alone() {
    let runtime = Runtime::start().await;
    let gateway = Gateway::start(snapshot([of_three(&runtime, false)])).await;
    let answer = soon(gateway.infer("search", &request("mine", 10, 7)))
        .await
        .unwrap();
    assert_eq!((answer.status, answer.data()), (StatusCode::OK, &echoed(10, 7)));
    assert_eq!(rows(&runtime), [7]);
}

#[tokio::test]
async fn a_request_of_more_parts_than_may_be_is_too_large() {
    let runtime = Runtime::start().await;
    let gateway = Gateway::start(snapshot([of_three(&runtime, true)])).await;
    let answer = soon(gateway.infer("search", &request("most", 0, 3072)))
        .await
        .unwrap();
    assert_eq!((answer.status, answer.data()), (StatusCode::OK, &echoed(0, 3072)));
    assert_eq!(rows(&runtime), vec![3; 1024]);
    let answer = soon(gateway.infer("search", &request("more", 0, 3073)))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        answer.json["error"],
        "the request has 3073 rows, at most 3072 may be: 1024 batches of group mlp-a"
    );
    assert_eq!(runtime.seen.lock().unwrap().len(), 1024);
}
