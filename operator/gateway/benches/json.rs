//! What large JSON costs: `cargo bench -p harmonybatch-gateway --bench json`.
//!
//! The gateway beside one that parses every request, joins the numbers of a batch, writes it, and does the same with the answer: how most gateways
//! batch. Both are on one thread of their own, before the same echo runtimes and callers, turn by turn in one process; bodies are an image for VGG,
//! 3 x 224 x 224 numbers as text. What is compared is requests per second of that thread's own CPU time.
//!
//! The other one is there twice: with `serde_json::Value`, which takes any answer and is what is asked about, and with numbers of a known type, which is as
//! fast as parsing gets. Both read numbers exactly (`float_roundtrip`), as a gateway must that hands them on.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use support::{
    Sender, Server, answer_all, body, connect, echo_servers, group, median, path, snapshot, verdict,
};
use tokio::{
    net::TcpListener,
    runtime,
    sync::{Mutex, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};

const APP: &str = "app";
const BATCH_SIZE: usize = 8;
const MAX_WAIT: Duration = Duration::from_millis(20);
const REPLICAS: usize = 4;
const CONNECTIONS: usize = 32;
const MEASURED: Duration = Duration::from_secs(6);
const ROUNDS: usize = 3;
const LEAST: f64 = 3.0;

/// Pixels between 0 and 1 as a float's text.
fn image() -> Bytes {
    body(3 * 224 * 224, |pixel| {
        format!("0.{:08}", pixel * 7919 % 100_000_000)
    })
}

/// A request, under whatever name its tensors have.
#[derive(Deserialize, Serialize)]
struct Message<N> {
    #[serde(alias = "outputs")]
    inputs: Vec<Tensor<N>>,
}

#[derive(Deserialize, Serialize)]
struct Tensor<N> {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Vec<N>,
}

/// A number as this gateway keeps it.
trait Number: DeserializeOwned + Serialize + Send + 'static {}
impl Number for Value {}
impl Number for f64 {}

type Waiting<N> = (Message<N>, oneshot::Sender<Message<N>>);

/// Joins requests of one tensor and one row.
fn join<N>(requests: Vec<Message<N>>) -> Message<N> {
    let rows = requests.len();
    let mut requests = requests.into_iter();
    let mut joined = requests.next().unwrap();
    for other in requests.flat_map(|request| request.inputs) {
        joined.inputs[0].data.extend(other.data);
    }
    joined.inputs[0].shape[0] = rows;
    joined
}

/// The rows of an answer.
fn part<N>(answer: Message<N>) -> Vec<Message<N>> {
    let Tensor {
        name,
        mut shape,
        datatype,
        data,
    } = answer.inputs.into_iter().next().unwrap();
    let rows = std::mem::replace(&mut shape[0], 1);
    let (length, mut data) = (data.len() / rows, data.into_iter());
    let row = |_| Message {
        inputs: vec![Tensor {
            name: name.clone(),
            shape: shape.clone(),
            datatype: datatype.clone(),
            data: data.by_ref().take(length).collect(),
        }],
    };
    (0..rows).map(row).collect()
}

async fn call<N: Number>(requests: Vec<Waiting<N>>, pool: Arc<Mutex<Vec<Sender>>>, mut sender: Sender) {
    let (requests, waiting): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
    let body = serde_json::to_vec(&join(requests)).unwrap();
    let request = Request::post("/v2/models/model/infer")
        .header(header::HOST, "runtime")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    pool.lock().await.push(sender);
    for (row, waiting) in part(serde_json::from_slice(&answer).unwrap())
        .into_iter()
        .zip(waiting)
    {
        // Its caller may have left at the end of the measurement.
        let _ = waiting.send(row);
    }
}

/// A batch leaves when it is full or its first request has waited for long enough, to a runtime that is free.
async fn batches<N: Number>(mut arriving: mpsc::Receiver<Waiting<N>>, runtimes: Vec<SocketAddr>) {
    let mut senders = Vec::new();
    for runtime in runtimes {
        senders.push(connect(runtime).await);
    }
    let (places, pool) = (
        Arc::new(tokio::sync::Semaphore::new(senders.len())),
        Arc::new(Mutex::new(senders)),
    );
    while let Some(first) = arriving.recv().await {
        let (mut batch, due) = (vec![first], Instant::now() + MAX_WAIT);
        while batch.len() < BATCH_SIZE
            && let Ok(Some(next)) = timeout_at(due, arriving.recv()).await
        {
            batch.push(next);
        }
        let place = places.clone().acquire_owned().await.unwrap();
        let sender = pool.lock().await.pop().unwrap();
        let call = call(batch, pool.clone(), sender);
        tokio::spawn(async move {
            call.await;
            drop(place);
        });
    }
}

/// The gateway that is compared with.
async fn parsing<N: Number>(listener: TcpListener, runtimes: Vec<SocketAddr>) {
    let (arrive, arriving) = mpsc::channel(CONNECTIONS);
    tokio::spawn(batches::<N>(arriving, runtimes));
    let answer = move |request: Request<Incoming>| {
        let arrive = arrive.clone();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (answer, answered) = oneshot::channel();
            let request = serde_json::from_slice(&body).unwrap();
            drop(body);
            arrive.send((request, answer)).await.unwrap();
            let answer = serde_json::to_vec(&answered.await.unwrap()).unwrap();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
        }
    };
    answer_all(listener, answer).await;
}

fn baseline<N: Number>(runtimes: &[SocketAddr]) -> Server {
    let runtimes = runtimes.to_vec();
    Server::start(move |listener| parsing::<N>(listener, runtimes))
}

async fn gateway(runtimes: &[SocketAddr]) -> Server {
    let batch_size = u32::try_from(BATCH_SIZE).unwrap();
    let group = group("group", &[APP.to_owned()], batch_size, MAX_WAIT, runtimes);
    let (_, config) = watch::channel(Some(snapshot([group])));
    let gateway = Server::gateway(config);
    gateway.ready(&path(APP)).await;
    gateway
}

fn main() {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (runtimes, image) = (echo_servers(REPLICAS).await, image());
        let servers = [
            gateway(&runtimes).await,
            baseline::<Value>(&runtimes),
            baseline::<f64>(&runtimes),
        ];
        let callers = vec![vec![path(APP)]; CONNECTIONS];
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (server, rates) in servers.iter().zip(&mut rates) {
                rates.push(server.throughput(callers.clone(), &image, MEASURED).await);
            }
        }
        println!(
            "a body: {} bytes; b={BATCH_SIZE}; {CONNECTIONS} connections",
            image.len()
        );
        println!(
            "{:<44}{:>20}{:>8}{:>10}",
            "", "requests per CPU s", "ratio", "verdict"
        );
        let [ours, any, typed] = rates.map(median);
        println!("{:<44}{ours:>20.1}", "gateway");
        let ratio = ours / any;
        println!(
            "{:<44}{any:>20.1}{ratio:>8.2}{:>10}",
            "parsed and written again, any value",
            verdict(ratio >= LEAST)
        );
        let ratio = ours / typed;
        println!(
            "{:<44}{typed:>20.1}{ratio:>8.2}{:>10}",
            "parsed and written again, numbers of one type", ""
        );
        println!("kept: at least {LEAST} times the requests");
    });
}
