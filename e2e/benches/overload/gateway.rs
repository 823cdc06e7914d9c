//! The gateway in a process and on a core of its own, so that its memory and its time are its own too.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use harmonybatch_gateway::{
    Options,
    config::{Contract, GroupConfig, Key, MemberConfig, Snapshot},
    protocol::Wire,
    serve,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use crate::{APPS, BATCH_SIZE, Declared};

/// Keeps this thread, and those that it starts, on the first of its cores or on the others. Where there is only one, all share it.
pub(crate) fn keep_to_cores(first: bool) {
    let allowed = sched_getaffinity(None).unwrap();
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect();
    let [own, others @ ..] = cores.as_slice() else {
        return;
    };
    let own = std::slice::from_ref(own);
    let mut kept = CpuSet::new();
    for core in if first || others.is_empty() { own } else { others } {
        kept.set(*core);
    }
    sched_setaffinity(None, &kept).unwrap();
}

/// A gateway that runs until this is dropped.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) address: String,
}

impl Gateway {
    /// Starts this program again, as the gateway before these replicas.
    pub(crate) fn start(replicas: &[SocketAddr]) -> Self {
        let program = std::env::current_exe().unwrap();
        let replicas = replicas
            .iter()
            .flat_map(|replica| ["--gateway".to_owned(), replica.to_string()]);
        let mut process = Command::new(program)
            .args(replicas)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let told = process.stdout.take().unwrap();
        BufReader::new(told).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        Self { process, address }
    }

    /// Its resident memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        resident.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The gateway's process: it says where it listens, and ends when its starter does.
pub(crate) fn run(replicas: &[SocketAddr]) {
    keep_to_cores(true);
    let (end, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(end);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut output = std::io::stdout();
        writeln!(output, "{}", listener.local_addr().unwrap()).unwrap();
        output.flush().unwrap();
        let (_keep, source) = watch::channel(Some(Arc::new(snapshot(replicas))));
        tokio::select! {
            served = serve(Options::default(), listener, admin, source, None, std::future::pending()) => served.unwrap(),
            _ = ended => {}
        }
    });
}

/// The contract that the controller makes of a declared rate.
fn contract(app: &Declared) -> Contract {
    let burst = f64::max(32.0, 2.0 * f64::from(BATCH_SIZE));
    Contract {
        rate: 1.25 * app.rate(),
        burst,
        most: burst.max(10.0 * app.rate()),
        best_effort: false,
    }
}

fn snapshot(replicas: &[SocketAddr]) -> Snapshot {
    let members = APPS.iter().map(|app| {
        Arc::new(MemberConfig {
            app: app.name.into(),
            service_name: format!("{}-infer", app.name).into(),
            slo: Duration::from_millis(app.slo),
            timeout: Duration::from_millis(4 * app.slo),
            max_wait: Duration::from_millis(app.max_wait),
            contract: Some(contract(app)),
            departing: false,
        })
    });
    let group = GroupConfig {
        key: Key::new("default", "group"),
        plan_generation: 1,
        batch_size: BATCH_SIZE,
        members: members.collect(),
        model: "mlp".into(),
        runtime_model: "mlp".into(),
        endpoints: replicas.to_vec(),
        idempotent: true,
        wire: Wire::Json,
        wake: None,
    };
    Snapshot {
        groups: [(group.key.clone(), Arc::new(group))].into(),
        ..Snapshot::default()
    }
}
