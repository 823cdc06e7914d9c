//! Several gateways before the same replicas: batches are not split, and whoever comes or goes loses nothing but what it had in hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use harmonybatch_gateway::{
    Options,
    config::{GroupConfig, Key, Snapshot},
    peers::Members,
};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;
use support::{Gateway, Runtime, call, echoed, group, member, options, request, snapshot, soon};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

const LONG: Duration = Duration::from_secs(30);
const EAGER: Duration = Duration::ZERO;

/// Gateways that know of each other.
struct Cluster {
    gateways: Vec<Gateway>,
    members: watch::Sender<Arc<Members>>,
    options: Options,
}

impl Cluster {
    async fn start(count: usize, snapshot: &Snapshot) -> Self {
        Self::start_with(count, snapshot, options()).await
    }

    async fn start_with(count: usize, snapshot: &Snapshot, options: Options) -> Self {
        let (members, _) = watch::channel(Arc::default());
        let mut cluster = Self {
            gateways: Vec::new(),
            members,
            options,
        };
        for _ in 0..count {
            cluster.join(snapshot).await;
        }
        cluster
    }

    /// A further one, which is ready when this returns.
    async fn join(&mut self, snapshot: &Snapshot) {
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (options, members) = (self.options.clone(), self.members.subscribe());
        let gateway = Gateway::start_on(admin, Some(snapshot.clone()), options, Some(members)).await;
        self.gateways.push(gateway);
        self.announce();
    }

    /// Tells all who is ready.
    fn announce(&self) {
        let ready = || self.gateways.iter().map(|gateway| gateway.admin);
        let members = Members::new(ready(), ready().map(|admin| admin.ip()));
        self.members.send_replace(Arc::new(members));
    }

    /// How many rows wait in each.
    async fn queued(&self) -> Vec<u64> {
        let mut queued = Vec::new();
        for gateway in &self.gateways {
            let (_, text) = gateway.admin("/acknowledged").await;
            queued.push(support::sum(&serde_json::from_str(&text).unwrap(), "queuedRows"));
        }
        queued
    }

    /// Waits until so many rows wait in all of them; gives who has them.
    async fn until_queued(&self, rows: u64) -> Vec<u64> {
        soon(async {
            loop {
                let queued = self.queued().await;
                if queued.iter().sum::<u64>() == rows {
                    return queued;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Groups of one application each, with names enough that every gateway has some.
fn groups(count: usize, endpoints: &[SocketAddr]) -> Snapshot {
    snapshot((0..count).map(|number| {
        let members = [member(&format!("app-{number}"), EAGER, LONG)];
        GroupConfig {
            key: Key::new("shop", &format!("mlp-{number:05}")),
            ..group("", &members, endpoints)
        }
    }))
}

#[tokio::test]
async fn requests_share_a_batch_wherever_they_come_in() {
    let runtime = Runtime::start().await;
    let wait = Duration::from_millis(300);
    let members = [member("a", wait, LONG), member("b", wait, LONG)];
    let cluster = Cluster::start(3, &snapshot([group("mlp-a", &members, &[runtime.address])])).await;
    let calls: Vec<_> = (0_u64..)
        .zip(&cluster.gateways)
        .flat_map(|(number, gateway)| {
            [
                gateway.infer("a", &request("x", 10 * number, 1)),
                gateway.infer("b", &request("y", 10 * number + 5, 1)),
            ]
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let answer = soon(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let first = 10 * (number as u64 / 2) + 5 * (number as u64 % 2);
        assert_eq!(answer.data(), &echoed(first, 1));
        assert_eq!(answer.batch_rows(), 6);
        assert_eq!(answer.json["id"], if number % 2 == 0 { "x" } else { "y" });
    }
    assert_eq!(runtime.rows(), [6]);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_the_same_way_by_every_gateway() {
    let runtime = Runtime::start().await;
    let members = [member("a", EAGER, LONG)];
    let cluster = Cluster::start(2, &snapshot([group("mlp-a", &members, &[runtime.address])])).await;
    let mut said = Vec::new();
    for gateway in &cluster.gateways {
        let malformed = soon(gateway.post("a-infer.shop", "/v2/models/mlp/infer", "{"))
            .await
            .unwrap();
        let unknown = soon(gateway.post("b-infer.shop", "/v2/models/mlp/infer", "{}"))
            .await
            .unwrap();
        let other = soon(gateway.post("a-infer.shop", "/v2/models/other/infer", "{}"))
            .await
            .unwrap();
        said.push([malformed, unknown, other].map(|answer| (answer.status, answer.text)));
    }
    assert_eq!(said[0], said[1]);
    let statuses = said[0].iter().map(|(status, _)| status.as_u16());
    assert_eq!(statuses.collect::<Vec<_>>(), [400, 404, 404]);
    assert_eq!(runtime.rows(), [0_u64; 0]);
}

#[tokio::test]
async fn only_gateways_hand_requests_on() {
    let runtime = Runtime::start().await;
    let members = [member("a", EAGER, LONG)];
    let served = snapshot([group("mlp-a", &members, &[runtime.address])]);
    let forward = |address| {
        let request = http::Request::post("/v2/models/mlp/infer")
            .header("host", "a-infer.shop")
            .header("harmonybatch-forwarded", "10.0.0.1:9090")
            .body(http_body_util::Full::from(request("x", 1, 1).to_string()));
        support::call(address, request.unwrap())
    };
    // To a gateway that is alone, and to one whose list has other addresses only.
    let alone = Gateway::start(served.clone()).await;
    let others = Members::new(
        [SocketAddr::from(([10, 0, 0, 1], 9090))].into_iter(),
        [[10, 0, 0, 1].into()].into_iter(),
    );
    let (_list, source) = watch::channel(Arc::new(others));
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let among = Gateway::start_among(admin, served.clone(), source).await;
    for gateway in [&alone, &among] {
        let answer = forward(gateway.admin).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    }
    assert_eq!(runtime.rows(), [0_u64; 0]);
    // A gateway of the list is not believed by what it says, but by where it calls from.
    let cluster = Cluster::start(2, &served).await;
    assert_eq!(forward(cluster.gateways[0].admin).await.status, StatusCode::OK);
}

/// Of a group that another gateway has, requests in flight there are lost with it, and asked again where that is allowed.
#[tokio::test]
async fn a_gateway_that_is_killed_costs_what_it_had_in_hand_and_nothing_that_may_be_asked_again() {
    for idempotent in [true, false] {
        let runtime = Runtime::start_held().await;
        let members = [member("a", EAGER, LONG)];
        let config = GroupConfig {
            idempotent,
            ..group("mlp-a", &members, &[runtime.address])
        };
        let mut cluster = Cluster::start(2, &snapshot([config])).await;
        let calls: Vec<_> = cluster
            .gateways
            .iter()
            .map(|gateway| gateway.infer("a", &request("x", 1, 1)))
            .collect();
        // One is with the replica, the other waits, both at the owner.
        runtime.batches(1).await;
        let queued = cluster.until_queued(1).await;
        let owner = queued.iter().position(|rows| *rows == 1).unwrap();
        cluster.gateways.remove(owner).kill().await;
        runtime.permits.add_permits(100);
        for (index, call) in calls.into_iter().enumerate() {
            if index == owner {
                // Its own caller sees the connection break.
                assert!(call.await.is_err());
                continue;
            }
            let answer = soon(call).await.unwrap();
            if idempotent {
                assert_eq!(answer.data(), &echoed(1, 1), "{}", answer.text);
            } else {
                assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text);
            }
        }
        // What comes later is served by the one that is left, whether it has heard of the other's end or not.
        let left = cluster.gateways[0].infer("a", &request("y", 7, 1));
        assert_eq!(soon(left).await.unwrap().data(), &echoed(7, 1));
    }
}

/// Gateways come and go under load; every answer is its caller's own.
#[tokio::test]
async fn no_request_fails_while_gateways_come_and_go() {
    const ROUNDS: u64 = 6;
    let runtimes = [Runtime::start().await, Runtime::start().await];
    let endpoints = runtimes.each_ref().map(|runtime| runtime.address);
    let snapshot = groups(12, &endpoints);
    let mut cluster = Cluster::start(2, &snapshot).await;
    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    for round in 0..ROUNDS {
        // Callers of one gateway each: those of one that goes end first, as connections do that a Service no longer leads there.
        for (caller, gateway) in (0_u64..).zip(&cluster.gateways) {
            let (address, stopped) = (gateway.callers, stopped.clone());
            load.spawn(async move {
                let mut served = 0_u64;
                while !*stopped.borrow() && served < 60 {
                    let app = format!("app-{}", (served + caller) % 12);
                    let nonce = 1000 * (round * 10 + caller) + 2 * served;
                    let body = request(&nonce.to_string(), nonce, 1).to_string();
                    let request = http::Request::post("/v2/models/mlp/infer")
                        .header("host", format!("{app}-infer.shop"))
                        .body(http_body_util::Full::from(body))
                        .unwrap();
                    let answer = support::call(address, request).await;
                    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
                    assert_eq!(
                        (answer.data(), &answer.json["id"]),
                        (&echoed(nonce, 1), &json!(nonce.to_string()))
                    );
                    served += 1;
                }
                served
            });
        }
        cluster.join(&snapshot).await;
        let mut leaving = cluster.gateways.remove(0);
        cluster.announce();
        // It drains while callers that are connected still ask it.
        while load.len() > cluster.gateways.len() {
            assert!(soon(load.join_next()).await.unwrap().unwrap() > 0);
        }
        leaving.shut_down();
        leaving.ended().await;
    }
    stop.send_replace(true);
    while let Some(served) = soon(load.join_next()).await {
        served.unwrap();
    }
}

#[tokio::test]
async fn what_the_bounds_of_callers_let_through_is_handed_on() {
    let runtime = Runtime::start().await;
    let mut options = options();
    options.bounds.header_size = 64 << 10;
    options.bounds.header_fields = 300;
    let cluster = Cluster::start_with(2, &groups(1, &[runtime.address]), options).await;
    // As many fields as may be, which HTTP/2 counts as more bytes than HTTP/1.1 does, and as many bytes.
    let fields = 290;
    let value = "v".repeat((60 << 10) / fields - 10);
    for gateway in &cluster.gateways {
        let mut asked = Request::post("/v2/models/mlp/infer").header("host", "app-0-infer.shop");
        for number in 0..fields {
            asked = asked.header(format!("x-{number:04}"), &value);
        }
        let body = Full::new(Bytes::from(request("x", 1, 1).to_string()));
        let answer = soon(call(gateway.callers, asked.body(body).unwrap())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let mut forwarded = 0;
    for gateway in &cluster.gateways {
        let (_, metrics) = gateway.admin("/metrics").await;
        forwarded += u32::from(metrics.contains("harmonybatch_gateway_forwarded_requests_total 1\n"));
        assert!(
            metrics.contains("harmonybatch_gateway_forward_failures_total 0\n"),
            "{metrics}"
        );
    }
    assert_eq!(forwarded, 1);
}
