//! Runtimes that speak one encoding and give every input back: OUTPUT0 = INPUT0 and so on.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const HEADER_LENGTH: &str = "inference-header-content-length";

/// A runtime of REST.
pub struct Echo {
    pub address: SocketAddr,
    /// The JSON of the requests that came, with whether binary tensors were behind it.
    pub seen: Arc<Mutex<Vec<(Value, bool)>>>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let requests = requests.clone();
                let service = service_fn(move |request| answer(request, requests.clone()));
                tokio::spawn(async move {
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, seen }
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<(Value, bool)>>>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    if request.method() == "GET" {
        let metadata =
            json!({"name": "net", "versions": ["1"], "platform": "echo", "inputs": [], "outputs": []});
        return Ok(Response::new(Full::new(metadata.to_string().into())));
    }
    let length = request
        .headers()
        .get(HEADER_LENGTH)
        .map(|length| length.to_str().unwrap().parse().unwrap());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let header: Value = serde_json::from_slice(&body[..length.unwrap_or(body.len())]).unwrap();
    seen.lock().unwrap().push((header.clone(), length.is_some()));
    let mut outputs = header["inputs"].clone();
    for (index, output) in outputs.as_array_mut().unwrap().iter_mut().enumerate() {
        output["name"] = json!(format!("OUTPUT{index}"));
    }
    let answer = json!({"model_name": "net", "model_version": "1", "id": header["id"], "outputs": outputs})
        .to_string();
    let mut response = Response::builder();
    if length.is_some() {
        response = response.header(HEADER_LENGTH, answer.len());
    }
    let tail = length.map(|length| body.slice(length..)).unwrap_or_default();
    Ok(response
        .body(Full::new([answer.as_bytes(), &tail].concat().into()))
        .unwrap())
}
