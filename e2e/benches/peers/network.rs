//! The same network on all servers, under Poisson arrivals.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e_load::{App, AppReport, Plan};
use tempfile::TempDir;

use super::{
    COLUMNS, CONNECTIONS, WARM_UP, callers,
    servers::{Kind, MODEL, Model, Pythons, Server},
    verdict,
};

/// What the 99th percentile may be while the highest rate is looked for.
const BOUND_MS: f64 = 50.0;
/// Each halves the interval that the highest rate is known to lie in.
const STEPS: usize = 6;
const STEP: Duration = Duration::from_secs(3);
/// How long a rate is measured that is reported.
const MEASURED: Duration = Duration::from_secs(8);
/// Part of a peer's highest rate at which it is compared with ours.
const SHARE: f64 = 0.8;
/// How long an answer is waited for: far beyond the bound.
const TIMEOUT: Duration = Duration::from_secs(3);

/// One rate on one server.
async fn at(server: &Server, rate: f64, duration: Duration) -> Result<AppReport> {
    let app = App {
        path: server.prefix.to_owned(),
        model: MODEL.to_owned(),
        columns: usize::from(COLUMNS),
        ..App::new("app", server.target.clone(), rate, Duration::from_millis(50))
    };
    let plan = Plan {
        warm_up: WARM_UP,
        timeout: TIMEOUT,
        ..Plan::new(server.target.clone(), vec![app], WARM_UP + duration)
    };
    let report = e2e_load::run(plan).await?;
    report.apps.into_iter().next().context("no report")
}

fn holds(report: &AppReport) -> bool {
    report.right == report.requests && report.p99_ms <= BOUND_MS
}

/// Whether the bound is kept at a rate; one of two tries is enough, since a stall of the machine breaks it for anybody.
async fn is_kept(server: &Server, rate: f64) -> Result<bool> {
    Ok(holds(&at(server, rate, STEP).await?) || holds(&at(server, rate, STEP).await?))
}

/// The highest rate at which the bound is kept, below what callers without pauses get, and that.
async fn highest(server: &Server) -> Result<(f64, f64)> {
    let most = callers(server, CONNECTIONS, WARM_UP, STEP)
        .ask()
        .await?
        .per_second;
    let (mut kept, mut broken) = (0.0, 1.1 * most);
    for _ in 0..STEPS {
        let rate = f64::midpoint(kept, broken);
        if is_kept(server, rate).await? {
            kept = rate;
        } else {
            broken = rate;
        }
    }
    Ok((kept, most))
}

/// The median of three.
async fn p99(server: &Server, rate: f64) -> Result<f64> {
    let mut found = Vec::new();
    for _ in 0..3 {
        let report = at(server, rate, MEASURED).await?;
        // What has no answer has no latency, and would flatter.
        found.push(if report.right == report.requests {
            report.p99_ms
        } else {
            f64::INFINITY
        });
    }
    found.sort_by(f64::total_cmp);
    Ok(found[1])
}

pub(crate) async fn compare(pythons: &Pythons) -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("network.onnx");
    pythons.write_network(&file)?;
    let model = Model::Network(&file);
    println!("A network of 1.2 million weights in ONNX Runtime, Poisson arrivals:");
    println!(
        "{:<26}{:>24}{:>30}{:>14}{:>10}",
        "",
        format!("{CONNECTIONS} callers: requests/s"),
        format!("requests/s with p99 <= {BOUND_MS} ms"),
        "ours/theirs",
        "verdict"
    );
    let (mut ours, mut peers) = (0.0, Vec::new());
    for kind in Kind::ALL {
        let server = pythons.start(kind, model).await?;
        let (rate, most) = highest(&server).await.with_context(|| kind.name())?;
        if kind == Kind::HarmonyBatch {
            ours = rate;
            println!("{:<26}{most:>24.0}{rate:>30.0}", kind.name());
            continue;
        }
        let ratio = ours / rate;
        println!(
            "{:<26}{most:>24.0}{rate:>30.0}{ratio:>14.2}{:>10}",
            kind.name(),
            verdict(ratio > 1.0)
        );
        let load = SHARE * rate;
        peers.push((kind, load, p99(&server, load).await?));
    }
    println!(
        "{:<26}{:>14}{:>16}{:>14}{:>10}",
        "", "requests/s", "theirs: p99, ms", "ours", "verdict"
    );
    let server = pythons.start(Kind::HarmonyBatch, model).await?;
    for (kind, load, theirs) in peers {
        let ours = p99(&server, load).await?;
        println!(
            "{:<26}{load:>14.0}{theirs:>16.2}{ours:>14.2}{:>10}",
            kind.name(),
            verdict(ours < theirs)
        );
    }
    println!(
        "kept: more requests than theirs within the bound; a lower p99 at {SHARE} of their highest rate"
    );
    Ok(())
}
