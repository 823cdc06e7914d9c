//! Callers' requests through a real gateway to a real server: answers, and every error that there is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use harmonybatch_gateway::config::Key;
use http::StatusCode;
use serde_json::{Value, json};
use support::{Gateway, Runtime, echoed, group, member, options, request, snapshot, soon};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

#[tokio::test]
async fn two_applications_share_a_batch_and_each_gets_its_own_rows_and_id() {
    let runtime = Runtime::start_held().await;
    let members = [member("search", EAGER, LONG), member("feed", EAGER, LONG)];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[runtime.address])])).await;
    let first = gateway.infer("search", &request("first", 0, 1));
    runtime.batches(1).await;
    // While the replica works, the others gather.
    let (one, two) = (
        gateway.infer("search", &request("one", 100, 2)),
        gateway.infer("feed", &request("two", 200, 3)),
    );
    gateway.until_queued(5).await;
    runtime.permits.add_permits(2);
    let first = soon(first).await.unwrap();
    assert_eq!(
        (first.status, first.data(), first.batch_rows()),
        (StatusCode::OK, &echoed(0, 1), 1)
    );
    for (answer, id, from, rows) in [(one, "one", 100, 2), (two, "two", 200, 3)] {
        let answer = soon(answer).await.unwrap();
        assert_eq!(
            (answer.status, answer.batch_rows()),
            (StatusCode::OK, 5),
            "{}",
            answer.text
        );
        assert_eq!(answer.json["id"], id);
        assert_eq!(answer.json["model_name"], "mlp");
        assert_eq!(answer.json["outputs"][0]["shape"], json!([rows, 2]));
        assert_eq!(answer.data(), &echoed(from, rows));
    }
    assert_eq!(runtime.rows(), [1, 5]);
    let seen = runtime.seen.lock().unwrap().clone();
    assert_eq!(seen[1]["path"], "/v2/models/net/infer");
    assert_ne!(seen[0]["id"], seen[1]["id"]);
    // One kept connection served both.
    assert_eq!(runtime.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn many_callers_at_once_all_get_their_own() {
    let (a, b) = (Runtime::start().await, Runtime::start().await);
    let members = [
        member("search", Duration::from_millis(2), LONG),
        member("feed", EAGER, LONG),
    ];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[a.address, b.address])])).await;
    let calls: Vec<_> = (0..200_u64)
        .map(|i| {
            let (app, rows) = (["search", "feed"][usize::try_from(i % 2).unwrap()], 1 + i % 3);
            (
                i,
                rows,
                gateway.infer(app, &request(&format!("id{i}"), i * 1000, rows)),
            )
        })
        .collect();
    for (i, rows, call) in calls {
        let answer = soon(call).await.unwrap();
        assert_eq!(
            (answer.status, &answer.json["id"]),
            (StatusCode::OK, &json!(format!("id{i}"))),
            "{}",
            answer.text
        );
        assert_eq!(answer.data(), &echoed(i * 1000, rows));
    }
    for runtime in [&a, &b] {
        // Never two batches in one replica.
        assert_eq!(runtime.most_at_once.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
    assert_eq!(
        a.rows().iter().chain(&b.rows()).sum::<u64>(),
        (0..200).map(|i| 1 + i % 3).sum::<u64>()
    );
}

#[tokio::test]
async fn different_requests_never_share_a_batch() {
    let runtime = Runtime::start_held().await;
    let gateway = Gateway::start(snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]))
    .await;
    let plug = gateway.infer("search", &request("plug", 0, 1));
    runtime.batches(1).await;
    let mut other_type = request("a", 0, 1);
    other_type["inputs"][0]["datatype"] = json!("FP64");
    let mut other_parameters = request("b", 0, 1);
    other_parameters["parameters"] = json!({"temperature": 1});
    let calls = [
        other_type,
        other_parameters,
        request("c", 0, 1),
        request("d", 2, 1),
    ];
    let mut calls: Vec<_> = calls.iter().map(|body| gateway.infer("search", body)).collect();
    calls.push(gateway.post(
        "search-infer.shop",
        "/v2/models/net/versions/1/infer",
        &request("e", 0, 1).to_string(),
    ));
    gateway.until_queued(5).await;
    runtime.permits.add_permits(10);
    for call in calls {
        assert_eq!(soon(call).await.unwrap().status, StatusCode::OK);
    }
    soon(plug).await.unwrap();
    let mut rows = runtime.rows();
    rows.sort_unstable();
    assert_eq!(rows, [1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn routes_by_host_and_path_and_says_what_is_unknown() {
    let runtime = Runtime::start().await;
    let mut config = snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]);
    config
        .planned
        .insert((Key::new("shop", "later"), "later-infer".into()));
    let gateway = Gateway::start(config).await;
    let body = request("x", 0, 1).to_string();
    let infer = "/v2/models/mlp/infer";
    let table = [
        ("search-infer.shop", infer, 200, ""),
        ("search-infer.shop.svc", infer, 200, ""),
        ("Search-Infer.Shop.svc.Cluster.Local.:80", infer, 200, ""),
        ("10.0.0.1:8080", "/shop/search/v2/models/mlp/infer", 200, ""),
        (
            "search-infer",
            infer,
            404,
            "search-infer.<namespace>.svc.cluster.local",
        ),
        (
            "search-infer.shop.svc.other.domain",
            infer,
            404,
            "<service>.<namespace>.svc.cluster.local",
        ),
        ("none-infer.shop", infer, 404, "kubectl get inferenceapps -n shop"),
        ("x", "/shop/none/v2/models/mlp/infer", 404, "no InferenceApp none"),
        (
            "search-infer.shop",
            "/v2/models/other/infer",
            404,
            "its model is mlp",
        ),
        ("search-infer.shop", "/v2/models/mlp/predict", 404, "no endpoint"),
        ("later-infer.shop", infer, 503, "not ready yet"),
        ("x", "/shop/later/v2/models/mlp/infer", 503, "not ready yet"),
    ];
    for (host, path, status, says) in table {
        let answer = soon(gateway.post(host, path, &body)).await.unwrap();
        assert_eq!(answer.status, status, "{host} {path}: {}", answer.text);
        assert!(answer.text.contains(says), "{host} {path}: {}", answer.text);
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
        assert_eq!(status == 200, answer.json["error"].is_null());
    }
}

#[tokio::test]
async fn the_protocols_other_endpoints_answer() {
    let runtime = Runtime::start().await;
    let idle = group("mlp-b", &[member("idle", EAGER, LONG)], &[]);
    let gateway = Gateway::start(snapshot([
        group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]),
        idle,
    ]))
    .await;
    let table = [
        ("search", "/v2", 200, json!("harmonybatch")),
        ("search", "/v2/health/live", 200, Value::Null),
        ("search", "/v2/health/ready", 200, Value::Null),
        ("idle", "/v2/health/ready", 503, Value::Null),
        ("search", "/v2/models/mlp", 200, json!("mlp")),
        ("search", "/v2/models/mlp/ready", 200, json!("mlp")),
        ("idle", "/v2/models/mlp/ready", 503, json!("mlp")),
        ("idle", "/v2/models/mlp", 503, Value::Null),
    ];
    for (app, path, status, name) in table {
        let answer = gateway.get(&format!("{app}-infer.shop"), path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json["name"]),
            (status, &name),
            "{app} {path}: {}",
            answer.text
        );
    }
    let metadata = gateway.get("search-infer.shop", "/v2/models/net").await;
    assert_eq!(
        metadata.json,
        json!({"name": "net", "versions": ["1"], "platform": "echo"})
    );
}

#[tokio::test]
async fn the_admin_port_shows_what_is_counted() {
    let runtime = Runtime::start().await;
    let gateway = Gateway::start_with(None, options()).await;
    assert_eq!(gateway.admin("/livez").await.0, StatusCode::OK);
    assert_eq!(gateway.admin("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        soon(gateway.infer("search", &request("x", 0, 1)))
            .await
            .unwrap()
            .status,
        503
    );
    gateway.configure(snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]));
    gateway
        .until("/readyz", |status, _| status == StatusCode::OK)
        .await;
    assert_eq!(
        soon(gateway.infer("search", &request("x", 0, 3)))
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
    gateway
        .until("/acknowledged", |_, body| {
            support::sum(body, "inFlightBatches") == 0
        })
        .await;
    let (_, acknowledged) = gateway.admin("/acknowledged").await;
    let acknowledged: Value = serde_json::from_str(&acknowledged).unwrap();
    let listed = json!({"groups": [{"namespace": "shop", "name": "mlp-a", "planGeneration": 1, "apps": ["search"],
        "queuedRows": 0, "inFlightBatches": 0}]});
    assert_eq!(acknowledged, listed);
    let (_, observed) = gateway.admin("/observed").await;
    let observed: Value = serde_json::from_str(&observed).unwrap();
    assert_eq!(observed["windowSeconds"], 3600);
    let app = &observed["apps"][0];
    let counts = [
        "rows",
        "admitted",
        "withinSlo",
        "late",
        "failed",
        "refused",
        "left",
    ]
    .map(|name| app[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 1, 0, 0, 0, 0]);
    assert_eq!(app["latency"]["unit"], "us");
    assert_eq!(app["latency"]["buckets"][0][1], 1);
    let (_, metrics) = gateway.admin("/metrics").await;
    let lines = [
        r#"harmonybatch_gateway_rows_total{namespace="shop",app="search"} 3"#,
        r#"harmonybatch_gateway_requests_total{namespace="shop",app="search",outcome="within_slo"} 1"#,
        r#"harmonybatch_gateway_batches_total{namespace="shop",group="mlp-a",reason="eager"} 1"#,
        r#"harmonybatch_gateway_batch_rows_sum{namespace="shop",group="mlp-a"} 3.0"#,
        r#"harmonybatch_gateway_ready_endpoints{namespace="shop",group="mlp-a"} 1"#,
    ];
    for line in lines {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
}
