//! The fleet on paused time, before simulated replicas.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_dispatch::Nanos;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::{Answered, Fleet, Limits, Submission, Table};
use crate::{
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    metrics::Metrics,
    protocol::{ApiError, Request},
    timer::Timer,
    upstream::{Call, Replica, Reply, Upstream, UpstreamError},
};

const MS: Nanos = 1_000_000;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn endpoint(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

/// A batch as a replica saw it: when, where, and the first number of each row.
type Seen = (Nanos, u8, Vec<u64>);

/// Replicas that echo after 100 ms.
#[derive(Clone)]
struct Simulated {
    timer: Timer,
    seen: Arc<Mutex<Vec<Seen>>>,
    dead: Arc<Mutex<HashSet<u8>>>,
}

impl Upstream for Simulated {
    type Connection = ();

    async fn call(
        &self,
        replica: &Replica,
        _: Option<()>,
        call: Call,
    ) -> (Option<()>, Result<Reply, UpstreamError>) {
        let number = match replica {
            Replica::Endpoint(SocketAddr::V4(address)) => address.ip().octets()[3],
            _ => 0,
        };
        if self.dead.lock().unwrap().contains(&number) {
            return (None, Err(UpstreamError::Connect("refused".into())));
        }
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let input = &body["inputs"][0];
        let rows = input["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_u64().unwrap())
            .collect();
        self.seen.lock().unwrap().push((self.timer.now(), number, rows));
        tokio::time::sleep(ms(100)).await;
        let answer = json!({"id": body["id"], "outputs": [
            {"name": "y", "shape": input["shape"], "datatype": "INT64", "data": input["data"]}]});
        (
            Some(()),
            Ok(Reply {
                status: StatusCode::OK,
                body: Bytes::from(answer.to_string()),
            }),
        )
    }
}

struct Bench {
    config: watch::Sender<Option<Arc<Snapshot>>>,
    table: watch::Receiver<Arc<Table>>,
    flush: watch::Sender<bool>,
    upstream: Simulated,
    timer: Timer,
}

impl Bench {
    async fn start(config: GroupConfig) -> Self {
        let timer = Timer::new();
        let upstream = Simulated {
            timer,
            seen: Arc::default(),
            dead: Arc::default(),
        };
        let (sender, source) = watch::channel(None);
        let metrics = Arc::new(Metrics::new());
        let (fleet, table) = Fleet::new(
            source,
            "cluster.local",
            Limits::default(),
            metrics,
            upstream.clone(),
            timer,
        );
        let (flush, flush_receiver) = watch::channel(false);
        tokio::spawn(fleet.run(flush_receiver));
        let mut bench = Self {
            config: sender,
            table,
            flush,
            upstream,
            timer,
        };
        bench.configure(config).await;
        bench
    }

    async fn configure(&mut self, config: GroupConfig) {
        self.table.borrow_and_update();
        let groups = [(config.key.clone(), Arc::new(config))].into();
        self.config.send_replace(Some(Arc::new(Snapshot {
            groups,
            ..Snapshot::default()
        })));
        self.table.changed().await.unwrap();
    }

    /// Submits rows `first..first + rows`; gives the answer and its time.
    fn submit(&self, app: &str, first: u64, rows: u64) -> JoinHandle<(Result<Answered, ApiError>, Nanos)> {
        let data: Vec<u64> = (first..first + rows).collect();
        let body = json!({"inputs": [{"name": "x", "shape": [rows], "datatype": "INT64", "data": data}]});
        let request = Request::read(&Bytes::from(body.to_string())).unwrap();
        let submission = Submission {
            request,
            model: "mlp".to_owned(),
            version: None,
            arrival: self.timer.now(),
        };
        let table = self.table.borrow();
        let waiter = table
            .submit(table.routes.by_app("shop", app).unwrap(), submission)
            .unwrap();
        let timer = self.timer;
        tokio::spawn(async move { (waiter.answer(timer).await, timer.now()) })
    }

    fn seen(&self) -> Vec<Seen> {
        self.upstream.seen.lock().unwrap().clone()
    }
}

fn member(app: &str, slo: u64, max_wait: u64) -> Arc<MemberConfig> {
    Arc::new(MemberConfig {
        app: app.into(),
        service_name: format!("{app}-infer").into(),
        slo: ms(slo),
        timeout: ms(1000),
        max_wait: ms(max_wait),
        departing: false,
    })
}

fn group(batch_size: u32, members: &[Arc<MemberConfig>], endpoints: &[u8]) -> GroupConfig {
    GroupConfig {
        key: Key::new("shop", "mlp-a"),
        plan_generation: 1,
        batch_size,
        members: members.to_vec(),
        model: "mlp".into(),
        runtime_model: "net".into(),
        endpoints: endpoints.iter().copied().map(endpoint).collect(),
        wake: None,
    }
}

async fn answered(call: JoinHandle<(Result<Answered, ApiError>, Nanos)>) -> (u32, Nanos) {
    let (answer, at) = call.await.unwrap();
    (answer.unwrap().batch_rows, at)
}

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_when_its_most_urgent_request_has_waited_enough_or_when_it_is_full() {
    let bench = Bench::start(group(
        3,
        &[member("urgent", 300, 20), member("relaxed", 900, 500)],
        &[1],
    ))
    .await;
    let first = bench.submit("relaxed", 1, 1);
    tokio::time::sleep(ms(50)).await;
    let second = bench.submit("urgent", 2, 1);
    assert_eq!(answered(first).await, (2, 170 * MS));
    assert_eq!(answered(second).await, (2, 170 * MS));
    let calls = [bench.submit("relaxed", 3, 1), bench.submit("relaxed", 4, 2)];
    for call in calls {
        assert_eq!(answered(call).await, (3, 270 * MS));
    }
    // In order of arrival + SLO.
    assert_eq!(
        bench.seen(),
        [(70 * MS, 1, vec![2, 1]), (170 * MS, 1, vec![3, 4, 5])]
    );
}

#[tokio::test(start_paused = true)]
async fn eager_requests_gather_while_every_replica_is_busy_and_the_most_urgent_go_first() {
    let bench = Bench::start(group(
        2,
        &[member("urgent", 300, 0), member("relaxed", 900, 0)],
        &[1, 2],
    ))
    .await;
    let mut calls = vec![bench.submit("relaxed", 1, 1)];
    tokio::task::yield_now().await;
    tokio::time::sleep(ms(10)).await;
    calls.push(bench.submit("relaxed", 2, 1));
    tokio::time::sleep(ms(10)).await;
    calls.extend([
        bench.submit("relaxed", 3, 1),
        bench.submit("urgent", 4, 1),
        bench.submit("urgent", 5, 1),
    ]);
    for call in calls {
        answered(call).await;
    }
    let expected = [
        (0, 1, vec![1]),
        (10 * MS, 2, vec![2]),
        (100 * MS, 1, vec![4, 5]),
        (110 * MS, 2, vec![3]),
    ];
    assert_eq!(bench.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_be_reached_rests_and_its_batch_goes_to_another() {
    let bench = Bench::start(group(4, &[member("a", 300, 0)], &[1, 2])).await;
    bench.upstream.dead.lock().unwrap().insert(1);
    assert_eq!(answered(bench.submit("a", 1, 1)).await, (1, 100 * MS));
    assert_eq!(bench.seen(), [(0, 2, vec![1])]);
    // Both gone: the request is tried again and again, with growing rests, until one is back.
    bench.upstream.dead.lock().unwrap().insert(2);
    let call = bench.submit("a", 2, 1);
    tokio::time::sleep(ms(300)).await;
    bench.upstream.dead.lock().unwrap().clear();
    let (_, at) = answered(call).await;
    assert!((500 * MS..=700 * MS).contains(&at), "{at}");
    // None comes back: 503 at the timeout.
    bench.upstream.dead.lock().unwrap().extend([1, 2]);
    let submitted = bench.timer.now();
    let (answer, at) = bench.submit("a", 3, 1).await.unwrap();
    let error = answer.unwrap_err();
    assert_eq!(
        (error.status, at),
        (StatusCode::SERVICE_UNAVAILABLE, submitted + 1000 * MS)
    );
    assert!(
        error.message.contains("could be reached") && error.message.contains("refused"),
        "{}",
        error.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_takes_a_request_out_of_the_queue_and_it_is_never_sent() {
    let bench = Bench::start(group(1, &[member("a", 300, 0)], &[1])).await;
    let mut calls: Vec<_> = (0..11).map(|i| bench.submit("a", i, 1)).collect();
    let late = calls.pop().unwrap();
    for (i, call) in (1..).zip(calls).take(9) {
        assert_eq!(answered(call).await.1, i * 100 * MS);
    }
    let (answer, at) = late.await.unwrap();
    assert_eq!(
        (answer.unwrap_err().status, at),
        (StatusCode::GATEWAY_TIMEOUT, 1000 * MS)
    );
    tokio::time::sleep(ms(500)).await;
    assert!(
        bench.seen().iter().all(|(_, _, rows)| *rows != [10]),
        "{:?}",
        bench.seen()
    );
    assert!(bench.table.borrow().is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_takes_its_request_out_of_the_queue() {
    let bench = Bench::start(group(8, &[member("a", 300, 200)], &[1])).await;
    let (stays, gone) = (bench.submit("a", 1, 1), bench.submit("a", 2, 3));
    tokio::time::sleep(ms(10)).await;
    gone.abort();
    tokio::time::sleep(ms(10)).await;
    {
        let table = bench.table.borrow();
        let (_, group) = table.group_stats().next().unwrap();
        assert_eq!(group.queued_rows.load(Ordering::Acquire), 1);
    }
    assert_eq!(answered(stays).await, (1, 300 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_all_waiting_for_others() {
    let bench = Bench::start(group(8, &[member("a", 300, 800)], &[1])).await;
    let first = bench.submit("a", 1, 1);
    tokio::time::sleep(ms(30)).await;
    bench.flush.send_replace(true);
    assert_eq!(answered(first).await, (1, 130 * MS));
    assert_eq!(answered(bench.submit("a", 2, 1)).await, (1, 230 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_left_the_list_gets_no_new_batch() {
    let members = [member("a", 300, 0)];
    let mut bench = Bench::start(group(1, &members, &[1])).await;
    let calls = [bench.submit("a", 1, 1), bench.submit("a", 2, 1)];
    tokio::time::sleep(ms(50)).await;
    bench.configure(group(1, &members, &[2])).await;
    for call in calls {
        answered(call).await;
    }
    assert_eq!(bench.seen(), [(0, 1, vec![1]), (50 * MS, 2, vec![2])]);
    // Listed again while it works still: its batch counts.
    let first = bench.submit("a", 3, 1);
    tokio::time::sleep(ms(10)).await;
    bench.configure(group(1, &members, &[])).await;
    bench.configure(group(1, &members, &[2])).await;
    let second = bench.submit("a", 4, 1);
    answered(first).await;
    answered(second).await;
    assert_eq!(
        bench.seen()[2..],
        [(150 * MS, 2, vec![3]), (250 * MS, 2, vec![4])]
    );
}
