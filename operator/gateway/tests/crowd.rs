//! Many connections at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "says how large the crowd could be")]

mod support;

use std::time::Duration;

use futures::{StreamExt as _, stream};
use harmonybatch_gateway::Options;
use http::StatusCode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Gateway, Runtime, group, member, options, request, snapshot, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

const CROWD: u64 = 10_000;
/// Both ends of a connection are here; sockets' buffers are the kernel's.
const BYTES_PER_CONNECTION: u64 = 16 << 10;

async fn serve(options: Options) -> (Gateway, Runtime) {
    let runtime = Runtime::start().await;
    let members = [member("search", Duration::ZERO, Duration::from_secs(30))];
    let config = snapshot([group("mlp-a", &members, &[runtime.address])]);
    (Gateway::start_with(Some(config), options).await, runtime)
}

async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let (_, metrics) = gateway.admin("/metrics").await;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

async fn until(gateway: &Gateway, name: &str, value: u64) {
    soon(async {
        while metric(gateway, name).await != value {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// How many connections may have both of their ends in this process.
fn room() -> u64 {
    let wanted = Rlimit {
        current: Some(2 * CROWD + 500),
        maximum: Some(2 * CROWD + 500),
    };
    let limit = getrlimit(Resource::Nofile);
    let has_more = limit.maximum.is_none_or(|most| Some(most) >= wanted.current);
    let files = if has_more || setrlimit(Resource::Nofile, wanted).is_ok() {
        2 * CROWD + 500
    } else {
        limit.maximum.unwrap_or(1024)
    };
    let raised = Rlimit {
        current: Some(files),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    ((files - 500) / 2).min(CROWD)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_silent_connections_hold_little_and_stop_nobody() {
    let crowd = room();
    println!("{crowd} silent connections, as many as the limit of open files allows up to {CROWD}");
    let mut options = options();
    options.bounds.connections = usize::try_from(crowd).unwrap() + 1;
    options.bounds.peer_connections = options.bounds.connections;
    options.bounds.header_timeout = Duration::from_mins(5);
    let (gateway, runtime) = serve(options).await;
    let before = resident();
    let connecting = (0..crowd).map(|_| TcpStream::connect(gateway.callers));
    let silent: Vec<TcpStream> = stream::iter(connecting)
        .buffer_unordered(100)
        .map(Result::unwrap)
        .collect()
        .await;
    until(&gateway, "harmonybatch_gateway_connections", crowd).await;
    let held = resident().saturating_sub(before) / crowd;
    println!("{held} bytes of the process for each");
    assert!(held <= BYTES_PER_CONNECTION, "{held} bytes for each connection");
    for first in 0..20 {
        let answer = soon(gateway.infer("search", &request("x", first, 1)))
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        until(&gateway, "harmonybatch_gateway_connections", crowd).await;
    }
    assert_eq!(runtime.rows().len(), 20);
    // The last place is free; who comes then is not served.
    let mut last = TcpStream::connect(gateway.callers).await.unwrap();
    until(&gateway, "harmonybatch_gateway_connections", crowd + 1).await;
    let mut more = TcpStream::connect(gateway.callers).await.unwrap();
    assert!(matches!(soon(more.read(&mut [0])).await, Ok(0) | Err(_)));
    last.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    soon(last.read_exact(&mut [0; 12])).await.unwrap();
    let refused = "harmonybatch_gateway_refusals_total{cause=\"connections\"}";
    assert_eq!(metric(&gateway, refused).await, 1);
    drop((silent, last));
    until(&gateway, "harmonybatch_gateway_connections", 0).await;
}

#[tokio::test]
async fn a_peer_has_no_more_than_its_share_of_the_connections() {
    let mut options = options();
    options.bounds.peer_connections = 2;
    let (gateway, _runtime) = serve(options).await;
    let connect = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(gateway.callers).await.unwrap();
        let asked = stream
            .write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        let answered = soon(stream.read_exact(&mut [0; 12])).await;
        (asked.is_ok() && answered.is_ok()).then_some(stream)
    };
    let places = [connect("127.0.0.1").await, connect("127.0.0.1").await];
    assert!(places.iter().all(Option::is_some));
    assert!(connect("127.0.0.1").await.is_none());
    assert!(connect("127.0.0.2").await.is_some());
    let refused = "harmonybatch_gateway_refusals_total{cause=\"peer_connections\"}";
    assert_eq!(metric(&gateway, refused).await, 1);
    drop(places);
    until(&gateway, "harmonybatch_gateway_connections", 0).await;
    assert!(connect("127.0.0.1").await.is_some());
}
