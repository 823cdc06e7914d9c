//! Against servers in this process that were not written for it: hyper's, with gRPC framed by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::BufMut as _;
use harmonybatch_protocol::grpc::messages::{
    InferOutputTensor, ModelInferRequest, ModelInferResponse, TensorMetadata,
};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

#[test]
fn an_address_that_cannot_be_asked_says_what_can() {
    for (address, protocol, part) in [
        (
            "127.0.0.1:8080",
            Protocol::OipV2Json,
            "does not begin with http:// or grpc://",
        ),
        ("https://host", Protocol::OipV2Json, "TLS"),
        ("grpcs://host:1", Protocol::OipV2Grpc, "TLS"),
        ("http://host/v?x=1", Protocol::OipV2Json, "has a query"),
        ("http://", Protocol::OipV2Json, "is not an address"),
        ("grpc://host:1/shop", Protocol::OipV2Grpc, "has a path"),
        ("http://host:1", Protocol::OipV2Grpc, "is one of HTTP"),
        ("grpc://host:1", Protocol::OipV2Binary, "is one of gRPC"),
    ] {
        let told = Server::new(address, "m", protocol)
            .map_or_else(|error| error.to_string(), |_| "taken".to_owned());
        assert!(
            told.contains(part)
                && told.contains("give http://HOST:PORT")
                && told.contains("grpc://HOST:PORT"),
            "{told}"
        );
    }
    for (address, protocol) in [
        ("http://host:1/shop/search/", Protocol::OipV2Json),
        ("grpc://host:1", Protocol::OipV2Grpc),
    ] {
        assert!(Server::new(address, "vgg-19_v1.0", protocol).is_ok());
        assert_eq!(protocol_of(address), protocol);
        assert!(matches!(
            Server::new(address, "a/b", protocol),
            Err(EndpointError::Model(_))
        ));
    }
}

fn reply(body: &'static [u8], header_length: Option<&str>) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some(length) = header_length {
        headers.insert(HEADER_LENGTH, length.parse().unwrap());
    }
    Reply {
        headers,
        body: Bytes::from_static(body),
    }
}

#[test]
fn an_answer_has_the_rows_of_its_batch() {
    let checked = |reply: &Reply, batch| shapes_of_json(reply).and_then(|shapes| check(&shapes, batch));
    let two = reply(br#"{"outputs":[{"name":"y","shape":[2,3],"data":[]}]}"#, None);
    assert_eq!(checked(&two, 2), Ok(()));
    assert_eq!(
        checked(&two, 3),
        Err("output \"y\" has the shape [2, 3]".to_owned())
    );
    assert_eq!(
        checked(&reply(br#"{"outputs":[]}"#, None), 1),
        Err("it has no outputs".to_owned())
    );
    assert!(checked(&reply(b"<html>", None), 1).is_err());
    let binary = br#"{"outputs":[{"name":"y","shape":[1]}]}abcd"#;
    assert_eq!(checked(&reply(binary, Some("38")), 1), Ok(()));
    assert!(checked(&reply(binary, None), 1).is_err());
    assert!(
        checked(&reply(binary, Some("99")), 1)
            .unwrap_err()
            .contains("is 99, there are 42")
    );
}

/// What a server of gRPC answers to calls of `ModelInfer`.
#[derive(Clone, Copy)]
enum Mood {
    Echo,
    /// One row, whatever was asked for.
    OneRow,
    Fail(u8, &'static str),
    /// As a server does that has nothing else to say.
    FailInHead(u8, &'static str),
    NoStatus,
    NoGrpc,
}

/// A body with trailers, of frames that are there.
struct Body(Vec<Frame<Bytes>>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = (!self.0.is_empty()).then(|| self.0.remove(0));
        std::task::Poll::Ready(frame.map(Ok))
    }
}

fn framed(message: &impl prost::Message) -> Frame<Bytes> {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.extend(message);
    Frame::data(body.into())
}

fn status(code: u8, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", u16::from(code).into());
    trailers.insert("grpc-message", message.parse().unwrap());
    trailers
}

fn answer(path: &str, body: &Bytes, mood: Mood, seen: &Mutex<Vec<ModelInferRequest>>) -> Response<Body> {
    let ok = || Frame::trailers(status(0, ""));
    let mut response = Response::builder().header("content-type", "application/grpc");
    let frames = match (path, mood) {
        ("/inference.GRPCInferenceService/ModelMetadata", _) => {
            let asked = ModelMetadataRequest::decode(&body[5..]).unwrap();
            let input = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
                name: name.to_owned(),
                datatype: datatype.to_owned(),
                shape: shape.to_vec(),
            };
            let inputs = vec![input("x", "FP16", &[-1, 3]), input("text", "BYTES", &[-1])];
            let metadata = ModelMetadataResponse {
                name: asked.name,
                inputs,
                ..ModelMetadataResponse::default()
            };
            vec![framed(&metadata), ok()]
        }
        (_, Mood::Fail(code, message)) => vec![Frame::trailers(status(code, message))],
        (_, Mood::FailInHead(code, message)) => {
            response.headers_mut().unwrap().extend(status(code, message));
            vec![]
        }
        (_, Mood::NoGrpc) => {
            let refused = response.status(415);
            return refused
                .body(Body(vec![Frame::data(Bytes::from_static(b"JSON only"))]))
                .unwrap();
        }
        (path, mood) => {
            assert_eq!(path, "/inference.GRPCInferenceService/ModelInfer");
            let request = ModelInferRequest::decode(&body[5..]).unwrap();
            let rows = if matches!(mood, Mood::OneRow) {
                1
            } else {
                request.inputs[0].shape[0]
            };
            seen.lock().unwrap().push(request);
            let output = InferOutputTensor {
                name: "y".to_owned(),
                datatype: "UINT8".to_owned(),
                shape: vec![rows],
                ..InferOutputTensor::default()
            };
            let answered = framed(&ModelInferResponse {
                outputs: vec![output],
                raw_output_contents: vec![vec![7; usize::try_from(rows).unwrap()].into()],
                ..ModelInferResponse::default()
            });
            if matches!(mood, Mood::NoStatus) {
                vec![answered]
            } else {
                vec![answered, ok()]
            }
        }
    };
    response.body(Body(frames)).unwrap()
}

struct Grpc {
    address: String,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Vec<ModelInferRequest>>>,
}

async fn grpc_server() -> Grpc {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Grpc {
        address: format!("grpc://{}", listener.local_addr().unwrap()),
        mood: Arc::new(Mutex::new(Mood::Echo)),
        seen: Arc::default(),
    };
    let (mood, seen) = (server.mood.clone(), server.seen.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (mood, seen) = (mood.clone(), seen.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (mood, seen) = (*mood.lock().unwrap(), seen.clone());
                async move {
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    assert_eq!(request.headers()["te"], "trailers");
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(answer(&path, &body, mood, &seen))
                }
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    server
}

/// The server's model with random rows.
async fn endpoint(address: &str, protocol: Protocol) -> Result<Endpoint, EndpointError> {
    let server = Server::new(address, "net", protocol)?;
    let rows = Rows::random(
        &server.metadata().await?,
        &std::collections::BTreeMap::new(),
        4,
        1,
    )?;
    Ok(Endpoint::new(server, rows))
}

#[tokio::test]
async fn a_server_of_grpc_is_asked_for_batches_with_raw_tensors() {
    let server = grpc_server().await;
    let mut endpoint = endpoint(&server.address, Protocol::OipV2Grpc).await.unwrap();
    for batch in [1, 4, 2] {
        endpoint.time(batch).await.unwrap();
    }
    let seen = server.seen.lock().unwrap();
    for (request, rows) in seen.iter().zip([1, 4, 2]) {
        assert_eq!(request.model_name, "net");
        let shapes: Vec<&[i64]> = request
            .inputs
            .iter()
            .map(|input| input.shape.as_slice())
            .collect();
        assert_eq!(shapes, [&[rows, 3][..], &[rows]]);
        assert!(request.inputs.iter().all(|input| input.contents.is_empty()));
        let rows = usize::try_from(rows).unwrap();
        // Halves have 2 bytes; a text of 16 letters has 4 before it, which say so.
        let lengths: Vec<usize> = request.raw_input_contents.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [rows * 3 * 2, rows * 20]);
        assert_eq!(request.raw_input_contents[1][..4], [16, 0, 0, 0]);
    }
    assert_ne!(seen[0].raw_input_contents[0], seen[1].raw_input_contents[0][..6]);
}

#[tokio::test]
async fn a_call_that_fails_is_named_by_its_status() {
    let server = grpc_server().await;
    let mut endpoint = endpoint(&server.address, Protocol::OipV2Grpc).await.unwrap();
    for (mood, says) in [
        (
            Mood::Fail(14, "loading 50%25"),
            "a batch of 2: status UNAVAILABLE (14) of gRPC: loading 50%",
        ),
        (
            Mood::FailInHead(3, "no such input"),
            "a batch of 2: status INVALID_ARGUMENT (3) of gRPC: no such input",
        ),
        (
            Mood::Fail(99, "odd"),
            "a batch of 2: status UNKNOWN (2) of gRPC: odd",
        ),
        (
            Mood::NoStatus,
            "a batch of 2: the answer ends without a status of gRPC",
        ),
        (
            Mood::NoGrpc,
            "a batch of 2: status 415 Unsupported Media Type: JSON only",
        ),
        (
            Mood::OneRow,
            "a batch of 2: the answer is not one to it: output \"y\" has the shape [1]",
        ),
    ] {
        *server.mood.lock().unwrap() = mood;
        let error = endpoint.time(2).await.unwrap_err();
        assert_eq!(error.to_string(), says);
    }
    *server.mood.lock().unwrap() = Mood::Echo;
    assert!(endpoint.time(2).await.is_ok(), "the connection is still good");
}

/// A runtime of REST that takes and gives binary tensors, or none of gRPC at all.
async fn rest_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                if request.method() == Method::GET {
                    let input = json!({"name": "x", "datatype": "FP32", "shape": [-1, 3]});
                    let metadata = json!({"name": "net", "inputs": [input]}).to_string();
                    return Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(metadata))));
                }
                let length: usize = request.headers()[HEADER_LENGTH]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let head: Value = serde_json::from_slice(&body[..length]).unwrap();
                let input = &head["inputs"][0];
                let rows = input["shape"][0].as_u64().unwrap();
                assert_eq!(input["parameters"]["binary_data_size"], 12 * rows);
                assert_eq!((body.len() - length) as u64, 12 * rows);
                let numbers = body[length..].as_chunks::<4>().0.iter();
                assert!(
                    numbers
                        .map(|bytes| f32::from_le_bytes(*bytes))
                        .all(|number| (0.0..1.0).contains(&number))
                );
                assert_eq!(head["parameters"]["binary_data_output"], true);
                let output = json!({"name": "y", "datatype": "UINT8", "shape": [rows], "parameters": {"binary_data_size": rows}});
                let head = json!({"model_name": "net", "outputs": [output]}).to_string();
                let answer = [head.as_bytes(), &vec![0xff; usize::try_from(rows).unwrap()]].concat();
                let response = Response::builder().header(HEADER_LENGTH, head.len());
                Ok(response.body(Full::new(answer.into())).unwrap())
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn a_server_of_binary_tensors_is_asked_with_them() {
    let address = format!("http://{}", rest_server().await);
    let mut endpoint = endpoint(&address, Protocol::OipV2Binary).await.unwrap();
    for batch in [3, 1] {
        endpoint.time(batch).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_grpc_is_no_answer() {
    let address = format!("grpc://{}", rest_server().await);
    let error = endpoint(&address, Protocol::OipV2Grpc).await.unwrap_err();
    assert!(matches!(error, EndpointError::NoAnswer { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("ModelMetadata of net at http://127.0.0.1"),
        "{error}"
    );
}
