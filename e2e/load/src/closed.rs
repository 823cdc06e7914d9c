//! The closed loop: callers that each ask again as soon as they are answered. It finds what a server can do at most, and says nothing about its latency
//! under a given load: for that there is the open loop.

use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Latencies are kept in microseconds, up to a minute, to three digits.
const LONGEST: u64 = 60_000_000;
const DIGITS: u8 = 3;
/// How long after the end an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Callers of one model.
#[derive(Debug, Clone)]
pub struct Callers {
    /// Where they connect: `host:port`.
    pub target: String,
    /// What they ask for, `/v2/models/<model>/infer` with what comes before it.
    pub path: String,
    /// How many they are, each with a connection of its own.
    pub count: u16,
    /// Numbers in a row; a request has one row.
    pub columns: u16,
    /// Answers of this first part are not counted.
    pub warm_up: Duration,
    /// How long answers are counted after that.
    pub duration: Duration,
}

/// What they got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Answers per second.
    pub per_second: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile of the latency.
    pub p99_ms: f64,
}

/// Why there is no figure: a caller got no answer, or not its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("caller {caller}: {what}")]
pub struct CallerError {
    /// Which.
    pub caller: u16,
    /// What happened instead.
    pub what: String,
}

impl Callers {
    /// Has them ask until the time is over.
    ///
    /// # Errors
    /// With the first request that is not answered with what it sent.
    pub async fn ask(self) -> Result<Throughput, CallerError> {
        let begin = Instant::now() + self.warm_up;
        let end = begin + self.duration;
        let mut callers = JoinSet::new();
        for number in 0..self.count {
            let caller = Caller::new(&self, number);
            callers.spawn(async move {
                let asked = timeout_at(end + PATIENCE, caller.ask(begin, end)).await;
                let what = match asked {
                    Ok(Ok(latencies)) => return Ok(latencies),
                    Ok(Err(what)) => what,
                    Err(_) => "no answer in time".to_owned(),
                };
                Err(CallerError { caller: number, what })
            });
        }
        let mut latencies = Vec::new();
        while let Some(asked) = callers.join_next().await {
            let asked = asked.map_err(|error| CallerError {
                caller: self.count,
                what: error.to_string(),
            })?;
            latencies.append(&mut asked?);
        }
        Ok(throughput(&latencies, self.duration))
    }
}

/// One of them, with the request that it repeats.
struct Caller {
    target: String,
    path: String,
    body: Bytes,
    /// What its answer says and no other caller's does: the request's id, and the first number of its row.
    own: [String; 2],
}

impl Caller {
    fn new(callers: &Callers, number: u16) -> Self {
        // As everybody writes it: a quarter is exact in any precision.
        let first = format!("{}.25", 1000 + number);
        let columns = callers.columns;
        let row: Vec<String> = std::iter::once(first.clone())
            .chain((1..columns).map(|column| format!("{}.25", column % 100)))
            .collect();
        let row = row.join(",");
        let id = format!("\"caller-{number}\"");
        let body = format!(
            r#"{{"id":{id},"inputs":[{{"name":"input","shape":[1,{columns}],"datatype":"FP32","data":[{row}]}}]}}"#
        );
        Self {
            target: callers.target.clone(),
            path: callers.path.clone(),
            body: Bytes::from(body),
            own: [id, first],
        }
    }

    /// The latencies of the answers that came between the two times.
    async fn ask(self, begin: Instant, end: Instant) -> Result<Vec<Duration>, String> {
        let mut sender = connect(&self.target).await.map_err(|error| error.to_string())?;
        let mut latencies = Vec::new();
        loop {
            let started = Instant::now();
            if started >= end {
                return Ok(latencies);
            }
            self.once(&mut sender).await?;
            let answered = Instant::now();
            if (begin..end).contains(&answered) {
                latencies.push(answered - started);
            }
        }
    }

    async fn once(&self, sender: &mut SendRequest<Full<Bytes>>) -> Result<(), String> {
        let request = Request::post(&self.path)
            .header(HOST, &self.target)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .map_err(|error| error.to_string())?;
        sender.ready().await.map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        let text = String::from_utf8_lossy(&body);
        if head.status != StatusCode::OK {
            return Err(format!("status {}: {text:.300}", head.status));
        }
        match self.own.iter().find(|own| !text.contains(own.as_str())) {
            Some(missing) => Err(format!("{missing} is not in its answer: {text:.300}")),
            None => Ok(()),
        }
    }
}

async fn connect(target: &str) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its end is seen by who sends.
    tokio::spawn(connection);
    Ok(sender)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests and microseconds, below 2^52"
)]
fn throughput(latencies: &[Duration], duration: Duration) -> Throughput {
    let mut histogram = Histogram::<u64>::new_with_max(LONGEST, DIGITS).ok();
    for latency in latencies {
        if let Some(histogram) = &mut histogram {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }
    let quantile = |quantile| {
        let value = histogram
            .as_ref()
            .map(|histogram| histogram.value_at_quantile(quantile));
        value.unwrap_or_default() as f64 / 1e3
    };
    Throughput {
        per_second: latencies.len() as f64 / duration.as_secs_f64(),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use hyper::Response;
    use hyper::body::Incoming;
    use hyper::server::conn::http1 as server;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives back what `answer` makes of a body, and counts.
    async fn serve(answer: fn(String) -> String) -> (String, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let served = Arc::new(AtomicU32::new(0));
        let counter = served.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counter = counter.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let counter = counter.clone();
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        counter.fetch_add(1, Ordering::SeqCst);
                        let body = answer(String::from_utf8(body.to_vec()).unwrap());
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
                    }
                });
                tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (target, served)
    }

    fn callers(target: String) -> Callers {
        Callers {
            target,
            path: "/v2/models/net/infer".to_owned(),
            count: 3,
            columns: 4,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(300),
        }
    }

    #[tokio::test]
    async fn what_was_answered_is_counted() {
        let (target, served) = serve(|body| body).await;
        let found = callers(target).ask().await.unwrap();
        let served = f64::from(served.load(Ordering::SeqCst));
        // The last answer of each caller may come after the end.
        let counted = found.per_second * 0.3;
        assert!(
            counted <= served && counted >= served - 3.0 - 1e-6 && counted > 0.0,
            "{counted} of {served}"
        );
        assert!(0.0 < found.p50_ms && found.p50_ms <= found.p99_ms);
    }

    #[tokio::test]
    async fn an_answer_for_another_caller_is_an_error() {
        for (answer, says) in [
            ((|_| "{}".to_owned()) as fn(String) -> String, "caller-"),
            (
                |body| body.replace("1001.25", "1000.25"),
                "1001.25 is not in its answer",
            ),
        ] {
            let (target, _) = serve(answer).await;
            let error = callers(target).ask().await.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
