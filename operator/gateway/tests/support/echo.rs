//! Runtimes that speak one encoding and give every input back: OUTPUT0 = INPUT0 and so on.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_gateway::{
    body::Chunks,
    protocol::grpc::{
        StatusLine, frame_message,
        messages::{
            InferOutputTensor, ModelInferRequest, ModelInferResponse, ModelMetadataResponse, TensorMetadata,
        },
        unframe,
    },
};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

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

/// A runtime of gRPC.
pub struct GrpcEcho {
    pub address: SocketAddr,
    /// The requests that came.
    pub seen: Arc<Mutex<Vec<ModelInferRequest>>>,
    /// Their metadata.
    pub heads: Arc<Mutex<Vec<HeaderMap>>>,
    /// What it answers instead of an echo.
    pub failure: Arc<Mutex<Option<StatusLine>>>,
    pub connections: Arc<AtomicUsize>,
}

/// When a runtime of gRPC closes a connection.
#[derive(Clone, Copy, Debug)]
pub enum Closes {
    Never,
    /// After its first answer, and says so before.
    Gracefully,
    /// After its first answer, without a word.
    Abruptly,
}

impl GrpcEcho {
    pub async fn start() -> Self {
        Self::start_closing(Closes::Never).await
    }

    pub async fn start_closing(closes: Closes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let echo = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            heads: Arc::default(),
            failure: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, failure, connections) =
            (echo.seen.clone(), echo.failure.clone(), echo.connections.clone());
        let heads = echo.heads.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (seen, failure, heads) = (seen.clone(), failure.clone(), heads.clone());
                let answered = Arc::new(Notify::new());
                let is_answered = answered.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, failure, answered) = (seen.clone(), failure.clone(), answered.clone());
                    heads.lock().unwrap().push(request.headers().clone());
                    async move {
                        assert_eq!(request.headers()["te"], "trailers");
                        let path = request.uri().path().to_owned();
                        // A call may come while the connection is closed.
                        let body = request.into_body().collect().await?.to_bytes();
                        let message = unframe(&body).unwrap();
                        let failure = failure.lock().unwrap().clone();
                        answered.notify_one();
                        Ok::<_, hyper::Error>(call(&path, message, failure, &seen))
                    }
                });
                tokio::spawn(async move {
                    let mut connection = std::pin::pin!(
                        http2::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                    );
                    tokio::select! {
                        _ = connection.as_mut() => return,
                        () = is_answered.notified() => {}
                    }
                    match closes {
                        Closes::Never => {}
                        Closes::Gracefully => connection.as_mut().graceful_shutdown(),
                        // The answer goes out meanwhile.
                        Closes::Abruptly => {
                            let _ = tokio::time::timeout(Duration::from_millis(20), connection).await;
                            return;
                        }
                    }
                    let _ = connection.await;
                });
            }
        });
        echo
    }
}

fn call(
    path: &str,
    message: Bytes,
    failure: Option<StatusLine>,
    seen: &Mutex<Vec<ModelInferRequest>>,
) -> Response<Chunks> {
    let mut response = Response::builder()
        .header("content-type", "application/grpc")
        .body(Chunks::default())
        .unwrap();
    if let Some(failure) = failure {
        failure.write(response.headers_mut());
        return response;
    }
    let body = if path.ends_with("/ModelMetadata") {
        let tensor = TensorMetadata {
            name: "INPUT0".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![-1, 2],
        };
        frame_message(&ModelMetadataResponse {
            name: "net".to_owned(),
            versions: vec!["1".to_owned()],
            platform: "echo".to_owned(),
            inputs: vec![tensor],
            outputs: Vec::new(),
        })
    } else {
        let request = ModelInferRequest::decode(message).unwrap();
        seen.lock().unwrap().push(request.clone());
        let outputs = request
            .inputs
            .into_iter()
            .enumerate()
            .map(|(index, input)| InferOutputTensor {
                name: format!("OUTPUT{index}"),
                datatype: input.datatype,
                shape: input.shape,
                ..InferOutputTensor::default()
            });
        frame_message(&ModelInferResponse {
            model_name: "net".to_owned(),
            model_version: "1".to_owned(),
            id: request.id,
            outputs: outputs.collect(),
            raw_output_contents: request.raw_input_contents,
            ..ModelInferResponse::default()
        })
    };
    let mut trailers = HeaderMap::new();
    StatusLine::ok().write(&mut trailers);
    *response.body_mut() = body.with_trailers(trailers);
    response
}
