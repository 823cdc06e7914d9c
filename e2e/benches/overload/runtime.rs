//! A replica with a fixed service time, which it sleeps: it costs no CPU that the gateway or the callers could miss.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::Mutex,
    time::{Instant, sleep_until},
};

#[derive(Deserialize)]
struct Batch {
    id: Option<Value>,
    inputs: [Input; 1],
}

#[derive(Deserialize)]
struct Input {
    shape: [usize; 2],
    data: Vec<f64>,
}

/// Starts a replica that serves one batch at a time, and gives its address.
pub(crate) async fn start(service: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let turn = Arc::new(Mutex::new(()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let turn = turn.clone();
            let service = service_fn(move |request| serve(request, turn.clone(), service));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Gives back the first two columns of every row, as the demo network does.
async fn serve(
    request: Request<Incoming>,
    turn: Arc<Mutex<()>>,
    service: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let turn = turn.lock().await;
    let end = Instant::now() + service;
    let Batch { id, inputs: [input] } = serde_json::from_slice(&body).unwrap();
    let [rows, columns] = input.shape;
    let echo: Vec<f64> = input
        .data
        .chunks(columns)
        .flat_map(|row| row[..2].to_vec())
        .collect();
    let mut answer = json!({ "model_name": "mlp", "outputs": [
        { "name": "output", "datatype": "FP32", "shape": [rows, 1], "data": vec![0.5; rows] },
        { "name": "echo", "datatype": "FP32", "shape": [rows, 2], "data": echo },
    ] });
    if let Some(id) = id {
        answer["id"] = id;
    }
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    sleep_until(end).await;
    drop(turn);
    Ok(response)
}
