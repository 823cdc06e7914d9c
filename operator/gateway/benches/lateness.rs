//! How late batches leave: `cargo bench -p harmonybatch-gateway --bench lateness`.
//!
//! One group whose requests may wait 1, 2, 5 or 20 ms, asked once a wait, on a machine that does nothing else: from the time at which the batch is due to
//! the time at which its call is made, with the alarms that the gateway uses and, in the same process, with tokio's.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use harmonybatch_gateway::{
    batcher::{Fleet, Limits, Submission},
    config::{GroupConfig, Key, MemberConfig, Snapshot},
    memory::Budget,
    metrics::Metrics,
    protocol::{Request, Wire},
    timer::Timer,
    upstream::{Call, Replica, Reply, Upstream, UpstreamError},
};
use http::StatusCode;
use tokio::sync::watch;

const WAITS: [u64; 4] = [1, 2, 5, 20];
const REQUESTS: usize = 1000;

/// A replica that notes when it is called and answers at once.
#[derive(Clone)]
struct Noting {
    timer: Timer,
    called: Arc<Mutex<Vec<u64>>>,
}

impl Upstream for Noting {
    type Connection = ();

    async fn call(&self, _: &Replica, _: Option<()>, _: Call) -> (Option<()>, Result<Reply, UpstreamError>) {
        self.called.lock().unwrap().push(self.timer.now());
        let body = Bytes::from_static(br#"{"outputs":[]}"#);
        let reply = Reply {
            status: StatusCode::OK,
            body,
            header_length: None,
        };
        (Some(()), Ok(reply))
    }
}

fn snapshot(max_wait: Duration) -> Snapshot {
    let member = MemberConfig {
        app: "app".into(),
        service_name: "app-infer".into(),
        slo: Duration::from_secs(1),
        timeout: Duration::from_secs(4),
        max_wait,
        contract: None,
        departing: false,
    };
    let group = GroupConfig {
        key: Key::new("default", "group"),
        plan_generation: 1,
        batch_size: 64,
        members: vec![Arc::new(member)],
        model: "model".into(),
        runtime_model: "model".into(),
        endpoints: vec![([127, 0, 0, 1], 9).into()],
        idempotent: true,
        wire: Wire::Json,
        wake: None,
    };
    Snapshot {
        groups: [(group.key.clone(), Arc::new(group))].into(),
        ..Snapshot::default()
    }
}

/// Nanoseconds by which each of the batches left late, sorted.
async fn lateness(timer: Timer, max_wait: Duration) -> Vec<u64> {
    let (_keep, source) = watch::channel(Some(Arc::new(snapshot(max_wait))));
    let called = Arc::new(Mutex::new(Vec::new()));
    let upstream = Noting {
        timer,
        called: called.clone(),
    };
    let metrics = Arc::new(Metrics::new());
    let (fleet, mut table) = Fleet::new(
        source,
        "cluster.local",
        Limits::default(),
        metrics,
        upstream,
        timer,
    );
    let (_flush, flushed) = watch::channel(false);
    let running = tokio::spawn(fleet.run(flushed));
    let table = table.wait_for(|table| table.loaded).await.unwrap().clone();
    let target = table.routes.by_app("default", "app").unwrap().clone();
    let body =
        Bytes::from_static(br#"{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1.0]}]}"#);
    let mut late = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let arrival = timer.now();
        let submission = Submission {
            request: Request::read(&body).unwrap(),
            model: "model".to_owned(),
            version: None,
            arrival,
            deadline: None,
            memory: Budget::new(1 << 20).hold(),
            span: None,
        };
        table
            .submit(&target, submission)
            .unwrap()
            .answer(timer)
            .await
            .unwrap();
        let left = called.lock().unwrap().pop().unwrap();
        late.push(left - arrival - u64::try_from(max_wait.as_nanos()).unwrap());
    }
    running.abort();
    late.sort_unstable();
    late
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!(
        "{:>8}{:>26}{:>26}{:>10}",
        "wait", "ours: p50 / p99, ms", "tokio: p50 / p99, ms", "verdict"
    );
    for wait in WAITS {
        let quantiles = |timer| {
            let late = runtime
                .block_on(runtime.spawn(lateness(timer, Duration::from_millis(wait))))
                .unwrap();
            let quantile = |per_mille: usize| {
                Duration::from_nanos(late[(late.len() * per_mille / 1000).min(late.len() - 1)]).as_secs_f64()
                    * 1e3
            };
            (quantile(500), quantile(990))
        };
        let (ours, tokios) = (quantiles(Timer::precise()), quantiles(Timer::new()));
        println!(
            "{:>5} ms{:>17.3} / {:.3}{:>18.3} / {:.3}{:>10}",
            wait,
            ours.0,
            ours.1,
            tokios.0,
            tokios.1,
            if ours.1 <= 0.3 { "kept" } else { "missed" }
        );
    }
    println!("kept: the 99th percentile is at most 0.3 ms");
}
