//! Spans as a collector gets them, and trace contexts as runtimes and other gateways do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use harmonybatch_gateway::{
    Options,
    config::{GroupConfig, Snapshot},
    peers::Members,
    protocol::Wire,
    trace::{Sampler, Settings},
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus};
use serde_json::Value;
use support::{
    Answer, Gateway, Mood, Runtime, call,
    collector::{Collector, attributes},
    echo::GrpcEcho,
    group, member, options, request, snapshot, soon,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

async fn traced(snapshot: Snapshot, settings: Settings) -> Gateway {
    let options = Options {
        traces: Some(settings),
        ..options()
    };
    Gateway::start_with(Some(snapshot), options).await
}

/// A request for inference with these headers beside the usual.
fn infer(gateway: &Gateway, app: &str, body: &Value, headers: &[(&str, &str)]) -> JoinHandle<Answer> {
    let mut request = Request::post("/v2/models/mlp/infer").header("host", format!("{app}-infer.shop"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    tokio::spawn(call(gateway.callers, request))
}

fn hex(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The `traceparent` of a span.
fn traceparent(span: &Span) -> String {
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<Span> {
    let of_kind = spans.iter().filter(|span| span.kind == kind as i32);
    of_kind.cloned().collect()
}

fn named<'a>(attributes: &'a std::collections::HashMap<String, String>, names: &[&str]) -> Vec<&'a str> {
    names
        .iter()
        .map(|name| attributes.get(*name).map_or("-", String::as_str))
        .collect()
}

fn header<'a>(head: &'a HeaderMap, name: &str) -> &'a str {
    head.get(name).map_or("-", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_request_its_batch_and_the_call_of_its_runtime_are_one_trace() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let settings = collector.settings(Sampler::ParentBasedAlwaysOff, 0.0);
    let gateway = traced(snapshot([config]), settings).await;
    let headers = [("traceparent", PARENT), ("tracestate", "a=1,b=2")];
    let answer = soon(infer(&gateway, "search", &request("x", 1, 3), &headers))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);

    let spans = collector.until_spans(2).await;
    let [request] = of_kind(&spans, SpanKind::Server).try_into().unwrap();
    let [batch] = of_kind(&spans, SpanKind::Client).try_into().unwrap();
    assert_eq!(
        (request.name.as_str(), batch.name.as_str()),
        ("POST /v2/models/{model}/infer", "batch")
    );
    assert_eq!(
        (hex(&request.trace_id).as_str(), hex(&batch.trace_id).as_str()),
        (TRACE, TRACE)
    );
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(
        (&batch.parent_span_id, &batch.links[0].span_id),
        (&request.span_id, &request.span_id)
    );
    assert_eq!(request.links[0].span_id, batch.span_id);
    assert_eq!(
        (request.trace_state.as_str(), batch.trace_state.as_str()),
        ("a=1,b=2", "a=1,b=2")
    );
    let head = runtime.heads.lock().unwrap()[0].clone();
    assert_eq!(header(&head, "traceparent"), traceparent(&batch));
    assert_eq!(header(&head, "tracestate"), "a=1,b=2");

    let id = answer.headers["harmonybatch-batch"].to_str().unwrap();
    assert_eq!(runtime.seen.lock().unwrap()[0]["id"], id);
    let names = [
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "network.protocol.version",
        "harmonybatch.namespace",
        "harmonybatch.app",
        "harmonybatch.group",
        "harmonybatch.rows",
        "harmonybatch.batch.id",
        "harmonybatch.batch.rows",
        "error.type",
    ];
    assert_eq!(
        named(&attributes(&request.attributes), &names),
        [
            "POST",
            "/v2/models/{model}/infer",
            "200",
            "1.1",
            "shop",
            "search",
            "mlp-a",
            "3",
            id,
            "3",
            "-"
        ]
    );
    let names = [
        "harmonybatch.namespace",
        "harmonybatch.group",
        "harmonybatch.batch.id",
        "harmonybatch.batch.rows",
        "harmonybatch.batch.requests",
        "harmonybatch.batch.reason",
        "server.address",
        "error.type",
    ];
    assert_eq!(
        named(&attributes(&batch.attributes), &names),
        ["shop", "mlp-a", id, "3", "1", "eager", "127.0.0.1", "-"]
    );
    let events: Vec<_> = request.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["queued", "sent"]);
    let times = [
        request.start_time_unix_nano,
        request.events[0].time_unix_nano,
        request.events[1].time_unix_nano,
        request.end_time_unix_nano,
    ];
    assert!(times.is_sorted(), "{times:?}");
    // Clocks of the gateway and of the world are read one after the other.
    assert!(batch.start_time_unix_nano.abs_diff(times[2]) < 1_000_000);

    let resource = collector.exports()[0].resource_spans[0].resource.clone().unwrap();
    let resource = attributes(&resource.attributes);
    assert_eq!(resource["service.name"], "harmonybatch-gateway");
}

#[tokio::test]
async fn a_batch_is_linked_to_those_of_its_requests_that_are_sampled() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let members = [member("a", LONG, LONG), member("b", LONG, LONG)];
    let config = GroupConfig {
        batch_size: 3,
        ..group("mlp-a", &members, &[runtime.address])
    };
    let settings = collector.settings(Sampler::ParentBasedAlwaysOn, 0.0);
    let gateway = traced(snapshot([config]), settings).await;
    let calls = [
        infer(&gateway, "a", &request("x", 1, 1), &[("traceparent", PARENT)]),
        infer(&gateway, "b", &request("y", 2, 1), &[]),
        infer(&gateway, "b", &request("z", 3, 1), &[("traceparent", UNSAMPLED)]),
    ];
    for call in calls {
        assert_eq!(soon(call).await.unwrap().batch_rows(), 3);
    }
    let spans = collector.until_spans(3).await;
    let requests = of_kind(&spans, SpanKind::Server);
    let [batch] = of_kind(&spans, SpanKind::Client).try_into().unwrap();
    assert_eq!(requests.len(), 2);
    assert!(batch.parent_span_id.is_empty());
    let mut linked: Vec<_> = batch.links.iter().map(|link| &link.span_id).collect();
    let mut ids: Vec<_> = requests.iter().map(|request| &request.span_id).collect();
    linked.sort();
    ids.sort();
    assert_eq!(linked, ids);
    for request in &requests {
        assert_ne!(request.trace_id, batch.trace_id);
        assert_eq!(
            (&request.links[0].trace_id, &request.links[0].span_id),
            (&batch.trace_id, &batch.span_id)
        );
    }
    let of_batch = attributes(&batch.attributes);
    let names = ["harmonybatch.batch.requests", "harmonybatch.batch.reason"];
    assert_eq!(named(&of_batch, &names), ["3", "full"]);
    let head = runtime.heads.lock().unwrap()[0].clone();
    assert_eq!(header(&head, "traceparent"), traceparent(&batch));
}

#[tokio::test]
async fn what_is_not_sampled_leaves_no_span_and_its_runtime_is_told_so() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    for (sampler, headers) in [
        (Sampler::ParentBasedAlwaysOn, vec![("traceparent", UNSAMPLED)]),
        (Sampler::ParentBasedTraceIdRatio, vec![]),
        (
            Sampler::ParentBasedTraceIdRatio,
            vec![("traceparent", "nonsense")],
        ),
        (Sampler::AlwaysOff, vec![("traceparent", PARENT)]),
    ] {
        let mut gateway = traced(snapshot([config.clone()]), collector.settings(sampler, 0.0)).await;
        let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &headers))
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        // Its last spans go out before it ends.
        gateway.shut_down();
        gateway.ended().await;
        assert_eq!(collector.spans(), []);
        let head = runtime.heads.lock().unwrap().pop().unwrap();
        let told = header(&head, "traceparent");
        assert!(told.len() == 55 && told.ends_with("-00"), "{told}");
    }
    let gateway = Gateway::start(snapshot([config])).await;
    let answer = infer(
        &gateway,
        "search",
        &request("x", 1, 1),
        &[("traceparent", PARENT)],
    );
    assert_eq!(soon(answer).await.unwrap().status, StatusCode::OK);
    let head = runtime.heads.lock().unwrap().pop().unwrap();
    assert_eq!(header(&head, "traceparent"), "-");
}

#[tokio::test]
async fn a_context_that_is_none_begins_a_trace() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let settings = collector.settings(Sampler::ParentBasedAlwaysOn, 0.0);
    let gateway = traced(snapshot([config]), settings).await;
    let headers = [
        ("traceparent", PARENT),
        ("traceparent", PARENT),
        ("tracestate", "a=1"),
    ];
    let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &headers))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    for span in collector.until_spans(2).await {
        assert_ne!(hex(&span.trace_id), TRACE);
        assert_eq!(span.trace_state, "");
    }
}

#[tokio::test]
async fn an_error_is_in_the_spans_by_its_cause() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let settings = collector.settings(Sampler::ParentBasedAlwaysOn, 0.0);
    let gateway = traced(snapshot([config]), settings).await;
    runtime.set_mood(Mood::HangUp);
    let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &[]))
        .await
        .unwrap();
    assert_eq!(
        (answer.status, &answer.headers["harmonybatch-cause"]),
        (StatusCode::BAD_GATEWAY, &"broken".parse().unwrap())
    );
    for span in collector.until_spans(2).await {
        assert_eq!(attributes(&span.attributes)["error.type"], "broken");
        assert_eq!(span.status.unwrap().code, SpanStatus::Error as i32);
    }
    // A fault of the caller's is none of the server's.
    let answer = soon(infer(&gateway, "search", &Value::Null, &[])).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let malformed = collector.until_spans(3).await.pop().unwrap();
    let names = ["error.type", "http.response.status_code", "harmonybatch.app"];
    assert_eq!(
        named(&attributes(&malformed.attributes), &names),
        ["malformed", "400", "search"]
    );
    assert_eq!(
        malformed.status.unwrap_or_default().code,
        SpanStatus::Unset as i32
    );
}

#[tokio::test]
async fn a_runtime_of_grpc_gets_the_context_as_metadata() {
    let (collector, runtime) = (Collector::start().await, GrpcEcho::start().await);
    let config = GroupConfig {
        wire: Wire::Grpc,
        ..group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address])
    };
    let settings = collector.settings(Sampler::ParentBasedAlwaysOff, 0.0);
    let gateway = traced(snapshot([config]), settings).await;
    let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
    let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &headers))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let spans = collector.until_spans(2).await;
    let [batch] = of_kind(&spans, SpanKind::Client).try_into().unwrap();
    let head = runtime.heads.lock().unwrap()[0].clone();
    assert_eq!(header(&head, "traceparent"), traceparent(&batch));
    assert_eq!(header(&head, "tracestate"), "a=1");
}

#[tokio::test]
async fn a_request_that_is_handed_on_stays_in_its_trace_and_is_sampled_once() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let (sender, list) = watch::channel(Arc::<Members>::default());
    for (sampler, sampled) in [
        (Sampler::ParentBasedAlwaysOn, true),
        (Sampler::ParentBasedAlwaysOff, false),
    ] {
        let mut gateways = Vec::new();
        for _ in 0..2 {
            let options = Options {
                traces: Some(collector.settings(sampler, 0.0)),
                ..options()
            };
            let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let config = Some(snapshot([config.clone()]));
            gateways.push(Gateway::start_on(admin, config, options, Some(list.clone())).await);
        }
        let ready = || gateways.iter().map(|gateway| gateway.admin);
        sender.send_replace(Arc::new(Members::new(ready(), ready().map(|admin| admin.ip()))));
        for gateway in &gateways {
            let answer = soon(infer(gateway, "search", &request("x", 1, 1), &[]))
                .await
                .unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            assert!(answer.headers.contains_key("harmonybatch-batch"));
        }
        for mut gateway in gateways {
            gateway.shut_down();
            gateway.ended().await;
        }
        if !sampled {
            let heads = runtime.heads.lock().unwrap();
            assert!(
                heads
                    .iter()
                    .rev()
                    .take(2)
                    .all(|head| header(head, "traceparent").ends_with("-00"))
            );
        }
    }
    // Of the first two gateways: one request was served where it came, the other one was handed on.
    let spans = collector.spans();
    assert_eq!(spans.len(), 5);
    let requests = of_kind(&spans, SpanKind::Server);
    let forwarded = |direction: &str| {
        let found = requests.iter().find(|span| {
            attributes(&span.attributes)
                .get("harmonybatch.forwarded")
                .is_some_and(|forwarded| forwarded == direction)
        });
        found.unwrap()
    };
    let (out, taken) = (forwarded("out"), forwarded("in"));
    assert_eq!(
        (&taken.trace_id, &taken.parent_span_id),
        (&out.trace_id, &out.span_id)
    );
    let batches = of_kind(&spans, SpanKind::Client);
    assert!(batches.iter().any(|batch| batch.parent_span_id == taken.span_id));
}

#[tokio::test]
async fn the_last_spans_go_out_before_the_end_and_a_collector_that_is_gone_holds_nothing_up() {
    let (collector, runtime) = (Collector::start().await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let settings = Settings {
        delay: Duration::from_hours(1),
        ..collector.settings(Sampler::AlwaysOn, 1.0)
    };
    let mut gateway = traced(snapshot([config.clone()]), settings.clone()).await;
    let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &[]))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    gateway.shut_down();
    gateway.ended().await;
    assert_eq!(collector.spans().len(), 2);

    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = Settings {
        endpoint: format!("http://{nobody}/"),
        delay: Duration::from_millis(1),
        ..settings
    };
    let mut gateway = traced(snapshot([config]), settings).await;
    let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &[]))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let failed = "harmonybatch_gateway_spans_total{outcome=\"failed\"} 2\n";
    soon(async {
        while !gateway.admin("/metrics").await.1.contains(failed) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gateway.shut_down();
    gateway.ended().await;
}

#[tokio::test]
async fn spans_that_the_collector_rejects_are_lost() {
    let (collector, runtime) = (Collector::start_rejecting(1).await, Runtime::start().await);
    let config = group("mlp-a", &[member("search", EAGER, LONG)], &[runtime.address]);
    let gateway = traced(snapshot([config]), collector.settings(Sampler::AlwaysOn, 1.0)).await;
    let answer = soon(infer(&gateway, "search", &request("x", 1, 1), &[]))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    // The request's and the batch's, of which one is not taken.
    let counts = ["exported\"} 1\n", "failed\"} 1\n"];
    soon(async {
        loop {
            let (_, metrics) = gateway.admin("/metrics").await;
            let has = |count: &str| {
                metrics.contains(&format!("harmonybatch_gateway_spans_total{{outcome=\"{count}"))
            };
            if counts.into_iter().all(has) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}
