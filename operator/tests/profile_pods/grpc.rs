//! A model whose runtime speaks gRPC: its pods are asked over HTTP/2, and its InferenceModel says what it is.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use harmonybatch_protocol::body::Chunks;
use harmonybatch_protocol::grpc::messages::{
    InferOutputTensor, ModelInferRequest, ModelInferResponse, ModelMetadataResponse, TensorMetadata,
};
use harmonybatch_protocol::grpc::{StatusLine, frame_message, unframe};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, State};
use crate::measured::{EFFORT, law};
use crate::turns::ACCEPTED;
use crate::{profile, told};

/// The runtime of whatever pod there is.
async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request: Request<Incoming>| {
            let state = Arc::clone(&state);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(answer(&path, &unframe(&body).unwrap(), &state).await)
            }
        });
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(path: &str, message: &Bytes, state: &Mutex<State>) -> Response<Chunks> {
    let body = if path.ends_with("/ModelMetadata") {
        let input = TensorMetadata {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![-1, 4],
        };
        frame_message(&ModelMetadataResponse {
            name: "net".to_owned(),
            inputs: vec![input],
            ..ModelMetadataResponse::default()
        })
    } else {
        let request = ModelInferRequest::decode(message.clone()).unwrap();
        let rows = request.inputs[0].shape[0];
        let bytes = request.raw_input_contents[0].len();
        assert_eq!(bytes, usize::try_from(rows).unwrap() * 16, "four numbers a row");
        let latency = state.lock().unwrap().batch(rows.cast_unsigned());
        tokio::time::sleep(latency).await;
        let output = InferOutputTensor {
            name: "y".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![rows, 1],
            ..InferOutputTensor::default()
        };
        frame_message(&ModelInferResponse {
            outputs: vec![output],
            raw_output_contents: vec![vec![0; bytes / 4].into()],
            ..ModelInferResponse::default()
        })
    };
    let mut trailers = HeaderMap::new();
    StatusLine::ok().write(&mut trailers);
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body.with_trailers(trailers)).unwrap()
}

/// With a runtime of gRPC, at this port.
fn start(folder: &Path) -> (Cluster, u16) {
    let cluster = Cluster::start(folder);
    let listener = cluster.runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let port = listener.local_addr().unwrap().port();
    let runtime = serve(listener, Arc::clone(&cluster.state));
    cluster.runtime.spawn(runtime);
    (cluster, port)
}

#[test]
fn a_server_of_grpc_is_measured_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, port) = start(folder.path());
    cluster.state.lock().unwrap().created.push("1000m".to_owned());
    let endpoint = format!("grpc://127.0.0.1:{port}");
    let measure = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harmonybatch"));
        command.current_dir(folder.path());
        command.args(["profile", "--model", "net", "--max-batch", "2", "--vcpu", "1"]);
        command
            .args(["--endpoint", &endpoint])
            .args(EFFORT)
            .args(ACCEPTED)
            .args(more);
        told(command.output().unwrap())
    };
    let (code, said) = measure(&["--protocol", "OIPv2JSON"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("is one of gRPC, where tensors are to be sent over HTTP"),
        "{said}"
    );
    let (code, said) = measure(&[]);
    assert_eq!(code, Some(0), "{said}");
    let file = std::fs::read_to_string(folder.path().join("net-cpu-1.samples.jsonl")).unwrap();
    let header: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!(header["header"]["protocol"], "OIPv2GRPC");
    assert_eq!(header["header"]["endpoint"], endpoint);
    // 17 of each size, at least.
    assert!(file.lines().count() > 34, "{file}");
}

#[test]
fn a_model_of_grpc_is_measured_on_its_pods() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, port) = start(folder.path());
    {
        let mut state = cluster.state.lock().unwrap();
        state.port = port;
        state.protocol = Some("OIPv2GRPC");
    }
    let (code, said) = profile(
        folder.path(),
        &[&["--cpu", "0.25,0.5,1,2", "--apply"][..], &ACCEPTED].concat(),
    );
    assert_eq!(code, Some(0), "{said}");
    let file = std::fs::read_to_string(folder.path().join("net-cpu-1.samples.jsonl")).unwrap();
    let header: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!(header["header"]["protocol"], "OIPv2GRPC");
    for line in file.lines().skip(1) {
        let sample: serde_json::Value = serde_json::from_str(line).unwrap();
        let least = law(1.0, sample["batch"].as_u64().unwrap());
        assert!(sample["seconds"].as_f64().unwrap() >= least, "{sample}");
    }
    assert_eq!(cluster.state.lock().unwrap().patches.len(), 1);

    // What was measured so is not gone on with as something else.
    cluster.state.lock().unwrap().protocol = None;
    let (code, said) = profile(folder.path(), &["--cpu", "0.25,0.5,1,2", "--resume"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("has the protocol \"OIPv2GRPC\", and \"OIPv2JSON\" is to be measured"),
        "{said}"
    );
    let (code, said) = profile(folder.path(), &["--cpu", "1", "--protocol", "OIPv2GRPC"]);
    assert!(
        code == Some(1) && said.contains("says by spec.protocol"),
        "{said}"
    );
}
