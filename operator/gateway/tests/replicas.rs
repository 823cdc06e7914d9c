//! What happens to requests when replicas go, come, close their connections, or are not there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{net::SocketAddr, time::Duration};

use harmonybatch_gateway::config::{GroupConfig, Wake};
use http::StatusCode;
use serde_json::json;
use support::{Gateway, Runtime, echoed, group, member, request, snapshot, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

/// An address on which nobody listens, and nobody can as long as the socket lives.
fn nobody() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (socket.local_addr().unwrap(), socket)
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_fails_no_request() {
    let ((dead, _reserved), alive) = (nobody(), Runtime::start().await);
    let members = [member("search", EAGER, LONG)];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[dead, alive.address])])).await;
    for i in 0..10 {
        let answer = soon(gateway.infer("search", &request("x", i, 1))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    // One that is no longer listed is not tried.
    let connections = alive.connections.load(std::sync::atomic::Ordering::SeqCst);
    let other = Runtime::start().await;
    gateway.configure(snapshot([GroupConfig {
        plan_generation: 2,
        ..group("mlp-a", &members, &[other.address])
    }]));
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][0]["planGeneration"] == 2
        })
        .await;
    for i in 0..5 {
        assert_eq!(
            soon(gateway.infer("search", &request("x", i, 1)))
                .await
                .unwrap()
                .data(),
            &echoed(i, 1)
        );
    }
    assert_eq!(other.rows().len(), 5);
    assert_eq!(
        alive.connections.load(std::sync::atomic::Ordering::SeqCst),
        connections
    );
}

#[tokio::test]
async fn without_replicas_a_request_waits_for_one_and_is_503_when_none_came() {
    let runtime = Runtime::start().await;
    let members = [
        member("search", EAGER, LONG),
        member("hasty", EAGER, Duration::from_millis(300)),
    ];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[])])).await;
    let patient = gateway.infer("search", &request("x", 10, 1));
    let hasty = soon(gateway.infer("hasty", &request("y", 0, 1))).await.unwrap();
    assert_eq!(hasty.status, StatusCode::SERVICE_UNAVAILABLE, "{}", hasty.text);
    assert!(hasty.headers.contains_key("retry-after"));
    let (address, _reserved) = nobody();
    gateway.configure(snapshot([GroupConfig {
        plan_generation: 2,
        ..group("mlp-a", &members, &[address])
    }]));
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][0]["planGeneration"] == 2
        })
        .await;
    let unreached = soon(gateway.infer("hasty", &request("y", 0, 1))).await.unwrap();
    assert_eq!(
        unreached.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        unreached.text
    );
    assert!(
        unreached.text.contains("cannot connect") || unreached.text.contains("could be reached"),
        "{}",
        unreached.text
    );
    gateway.configure(snapshot([group("mlp-a", &members, &[runtime.address])]));
    assert_eq!(soon(patient).await.unwrap().data(), &echoed(10, 1));
    assert_eq!(runtime.rows(), [1]);
}

#[tokio::test]
async fn a_group_without_replicas_is_woken_by_one_batch() {
    let (activator, replica) = (Runtime::start_held().await, Runtime::start().await);
    let members = [member("search", EAGER, LONG)];
    let wake = Wake::from_url(&format!("http://localhost:{}", activator.address.port()));
    let asleep = GroupConfig {
        wake: wake.clone(),
        ..group("mlp-a", &members, &[])
    };
    let gateway = Gateway::start(snapshot([asleep])).await;
    let first = gateway.infer("search", &request("a", 0, 1));
    activator.batches(1).await;
    let second = gateway.infer("search", &request("b", 10, 1));
    gateway.until_queued(1).await;
    gateway.configure(snapshot([GroupConfig {
        wake,
        ..group("mlp-a", &members, &[replica.address])
    }]));
    assert_eq!(soon(second).await.unwrap().data(), &echoed(10, 1));
    activator.permits.add_permits(1);
    assert_eq!(soon(first).await.unwrap().data(), &echoed(0, 1));
    assert_eq!((activator.rows().len(), replica.rows().len()), (1, 1));
}

/// Reads one infer request whole, or finds that the connection is closed.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut text = Vec::new();
    while !text.ends_with(b"]}]}") {
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

/// Answers and says nothing of closing.
async fn answer_seven(stream: &mut TcpStream) {
    let output = json!({"name": "y", "shape": [1], "datatype": "INT32", "data": [7]});
    let body = json!({"outputs": [output]}).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_the_runtime_closed_is_replaced_unseen() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let members = [member("search", EAGER, LONG)];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[address])])).await;
    // It closes each connection: at once after its answer, or when the next call is already there.
    let server = tokio::spawn(async move {
        let mut answers = 0;
        while answers < 6 {
            let (mut stream, _) = listener.accept().await.unwrap();
            if read_request(&mut stream).await {
                answer_seven(&mut stream).await;
                answers += 1;
                if answers % 2 == 0 {
                    read_request(&mut stream).await;
                }
            }
        }
    });
    for call in 0..6 {
        let answer = soon(gateway.infer("search", &request("x", 0, 1))).await.unwrap();
        assert_eq!(
            (answer.status, answer.data()),
            (StatusCode::OK, &json!([7])),
            "call {call}: {}",
            answer.text
        );
    }
    server.abort();
}

#[tokio::test]
async fn a_call_that_brings_its_replica_down_is_not_sent_to_the_next_one() {
    let (listener, next) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        Runtime::start().await,
    );
    let address = listener.local_addr().unwrap();
    let members = [member("search", EAGER, LONG)];
    let gateway = Gateway::start(snapshot([group("mlp-a", &members, &[address])])).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_request(&mut stream).await);
        answer_seven(&mut stream).await;
        assert!(read_request(&mut stream).await);
        // The process is gone, and its socket with it.
    });
    let harmless = soon(gateway.infer("search", &request("harmless", 0, 1)))
        .await
        .unwrap();
    assert_eq!(harmless.status, StatusCode::OK, "{}", harmless.text);
    gateway.configure(snapshot([GroupConfig {
        plan_generation: 2,
        ..group("mlp-a", &members, &[address, next.address])
    }]));
    gateway
        .until("/acknowledged", |_, body| {
            body["groups"][0]["planGeneration"] == 2
        })
        .await;
    // The next replica has had nothing for longest.
    let first = soon(gateway.infer("search", &request("first", 0, 1)))
        .await
        .unwrap();
    assert_eq!(first.data(), &echoed(0, 1));
    let fatal = soon(gateway.infer("search", &request("fatal", 0, 1)))
        .await
        .unwrap();
    assert_eq!(fatal.status, StatusCode::BAD_GATEWAY, "{}", fatal.text);
    soon(server).await.unwrap();
    assert_eq!(next.rows().len(), 1);
}
