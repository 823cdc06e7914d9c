//! Beside MLServer's adaptive batching and Triton's dynamic batching: `cargo bench -p e2e --bench peers`.
//!
//! Each server has one core for itself and its model, the load generator another one. Ours is two processes, the gateway and its runtime; both are on the
//! servers' core. Batches are of 8 rows at most, and nobody waits for one for more than 5 ms. Requests are one row of 128 numbers as JSON.
//!
//! 1. A model that gives back what it gets: what batching itself costs. 64 callers that each ask again at once.
//! 2. An ONNX network on ONNX Runtime, one thread, the same file and the same version for all: in Triton's Python backend, as a custom runtime of
//!    MLServer, and in a small server of Python behind our gateway. Poisson arrivals: the highest rate at which 99 of 100 answers come within a bound, and
//!    the 99th percentile at one rate for both of a pair. Every answer is held against its own request.
//!
//! The servers run one after the other, since they share a core. Servers are installed with pip, once.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]

mod network;
mod ours;
mod process;
mod servers;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use e2e_load::closed::{Callers, Throughput};
use rustix::time::{ClockId, clock_gettime};
use servers::{Kind, Model, Pythons, Server};
use tokio::signal::unix::{SignalKind, signal};

const BATCH_SIZE: u32 = 8;
const MAX_WAIT: Duration = Duration::from_millis(5);
const COLUMNS: u16 = 128;
const CONNECTIONS: u16 = 64;
const SERVERS_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// How many times the peers' requests are asked for, with the echo.
const LEAST: f64 = 10.0;

/// Callers of a server's model.
fn callers(server: &Server, count: u16, warm_up: Duration, duration: Duration) -> Callers {
    Callers {
        target: server.target.clone(),
        path: server.path(),
        count,
        columns: COLUMNS,
        warm_up,
        duration,
    }
}

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
    .as_secs_f64()
}

/// The median round, by requests per second, and how busy the load generator's core was with it.
async fn peak(server: &Server) -> Result<(Throughput, f64)> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = processor_time();
        let found = callers(server, CONNECTIONS, WARM_UP, MEASURED).ask().await?;
        let busy = (processor_time() - before) / (WARM_UP + MEASURED).as_secs_f64();
        rounds.push((found, busy));
    }
    rounds.sort_by(|a, b| a.0.per_second.total_cmp(&b.0.per_second));
    Ok(rounds[ROUNDS / 2])
}

async fn echo(pythons: &Pythons) -> Result<()> {
    println!("An echo, {CONNECTIONS} callers:");
    println!(
        "{:<26}{:>14}{:>10}{:>10}{:>18}{:>14}{:>10}",
        "", "requests/s", "p50, ms", "p99, ms", "generator busy", "ours/theirs", "verdict"
    );
    let mut ours = 0.0;
    for kind in Kind::ALL {
        let server = pythons.start(kind, Model::Echo).await?;
        let (found, busy) = peak(&server).await.with_context(|| kind.name())?;
        let compared = if kind == Kind::HarmonyBatch {
            ours = found.per_second;
            String::new()
        } else {
            let ratio = ours / found.per_second;
            format!("{ratio:>14.1}{:>10}", verdict(ratio >= LEAST))
        };
        println!(
            "{:<26}{:>14.0}{:>10.2}{:>10.2}{:>16.0} %{compared}",
            kind.name(),
            found.per_second,
            found.p50_ms,
            found.p99_ms,
            100.0 * busy
        );
    }
    println!("kept: at least {LEAST} times their requests\n");
    Ok(())
}

fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "missed" }
}

async fn compare() -> Result<()> {
    let pythons = Pythons::make()?;
    echo(&pythons).await?;
    network::compare(&pythons).await
}

/// Runs this program again, on the load generator's core.
fn on_its_core() -> Result<()> {
    let own = std::env::current_exe()?;
    let status = process::on_core(LOAD_CORE, own).arg("compare").status();
    let status = status.context("two cores, setpriv and taskset of util-linux are needed")?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    match arguments.as_slice() {
        ["gateway", wire, address] => runtime.block_on(ours::gateway(wire, address)),
        ["echo"] => runtime.block_on(ours::echo()),
        // Servers are ended by who holds them: on the way out.
        ["compare"] => runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                result = compare() => result,
                _ = terminate.recv() => bail!("terminated"),
                _ = interrupt.recv() => bail!("interrupted"),
            }
        }),
        _ => on_its_core(),
    }
}
