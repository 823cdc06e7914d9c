//! What callers may send, byte by byte: the tables of `FRAMING.md`, played against a gateway with an echo runtime behind it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod document;
mod http1;
mod http1_bodies;
mod http1_cases;
mod http1_heads;
mod http2;
mod http2_cases;
mod patience;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use std::time::Duration;

use harmonybatch_gateway::Options;
use support::{Gateway, Runtime, group, member, options, snapshot};

/// One case of a table.
#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    /// What is sent after the connection is open (and, in HTTP/2, after the preface and the settings).
    sends: Vec<u8>,
    /// What comes back, in the words of the table.
    answer: &'static str,
    /// How many requests the runtime sees.
    runtime: usize,
    /// What is counted under `refusals`, or nothing.
    counted: &'static str,
}

/// Bounds that make the cases short.
fn bounded() -> Options {
    let mut options = options();
    options.body_limit = 4 << 10;
    options.bounds.header_size = 8 << 10;
    options.bounds.header_fields = 20;
    options.bounds.target_size = 1 << 10;
    options.bounds.streams = 8;
    options
}

async fn serve(options: Options) -> (Gateway, Runtime) {
    let runtime = Runtime::start().await;
    let members = [member("search", Duration::ZERO, Duration::from_secs(30))];
    let config = snapshot([group("mlp-a", &members, &[runtime.address])]);
    (Gateway::start_with(Some(config), options).await, runtime)
}

/// What was counted under `refusals`, by cause.
async fn refusals(gateway: &Gateway) -> Vec<(String, u64)> {
    let (_, metrics) = gateway.admin("/metrics").await;
    let counts = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("harmonybatch_gateway_refusals_total{cause=\"")?;
        let (cause, count) = rest.split_once("\"} ")?;
        Some((cause.to_owned(), count.parse().unwrap()))
    });
    counts.collect()
}

/// The causes that were counted since.
async fn counted_since(gateway: &Gateway, before: &[(String, u64)]) -> String {
    let after = refusals(gateway).await;
    assert_eq!(after.len(), before.len());
    let more = after
        .iter()
        .zip(before)
        .filter(|(after, before)| after.1 > before.1);
    more.map(|(after, _)| after.0.clone())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What comes of a case; one that waits in vain is told with the others.
async fn within(case: impl Future<Output = String>) -> String {
    let answer = tokio::time::timeout(Duration::from_secs(5), case).await;
    answer.unwrap_or_else(|_| "nothing within 5 s".to_owned())
}
