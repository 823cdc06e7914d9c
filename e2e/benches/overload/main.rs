//! What overload costs: `cargo bench -p e2e --bench overload -- --seconds 300`.
//!
//! A gateway in a process and on a core of its own, before four replicas that take a fixed time for a batch of up to eight rows. Three applications with
//! contracts as the controller makes them send in an open loop, Poisson: as much as they declared, as much as the replicas can serve, two, five and ten
//! times that, and at last one of them ten times what it declared while its neighbours keep to what they did. Every load has a gateway of its own, so
//! that none begins with what an earlier one left.
//!
//! All loads are compared with the best of them. Times count from when a request was due, so that they contain what the generator, which shares the
//! machine, was late by itself; where that is much the run is not judged.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod gateway;
mod measured;
mod runtime;

use std::{net::SocketAddr, time::Duration};

use clap::Parser;

use measured::{Measured, measure};

/// As the gateway's program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REPLICAS: usize = 4;
const BATCH_SIZE: u32 = 8;
const SERVICE: Duration = Duration::from_millis(100);
/// Requests of one row that the replicas can serve in a second.
const CAPACITY: f64 = 320.0;
/// Part of that which the applications have declared, as a plan leaves room: their contracts together are as much as the replicas can serve.
const DECLARED: f64 = 0.8;

/// An application; times in milliseconds.
struct Declared {
    name: &'static str,
    slo: u64,
    max_wait: u64,
    /// Its part of what all have declared.
    share: f64,
}

impl Declared {
    const fn rate(&self) -> f64 {
        self.share * DECLARED * CAPACITY
    }
}

const APPS: [Declared; 3] = [
    Declared {
        name: "tight",
        slo: 300,
        max_wait: 50,
        share: 0.25,
    },
    Declared {
        name: "middle",
        slo: 600,
        max_wait: 100,
        share: 0.375,
    },
    Declared {
        name: "loose",
        slo: 1200,
        max_wait: 200,
        share: 0.375,
    },
];

/// What is offered: how many times what each application declared.
const LOADS: [(&str, [f64; 3]); 6] = [
    ("declared", [1.0; 3]),
    ("1x", [1.0 / DECLARED; 3]),
    ("2x", [2.0 / DECLARED; 3]),
    ("5x", [5.0 / DECLARED; 3]),
    ("10x", [10.0 / DECLARED; 3]),
    ("tight 10x", [10.0, 1.0, 1.0]),
];

/// Part of the peak that goodput keeps.
const LEAST_OF_PEAK: f64 = 0.9;
const LONGEST_REFUSAL: Duration = Duration::from_millis(10);
/// Points of attainment that a neighbour costs.
const MOST_POINTS: f64 = 1.0;
/// Highest memory in the second half of a load, of that in the first: what every request left behind would be more.
const MOST_GROWTH: f64 = 1.25;
/// A generator whose 99th percentile is later than this has not offered what is judged.
const MOST_LAG: Duration = Duration::from_millis(5);

/// Offers more than a gateway's replicas can serve.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each load is offered
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Be the gateway before this replica
    #[arg(long, hide = true)]
    gateway: Vec<SocketAddr>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if !arguments.gateway.is_empty() {
        return gateway::run(&arguments.gateway);
    }
    gateway::keep_to_cores(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(runtime::start(SERVICE).await);
        }
        let mut measured = Vec::new();
        for (name, factors) in LOADS {
            let load = measure(&replicas, factors, Duration::from_secs(arguments.seconds)).await;
            print_load(name, &load);
            measured.push(load);
        }
        print_verdicts(&measured);
    });
}

fn print_load(name: &str, load: &Measured) {
    let lags = Quantiles::of(&load.lags);
    println!(
        "{name}: {:.1}/s offered, {:.1}/s answered within their SLO; sent late by {lags}",
        load.offered(),
        load.goodput()
    );
    println!(
        "    {:<8}{:>10}{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>12}{:>12}",
        "", "sent", "in SLO", "late", "429", "503", "504", "failed", "of sent", "of let in"
    );
    for (app, attained) in APPS.iter().zip(&load.apps) {
        println!(
            "    {:<8}{:>10}{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>11.2}%{:>11.2}%",
            app.name,
            attained.sent,
            attained.within_slo,
            attained.late,
            attained.beyond_contract,
            attained.overloaded,
            attained.timed_out,
            attained.failed,
            attained.of_sent(),
            attained.of_let_in()
        );
    }
}

/// The percentiles of what is sorted.
#[derive(Clone, Copy)]
struct Quantiles([Duration; 4]);

impl Quantiles {
    fn of(sorted: &[Duration]) -> Self {
        let at = |per_mille: usize| {
            let rank = sorted.len() * per_mille / 1000;
            sorted.get(rank.min(sorted.len().saturating_sub(1)))
        };
        Self([500, 990, 999, 1000].map(|per_mille| at(per_mille).copied().unwrap_or_default()))
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, p999, most] = self.0.map(|time| time.as_secs_f64() * 1e3);
        write!(formatter, "{p50:.1} / {p99:.1} / {p999:.1} / {most:.1} ms")
    }
}

fn verdict(kept: bool, load: &Measured) -> &'static str {
    let [_, lag, ..] = Quantiles::of(&load.lags).0;
    match kept {
        _ if lag > MOST_LAG => "not judged",
        true => "kept",
        false => "missed",
    }
}

fn print_verdicts(measured: &[Measured]) {
    let peak = measured.iter().map(Measured::goodput).fold(0.0, f64::max);
    println!(
        "\n{:<11}{:>10}{:>10}{:>9}{:>12}   {:<36}{:<12}{:<34}{:<12}",
        "load",
        "offered/s",
        "in SLO/s",
        "of peak",
        "",
        "refusals: p50 / p99 / p99.9 / max",
        "",
        "memory: before / most in halves",
        ""
    );
    for ((name, factors), load) in LOADS.iter().zip(measured) {
        let of_peak = load.goodput() / peak;
        let refusals = Quantiles::of(&load.refusals);
        let memory = load.memory;
        let verdict = |kept| verdict(kept, load);
        // Less than the replicas can serve is no overload.
        let overload = factors.iter().all(|factor| *factor > 1.0);
        println!(
            "{name:<11}{:>10.1}{:>10.1}{of_peak:>9.3}{:>12}   {:<36}{:<12}{:<34}{:<12}",
            load.offered(),
            load.goodput(),
            if overload {
                verdict(of_peak >= LEAST_OF_PEAK)
            } else {
                ""
            },
            if load.refusals.is_empty() {
                "none".to_owned()
            } else {
                refusals.to_string()
            },
            if load.refusals.is_empty() {
                ""
            } else {
                verdict(refusals.0[3] <= LONGEST_REFUSAL)
            },
            format!(
                "{:.1} / {:.1} / {:.1} MiB",
                mebi(memory.begin),
                mebi(memory.first_half),
                mebi(memory.second_half)
            ),
            verdict(mebi(memory.second_half) <= MOST_GROWTH * mebi(memory.first_half))
        );
    }
    print_neighbours(measured);
    println!(
        "kept: at least {LEAST_OF_PEAK} of the best load's goodput; every refusal within {LONGEST_REFUSAL:?}; at most {MOST_GROWTH} times as much memory in the second half as in the first; at most {MOST_POINTS} point less"
    );
}

/// What the first application costs the others in the last load, where it alone sends more than in the first.
fn print_neighbours(measured: &[Measured]) {
    if let [alone, .., beside] = measured {
        for (app, (before, with)) in APPS.iter().zip(alone.apps.iter().zip(&beside.apps)).skip(1) {
            let points = before.of_sent() - with.of_sent();
            println!(
                "{} beside tight at ten times its rate: {:.2} % of what it sent within its SLO, {points:.2} points less than before: {}",
                app.name,
                with.of_sent(),
                verdict(points <= MOST_POINTS, beside)
            );
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebi(kibi: u64) -> f64 {
    kibi as f64 / 1024.0
}
