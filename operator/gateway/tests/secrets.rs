//! Nothing that callers or runtimes send gets into logs, spans or metrics.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use harmonybatch_gateway::{
    Options,
    access::AccessLog,
    batcher::Limits,
    body::Chunks,
    config::{Contract, GroupConfig, MemberConfig, Snapshot},
    peers::Members,
    protocol::grpc::{SERVICE, frame_message, messages::ModelInferRequest},
    trace::Sampler,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use support::{
    Answer, Gateway, Mood, Runtime, call, collector::Collector, group, log::Log, member, options, snapshot,
    soon,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);
const EAGER: Duration = Duration::ZERO;

/// What no log, span or metric may hold.
const SECRET: &str = "s3cr3t";

/// A request that has the secret wherever a caller can put it.
fn secret(method: &Method, path: &str, app: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("{path}?token={SECRET}"))
        .header("host", format!("{app}-infer.shop"))
        .header("authorization", format!("Bearer {SECRET}"))
        .header("cookie", SECRET)
        .header("user-agent", SECRET)
        .header(SECRET, SECRET)
        .header("traceparent", SECRET)
        .header("tracestate", format!("{SECRET}={SECRET}"))
        .body(Full::new(body.into()))
        .unwrap()
}

/// A body that has it, too.
fn payload() -> Value {
    json!({
        "id": SECRET,
        "parameters": {SECRET: SECRET},
        "inputs": [{"name": SECRET, "shape": [1], "datatype": "BYTES", "data": [SECRET]}],
    })
}

const INFER: &str = "/v2/models/mlp/infer";

/// What the gateway is asked by the test of secrets, and what for.
struct Asked {
    gateway: Gateway,
    causes: BTreeSet<String>,
}

impl Asked {
    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let answer = call(self.gateway.callers, request).await;
        self.note(&answer.headers);
        answer
    }

    fn note(&mut self, headers: &HeaderMap) {
        let cause = headers
            .get("harmonybatch-cause")
            .map(|cause| cause.to_str().unwrap());
        self.causes.insert(cause.unwrap_or("none").to_owned());
    }

    async fn infer(&mut self, app: &str) -> Answer {
        self.ask(secret(&Method::POST, INFER, app, payload().to_string()))
            .await
    }

    /// The same over HTTP/2, and as a call of gRPC.
    async fn infer_over_http2(&mut self, app: &str) {
        let stream = TcpStream::connect(self.gateway.callers).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        let message = ModelInferRequest {
            model_name: SECRET.to_owned(),
            id: SECRET.to_owned(),
            ..ModelInferRequest::default()
        };
        let rest = (
            INFER.to_owned(),
            Chunks::from(payload().to_string()),
            "application/json",
        );
        let grpc = |method: &str, body| (format!("{SERVICE}{method}"), body, "application/grpc");
        let broken = Chunks::from(format!("\0\0\0\0\x06{SECRET}"));
        for (path, body, content_type) in [
            rest,
            grpc("ModelInfer", frame_message(&message)),
            grpc("ModelInfer", broken),
            grpc(SECRET, Chunks::default()),
        ] {
            let mut request = secret(&Method::POST, &path, app, "").map(|_| body);
            request.headers_mut().remove("host");
            request
                .headers_mut()
                .insert("content-type", content_type.parse().unwrap());
            *request.uri_mut() = format!("http://{app}-infer.shop{path}?token={SECRET}")
                .parse()
                .unwrap();
            let response = soon(sender.send_request(request)).await.unwrap();
            self.note(response.headers());
            soon(response.into_body().collect()).await.unwrap();
        }
    }
}

/// With a contract of no more than the first request.
fn stinted(app: &str) -> Arc<MemberConfig> {
    let contract = Contract {
        rate: 0.001,
        burst: 0.0,
        most: 0.0,
        best_effort: false,
    };
    let free = member(app, EAGER, LONG);
    Arc::new(MemberConfig {
        contract: Some(contract),
        ..(*free).clone()
    })
}

/// Groups of which each fails in its own way.
fn groups(runtime: SocketAddr, held: SocketAddr, gone: SocketAddr) -> Snapshot {
    let brim = [member("full", LONG, LONG), member("brim", LONG, LONG)];
    snapshot([
        group("mlp-open", &[member("open", EAGER, LONG)], &[runtime]),
        group("mlp-stinted", &[stinted("stinted")], &[runtime]),
        group("mlp-held", &[member("held", EAGER, SHORT)], &[held]),
        group("mlp-gone", &[member("gone", EAGER, SHORT)], &[gone]),
        group("mlp-none", &[member("none", EAGER, SHORT)], &[]),
        GroupConfig {
            batch_size: 100,
            ..group("mlp-full", &brim, &[runtime])
        },
    ])
}

/// Requests that are wrong in themselves.
async fn ask_wrongly(asked: &mut Asked) {
    let (get, post) = (Method::GET, Method::POST);
    let odd = Method::from_bytes(SECRET.as_bytes()).unwrap();
    let mut encoded = secret(&post, INFER, "open", payload().to_string());
    encoded
        .headers_mut()
        .insert("content-encoding", SECRET.parse().unwrap());
    for request in [
        secret(&post, INFER, "open", format!("{{\"id\": \"{SECRET}\"")),
        secret(&post, INFER, "open", SECRET.repeat(2000)),
        secret(&post, &format!("/{SECRET}"), "open", ""),
        secret(&odd, INFER, "open", ""),
        secret(&post, INFER, SECRET, ""),
        secret(&post, &format!("/v2/models/{SECRET}/infer"), "open", ""),
        secret(&post, &format!("/shop/{SECRET}{INFER}"), "open", ""),
        encoded,
        secret(&get, &format!("/v2/models/mlp/versions/{SECRET}"), "open", ""),
    ] {
        asked.ask(request).await;
    }
    asked.infer_over_http2("open").await;
}

/// Requests whose runtime answers with the secret, or not at all.
async fn ask_in_vain(asked: &mut Asked, runtime: &Runtime) {
    let quoted = json!({"error": SECRET}).to_string();
    let other = json!({"id": SECRET, "outputs": [{"name": SECRET}]}).to_string();
    for mood in [
        Mood::Answer(StatusCode::BAD_REQUEST, quoted.clone()),
        Mood::Answer(StatusCode::INTERNAL_SERVER_ERROR, quoted),
        Mood::Answer(StatusCode::OK, other),
        Mood::Answer(StatusCode::OK, SECRET.to_owned()),
        Mood::HangUp,
    ] {
        runtime.set_mood(mood);
        asked.infer("open").await;
    }
    runtime.set_mood(Mood::Echo);
    for app in ["stinted", "stinted", "held", "held", "gone", "none"] {
        asked.infer(app).await;
    }
    let waiting = asked
        .gateway
        .post("full-infer.shop", INFER, &payload().to_string());
    asked.gateway.until_queued(1).await;
    asked.infer("full").await;
    asked.infer("brim").await;
    waiting.abort();
}

#[tokio::test]
async fn nothing_that_is_sent_gets_into_logs_spans_or_metrics() {
    let (log, collector) = (Log::start(), Collector::start().await);
    let (runtime, held) = (Runtime::start().await, Runtime::start_held().await);
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let options = Options {
        access_log: AccessLog::All,
        traces: Some(collector.settings(Sampler::AlwaysOn, 1.0)),
        body_limit: 10_000,
        limits: Limits {
            rows_per_app: 1,
            rows_per_group: 1,
            ..Limits::default()
        },
        ..options()
    };
    let groups = groups(runtime.address, held.address, gone);
    let gateway = Gateway::start_with(Some(groups), options).await;
    let causes = BTreeSet::new();
    let mut asked = Asked { gateway, causes };
    let answer = asked.infer("open").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    ask_wrongly(&mut asked).await;
    ask_in_vain(&mut asked, &runtime).await;
    let causes: Vec<&str> = asked.causes.iter().map(String::as_str).collect();
    let expected = [
        "app_queue_full",
        "broken",
        "exceeds_contract",
        "invalid_answer",
        "malformed",
        "method",
        "no_replica",
        "none",
        "queue_full",
        "runtime_4xx",
        "runtime_5xx",
        "timeout_queue",
        "timeout_runtime",
        "too_large",
        "unknown_app",
        "unknown_model",
        "unknown_path",
        "unreachable",
        "unsupported",
    ];
    assert_eq!(causes, expected);

    let metrics = asked.gateway.admin("/metrics").await.1;
    for cause in expected.into_iter().filter(|cause| *cause != "none") {
        assert!(metrics.contains(&format!("cause=\"{cause}\"")), "{cause}");
    }
    asked.gateway.shut_down();
    asked.gateway.ended().await;
    // The secret is where it may be, so it would be found.
    let seen = runtime.seen.lock().unwrap().clone();
    assert!(seen.iter().any(|body| body.to_string().contains(SECRET)));
    assert!(collector.spans().len() > 20);
    let spans = format!("{:?}", collector.exports());
    for (place, text) in [("log", log.text()), ("metrics", metrics), ("spans", spans)] {
        let found = text.lines().find(|line| line.contains(SECRET));
        assert_eq!(found, None, "in the {place}");
    }
}

/// What is handed on to another gateway, or fails there, as well.
#[tokio::test]
async fn nothing_of_what_gateways_hand_on_gets_into_the_log() {
    let (log, runtime) = (Log::start(), Runtime::start().await);
    let config = snapshot([group(
        "mlp-handed",
        &[member("handed", EAGER, LONG)],
        &[runtime.address],
    )]);
    let (sender, list) = watch::channel(Arc::<Members>::default());
    let mut gateways = Vec::new();
    for _ in 0..2 {
        let options = Options {
            access_log: AccessLog::All,
            ..options()
        };
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        gateways.push(Gateway::start_on(admin, Some(config.clone()), options, Some(list.clone())).await);
    }
    let ready = || gateways.iter().map(|gateway| gateway.admin);
    sender.send_replace(Arc::new(Members::new(ready(), ready().map(|admin| admin.ip()))));
    for body in [payload().to_string(), SECRET.to_owned()] {
        for gateway in &gateways {
            call(
                gateway.callers,
                secret(&Method::POST, INFER, "handed", body.clone()),
            )
            .await;
        }
    }
    let lines = log.until_lines("handed", 6).await;
    let mut forwarded: Vec<_> = lines
        .iter()
        .map(|line| line["forwarded"].as_str().unwrap_or("no"))
        .collect();
    forwarded.sort_unstable();
    assert_eq!(forwarded, ["in", "in", "no", "no", "out", "out"]);
    let causes = lines.iter().filter(|line| line["cause"] == "malformed").count();
    assert_eq!(causes, 3);
    assert!(!log.text().contains(SECRET));
}
