//! What many groups cost: `cargo bench -p harmonybatch-gateway --bench groups`.
//!
//! Memory of an idle group: how much the resident memory of a process grows that runs nothing but a gateway, when its configuration grows from 100 to 600
//! groups; and then, when each of their applications has been answered once, so that its batcher has worked and a connection to its runtime is open.
//!
//! Throughput: 100 groups of 10 applications beside one group of 10, with the same callers and as many runtimes, by requests per second of the
//! gateway's thread's own CPU time. One gateway at a time is asked, by turns. With batches of 8 there are 8 callers for each of the 100 groups, so that full
//! batches leave from both.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

use harmonybatch_gateway::config::{GroupConfig, Snapshot};
use rustix::process::{Resource, getrlimit, setrlimit};
use support::{Server, ask, connect, echo_servers, group, kilobyte, median, path, snapshot, verdict};
use tokio::{runtime, sync::watch, task::spawn_blocking};

const GROUPS: usize = 100;
/// What the configuration grows by while memory is looked at.
const MORE_GROUPS: usize = 500;
const APPS: usize = 10;
const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
/// KiB that an idle group may take.
const MOST_MEMORY: f64 = 20.0;
/// Part of one group's throughput that many groups must keep.
const LEAST: f64 = 0.9;
/// The argument by which this program runs itself to look at its memory.
const MEMORY: &str = "memory";

fn app(group: usize, app: usize) -> String {
    format!("app-{group}-{app}")
}

fn apps(group: usize, count: usize) -> Vec<String> {
    (0..count).map(|number| app(group, number)).collect()
}

/// Groups, each with one runtime of its own.
fn groups(
    count: usize,
    apps_each: usize,
    batch_size: u32,
    max_wait: Duration,
    runtimes: &[SocketAddr],
) -> Arc<Snapshot> {
    let one = |number: usize| -> Arc<GroupConfig> {
        let runtime = [runtimes[number % runtimes.len()]];
        let apps = apps(number, apps_each);
        group(&format!("group-{number}"), &apps, batch_size, max_wait, &runtime)
    };
    snapshot((0..count).map(one))
}

/// Resident memory of this process, in KiB.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a group takes that has never been asked, and one whose applications have all been answered once.
async fn memory(apps_each: usize, runtime: SocketAddr) -> (f64, f64) {
    let configuration = |count| groups(count, apps_each, 8, Duration::ZERO, &[runtime]);
    let (source, config) = watch::channel(Some(configuration(GROUPS)));
    let gateway = Server::gateway(config);
    gateway.ready(&path(&app(GROUPS - 1, 0))).await;
    let few = resident();
    let all = GROUPS + MORE_GROUPS;
    source.send_replace(Some(configuration(all)));
    gateway.ready(&path(&app(all - 1, 0))).await;
    let many = resident();
    let (mut sender, body) = (connect(gateway.address).await, kilobyte());
    for group in GROUPS..all {
        for number in 0..apps_each {
            ask(&mut sender, &path(&app(group, number)), &body).await;
        }
    }
    let asked = resident();
    let each = |more: f64| more / f64::from(u32::try_from(MORE_GROUPS).unwrap());
    (each(many - few), each(asked - few))
}

/// The same, in a process of its own.
fn memory_elsewhere(apps_each: usize, runtime: SocketAddr) -> (f64, f64) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args([MEMORY, &apps_each.to_string(), &runtime.to_string()]);
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (idle, asked) = text.trim().split_once(' ').unwrap();
    (idle.parse().unwrap(), asked.parse().unwrap())
}

/// A gateway with many groups and one with a single group, and the same callers for each.
struct Pair {
    one: Server,
    many: Server,
    callers_of_one: Vec<Vec<String>>,
    callers_of_many: Vec<Vec<String>>,
}

impl Pair {
    async fn start(batch_size: u32, connections: usize, runtimes: &[SocketAddr]) -> Self {
        let max_wait = Duration::from_millis(if batch_size > 1 { 50 } else { 0 });
        let single = group("group-0", &apps(0, APPS), batch_size, max_wait, runtimes);
        let (_, config) = watch::channel(Some(snapshot([single])));
        let one = Server::gateway(config);
        one.ready(&path(&app(0, 0))).await;
        let (_, config) = watch::channel(Some(groups(GROUPS, APPS, batch_size, max_wait, runtimes)));
        let many = Server::gateway(config);
        many.ready(&path(&app(GROUPS - 1, 0))).await;
        let paths = |group: usize| -> Vec<String> { apps(group, APPS).iter().map(|app| path(app)).collect() };
        Self {
            one,
            many,
            callers_of_one: vec![paths(0); connections],
            callers_of_many: (0..connections).map(|caller| paths(caller % GROUPS)).collect(),
        }
    }

    /// The median rates, and that of the ratios of neighbouring runs.
    async fn measure(&self) -> (f64, f64, f64) {
        let (mut ones, mut manys, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let body = kilobyte();
        for _ in 0..ROUNDS {
            let one = self
                .one
                .throughput(self.callers_of_one.clone(), &body, MEASURED)
                .await;
            let many = self
                .many
                .throughput(self.callers_of_many.clone(), &body, MEASURED)
                .await;
            ones.push(one);
            manys.push(many);
            ratios.push(many / one);
        }
        (median(ones), median(manys), median(ratios))
    }
}

/// Every connection has two ends in this process.
fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    allow_many_files();
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if let [first, apps_each, address] = arguments.as_slice()
        && first == MEMORY
    {
        let (apps_each, address) = (apps_each.parse().unwrap(), address.parse().unwrap());
        let (idle, asked) = runtime.block_on(memory(apps_each, address));
        println!("{idle} {asked}");
        return;
    }
    runtime.block_on(async {
        let runtimes = echo_servers(GROUPS).await;
        println!(
            "{:<28}{:>20}{:>20}",
            "memory of a group, KiB", "never asked", "asked, idle"
        );
        for apps_each in [1, APPS] {
            let address = runtimes[0];
            let measured = spawn_blocking(move || memory_elsewhere(apps_each, address));
            let (idle, asked) = measured.await.unwrap();
            let what = format!("applications in it: {apps_each}");
            let said = [idle, asked].map(|each| format!("{each:.1} {}", verdict(each <= MOST_MEMORY)));
            println!("{what:<28}{:>20}{:>20}", said[0], said[1]);
        }
        println!(
            "{:<28}{:>16}{:>16}{:>8}{:>10}",
            "", "1 group", "100 groups", "ratio", "verdict"
        );
        for (batch_size, connections) in [(1, GROUPS), (8, 8 * GROUPS)] {
            let pair = Pair::start(batch_size, connections, &runtimes).await;
            let (one, many, ratio) = pair.measure().await;
            let what = format!("requests per CPU s, b={batch_size}");
            let verdict = verdict(ratio >= LEAST);
            println!("{what:<28}{one:>16.0}{many:>16.0}{ratio:>8.2}{verdict:>10}");
        }
        println!(
            "kept: at most {MOST_MEMORY} KiB of an idle group; at least {LEAST} of one group's requests"
        );
    });
}
