//! Callers of gRPC before runtimes of every encoding, and runtimes of gRPC.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use harmonybatch_gateway::{
    body::Chunks,
    config::GroupConfig,
    protocol::{
        Wire,
        grpc::{Code, SERVICE, StatusLine, frame_message, messages::*, unframe},
    },
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::json;
use support::{
    Gateway, Mood, Runtime,
    echo::{Closes, Echo, GrpcEcho},
    group, member, options, request, snapshot, soon,
};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

fn before(wire: Wire, address: SocketAddr) -> GroupConfig {
    GroupConfig {
        wire,
        ..group("mlp-a", &[member("search", EAGER, LONG)], &[address])
    }
}

struct Caller {
    sender: SendRequest<Chunks>,
    headers: HeaderMap,
}

impl Caller {
    async fn new(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.callers).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        Self {
            sender,
            headers: HeaderMap::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    /// One call; its head and message, or how it failed.
    async fn call(
        &self,
        authority: &str,
        method: &str,
        body: Chunks,
    ) -> Result<(HeaderMap, Bytes), StatusLine> {
        let mut request = Request::post(format!("http://{authority}{SERVICE}{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        request.headers_mut().extend(self.headers.clone());
        let mut sender = self.sender.clone();
        let response = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::OK, &"application/grpc".parse().unwrap())
        );
        let head = response.headers().clone();
        let body = soon(response.into_body().collect()).await.unwrap();
        let line = body
            .trailers()
            .and_then(StatusLine::read)
            .or_else(|| StatusLine::read(&head))
            .unwrap();
        if line.code != Code::Ok {
            return Err(line);
        }
        Ok((head, unframe(&body.to_bytes()).unwrap()))
    }

    async fn ask<T: Message + Default>(&self, method: &str, message: &impl Message) -> Result<T, StatusLine> {
        let answer = self
            .call("search-infer.shop", method, frame_message(message))
            .await;
        answer.map(|(_, message)| T::decode(message).unwrap())
    }

    async fn infer(&self, request: &ModelInferRequest) -> Result<ModelInferResponse, StatusLine> {
        self.ask("ModelInfer", request).await
    }
}

fn input(name: &str, datatype: &str, shape: &[i64], contents: Option<&'static [u8]>) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents: contents.map(Bytes::from_static).into_iter().collect(),
        ..InferInputTensor::default()
    }
}

fn infer(inputs: Vec<InferInputTensor>, raws: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "mlp".to_owned(),
        id: "mine".to_owned(),
        inputs,
        raw_input_contents: raws.iter().map(|raw| Bytes::from_static(raw)).collect(),
        ..ModelInferRequest::default()
    }
}

#[tokio::test]
async fn callers_of_grpc_are_served_by_runtimes_of_every_encoding_as_they_asked() {
    let (rest, grpc) = (Echo::start().await, GrpcEcho::start().await);
    let wires = [
        (Wire::Json, rest.address),
        (Wire::Binary, rest.address),
        (Wire::Grpc, grpc.address),
    ];
    for (wire, address) in wires {
        let gateway = Gateway::start(snapshot([before(wire, address)])).await;
        let caller = Caller::new(&gateway).await;
        let mut raw = infer(
            vec![
                input("x", "INT16", &[1, 2], None),
                input("y", "BYTES", &[1], None),
            ],
            &[&[1, 0, 0xff, 0xff], b"\x02\0\0\0ab"],
        );
        raw.outputs = ["OUTPUT0", "OUTPUT1"]
            .map(|name| InferRequestedOutputTensor {
                name: name.to_owned(),
                ..Default::default()
            })
            .to_vec();
        let answer = caller.infer(&raw).await.unwrap();
        assert_eq!(
            (
                answer.model_name.as_str(),
                answer.model_version.as_str(),
                answer.id.as_str()
            ),
            ("mlp", "1", "mine")
        );
        assert_eq!(answer.raw_output_contents, raw.raw_input_contents, "{wire}");
        assert_eq!(
            (answer.outputs[0].name.as_str(), &answer.outputs[0].shape),
            ("OUTPUT0", &vec![1, 2])
        );
        // Typed: int_contents 1, -1.
        let typed: &[u8] = &[
            0x12, 11, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ];
        let answer = caller
            .infer(&infer(vec![input("x", "INT16", &[2], Some(typed))], &[]))
            .await
            .unwrap();
        assert_eq!(answer.outputs[0].contents, [typed]);
        assert!(answer.raw_output_contents.is_empty());
    }
    assert_eq!(grpc.seen.lock().unwrap()[0].model_name, "net");
}

#[tokio::test]
async fn callers_of_rest_are_served_by_a_runtime_of_grpc_over_one_connection() {
    let runtime = GrpcEcho::start().await;
    let gateway = Gateway::start(snapshot([before(Wire::Grpc, runtime.address)])).await;
    for first in [0, 10] {
        let mut body = request("mine", first, 2);
        body["parameters"] = json!({"a": true, "b": 1.5, "c": "x", "d": -1, "e": u64::MAX});
        let answer = soon(gateway.infer("search", &body)).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(
            (&answer.json["id"], &answer.json["model_version"]),
            (&json!("mine"), &json!("1"))
        );
        let first = f64::from(u32::try_from(first).unwrap());
        assert_eq!(
            answer.data(),
            &json!([first, first + 1.0, first + 2.0, first + 3.0])
        );
    }
    let seen = runtime.seen.lock().unwrap().clone();
    let choices: Vec<_> = seen[0]
        .parameters
        .values()
        .map(|parameter| parameter.parameter_choice.clone().unwrap())
        .collect();
    assert_eq!(
        choices,
        [
            ParameterChoice::BoolParam(true),
            ParameterChoice::DoubleParam(1.5),
            ParameterChoice::StringParam("x".to_owned()),
            ParameterChoice::Int64Param(-1),
            ParameterChoice::Uint64Param(u64::MAX),
        ]
    );
    assert_eq!(runtime.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    let metadata = gateway.get("search-infer.shop", "/v2/models/mlp").await;
    assert_eq!(
        metadata.json["inputs"],
        json!([{"name": "INPUT0", "datatype": "FP32", "shape": [-1, 2]}])
    );
}

#[tokio::test]
async fn the_other_methods_answer() {
    let runtime = GrpcEcho::start().await;
    let gateway = Gateway::start(snapshot([before(Wire::Grpc, runtime.address)])).await;
    let caller = Caller::new(&gateway).await;
    let name = || "mlp".to_owned();
    let live: ServerLiveResponse = caller.ask("ServerLive", &ServerLiveRequest {}).await.unwrap();
    let ready: ServerReadyResponse = caller.ask("ServerReady", &ServerReadyRequest {}).await.unwrap();
    let request = ModelReadyRequest {
        name: name(),
        version: String::new(),
    };
    let model: ModelReadyResponse = caller.ask("ModelReady", &request).await.unwrap();
    assert!(live.live && ready.ready && model.ready);
    let server: ServerMetadataResponse = caller
        .ask("ServerMetadata", &ServerMetadataRequest {})
        .await
        .unwrap();
    assert_eq!(server.name, "harmonybatch");
    let request = ModelMetadataRequest {
        name: name(),
        version: String::new(),
    };
    let metadata: ModelMetadataResponse = caller.ask("ModelMetadata", &request).await.unwrap();
    assert_eq!(
        (metadata.name.as_str(), &metadata.inputs[0].shape),
        ("mlp", &vec![-1, 2])
    );
    let unknown = caller
        .ask::<ServerLiveResponse>("RepositoryIndex", &ServerLiveRequest {})
        .await
        .unwrap_err();
    assert_eq!(unknown.code, Code::Unimplemented);
}

#[tokio::test]
async fn calls_name_their_application_by_authority_or_by_metadata() {
    let runtime = GrpcEcho::start().await;
    let gateway = Gateway::start(snapshot([before(Wire::Grpc, runtime.address)])).await;
    let body = || frame_message(&infer(vec![input("x", "INT8", &[1], None)], &[&[7]]));
    let caller = Caller::new(&gateway).await;
    let (head, _) = caller
        .call("Search-Infer.shop.svc.cluster.local:80", "ModelInfer", body())
        .await
        .unwrap();
    assert_eq!(head["harmonybatch-batch-rows"], "1");
    let error = caller
        .call("10.0.0.1:8080", "ModelInfer", body())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    let caller = caller.with("harmonybatch-app", "shop/search");
    assert!(caller.call("10.0.0.1:8080", "ModelInfer", body()).await.is_ok());
    let caller = caller.with("harmonybatch-app", "shop/none");
    let error = caller
        .call("10.0.0.1:8080", "ModelInfer", body())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.message.contains("no InferenceApp none")),
        (Code::NotFound, true),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_call_that_is_wrong_is_told_what_is_wrong() {
    let runtime = GrpcEcho::start().await;
    let options = harmonybatch_gateway::Options {
        body_limit: 10_000,
        ..options()
    };
    let gateway = Gateway::start_with(Some(snapshot([before(Wire::Grpc, runtime.address)])), options).await;
    let caller = Caller::new(&gateway).await;
    let x = |shape: &[i64], contents| input("x", "FP32", shape, contents);
    let mut in_parts = x(&[1], Some(&[0x32, 4, 0, 0, 0, 0]));
    in_parts.contents.push(Bytes::from_static(&[0x32, 4, 0, 0, 0, 0]));
    let table = [
        (
            infer(vec![x(&[2], None)], &[&[0; 7]]),
            "raw_input_contents[0]: has 7 bytes, 2 elements of FP32 have 8",
        ),
        (
            infer(vec![x(&[-1], None)], &[&[0; 4]]),
            "inputs[0].shape: is [-1], every dimension must be at least 1",
        ),
        (infer(vec![x(&[1], None)], &[]), "inputs[0].contents: is missing"),
        (infer(vec![in_parts], &[]), "inputs[0].contents: is there twice"),
        (
            infer(vec![x(&[1], None)], &[&[0; 4], &[0; 4]]),
            "raw_input_contents: has 2 tensors, there are 1 inputs",
        ),
        (
            infer(vec![x(&[1], Some(&[0x32, 4, 0, 0, 0, 0]))], &[&[0; 4]]),
            "inputs[0].contents: is there beside",
        ),
        (
            infer(vec![x(&[2], Some(&[0x32, 4, 0, 0, 0, 0]))], &[]),
            "inputs[0].contents: has 4 bytes, 2 elements of FP32 have 8",
        ),
        (infer(vec![], &[]), "inputs: is empty"),
        (
            ModelInferRequest {
                model_name: "a/b".to_owned(),
                ..infer(vec![], &[])
            },
            "model_name: \"a/b\" is no name",
        ),
    ];
    for (request, says) in table {
        let error = caller.infer(&request).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error:?}");
        assert!(error.message.starts_with(says), "{error:?}");
    }
    let other = ModelInferRequest {
        model_name: "other".to_owned(),
        ..infer(vec![x(&[1], None)], &[&[0; 4]])
    };
    assert_eq!(caller.infer(&other).await.unwrap_err().code, Code::NotFound);
    let long = frame_message(&infer(vec![x(&[1], None)], &[&[0; 12_000]]));
    let error = caller
        .call("search-infer.shop", "ModelInfer", long)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    let compressed = Chunks::from(&b"\x01\0\0\0\0"[..]);
    let error = caller
        .call("search-infer.shop", "ModelInfer", compressed)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unimplemented);
    assert!(runtime.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_callers_own_timeout_ends_its_wait() {
    let runtime = Runtime::start_held().await;
    let gateway = Gateway::start(snapshot([before(Wire::Json, runtime.address)])).await;
    let caller = Caller::new(&gateway).await.with("grpc-timeout", "50m");
    let error = caller
        .infer(&infer(vec![input("x", "INT8", &[1], None)], &[&[7]]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.message.contains("still at work")),
        (Code::DeadlineExceeded, true),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_runtimes_errors_are_told_in_each_callers_own_way() {
    let (grpc, rest) = (GrpcEcho::start().await, Runtime::start().await);
    let gateway = Gateway::start(snapshot([before(Wire::Grpc, grpc.address)])).await;
    let caller = Caller::new(&gateway).await;
    let call = || infer(vec![input("x", "INT8", &[1], None)], &[&[7]]);
    let table = [
        (Code::InvalidArgument, 400, Code::InvalidArgument),
        (Code::ResourceExhausted, 429, Code::ResourceExhausted),
        (Code::Internal, 502, Code::Internal),
        (Code::Unavailable, 502, Code::Internal),
    ];
    for (says, status, told) in table {
        *grpc.failure.lock().unwrap() = Some(StatusLine {
            code: says,
            message: "näh".to_owned(),
            retry_after: None,
        });
        let error = caller.infer(&call()).await.unwrap_err();
        assert_eq!(
            (error.code, error.message.contains("näh")),
            (told, true),
            "{error:?}"
        );
        let answer = soon(gateway.infer("search", &request("x", 0, 1))).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
    let gateway = Gateway::start(snapshot([before(Wire::Json, rest.address)])).await;
    rest.set_mood(Mood::Answer(StatusCode::BAD_REQUEST, "no".to_owned()));
    let error = Caller::new(&gateway).await.infer(&call()).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::InvalidArgument, "the runtime refused the request: no")
    );
}

#[tokio::test]
async fn a_runtime_of_grpc_may_close_its_connections() {
    for closes in [Closes::Gracefully, Closes::Abruptly] {
        let runtime = GrpcEcho::start_closing(closes).await;
        let gateway = Gateway::start(snapshot([before(Wire::Grpc, runtime.address)])).await;
        for call in 0..20 {
            // Before it closes, while it does, and after.
            tokio::time::sleep(Duration::from_millis(call * 2)).await;
            let answer = soon(gateway.infer("search", &request("x", 0, 1))).await.unwrap();
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{closes:?} {call}: {}",
                answer.text
            );
        }
    }
}

#[tokio::test]
async fn a_runtime_that_speaks_no_grpc_is_a_bad_gateway() {
    let runtime = Runtime::start().await;
    let members = [member("search", EAGER, Duration::from_secs(2))];
    let config = GroupConfig {
        wire: Wire::Grpc,
        ..group("mlp-a", &members, &[runtime.address])
    };
    let gateway = Gateway::start(snapshot([config])).await;
    let answer = soon(gateway.infer("search", &request("x", 0, 1))).await.unwrap();
    assert!(
        matches!(answer.status.as_u16(), 502 | 503),
        "{} {}",
        answer.status,
        answer.text
    );
    assert!(runtime.rows().is_empty());
}
