//! The generator against servers that misbehave on purpose, on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use e2e_load::{App, Outcome, Plan, Report};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

const COLUMNS: usize = 4;

/// A request as the server sees it: how many came before, when the server started, and its host and body.
struct Asked {
    index: usize,
    since: Instant,
    host: String,
    body: Value,
}

/// Serves `answer` on loopback until the test ends, and its address.
async fn serve<F, R>(answer: F) -> String
where
    F: Fn(Asked) -> R + Send + Sync + 'static,
    R: Future<Output = (StatusCode, Value)> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (answer, count, since) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)), Instant::now());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (answer, index) = (Arc::clone(&answer), count.fetch_add(1, Ordering::Relaxed));
                async move {
                    let host = request.headers()["host"].to_str().unwrap().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&body).unwrap();
                    let (status, body) = answer(Asked {
                        index,
                        since,
                        host,
                        body,
                    })
                    .await;
                    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// What the demo runtime answers.
fn right(body: &Value) -> Value {
    let rows = body["inputs"][0]["shape"][0].as_u64().unwrap();
    let data = body["inputs"][0]["data"].as_array().unwrap();
    let echo = data
        .chunks(COLUMNS)
        .flat_map(|row| row[..2].to_vec())
        .collect::<Vec<_>>();
    json!({"model_name": "mlp", "id": body["id"], "outputs": [
        {"name": "output", "datatype": "FP32", "shape": [rows, 1], "data": vec![0.5; usize::try_from(rows).unwrap()]},
        {"name": "echo", "datatype": "FP32", "shape": [rows, 2], "data": echo},
    ]})
}

fn app(name: &str, rate: f64) -> App {
    App {
        columns: COLUMNS,
        ..App::new(
            name,
            format!("{name}-infer.shop"),
            rate,
            Duration::from_millis(100),
        )
    }
}

async fn run(target: String, apps: Vec<App>, millis: u64) -> Report {
    e2e_load::run(Plan::new(target, apps, Duration::from_millis(millis)))
        .await
        .unwrap()
}

#[tokio::test]
async fn every_application_is_addressed_by_its_host_and_gets_its_own_answers() {
    let target = serve(|asked| async move {
        let name = asked.body["id"]
            .as_str()
            .unwrap()
            .split('-')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(asked.host, format!("{name}-infer.shop"));
        (StatusCode::OK, right(&asked.body))
    })
    .await;
    let many = App {
        rows: 3,
        ..app("many", 40.0)
    };
    let report = run(target, vec![app("one", 60.0), many], 1500).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    for (name, expected, rows) in [("one", 90.0, 1), ("many", 60.0, 3)] {
        let app = report.app(name).unwrap();
        assert!(
            (f64::from(u32::try_from(app.requests).unwrap()) - expected).abs() < 4.0 * f64::sqrt(expected)
        );
        assert_eq!((app.right, app.rows), (app.requests, rows * app.requests));
        assert_eq!(app.statuses[&200], app.requests);
    }
}

#[tokio::test]
async fn latency_counts_from_the_time_at_which_a_request_was_due() {
    // The server is away for its first 600 ms: whoever came meanwhile waited for the rest of them.
    let stall = Duration::from_millis(600);
    let target = serve(move |asked| async move {
        sleep_until(asked.since + stall).await;
        (StatusCode::OK, right(&asked.body))
    })
    .await;
    let report = run(target, vec![app("a", 100.0)], 1000).await;
    let stalled = report.during(Duration::ZERO..Duration::from_millis(400));
    assert!(stalled.samples.len() > 15, "{}", stalled.samples.len());
    for sample in &stalled.samples {
        assert_eq!(sample.outcome, Outcome::Right);
        // Due at d, answered after 600 ms: the server started a little before the generator.
        let least = Duration::from_millis(550).saturating_sub(sample.intended);
        assert!(sample.latency >= least, "{sample:?}");
    }
    let app = stalled.app("a").unwrap();
    assert_eq!((app.within_slo, app.late), (0, app.requests));
    assert_eq!(app.attainment, Some(0.0));
    assert!(!report.holds(95.0));
    assert_eq!(report.app("a").unwrap().right, report.app("a").unwrap().requests);
}

#[tokio::test]
async fn an_answer_that_belongs_to_another_request_is_wrong() {
    // Every fifth answer has the right id and the echo of somebody else.
    let target = serve(|asked| async move {
        let mut answer = right(&asked.body);
        if asked.index % 5 == 0 {
            answer["outputs"][1]["data"][1] = json!(1);
        }
        (StatusCode::OK, answer)
    })
    .await;
    let report = run(target, vec![app("a", 100.0)], 800).await;
    let app = report.app("a").unwrap();
    assert_eq!(app.wrong, app.requests.div_ceil(5));
    assert_eq!(app.right + app.wrong, app.requests);
    assert!(
        report.failures[0].what.contains("echo"),
        "{:?}",
        report.failures[0]
    );
    assert!(!report.holds(0.0));
}

#[tokio::test]
async fn throttled_requests_are_counted_apart_and_other_statuses_are_failures() {
    let target = serve(|asked| async move {
        match asked.index % 4 {
            0 => (
                StatusCode::TOO_MANY_REQUESTS,
                json!({"error": "above the contract"}),
            ),
            1 => (StatusCode::GATEWAY_TIMEOUT, json!({"error": "late"})),
            _ => (StatusCode::OK, right(&asked.body)),
        }
    })
    .await;
    let report = run(target, vec![app("a", 100.0)], 800).await;
    let app = report.app("a").unwrap();
    assert_eq!(app.throttled, app.statuses[&429]);
    assert_eq!(app.failed, app.statuses[&504]);
    assert_eq!(app.right, app.statuses[&200]);
    // Every answer that came was in time, and a third of the admitted requests got none.
    let attainment = app.attainment.unwrap();
    assert!((55.0..72.0).contains(&attainment), "{attainment}");
    assert_eq!(report.failures.len() as u64, app.throttled + app.failed);
    assert!(
        report
            .failures
            .iter()
            .any(|failure| failure.what.contains("above the contract"))
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_reported_with_the_times() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    drop(listener);
    let report = run(target, vec![app("a", 50.0)], 400).await;
    let app = report.app("a").unwrap();
    assert!(app.requests > 0 && app.failed == app.requests, "{app:?}");
    assert!(
        report
            .failures
            .iter()
            .all(|failure| failure.at_seconds < 0.4 && failure.what.contains("refused"))
    );
}

#[tokio::test]
async fn neither_the_requests_in_flight_nor_their_number_exceeds_the_plan() {
    let target = serve(|asked| async move {
        sleep_until(asked.since + Duration::from_mins(1)).await;
        (StatusCode::OK, right(&asked.body))
    })
    .await;
    let bounded = Plan {
        in_flight: 3,
        requests: 20,
        timeout: Duration::from_millis(300),
        ..Plan::new(target, vec![app("a", 1000.0)], Duration::from_secs(30))
    };
    let report = e2e_load::run(bounded).await.unwrap();
    assert_eq!(report.samples.len(), 20);
    let unsent = report
        .samples
        .iter()
        .filter(|sample| sample.outcome == Outcome::Unsent)
        .count();
    let timed_out = report
        .samples
        .iter()
        .filter(|sample| sample.outcome == Outcome::TimedOut)
        .count();
    assert_eq!(unsent + timed_out, 20);
    assert!((3..=6).contains(&timed_out), "{timed_out}");
}

#[tokio::test]
async fn a_run_can_be_changed_looked_at_and_stopped() {
    let target = serve(|asked| async move { (StatusCode::OK, right(&asked.body)) }).await;
    let plan = Plan::new(
        target,
        vec![app("a", 0.0), app("b", 50.0)],
        Duration::from_mins(10),
    );
    let running = e2e_load::start(plan).unwrap();
    assert!(!running.set_rate("nobody", 1.0));
    assert!(running.set_rate("a", 200.0));
    let deadline = Instant::now() + Duration::from_secs(20);
    while running.report().app("a").unwrap().right < 20 {
        assert!(Instant::now() < deadline, "no answers");
        tokio::task::yield_now().await;
    }
    running.set_rate("a", 0.0);
    let paused = running.elapsed();
    let before = running.report().app("b").unwrap().right;
    while running.report().app("b").unwrap().right < before + 10 {
        assert!(Instant::now() < deadline, "no answers");
        tokio::task::yield_now().await;
    }
    running.stop();
    let report = running.finish().await;
    assert!(report.seconds < 60.0, "{}", report.seconds);
    assert!(report.failures.is_empty());
    // A request that was due just before the pause may be on its way.
    let late = report.during(paused + Duration::from_millis(50)..Duration::from_mins(10));
    assert_eq!(late.app("a").unwrap().requests, 0);
    assert!(late.app("b").unwrap().requests > 0);
}
