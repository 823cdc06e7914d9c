//! A gateway on loopback, an echo runtime behind it, and callers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod collector;
pub mod echo;
pub mod log;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_gateway::{
    Error, Options,
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    peers::PeerSource,
    protocol::Wire,
    serve,
};
use http::{Request, Response, StatusCode, response::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot, watch},
    task::JoinHandle,
};

/// No wait in a test takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain"))
}

/// What an echo runtime does instead of an echo.
#[derive(Clone, Debug)]
pub enum Mood {
    Echo,
    Answer(StatusCode, String),
    /// Reads the request and closes the connection.
    HangUp,
}

/// A runtime that answers OUTPUT0 = INPUT0, and holds its answers back while it has no permits.
pub struct Runtime {
    pub address: SocketAddr,
    pub permits: Arc<Semaphore>,
    pub seen: Arc<Mutex<Vec<Value>>>,
    /// The heads of the requests for inference that came.
    pub heads: Arc<Mutex<Vec<http::HeaderMap>>>,
    pub mood: Arc<Mutex<Mood>>,
    pub most_at_once: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    arrivals: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Runtime {
    /// One that answers at once.
    pub async fn start() -> Self {
        let runtime = Self::start_held().await;
        runtime.permits.add_permits(Semaphore::MAX_PERMITS / 2);
        runtime
    }

    /// One that answers as it is given permits.
    pub async fn start_held() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let permits = Arc::new(Semaphore::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mood = Arc::new(Mutex::new(Mood::Echo));
        let (most_at_once, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (arrived, arrivals) = watch::channel(0);
        let server = tokio::spawn({
            let (permits, seen, mood) = (permits.clone(), seen.clone(), mood.clone());
            let heads = heads.clone();
            let (most_at_once, connections) = (most_at_once.clone(), connections.clone());
            let at_once = Arc::new(AtomicUsize::new(0));
            let arrived = Arc::new(arrived);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (permits, seen, mood) = (permits.clone(), seen.clone(), mood.clone());
                    let heads = heads.clone();
                    let (at_once, most_at_once, arrived) =
                        (at_once.clone(), most_at_once.clone(), arrived.clone());
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (permits, seen, mood) = (permits.clone(), seen.clone(), mood.clone());
                        let heads = heads.clone();
                        let (at_once, most_at_once, arrived) =
                            (at_once.clone(), most_at_once.clone(), arrived.clone());
                        async move {
                            assert!(
                                request.headers().contains_key("content-length") || request.method() == "GET"
                            );
                            if request.method() == "GET" {
                                let metadata = json!({"name": "net", "versions": ["1"], "platform": "echo"});
                                return Ok(Response::new(Full::new(Bytes::from(metadata.to_string()))));
                            }
                            let path = request.uri().path().to_owned();
                            heads.lock().unwrap().push(request.headers().clone());
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let mut body: Value = serde_json::from_slice(&body).unwrap();
                            body["path"] = json!(path);
                            seen.lock().unwrap().push(body.clone());
                            let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                            most_at_once.fetch_max(now, Ordering::SeqCst);
                            arrived.send_modify(|count| *count += 1);
                            permits.acquire().await.unwrap().forget();
                            at_once.fetch_sub(1, Ordering::SeqCst);
                            let mood = mood.lock().unwrap().clone();
                            match mood {
                                Mood::Echo => {
                                    Ok(Response::new(Full::new(Bytes::from(echo(&body).to_string()))))
                                }
                                Mood::Answer(status, text) => {
                                    let mut response = Response::new(Full::new(Bytes::from(text)));
                                    *response.status_mut() = status;
                                    Ok(response)
                                }
                                Mood::HangUp => Err(std::io::Error::other("hang up")),
                            }
                        }
                    });
                    tokio::spawn(async move {
                        let _ = http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            }
        });
        Self {
            address,
            permits,
            seen,
            heads,
            mood,
            most_at_once,
            connections,
            arrivals,
            server,
        }
    }

    /// Waits until `count` batches have come in all.
    pub async fn batches(&self, count: usize) {
        soon(self.arrivals.clone().wait_for(|seen| *seen >= count))
            .await
            .unwrap();
    }

    /// Ids and rows of the batches that came.
    pub fn rows(&self) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|body| body["inputs"][0]["shape"][0].as_u64().unwrap())
            .collect()
    }

    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Nobody listens at its address any more; connections that are open live on.
    pub async fn stop_listening(self) {
        self.server.abort();
        let _ = self.server.await;
    }
}

fn echo(body: &Value) -> Value {
    let input = &body["inputs"][0];
    let output = json!({"name": "OUTPUT0", "shape": input["shape"], "datatype": input["datatype"], "data": input["data"]});
    json!({"model_name": "net", "model_version": "1", "id": body["id"], "outputs": [output]})
}

/// A gateway that serves.
pub struct Gateway {
    pub callers: SocketAddr,
    pub admin: SocketAddr,
    pub config: watch::Sender<Option<Arc<Snapshot>>>,
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), Error>>,
}

impl Gateway {
    pub async fn start(snapshot: Snapshot) -> Self {
        Self::start_with(Some(snapshot), options()).await
    }

    pub async fn start_with(snapshot: Option<Snapshot>, options: Options) -> Self {
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(admin_listener, snapshot, options, None).await
    }

    /// One of several, whose second port is that listener.
    pub async fn start_among(admin: TcpListener, snapshot: Snapshot, peers: PeerSource) -> Self {
        Self::start_on(admin, Some(snapshot), options(), Some(peers)).await
    }

    pub async fn start_on(
        admin_listener: TcpListener,
        snapshot: Option<Snapshot>,
        options: Options,
        peers: Option<PeerSource>,
    ) -> Self {
        let callers_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callers = callers_listener.local_addr().unwrap();
        let admin = admin_listener.local_addr().unwrap();
        let (config, source) = watch::channel(snapshot.map(Arc::new));
        let (shutdown, down) = oneshot::channel::<()>();
        let loaded = config.borrow().is_some();
        let peers = peers.map(|ready| (admin, ready));
        let shutdown_begins = async {
            let _ = down.await;
        };
        let server = tokio::spawn(serve(
            options,
            callers_listener,
            admin_listener,
            source,
            peers,
            shutdown_begins,
        ));
        let gateway = Self {
            callers,
            admin,
            config,
            shutdown: Some(shutdown),
            server,
        };
        if loaded {
            gateway
                .until("/readyz", |status, _| status == StatusCode::OK)
                .await;
        }
        gateway
    }

    pub fn configure(&self, snapshot: Snapshot) {
        self.config.send_replace(Some(Arc::new(snapshot)));
    }

    /// Reads an endpoint of the admin port.
    pub async fn admin(&self, path: &str) -> (StatusCode, String) {
        let answer = call(
            self.admin,
            Request::get(path)
                .header("host", "admin")
                .body(Full::default())
                .unwrap(),
        )
        .await;
        (answer.status, answer.text)
    }

    /// Asks an endpoint of the admin port until its answer is the one that must come.
    pub async fn until(&self, path: &str, reached: impl Fn(StatusCode, &Value) -> bool) {
        soon(async {
            loop {
                let (status, text) = self.admin(path).await;
                if reached(status, &serde_json::from_str(&text).unwrap_or(Value::Null)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until so many rows wait in all groups.
    pub async fn until_queued(&self, rows: u64) {
        self.until("/acknowledged", |_, body| sum(body, "queuedRows") == rows)
            .await;
    }

    /// Posts an infer request to an application.
    pub fn infer(&self, app: &str, body: &Value) -> JoinHandle<Answer> {
        self.post(
            &format!("{app}-infer.shop"),
            "/v2/models/mlp/infer",
            &body.to_string(),
        )
    }

    pub fn post(&self, host: &str, path: &str, body: &str) -> JoinHandle<Answer> {
        let request = Request::post(path)
            .header("host", host)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        tokio::spawn(call(self.callers, request))
    }

    pub async fn get(&self, host: &str, path: &str) -> Answer {
        call(
            self.callers,
            Request::get(path)
                .header("host", host)
                .body(Full::default())
                .unwrap(),
        )
        .await
    }

    /// Ends it as a crash would: connections are cut.
    pub async fn kill(self) {
        self.server.abort();
        let _ = self.server.await;
    }

    /// Begins the shutdown.
    pub fn shut_down(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }

    /// Waits for its end.
    pub async fn ended(self) {
        soon(self.server).await.unwrap().unwrap();
    }
}

/// Sum of a field over all groups of `/acknowledged`.
pub fn sum(body: &Value, field: &str) -> u64 {
    let groups = body["groups"].as_array();
    groups.map_or(0, |groups| {
        groups.iter().map(|group| group[field].as_u64().unwrap()).sum()
    })
}

/// Options of a test: a drain of which the grace is short.
pub fn options() -> Options {
    Options {
        drain: Duration::from_secs(3),
        ..Options::default()
    }
}

/// What a caller got.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    /// Values of its first output.
    pub fn data(&self) -> &Value {
        &self.json["outputs"][0]["data"]
    }

    /// Rows of the batch that it came from.
    pub fn batch_rows(&self) -> u64 {
        self.headers["harmonybatch-batch-rows"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }
}

/// One call over a connection of its own, which closes when the call is dropped.
pub async fn call(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let (head, body) = exchange(address, request).await;
    let text = String::from_utf8(body.to_vec()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer {
        status: head.status,
        headers: head.headers,
        text,
        json,
    }
}

/// The same, with whatever the body is.
pub async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> (Parts, Bytes) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let exchange = async {
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    };
    // The connection is driven here, so that it goes when the caller goes.
    soon(async {
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    })
    .await
}

/// A request with `rows` rows of two numbers that start at `first`.
pub fn request(id: &str, first: u64, rows: u64) -> Value {
    let data: Vec<u64> = (first..first + 2 * rows).collect();
    json!({"id": id, "inputs": [{"name": "INPUT0", "shape": [rows, 2], "datatype": "FP32", "data": data}]})
}

/// What the echo of [`request`] holds.
pub fn echoed(first: u64, rows: u64) -> Value {
    json!((first..first + 2 * rows).collect::<Vec<u64>>())
}

pub fn member(app: &str, max_wait: Duration, timeout: Duration) -> Arc<MemberConfig> {
    Arc::new(MemberConfig {
        app: app.into(),
        service_name: format!("{app}-infer").into(),
        slo: timeout / 2,
        timeout,
        max_wait,
        contract: None,
        departing: false,
    })
}

pub fn group(name: &str, members: &[Arc<MemberConfig>], endpoints: &[SocketAddr]) -> GroupConfig {
    GroupConfig {
        key: Key::new("shop", name),
        plan_generation: 1,
        batch_size: 8,
        members: members.to_vec(),
        model: "mlp".into(),
        runtime_model: "net".into(),
        wire: Wire::Json,
        endpoints: endpoints.to_vec(),
        idempotent: true,
        wake: None,
    }
}

pub fn snapshot(groups: impl IntoIterator<Item = GroupConfig>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for group in groups {
        snapshot.groups.insert(group.key.clone(), Arc::new(group));
    }
    snapshot
}
