//! The server as its callers meet it: a process on loopback, with a network that is small enough for a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e_load::App;
use e2e_load::measure::{Effort, Endpoint};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

const COLUMNS: usize = 8;
/// Nothing here takes a second; a machine that is busy may.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server; dropping it ends it.
struct Server {
    child: Child,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Server {
    /// Starts the server with a small perceptron and waits until it is ready.
    async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let small = [
            "--columns",
            "8",
            "--width",
            "32",
            "--depth",
            "1",
            "--classes",
            "3",
        ];
        Self::start_with(&[&small, arguments].concat(), environment).await
    }

    /// Starts the server and waits until it is ready.
    async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_e2e-runtime"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("RUST_LOG", "info")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended: {seen}");
            seen.push_str(&line);
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        // A full pipe would stop the server.
        std::thread::spawn(move || log.read_to_string(&mut String::new()));
        let server = Self {
            child,
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
        };
        let deadline = Instant::now() + PATIENCE;
        while server.get("/v2/health/ready").await.0 != StatusCode::OK {
            assert!(Instant::now() < deadline, "the server is not ready");
            tokio::task::yield_now().await;
        }
        server
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        let response = self
            .client
            .request(request.body(Full::new(Bytes::from(body))).unwrap())
            .await
            .unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        self.send(Method::GET, path, Vec::new()).await
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        serde_json::from_slice(&body).unwrap()
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint_of(COLUMNS)
    }

    fn endpoint_of(&self, columns: usize) -> Endpoint {
        let app = App {
            columns,
            ..App::new("test", "localhost", 0.0, PATIENCE)
        };
        Endpoint::new(self.address.clone(), app)
    }

    fn terminate(&self) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    async fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn effort(iterations: u32) -> Effort {
    Effort {
        warm_up: 0,
        iterations,
        time: PATIENCE,
        least: 1,
    }
}

fn row(id: &str) -> Vec<u8> {
    let input = json!({"name": "input", "datatype": "FP32", "shape": [1, COLUMNS], "data": [[1, 2, 3, 4, 5, 6, 7, 8]]});
    json!({"id": id, "inputs": [input]}).to_string().into_bytes()
}

#[tokio::test]
async fn batches_are_answered_row_by_row_and_counted() {
    let server = Server::start(&[], &[]).await;
    let mut endpoint = server.endpoint();
    for batch in [1, 2, 5] {
        // The endpoint checks id, rows and nonces of every answer.
        endpoint.measure(batch, effort(1)).await.unwrap();
    }
    let stats = server.json("/stats").await;
    assert_eq!(
        (&stats["batches"], &stats["rows"], &stats["largest"]),
        (&json!(3), &json!(8), &json!(5)),
        "{stats}"
    );
    let metrics = String::from_utf8(server.get("/metrics").await.1.to_vec()).unwrap();
    for line in [
        "runtime_batches_total 3",
        "runtime_rows_total 8",
        "runtime_largest_batch 5",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in {metrics}"
        );
    }
}

#[tokio::test]
async fn every_network_answers_the_same_protocol() {
    let conv = [
        "--network",
        "conv",
        "--image",
        "3x6x8",
        "--channels",
        "4",
        "--blocks",
        "1",
    ];
    let encoder = [
        "--network",
        "encoder",
        "--tokens",
        "5",
        "--token-width",
        "3",
        "--embedding",
        "8",
    ];
    for (arguments, columns) in [(&conv[..], 2 + 3 * 6 * 8), (&encoder[..], 2 + 5 * 3)] {
        let server = Server::start_with(arguments, &[]).await;
        let model = server.json("/v2/models/mlp").await;
        assert_eq!(model["inputs"][0]["shape"], json!([-1, columns]), "{arguments:?}");
        assert_eq!(model["outputs"][0]["shape"], json!([-1, 16]), "{arguments:?}");
        let mut endpoint = server.endpoint_of(columns);
        for batch in [1, 3, 32] {
            endpoint.measure(batch, effort(1)).await.unwrap();
        }
        assert_eq!(server.json("/stats").await["rows"], 36, "{arguments:?}");
    }
}

#[test]
fn a_network_that_does_not_exist_is_refused_with_the_reason() {
    for (arguments, reason) in [
        (
            &["--network", "encoder", "--heads", "7"][..],
            "7 heads do not share",
        ),
        (&["--onnx", "/nowhere/net.onnx"], "/nowhere/net.onnx"),
        (
            &["--onnx", "/nowhere/net.onnx", "--network", "conv"],
            "cannot be used with",
        ),
        (
            &["--network", "conv", "--image", "3x0x8"],
            "channels x height x width",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_e2e-runtime"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn metadata_says_what_the_model_takes() {
    let server = Server::start(&["--model-name", "other"], &[]).await;
    let model = server.json("/v2/models/other").await;
    assert_eq!(
        model["inputs"],
        json!([{"name": "input", "datatype": "FP32", "shape": [-1, 8]}])
    );
    assert_eq!(
        model["outputs"][0],
        json!({"name": "output", "datatype": "FP32", "shape": [-1, 3]})
    );
    assert_eq!(
        model["outputs"][1],
        json!({"name": "echo", "datatype": "FP32", "shape": [-1, 2]})
    );
    assert_eq!(server.json("/v2").await["name"], "e2e-runtime");
    for path in [
        "/v2/health/live",
        "/v2/models/other/ready",
        "/v2/models/other/versions/1/ready",
    ] {
        server.json(path).await;
    }
    let (status, body) = server
        .send(Method::POST, "/v2/models/other/versions/1/infer", row("a"))
        .await;
    let answer = serde_json::from_slice::<Value>(&body).unwrap();
    assert_eq!(
        (status, &answer["id"], &answer["model_name"]),
        (StatusCode::OK, &json!("a"), &json!("other"))
    );
    assert_eq!(answer["outputs"][1]["data"], json!([1.0, 2.0]));
}

#[tokio::test]
async fn what_cannot_be_answered_gets_a_status_and_an_error() {
    let server = Server::start(&[], &[]).await;
    let cases = [
        (Method::GET, "/", Vec::new(), StatusCode::NOT_FOUND),
        (Method::GET, "/v2/models/other", Vec::new(), StatusCode::NOT_FOUND),
        (
            Method::POST,
            "/v2/models/other/infer",
            row("a"),
            StatusCode::NOT_FOUND,
        ),
        (
            Method::POST,
            "/v2/models/mlp/versions/2/infer",
            row("a"),
            StatusCode::NOT_FOUND,
        ),
        (
            Method::GET,
            "/v2/models/mlp/infer",
            Vec::new(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::POST,
            "/v2/models/mlp",
            row("a"),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::POST,
            "/v2/models/mlp/infer",
            Vec::new(),
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::POST,
            "/v2/models/mlp/infer",
            b"{\"inputs\":[]}".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            Method::POST,
            "/v2/models/mlp/infer",
            vec![b' '; 5 << 20],
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = server.send(method.clone(), path, body).await;
        assert_eq!(status, expected, "{method} {path}");
        let answer = serde_json::from_slice::<Value>(&answer).unwrap();
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
    }
    server.endpoint().measure(1, effort(1)).await.unwrap();
}

#[tokio::test]
async fn a_simulated_share_takes_as_long_as_its_profile_says() {
    // (5 ms + 10 ms) * 24 / 6.
    let profile = r#"{"gpu":{"perRow":"5ms","fixed":"10ms","slice":"2ms"}}"#;
    let share = [
        ("HARMONYBATCH_GPU_UNITS", "6"),
        ("HARMONYBATCH_GPU_UNITS_TOTAL", "24"),
    ];
    let server = Server::start(&["--simulate", profile, "--law", "mean"], &share).await;
    let one = server.endpoint().measure(1, effort(5)).await.unwrap();
    assert!(one.p50_ms >= 60.0 && one.mean_ms < 160.0, "{one:?}");
    let four = server.endpoint().measure(4, effort(5)).await.unwrap();
    assert!(four.p50_ms >= 120.0 && four.mean_ms < 220.0, "{four:?}");
}

#[tokio::test]
async fn a_share_that_was_not_given_ends_the_server_with_the_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_e2e-runtime"))
        .args([
            "serve",
            "--simulate",
            r#"{"gpu":{"perRow":"5ms","fixed":"10ms","slice":"2ms"}}"#,
        ])
        .env_remove("HARMONYBATCH_GPU_UNITS")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("HARMONYBATCH_GPU_UNITS"), "{text}");
}

#[tokio::test]
async fn termination_answers_what_is_in_flight_and_is_not_ready_meanwhile() {
    let profile = r#"{"gpu":{"perRow":"0s","fixed":"800ms","slice":"2ms"}}"#;
    let arguments = [
        "--simulate",
        profile,
        "--gpu-units",
        "1",
        "--gpu-units-total",
        "1",
        "--linger",
        "2000",
    ];
    let server = Server::start(&arguments, &[]).await;
    let answer = server.send(Method::POST, "/v2/models/mlp/infer", row("late"));
    let asked = async {
        // A request that was refused or answered shows that the one above, which came first, is in flight.
        assert_eq!(server.get("/v2/models/nobody").await.0, StatusCode::NOT_FOUND);
        server.terminate();
        let deadline = Instant::now() + PATIENCE;
        while server.get("/v2/health/ready").await.0 == StatusCode::OK {
            assert!(Instant::now() < deadline, "still ready");
        }
    };
    let ((status, body), ()) = tokio::join!(answer, asked);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], "late");
    let status = server.end().await;
    assert!(status.success(), "{status}");
}

#[test]
fn export_writes_the_network_of_the_options() {
    let file = std::env::temp_dir().join(format!("e2e-runtime-{}.onnx", std::process::id()));
    let status = Command::new(env!("CARGO_BIN_EXE_e2e-runtime"))
        .args(["export", "--width", "16", "--depth", "2"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(&file);
    std::fs::remove_file(&file).unwrap();
    // (62 + 1) * 16 + 2 * (16 + 1) * 16 + (16 + 1) * 16 numbers of four bytes, and the graph around them.
    let weights = 4 * (63 * 16 + 2 * 17 * 16 + 17 * 16);
    let bytes = bytes.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        (weights..weights + 4096).contains(&bytes.len()),
        "{} for {weights}",
        bytes.len()
    );
}
