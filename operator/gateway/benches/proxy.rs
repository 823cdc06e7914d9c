//! What batching costs and saves beside a plain reverse proxy: `cargo bench -p harmonybatch-gateway --bench proxy`.
//!
//! The gateway and a reverse proxy on the same hyper, each on one thread of its own, before the same echo runtimes and callers, turn by turn in one process.
//! What is compared is requests per second of that thread's own CPU time, so that callers and runtimes, which share the machine, do not count; and
//! the median latency over one connection. Bodies are JSON tensors of about 1 KB.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use harmonybatch_gateway::{
    Options,
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    protocol::Wire,
    serve,
};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::{Mutex, oneshot, watch},
};

/// As the gateway's program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Places that a runtime has: so many batches, or proxied requests, are in flight at most.
const REPLICAS: usize = 16;
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
/// Numbers of a request: about a kilobyte of text.
const NUMBERS: usize = 128;

fn body() -> Bytes {
    let data: Vec<String> = (0..NUMBERS)
        .map(|number| format!("{}.25", number % 100))
        .collect();
    let data = data.join(",");
    Bytes::from(format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{NUMBERS}],"datatype":"FP32","data":[{data}]}}]}}"#
    ))
}

/// A runtime that gives its inputs back as outputs, as text.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    let answer = text.replacen("\"inputs\"", "\"outputs\"", 1);
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(
                server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo)),
            );
        }
    });
    address
}

type Sender = client::conn::http1::SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// Reads a request as a whole and sends it on over a kept connection.
async fn proxy(listener: TcpListener, runtimes: Vec<SocketAddr>) {
    let (free, waiting) = (
        Mutex::new(Vec::new()),
        tokio::sync::Semaphore::new(runtimes.len()),
    );
    for runtime in runtimes {
        free.lock().await.push(connect(runtime).await);
    }
    let pool = Arc::new((free, waiting));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let pool = pool.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let pool = pool.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let _place = pool.1.acquire().await.unwrap();
                let mut sender = pool.0.lock().await.pop().unwrap();
                sender.ready().await.unwrap();
                let request = Request::post(head.uri.path())
                    .header(header::HOST, "runtime")
                    .body(Full::new(body))
                    .unwrap();
                let (head, body) = sender.send_request(request).await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                pool.0.lock().await.push(sender);
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = head.status;
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn snapshot(batch_size: u32, runtimes: &[SocketAddr]) -> Snapshot {
    let member = MemberConfig {
        app: "app".into(),
        service_name: "app-infer".into(),
        slo: Duration::from_secs(1),
        timeout: Duration::from_secs(10),
        max_wait: Duration::from_millis(u64::from(batch_size > 1)),
        contract: None,
        departing: false,
    };
    let group = GroupConfig {
        key: Key::new("default", "group"),
        plan_generation: 1,
        batch_size,
        members: vec![Arc::new(member)],
        model: "model".into(),
        runtime_model: "model".into(),
        endpoints: runtimes.to_vec(),
        idempotent: true,
        wire: Wire::Json,
        wake: None,
    };
    Snapshot {
        groups: [(group.key.clone(), Arc::new(group))].into(),
        ..Snapshot::default()
    }
}

/// A server on a thread of its own.
struct Server {
    address: SocketAddr,
    handle: runtime::Handle,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// `name` is what a profiler shows the thread by.
    fn start<F: Future<Output = ()> + 'static>(
        name: &str,
        run: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> Self {
        let (told, hears) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let serve = move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                told.send((address, runtime::Handle::current())).unwrap();
                tokio::select! {
                    () = run(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        thread.spawn(serve).unwrap();
        let (address, handle) = hears.recv().unwrap();
        Self {
            address,
            handle,
            _stop: stop,
        }
    }

    /// CPU time of its thread.
    async fn used(&self) -> Duration {
        let read = self.handle.spawn(async {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
        });
        read.await.unwrap()
    }
}

fn plain(runtimes: &[SocketAddr]) -> Server {
    let runtimes = runtimes.to_vec();
    Server::start("proxy", move |listener| proxy(listener, runtimes))
}

fn gateway(batch_size: u32, runtimes: &[SocketAddr]) -> Server {
    let snapshot = snapshot(batch_size, runtimes);
    Server::start(&format!("gateway b={batch_size}"), move |listener| async move {
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_keep, source) = watch::channel(Some(Arc::new(snapshot)));
        let never = std::future::pending::<()>();
        serve(Options::default(), listener, admin, source, None, never)
            .await
            .unwrap();
    })
}

async fn ask(sender: &mut Sender, body: &Bytes) {
    let request = Request::post("/default/app/v2/models/model/infer")
        .header(header::HOST, "gateway")
        .body(Full::new(body.clone()))
        .unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert!(response.status().is_success());
    response.into_body().collect().await.unwrap();
}

/// Requests per second of the server's CPU time, with as many callers as there are connections, each of which asks again at once.
async fn throughput(server: &Server) -> f64 {
    let body = body();
    let end = Instant::now() + WARM_UP + MEASURED;
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (address, body) = (server.address, body.clone());
            tokio::spawn(async move {
                let mut sender = connect(address).await;
                let mut asked = Vec::new();
                while Instant::now() < end {
                    ask(&mut sender, &body).await;
                    asked.push(Instant::now());
                }
                asked
            })
        })
        .collect();
    // Not measured: connections are made and memory is taken for the first time.
    tokio::time::sleep(WARM_UP).await;
    let (begin, before) = (Instant::now(), server.used().await);
    tokio::time::sleep_until(end.into()).await;
    let used = server.used().await.saturating_sub(before);
    let mut answered = 0_u32;
    for caller in callers {
        let asked = caller.await.unwrap();
        answered += u32::try_from(asked.iter().filter(|at| (begin..end).contains(at)).count()).unwrap();
    }
    f64::from(answered) / used.as_secs_f64()
}

/// Waits until the server has its configuration.
async fn ready(server: &Server) {
    let mut sender = connect(server.address).await;
    loop {
        let request = Request::post("/default/app/v2/models/model/infer")
            .header(header::HOST, "gateway")
            .body(Full::new(body()))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let ready = response.status().is_success();
        response.into_body().collect().await.unwrap();
        if ready {
            return;
        }
        // The table is the gateway's own, and is only seen through its answers.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Median latency over one connection, in microseconds.
async fn latency(server: &Server) -> f64 {
    let (mut sender, body) = (connect(server.address).await, body());
    let mut latencies = Vec::new();
    for round in 0..6000 {
        let start = Instant::now();
        ask(&mut sender, &body).await;
        if round >= 1000 {
            latencies.push(start.elapsed());
        }
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2].as_secs_f64() * 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut runtimes = Vec::new();
        for _ in 0..REPLICAS {
            runtimes.push(echo_server().await);
        }
        println!(
            "{:<28}{:>16}{:>16}{:>8}{:>10}",
            "", "proxy", "gateway", "ratio", "verdict"
        );
        for (batch_size, least) in [(1_u32, 0.9), (8, 1.6)] {
            let (proxy, gateway) = (plain(&runtimes), gateway(batch_size, &runtimes));
            ready(&gateway).await;
            let (mut plain_rates, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let (plain_rate, rate) = (throughput(&proxy).await, throughput(&gateway).await);
                plain_rates.push(plain_rate);
                rates.push(rate);
                ratios.push(rate / plain_rate);
            }
            let ratio = median(ratios);
            let verdict = if ratio >= least { "kept" } else { "missed" };
            println!(
                "{:<28}{:>16.0}{:>16.0}{:>8.2}{:>10}",
                format!("requests per CPU s, b={batch_size}"),
                median(plain_rates),
                median(rates),
                ratio,
                verdict
            );
        }
        let (proxy, gateway) = (plain(&runtimes), gateway(1, &runtimes));
        ready(&gateway).await;
        let (mut plain_latencies, mut latencies) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain_latencies.push(latency(&proxy).await);
            latencies.push(latency(&gateway).await);
        }
        let (plain, ours) = (median(plain_latencies), median(latencies));
        let verdict = if ours - plain <= 60.0 { "kept" } else { "missed" };
        println!(
            "{:<28}{plain:>16.1}{ours:>16.1}{:>8.1}{verdict:>10}",
            "median latency, us, b=1",
            ours - plain
        );
        println!("kept: at least 0.9 and 1.6 times the proxy's requests; at most 60 us more");
    });
}
