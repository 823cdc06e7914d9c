//! What the tests of `harmonybatch profile` share: a server whose batches take as long as a law says, and how much effort measuring it is worth.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use harmonybatch_planner::Throttled;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};

/// Nothing in these tests takes a second.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Enough for the 80th percentile (17 batches a size) and no more.
pub(crate) const EFFORT: [&str; 8] = [
    "--quantile",
    "80%",
    "--precision",
    "20%",
    "--tail-precision",
    "50%",
    "--warm-up",
    "1",
];

/// Seconds of a batch: `(20 ms exp(-vcpu / 0.5) + 8 ms) (1 + rows) / 2`.
pub(crate) fn law(vcpu: f64, rows: u64) -> f64 {
    let rows = f64::from(u32::try_from(rows).unwrap());
    (0.020 * (-vcpu / 0.5).exp() + 0.008) * f64::midpoint(1.0, rows)
}

/// A number with a unit of time, in seconds.
fn time(text: &str) -> f64 {
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_alphabetic()).unwrap());
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    number.parse::<f64>().unwrap() * units.iter().find(|(name, _)| *name == unit).unwrap().1
}

/// Mean and longest latency of a curve as the InferenceModel has it.
pub(crate) fn at(curve: &Value, vcpu: f64) -> (f64, f64) {
    let (form, coefficients) = curve.as_object().unwrap().iter().next().unwrap();
    let seconds = |field: &str| time(coefficients[field].as_str().unwrap());
    let number = |field: &str| coefficients[field].as_str().unwrap().parse::<f64>().unwrap();
    match form.as_str() {
        "exponential" => {
            let latency = seconds("alpha") * (-vcpu / number("beta")).exp() + seconds("gamma");
            (latency, latency)
        }
        "hyperbolic" => {
            let latency = seconds("work") / vcpu + seconds("fixed");
            (latency, latency)
        }
        "throttled" => {
            let curve = Throttled::new(seconds("work"), number("parallelism"), seconds("period")).unwrap();
            (curve.mean(vcpu), curve.bound(vcpu))
        }
        other => unreachable!("no form of latency: {other}"),
    }
}

/// A runtime with a thread of its own, which ends with the test, and a listener in it.
pub(crate) fn listen() -> (Runtime, TcpListener) {
    let mut threads = runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    (runtime, listener)
}

/// Answers every request of every connection, which is given with its body as JSON (null where there is none), by a status and JSON.
pub(crate) async fn answer_all<F>(
    listener: TcpListener,
    answer: impl Fn(Parts, Value) -> F + Clone + Send + 'static,
) where
    F: Future<Output = (u16, Value)> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (status, body) = answer(parts, body).await;
                let response = Response::builder().status(status);
                let body = Full::new(Bytes::from(body.to_string()));
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}
