//! The access log: a line a request, with who asked what and what became of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use harmonybatch_gateway::{Options, access::AccessLog};
use http::StatusCode;
use serde_json::{Value, json};
use support::{Answer, Gateway, Mood, Runtime, group, log::Log, member, options, request, snapshot, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_line_says_who_asked_what_and_what_became_of_it() {
    let (log, runtime) = (Log::start(), Runtime::start().await);
    let members = [member("lines", Duration::from_millis(5), LONG)];
    let options = Options {
        access_log: AccessLog::All,
        ..options()
    };
    let config = snapshot([group("mlp-lines", &members, &[runtime.address])]);
    let gateway = Gateway::start_with(Some(config), options).await;
    let answer = soon(gateway.infer("lines", &request("x", 1, 3))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    runtime.set_mood(Mood::Answer(StatusCode::INTERNAL_SERVER_ERROR, "no".to_owned()));
    let failed = soon(gateway.infer("lines", &request("x", 1, 1))).await.unwrap();
    assert_eq!(failed.headers["harmonybatch-cause"], "runtime_5xx");
    let ready = gateway.get("lines-infer.shop", "/v2/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK);

    let lines = log.until_lines("lines", 3).await;
    let fields = |line: &Value| {
        let names = [
            "method",
            "route",
            "protocol",
            "namespace",
            "group",
            "status",
            "cause",
            "rows",
            "batch",
            "batch_rows",
            "bytes_out",
        ];
        names.map(|name| line[name].clone())
    };
    let batch = |answer: &Answer| answer.headers["harmonybatch-batch"].to_str().unwrap().to_owned();
    let length = |answer: &Answer| answer.text.len();
    let of = |method, route, status: u16, rest: [Value; 5]| {
        let [cause, rows, batch, batch_rows, bytes] = rest;
        let (namespace, group) = (json!("shop"), json!("mlp-lines"));
        [
            json!(method),
            json!(route),
            json!("http/1.1"),
            namespace,
            group,
            json!(status),
            cause,
            rows,
            batch,
            batch_rows,
            bytes,
        ]
    };
    let null = Value::Null;
    let expected = [
        of(
            "POST",
            "infer",
            200,
            [
                null.clone(),
                json!(3),
                json!(batch(&answer)),
                json!(3),
                json!(length(&answer)),
            ],
        ),
        of(
            "POST",
            "infer",
            502,
            [
                json!("runtime_5xx"),
                json!(1),
                json!(batch(&failed)),
                json!(1),
                json!(length(&failed)),
            ],
        ),
        of(
            "GET",
            "server_ready",
            200,
            [
                null.clone(),
                null.clone(),
                null.clone(),
                null,
                json!(length(&ready)),
            ],
        ),
    ];
    assert_eq!(lines.iter().map(fields).collect::<Vec<_>>(), expected);
    let (wait, duration) = (
        lines[0]["wait_ms"].as_f64().unwrap(),
        lines[0]["duration_ms"].as_f64().unwrap(),
    );
    assert!((5.0..=duration).contains(&wait), "{wait} of {duration}");
    assert_eq!(lines[0]["bytes_in"], request("x", 1, 3).to_string().len());
}

#[tokio::test]
async fn of_errors_only_those_are_logged_and_a_caller_that_leaves_is_one() {
    let (log, runtime) = (Log::start(), Runtime::start_held().await);
    let members = [member("leaves", Duration::ZERO, LONG)];
    let options = Options {
        access_log: AccessLog::Errors,
        ..options()
    };
    let config = snapshot([group("mlp-leaves", &members, &[runtime.address])]);
    let gateway = Gateway::start_with(Some(config), options).await;
    let leaving = gateway.infer("leaves", &request("x", 1, 1));
    runtime.batches(1).await;
    leaving.abort();
    runtime.permits.add_permits(10);
    let answer = soon(gateway.infer("leaves", &request("y", 2, 1))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let lines = log.until_lines("leaves", 1).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["cause"], &lines[0]["status"]),
        (&json!("left"), &Value::Null)
    );
    assert_eq!(lines[0]["batch_rows"], 1);
}

#[tokio::test]
async fn what_the_listener_refuses_has_a_line_with_the_reason_and_nothing_of_the_request() {
    let log = Log::start();
    let options = Options {
        access_log: AccessLog::Errors,
        ..options()
    };
    let gateway = Gateway::start_with(Some(snapshot([])), options).await;
    // The first is refused before its head is read as one, the second after it.
    let cases = [
        ("GET /v2/refused-a HTTP/1.1\nhost: a\n\n", "line_end"),
        (
            "GET /v2/refused-b HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\n\r\n",
            "expectation",
        ),
    ];
    for (sent, refusal) in cases {
        let mut stream = TcpStream::connect(gateway.callers).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let lines = log.until_some(|line| line["refusal"] == refusal).await;
        let fields =
            ["target", "protocol", "status", "cause", "bytes_out"].map(|name| lines[0][name].clone());
        let expected = [
            json!("access"),
            json!("http/1.1"),
            json!(status),
            json!("refused"),
            json!(body.len()),
        ];
        assert_eq!((lines.len(), fields), (1, expected));
        assert!(!lines[0].to_string().contains("/v2/refused"), "{}", lines[0]);
    }
}
