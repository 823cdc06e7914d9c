//! The whole server on one connection, in memory and in time that does not pass by itself.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_gateway::{
    access::Access,
    batcher::{Fleet, Limits},
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    listener::{Bounds, Refusals, serve_stream},
    memory::Budget,
    metrics::Metrics,
    peers::Peers,
    protocol::{
        Message, Wire,
        grpc::messages::{InferOutputTensor, ModelInferResponse},
    },
    service::Service,
    timer::Timer,
    trace::Tracer,
    upstream::{Call, Replica, Reply, Upstream, UpstreamError},
};
use http::StatusCode;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    sync::watch,
};

use crate::{
    meaning::{self, WIRES},
    reference::{http1, http2, message::Request},
};

/// Bytes that the pipe holds, and so the longest piece that is read at once.
pub const PIPES: [usize; 5] = [1, 7, 64, 4096, 65_536];
/// Rows of a full batch.
const BATCH_SIZES: [u32; 2] = [1, 8];

/// How the server is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Bytes that the pipe holds.
    pub pipe: usize,
    /// What the runtime speaks.
    pub wire: Wire,
    /// Rows of a full batch.
    pub batch_size: u32,
}

/// Takes the setup (one byte: pipe and more), and what the caller sends.
pub fn target(data: &[u8]) {
    let Some((setup, bytes)) = data.split_first() else {
        return;
    };
    let mut choice = usize::from(*setup);
    let mut choose = |of: usize| {
        let chosen = choice % of;
        choice /= of;
        chosen
    };
    let setup = Setup {
        pipe: PIPES[choose(PIPES.len())],
        wire: WIRES[choose(WIRES.len())],
        batch_size: BATCH_SIZES[choose(BATCH_SIZES.len())],
    };
    check(bytes, setup);
}

/// Plays a connection, asserts that every row that the runtime saw is in a request that a strict reader of the same bytes finds, each as often at most,
/// and gives the answers and what the runtime saw.
pub fn check(bytes: &[u8], setup: Setup) -> (Vec<u8>, Vec<Request>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (answers, seen) = runtime.block_on(play(bytes.to_vec(), setup));
    let accepted = if bytes.starts_with(http2::PREFACE) {
        http2::possible(bytes)
    } else {
        http1::accepted(bytes)
    };
    let mut accepted: Vec<Request> = accepted.iter().flat_map(Request::split).collect();
    let seen: Vec<Request> = seen
        .into_iter()
        .map(|seen| seen.unwrap_or_else(|message| malformed(&message)))
        .collect();
    for row in seen.iter().flat_map(Request::split) {
        let found = accepted.iter().position(|accepted| *accepted == row);
        let found = found.unwrap_or_else(|| unsent(&row, bytes));
        accepted.swap_remove(found);
    }
    (answers, seen)
}

#[expect(clippy::panic, reason = "a target fails by panicking")]
fn malformed(message: &[u8]) -> Request {
    panic!("the runtime was sent {}", message.escape_ascii())
}

#[expect(clippy::panic, reason = "a target fails by panicking")]
fn unsent(row: &Request, bytes: &[u8]) -> usize {
    panic!("{row:?} is nowhere in {}", bytes.escape_ascii())
}

/// Messages that a runtime was sent: what it could read, or the bytes where it could not.
type Seen = Vec<Result<Request, Vec<u8>>>;

/// A runtime that numbers the rows of its batches, and remembers these.
#[derive(Clone)]
struct Numbering {
    wire: Wire,
    seen: Arc<Mutex<Seen>>,
}

impl Upstream for Numbering {
    type Connection = ();

    async fn call(
        &self,
        _: &Replica,
        _: Option<()>,
        call: Call,
    ) -> (Option<()>, Result<Reply, UpstreamError>) {
        let mut reply = Reply {
            status: StatusCode::NOT_FOUND,
            body: Bytes::new(),
            header_length: None,
        };
        if call.path.ends_with("/infer") || call.path.ends_with("/ModelInfer") {
            let message = Message {
                body: call.body,
                header_length: call.header_length,
            };
            let read = meaning::read(&message, self.wire);
            if let Some(request) = &read {
                reply.status = StatusCode::OK;
                (reply.body, reply.header_length) = numbered(request, self.wire);
            }
            let read = read.ok_or_else(|| message.body.into_bytes().to_vec());
            self.seen.lock().unwrap().push(read);
        }
        (Some(()), Ok(reply))
    }
}

/// An answer with every output that is asked for, or one, each the numbers of the rows.
fn numbered(request: &Request, wire: Wire) -> (Bytes, Option<usize>) {
    let rows = request.rows();
    let numbers: Vec<u8> = (0..=u8::MAX).cycle().take(rows).collect();
    let asked = request.outputs.iter().map(|output| output.name.clone());
    let mut names: Vec<String> = asked.collect();
    if names.is_empty() {
        names.push("y".to_owned());
    }
    let tensors = vec![numbers.clone(); names.len()];
    if wire == Wire::Grpc {
        let outputs = names.into_iter().map(|name| InferOutputTensor {
            name,
            datatype: "UINT8".to_owned(),
            shape: vec![i64::try_from(rows).unwrap()],
            ..InferOutputTensor::default()
        });
        let answer = ModelInferResponse {
            outputs: outputs.collect(),
            raw_output_contents: tensors.into_iter().map(Bytes::from).collect(),
            ..ModelInferResponse::default()
        };
        return (answer.encode_to_vec().into(), None);
    }
    let is_binary = wire == Wire::Binary;
    let outputs = names.into_iter().map(|name| {
        let mut output = json!({"name": name, "shape": [rows], "datatype": "UINT8"});
        if is_binary {
            output["parameters"] = json!({"binary_data_size": rows});
        } else {
            output["data"] = json!(numbers);
        }
        output
    });
    let answer = json!({"id": request.id, "outputs": outputs.collect::<Value>()}).to_string();
    if is_binary {
        let body = [answer.as_bytes(), &tensors.concat()].concat();
        (body.into(), Some(answer.len()))
    } else {
        (answer.into(), None)
    }
}

async fn play(bytes: Vec<u8>, setup: Setup) -> (Vec<u8>, Seen) {
    let (metrics, timer) = (Arc::new(Metrics::new()), Timer::new());
    let upstream = Numbering {
        wire: setup.wire,
        seen: Arc::default(),
    };
    let (_config, source) = watch::channel(Some(Arc::new(snapshot(setup))));
    let (fleet, mut table) = Fleet::new(
        source,
        "cluster.local",
        Limits::default(),
        metrics.clone(),
        upstream.clone(),
        timer,
    );
    let (_draining, draining) = watch::channel(false);
    let (_stop, stop) = watch::channel(false);
    let fleet = tokio::spawn(fleet.run(stop.clone()));
    table.wait_for(|table| table.loaded).await.unwrap();
    let service = Arc::new(Service {
        table,
        draining,
        metrics,
        upstream: upstream.clone(),
        peers: Arc::new(Peers::none(timer)),
        timer,
        body_limit: 1 << 20,
        memory: Budget::new(1 << 20),
        metadata: Mutex::default(),
        tracer: Tracer::default(),
        access: Access::default(),
    });
    let (caller, stream) = duplex(setup.pipe);
    let answer = move |request| {
        let service = service.clone();
        async move { service.answer(request).await }
    };
    let served = tokio::spawn(serve_stream(
        stream,
        Bounds::default(),
        Refusals::default(),
        stop,
        Arc::new(answer),
    ));
    let (mut reader, mut writer) = tokio::io::split(caller);
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let mut answers = Vec::new();
    // Nothing waits longer for a caller than for an idle one.
    let ended = tokio::time::timeout(Duration::from_mins(10), reader.read_to_end(&mut answers)).await;
    assert!(
        ended.is_ok(),
        "the connection did not end after {}",
        answers.escape_ascii()
    );
    let _ = tokio::time::timeout(Duration::from_mins(1), writing).await;
    // It may fail, and not panic.
    let _ = served.await.unwrap();
    fleet.abort();
    let seen = std::mem::take(&mut *upstream.seen.lock().unwrap());
    (answers, seen)
}

/// One group, with one application.
fn snapshot(setup: Setup) -> Snapshot {
    let member = Arc::new(MemberConfig {
        app: "search".into(),
        service_name: "search-infer".into(),
        slo: Duration::from_secs(15),
        timeout: Duration::from_secs(30),
        max_wait: Duration::ZERO,
        contract: None,
        departing: false,
    });
    let group = GroupConfig {
        key: Key::new("shop", "mlp-a"),
        plan_generation: 1,
        batch_size: setup.batch_size,
        members: vec![member],
        model: "mlp".into(),
        runtime_model: "net".into(),
        endpoints: vec![SocketAddr::from(([10, 0, 0, 1], 80))],
        idempotent: true,
        wire: setup.wire,
        wake: None,
    };
    let mut snapshot = Snapshot::default();
    snapshot.groups.insert(group.key.clone(), Arc::new(group));
    snapshot
}
