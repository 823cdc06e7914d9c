//! What batching costs and saves beside a plain reverse proxy: `cargo bench -p harmonybatch-gateway --bench proxy`.
//!
//! The gateway and a reverse proxy on the same hyper, each on one thread of its own, before the same echo runtimes and callers, turn by turn in one process.
//! What is compared is requests per second of that thread's own CPU time, so that callers and runtimes, which share the machine, do not count; and
//! the median latency over one connection. Bodies are JSON tensors of about 1 KB. `-- throughput` and `-- latency` run one of the two.
//!
//! A third server answers by itself. It tells what the HTTP of a request costs without a call, and so which ratio no gateway on this HTTP could exceed.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use support::{
    Server, answer_all, ask, connect, echo_servers, group, kilobyte, median, path, snapshot, verdict,
};
use tokio::{
    net::TcpListener,
    runtime,
    sync::{Mutex, watch},
};

const APP: &str = "app";
/// Places that a runtime has: so many batches, or proxied requests, are in flight at most.
const REPLICAS: usize = 16;
const CONNECTIONS: usize = 64;
const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

/// Reads a request as a whole and sends it on over a kept connection.
async fn proxy(listener: TcpListener, runtimes: Vec<SocketAddr>) {
    // In turn, as the gateway takes its replicas.
    let (free, waiting) = (
        Mutex::new(VecDeque::new()),
        tokio::sync::Semaphore::new(runtimes.len()),
    );
    for runtime in runtimes {
        free.lock().await.push_back(connect(runtime).await);
    }
    let pool = Arc::new((free, waiting));
    let answer = move |request: Request<Incoming>| {
        let pool = pool.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let _place = pool.1.acquire().await.unwrap();
            let mut sender = pool.0.lock().await.pop_front().unwrap();
            sender.ready().await.unwrap();
            let request = Request::post(head.uri.path())
                .header(header::HOST, "runtime")
                .body(Full::new(body))
                .unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            pool.0.lock().await.push_back(sender);
            let mut response = Response::new(Full::new(body));
            *response.status_mut() = head.status;
            Ok::<_, Infallible>(response)
        }
    };
    answer_all(listener, answer).await;
}

/// Answers by itself what it is asked.
async fn alone(listener: TcpListener) {
    let answer = |request: Request<Incoming>| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    };
    answer_all(listener, answer).await;
}

fn plain(runtimes: &[SocketAddr]) -> Server {
    let runtimes = runtimes.to_vec();
    Server::start(move |listener| proxy(listener, runtimes))
}

async fn gateway(batch_size: u32, runtimes: &[SocketAddr]) -> Server {
    let max_wait = Duration::from_millis(u64::from(batch_size > 1));
    let group = group("group", &[APP.to_owned()], batch_size, max_wait, runtimes);
    let (_keep, source) = watch::channel(Some(snapshot([group])));
    let gateway = Server::gateway(source);
    gateway.ready(&path(APP)).await;
    gateway
}

async fn throughput(server: &Server) -> f64 {
    let callers = vec![vec![path(APP)]; CONNECTIONS];
    server.throughput(callers, &kilobyte(), MEASURED).await
}

/// Median latency over one connection, in microseconds.
async fn latency(server: &Server) -> f64 {
    let (mut sender, path, body) = (connect(server.address).await, path(APP), kilobyte());
    let mut latencies = Vec::new();
    for round in 0..6000 {
        let start = Instant::now();
        ask(&mut sender, &path, &body).await;
        if round >= 1000 {
            latencies.push(start.elapsed());
        }
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2].as_secs_f64() * 1e6
}

async fn compare_throughput(runtimes: &[SocketAddr]) {
    for (batch_size, least) in [(1_u32, 0.9), (8, 1.6)] {
        let (proxy, gateway) = (plain(runtimes), gateway(batch_size, runtimes).await);
        let server = Server::start(alone);
        let (mut plain_rates, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut bounds = Vec::new();
        for _ in 0..ROUNDS {
            let (plain_rate, rate) = (throughput(&proxy).await, throughput(&gateway).await);
            plain_rates.push(plain_rate);
            rates.push(rate);
            ratios.push(rate / plain_rate);
            bounds.push(bound(plain_rate, throughput(&server).await, batch_size));
        }
        let ratio = median(ratios);
        println!(
            "{:<28}{:>16.0}{:>16.0}{:>8.2}{:>10}",
            format!("requests per CPU s, b={batch_size}"),
            median(plain_rates),
            median(rates),
            ratio,
            verdict(ratio >= least)
        );
        println!(
            "{:<28}{:>16}{:>16}{:>8.2}",
            "  if only HTTP took time",
            "",
            "",
            median(bounds)
        );
    }
}

/// The ratio to the proxy of a gateway on the same HTTP that spends nothing on anything else: each request costs it what a server's costs that answers by
/// itself, and its part of the call to a runtime, which is what the proxy costs beside that.
fn bound(proxy: f64, server: f64, batch_size: u32) -> f64 {
    let (proxy, server) = (proxy.recip(), server.recip());
    proxy / (server + (proxy - server) / f64::from(batch_size))
}

async fn compare_latency(runtimes: &[SocketAddr]) {
    let (proxy, gateway) = (plain(runtimes), gateway(1, runtimes).await);
    let (mut plain_latencies, mut latencies) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain_latencies.push(latency(&proxy).await);
        latencies.push(latency(&gateway).await);
    }
    let (plain, ours) = (median(plain_latencies), median(latencies));
    let verdict = verdict(ours - plain <= 60.0);
    println!(
        "{:<28}{plain:>16.1}{ours:>16.1}{:>8.1}{verdict:>10}",
        "median latency, us, b=1",
        ours - plain
    );
}

fn main() {
    let only = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with('-'));
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    println!(
        "{:<28}{:>16}{:>16}{:>8}{:>10}",
        "", "proxy", "gateway", "ratio", "verdict"
    );
    if wanted("throughput") {
        let mut threads = runtime::Builder::new_multi_thread();
        let runtime = threads.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { compare_throughput(&echo_servers(REPLICAS).await).await });
    }
    if wanted("latency") {
        // The caller and the runtimes take turns anyway: a second thread of theirs would only take the core of the one that is measured.
        let mut thread = runtime::Builder::new_current_thread();
        let runtime = thread.enable_all().build().unwrap();
        runtime.block_on(async { compare_latency(&echo_servers(REPLICAS).await).await });
    }
    println!("kept: at least 0.9 and 1.6 times the proxy's requests; at most 60 us more");
}
