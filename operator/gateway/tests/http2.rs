//! The same port speaks HTTP/2 to whoever begins with it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Gateway, Runtime, echoed, group, member, request, snapshot, soon};
use tokio::{net::TcpStream, task::JoinHandle};

const LONG: Duration = Duration::from_secs(30);

type Sender = SendRequest<Full<Bytes>>;

async fn connect(gateway: &Gateway) -> (Sender, JoinHandle<Result<(), hyper::Error>>) {
    let stream = TcpStream::connect(gateway.callers).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.unwrap();
    (sender, tokio::spawn(connection))
}

fn infer(sender: &Sender, first: u64) -> JoinHandle<(StatusCode, serde_json::Value)> {
    let request = Request::post("http://search-infer.shop/v2/models/mlp/infer")
        .body(Full::from(request("x", first, 1).to_string()))
        .unwrap();
    let mut sender = sender.clone();
    tokio::spawn(async move {
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, serde_json::from_slice(&body).unwrap())
    })
}

#[tokio::test]
async fn requests_of_one_connection_share_a_batch_and_a_drain_answers_them() {
    let runtime = Runtime::start_held().await;
    let members = [member("search", Duration::from_hours(1), LONG)];
    let config = snapshot([group("mlp-a", &members, &[runtime.address])]);
    let mut gateway = Gateway::start(config).await;
    let (sender, connection) = connect(&gateway).await;
    let calls = [0, 100].map(|first| (first, infer(&sender, first)));
    gateway.until_queued(2).await;
    gateway.shut_down();
    runtime.batches(1).await;
    runtime.permits.add_permits(1);
    for (first, call) in calls {
        let (status, body) = soon(call).await.unwrap();
        assert_eq!(
            (status, &body["outputs"][0]["data"]),
            (StatusCode::OK, &echoed(first, 1))
        );
    }
    assert_eq!(runtime.rows(), [2]);
    drop(sender);
    gateway.ended().await;
    soon(connection).await.unwrap().unwrap();
}
