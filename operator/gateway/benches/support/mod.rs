//! What the benchmarks share: echo runtimes, a server on a thread of its own whose CPU time can be read, and callers that ask without a pause.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use harmonybatch_gateway::{
    Options,
    config::{ConfigSource, GroupConfig, Key, MemberConfig, Snapshot},
    protocol::Wire,
    serve,
};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::oneshot,
};

/// As the gateway's program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WARM_UP: Duration = Duration::from_millis(500);

/// A body of one row of so many numbers, each as `text` writes it.
pub(crate) fn body(numbers: usize, text: impl Fn(usize) -> String) -> Bytes {
    let data: Vec<String> = (0..numbers).map(text).collect();
    let data = data.join(",");
    Bytes::from(format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{numbers}],"datatype":"FP32","data":[{data}]}}]}}"#
    ))
}

/// About a kilobyte of JSON.
pub(crate) fn kilobyte() -> Bytes {
    body(128, |number| format!("{}.25", number % 100))
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

/// Answers every request of every connection by `answer`.
pub(crate) async fn answer_all<F, B>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(answer.clone());
        tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(answer_all(listener, echo));
    address
}

pub(crate) async fn echo_servers(count: usize) -> Vec<SocketAddr> {
    let mut runtimes = Vec::new();
    for _ in 0..count {
        runtimes.push(echo_server().await);
    }
    runtimes
}

pub(crate) type Sender = client::conn::http1::SendRequest<Full<Bytes>>;

pub(crate) async fn connect(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// A group whose batches wait for `max_wait` at most, in front of these runtimes.
pub(crate) fn group(
    name: &str,
    apps: &[String],
    batch_size: u32,
    max_wait: Duration,
    runtimes: &[SocketAddr],
) -> Arc<GroupConfig> {
    let member = |app: &String| {
        Arc::new(MemberConfig {
            app: app.as_str().into(),
            service_name: format!("{app}-infer").into(),
            slo: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            max_wait,
            contract: None,
            departing: false,
        })
    };
    Arc::new(GroupConfig {
        key: Key::new("default", name),
        plan_generation: 1,
        batch_size,
        members: apps.iter().map(member).collect(),
        model: "model".into(),
        runtime_model: "model".into(),
        endpoints: runtimes.to_vec(),
        idempotent: true,
        wire: Wire::Json,
        wake: None,
    })
}

pub(crate) fn snapshot(groups: impl IntoIterator<Item = Arc<GroupConfig>>) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        groups: groups
            .into_iter()
            .map(|group| (group.key.clone(), group))
            .collect(),
        ..Snapshot::default()
    })
}

/// Where an application of such a group is asked.
pub(crate) fn path(app: &str) -> String {
    format!("/default/{app}/v2/models/model/infer")
}

/// A server on a thread of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    handle: runtime::Handle,
    _stop: oneshot::Sender<()>,
}

impl Server {
    pub(crate) fn start<F: Future<Output = ()> + 'static>(
        run: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> Self {
        let (told, hears) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
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
        });
        let (address, handle) = hears.recv().unwrap();
        Self {
            address,
            handle,
            _stop: stop,
        }
    }

    pub(crate) fn gateway(source: ConfigSource) -> Self {
        Self::start(move |listener| async move {
            let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let never = std::future::pending::<()>();
            serve(Options::default(), listener, admin, source, None, never)
                .await
                .unwrap();
        })
    }

    /// CPU time of its thread.
    async fn used(&self) -> Duration {
        let read = self.handle.spawn(async {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
        });
        read.await.unwrap()
    }

    /// Waits until this path is answered.
    pub(crate) async fn ready(&self, path: &str) {
        let mut sender = connect(self.address).await;
        let body = kilobyte();
        while !try_ask(&mut sender, path, &body).await {
            // The table is the gateway's own, and is only seen through its answers.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Requests per second of the server's CPU time. Each caller has a connection, and asks for its paths in turn, the next one at once.
    pub(crate) async fn throughput(
        &self,
        callers: Vec<Vec<String>>,
        body: &Bytes,
        measured: Duration,
    ) -> f64 {
        let end = Instant::now() + WARM_UP + measured;
        let callers: Vec<_> = callers
            .into_iter()
            .map(|paths| {
                let (address, body) = (self.address, body.clone());
                tokio::spawn(async move {
                    let mut sender = connect(address).await;
                    let mut asked = Vec::new();
                    for path in paths.iter().cycle() {
                        if Instant::now() >= end {
                            break;
                        }
                        ask(&mut sender, path, &body).await;
                        asked.push(Instant::now());
                    }
                    asked
                })
            })
            .collect();
        // Not measured: connections are made and memory is taken for the first time.
        tokio::time::sleep(WARM_UP).await;
        let (begin, before) = (Instant::now(), self.used().await);
        tokio::time::sleep_until(end.into()).await;
        let used = self.used().await.saturating_sub(before);
        let mut answered = 0_u32;
        for caller in callers {
            let asked = caller.await.unwrap();
            answered += u32::try_from(asked.iter().filter(|at| (begin..end).contains(*at)).count()).unwrap();
        }
        f64::from(answered) / used.as_secs_f64()
    }
}

/// Whether the answer is one of success.
async fn try_ask(sender: &mut Sender, path: &str, body: &Bytes) -> bool {
    let request = Request::post(path)
        .header(header::HOST, "gateway")
        .body(Full::new(body.clone()))
        .unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let success = response.status().is_success();
    response.into_body().collect().await.unwrap();
    success
}

pub(crate) async fn ask(sender: &mut Sender, path: &str, body: &Bytes) {
    assert!(try_ask(sender, path, body).await, "{path} was refused");
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "missed" }
}
