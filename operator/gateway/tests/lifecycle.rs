//! What happens to requests when callers leave, the configuration changes, replicas go, and the gateway itself ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use harmonybatch_gateway::{
    config::GroupConfig,
    listener::{self, Bounds, Counts},
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{Gateway, Runtime, echoed, group, member, request, snapshot, soon, sum};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

#[tokio::test]
async fn a_caller_that_left_is_dropped_from_the_queue_and_not_counted() {
    let runtime = Runtime::start_held().await;
    let gateway = Gateway::start(snapshot([group(
        "mlp-a",
        &[member("search", EAGER, LONG)],
        &[runtime.address],
    )]))
    .await;
    let plug = gateway.infer("search", &request("plug", 0, 1));
    runtime.batches(1).await;
    let (gone, stays) = (
        gateway.infer("search", &request("gone", 10, 2)),
        gateway.infer("search", &request("stays", 20, 1)),
    );
    gateway.until_queued(3).await;
    gone.abort();
    gateway.until_queued(1).await;
    runtime.permits.add_permits(2);
    assert_eq!(soon(stays).await.unwrap().data(), &echoed(20, 1));
    soon(plug).await.unwrap();
    assert_eq!(runtime.rows(), [1, 1]);
    let observed = observed(&gateway, "search").await;
    assert_eq!(
        (&observed["left"], &observed["admitted"], &observed["rows"]),
        (&json!(1), &json!(2), &json!(4))
    );
}

async fn observed(gateway: &Gateway, app: &str) -> Value {
    let (_, observed) = gateway.admin("/observed").await;
    let observed: Value = serde_json::from_str(&observed).unwrap();
    observed["apps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["app"] == app)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_queue_lives_on_under_changed_rules() {
    let runtime = Runtime::start().await;
    let hour = Duration::from_hours(1);
    let patient = |max_wait| member("search", max_wait, LONG);
    let config = |max_wait, batch_size, generation| {
        let members = [patient(max_wait), member("feed", max_wait, LONG)];
        let group = group("mlp-a", &members, &[runtime.address]);
        snapshot([GroupConfig {
            batch_size,
            plan_generation: generation,
            ..group
        }])
    };
    let gateway = Gateway::start(config(hour, 8, 1)).await;
    let calls = [
        gateway.infer("search", &request("a", 0, 1)),
        gateway.infer("feed", &request("b", 10, 1)),
    ];
    gateway.until_queued(2).await;
    // Not enough still.
    gateway.configure(config(hour, 3, 2));
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][0]["planGeneration"] == 2
        })
        .await;
    let third = gateway.infer("search", &request("c", 20, 1));
    for (call, first) in calls.into_iter().chain([third]).zip([0, 10, 20]) {
        let answer = soon(call).await.unwrap();
        assert_eq!((answer.data(), answer.batch_rows()), (&echoed(first, 1), 3));
    }
    // A departed member's request is served where it waits; its route is gone.
    let waiting = gateway.infer("feed", &request("d", 30, 1));
    gateway.until_queued(1).await;
    let group = group("mlp-a", &[patient(EAGER)], &[runtime.address]);
    gateway.configure(snapshot([GroupConfig {
        plan_generation: 3,
        batch_size: 2,
        ..group
    }]));
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][0]["planGeneration"] == 3
        })
        .await;
    assert_eq!(
        soon(gateway.infer("feed", &request("e", 0, 1)))
            .await
            .unwrap()
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        soon(gateway.infer("search", &request("f", 40, 1)))
            .await
            .unwrap()
            .batch_rows(),
        2
    );
    assert_eq!(soon(waiting).await.unwrap().data(), &echoed(30, 1));
}

#[tokio::test]
async fn a_route_moves_to_the_higher_generation_and_the_old_queue_is_drained_or_moved() {
    let (old, new) = (Runtime::start_held().await, Runtime::start_held().await);
    let members = [member("search", EAGER, LONG)];
    let old_group = group("mlp-a", &members, &[old.address]);
    let new_group = GroupConfig {
        plan_generation: 2,
        ..group("mlp-b", &members, &[new.address])
    };
    let gateway = Gateway::start(snapshot([old_group.clone()])).await;
    let plug = gateway.infer("search", &request("plug", 0, 1));
    old.batches(1).await;
    let waiting = [
        gateway.infer("search", &request("a", 10, 1)),
        gateway.infer("search", &request("b", 20, 1)),
    ];
    gateway.until_queued(2).await;
    gateway.configure(snapshot([old_group, new_group.clone()]));
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][1]["apps"] == json!(["search"])
        })
        .await;
    let (_, acknowledged) = gateway.admin("/acknowledged").await;
    let acknowledged: Value = serde_json::from_str(&acknowledged).unwrap();
    assert_eq!(acknowledged["groups"][0]["apps"], json!([]));
    assert_eq!(acknowledged["groups"][0]["queuedRows"], 2);
    assert_eq!(acknowledged["groups"][0]["inFlightBatches"], 1);
    let fresh = gateway.infer("search", &request("c", 30, 1));
    new.batches(1).await;
    new.permits.add_permits(5);
    assert_eq!(soon(fresh).await.unwrap().data(), &echoed(30, 1));
    // The old group is gone while its replica still works: what waits there goes through it all the same.
    gateway.configure(snapshot([new_group]));
    old.permits.add_permits(1);
    old.batches(2).await;
    old.permits.add_permits(1);
    assert_eq!(soon(plug).await.unwrap().data(), &echoed(0, 1));
    for (call, first) in waiting.into_iter().zip([10, 20]) {
        assert_eq!(soon(call).await.unwrap().data(), &echoed(first, 1));
    }
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"].as_array().is_some_and(|groups| groups.len() == 1)
        })
        .await;
}

#[tokio::test]
async fn a_queue_without_replicas_moves_to_the_group_that_has_the_application_now() {
    let new = Runtime::start().await;
    let members = [member("search", EAGER, LONG)];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[])])).await;
    let waiting = gateway.infer("search", &request("a", 10, 1));
    gateway.until_queued(1).await;
    gateway.configure(snapshot([GroupConfig {
        plan_generation: 2,
        ..group("mlp-b", &members, &[new.address])
    }]));
    assert_eq!(soon(waiting).await.unwrap().data(), &echoed(10, 1));
}

#[tokio::test]
async fn configuration_changes_under_load_lose_nothing() {
    let (a, b) = (Runtime::start().await, Runtime::start().await);
    let members = [
        member("search", Duration::from_millis(3), LONG),
        member("feed", EAGER, LONG),
    ];
    let config = |generation: i64| {
        let first = GroupConfig {
            plan_generation: generation,
            ..group("mlp-a", &members, &[a.address])
        };
        let second = GroupConfig {
            plan_generation: generation,
            ..group("mlp-b", &members[..1], &[b.address])
        };
        match generation % 4 {
            0 => snapshot([first]),
            1 => snapshot([
                first,
                GroupConfig {
                    plan_generation: generation + 1,
                    ..second
                },
            ]),
            2 => snapshot([
                GroupConfig {
                    batch_size: 2,
                    ..first
                },
                second,
            ]),
            _ => snapshot([
                GroupConfig {
                    members: members[1..].to_vec(),
                    ..first
                },
                second,
            ]),
        }
    };
    let gateway = Gateway::start(config(0)).await;
    let mut calls = Vec::new();
    for i in 0..200_u64 {
        let app = ["search", "feed"][usize::try_from(i % 2).unwrap()];
        calls.push((i, gateway.infer(app, &request(&i.to_string(), i * 100, 1))));
        if i % 5 == 0 {
            gateway.configure(config(i64::try_from(i / 5).unwrap() + 1));
            tokio::task::yield_now().await;
        }
    }
    for (i, call) in calls {
        let answer = soon(call).await.unwrap();
        assert_eq!(
            (answer.status, answer.data()),
            (StatusCode::OK, &echoed(i * 100, 1)),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_drain_answers_what_waits_and_what_still_comes() {
    let runtime = Runtime::start_held().await;
    let hour = Duration::from_hours(1);
    let members = [member("search", EAGER, LONG), member("patient", hour, LONG)];
    let mut gateway = Gateway::start(snapshot([group("mlp-a", &members, &[runtime.address])])).await;
    let in_flight = gateway.infer("search", &request("a", 0, 1));
    runtime.batches(1).await;
    let queued = gateway.infer("patient", &request("b", 10, 1));
    gateway.until_queued(1).await;
    gateway.shut_down();
    gateway
        .until("/readyz", |status, _| status == StatusCode::SERVICE_UNAVAILABLE)
        .await;
    let late = gateway.infer("patient", &request("c", 20, 1));
    gateway.until_queued(2).await;
    runtime.permits.add_permits(1);
    let first = soon(in_flight).await.unwrap();
    assert_eq!(
        (first.data(), &first.headers["connection"]),
        (&echoed(0, 1), &http::HeaderValue::from_static("close"))
    );
    // The two would wait for an hour; the drain flushes them.
    runtime.batches(2).await;
    runtime.permits.add_permits(1);
    for (call, first) in [(queued, 10), (late, 20)] {
        let answer = soon(call).await.unwrap();
        assert_eq!((answer.data(), answer.batch_rows()), (&echoed(first, 1), 2));
    }
    gateway.ended().await;
}

#[tokio::test]
async fn a_group_that_went_and_came_back_goes_on() {
    let runtime = Runtime::start_held().await;
    let members = [member("search", EAGER, LONG)];
    let config = || snapshot([group("mlp-a", &members, &[runtime.address])]);
    let gateway = Gateway::start(config()).await;
    let first = gateway.infer("search", &request("a", 0, 1));
    runtime.batches(1).await;
    gateway.configure(snapshot([]));
    gateway
        .until("/acknowledged", |_, body| body["groups"][0]["apps"] == json!([]))
        .await;
    gateway.configure(config());
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][0]["apps"] == json!(["search"])
        })
        .await;
    let second = gateway.infer("search", &request("b", 10, 1));
    gateway
        .until("/acknowledged", |_, body| {
            sum(body, "queuedRows") == 1 && sum(body, "inFlightBatches") == 1
        })
        .await;
    runtime.permits.add_permits(2);
    for (call, first) in [(first, 0), (second, 10)] {
        assert_eq!(soon(call).await.unwrap().data(), &echoed(first, 1));
    }
    assert_eq!(runtime.most_at_once.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_model_that_changes_while_a_body_comes_is_checked_again() {
    let runtime = Runtime::start().await;
    let before = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let after = GroupConfig {
        model: "other".into(),
        runtime_model: "other".into(),
        ..before.clone()
    };
    let gateway = Gateway::start(snapshot([before])).await;
    let mut stream = TcpStream::connect(gateway.callers).await.unwrap();
    let body = request("x", 0, 1).to_string();
    let head = format!(
        "POST /v2/models/mlp/infer HTTP/1.1\r\nhost: search-infer.shop\r\ncontent-length: {}\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is asked for the body, so the first check is behind it.
    let mut asked = [0; 25];
    soon(stream.read_exact(&mut asked)).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    gateway.configure(snapshot([after]));
    soon(async {
        while gateway.get("search-infer.shop", "/v2/models/other").await.status != StatusCode::OK {}
    })
    .await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("its model is other"),
        "{answer}"
    );
    assert_eq!(runtime.rows(), Vec::<u64>::new());
}

#[tokio::test]
async fn a_caller_that_never_reads_its_answer_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds {
        write_timeout: Duration::from_millis(100),
        ..Bounds::default()
    };
    let (counts, (_stop, stopped)) = (Counts::default(), watch::channel(false));
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    tokio::spawn(listener::serve(
        listener,
        None,
        bounds,
        counts.clone(),
        stopped,
        move |_| {
            asked.send(()).unwrap();
            // More than the buffers of two sockets hold.
            async { Response::new(Full::new(Bytes::from(vec![0; 64 << 20]))) }
        },
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    soon(was_asked.recv()).await.unwrap();
    soon(async {
        while counts.open.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(stream);
}
