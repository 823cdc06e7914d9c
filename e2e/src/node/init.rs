//! PID 1 of the node: makes the namespaces ready, starts and stops components as ordered, and reaps every orphan of the containers.
//!
//! It runs as `e2e node-init` inside `unshare`. It knows components only as lines of a list, so that everything about Kubernetes stays
//! with whoever gives the orders.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions};

use super::component::Component;
use super::control::{Order, Reply, State, read_line};
use super::layout::Layout;
use super::namespaces;

/// How long a component may take to end by itself.
pub(super) const TIME_TO_END: Duration = Duration::from_secs(20);
/// How long the kernel may take to end one that was killed.
const TIME_TO_DIE: Duration = Duration::from_secs(10);

/// Never returns while the node lives.
///
/// # Errors
/// Where the namespaces cannot be made ready; the caller's log shows it.
pub fn run(root: &Path) -> Result<()> {
    if std::process::id() != 1 {
        bail!("node-init is what `e2e up` runs as the first process of the node; it is of no use elsewhere");
    }
    let layout = Layout::at(root);
    namespaces::prepare_inside().context("cannot make the node's namespaces ready")?;
    let list = std::fs::read(layout.components())
        .with_context(|| format!("cannot read {}", layout.components().display()))?;
    let components: Vec<Component> =
        serde_json::from_slice(&list).context("the list of components is broken")?;
    let init = Arc::new(Init {
        components,
        processes: Mutex::default(),
        changed: Condvar::new(),
    });
    let listener = UnixListener::bind(layout.control_socket()).context("cannot listen for orders")?;
    let reaper = Arc::clone(&init);
    std::thread::spawn(move || reaper.reap());
    for stream in listener.incoming() {
        let init = Arc::clone(&init);
        match stream {
            // One thread an order, so that a slow stop does not hold up a report.
            Ok(stream) => drop(std::thread::spawn(move || init.answer(stream))),
            Err(error) => log(&format!("an order was lost: {error}")),
        }
    }
    Ok(())
}

/// To the node's log.
fn log(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[derive(Debug, Default)]
struct Process {
    pid: Option<Pid>,
    ended: Option<String>,
}

struct Init {
    components: Vec<Component>,
    processes: Mutex<BTreeMap<String, Process>>,
    changed: Condvar,
}

impl Init {
    /// A thread that panicked left the map whole: every change of it is one assignment.
    fn processes(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: UnixStream) {
        let reply = match read_line::<Order>(&stream).and_then(|order| self.obey(&order)) {
            Ok(()) => Reply::Done(self.report()),
            Err(error) => Reply::Refused(format!("{error:#}")),
        };
        match serde_json::to_string(&reply) {
            // Whoever gave the order may have left.
            Ok(line) => drop(writeln!(stream, "{line}")),
            Err(error) => log(&format!("a reply was lost: {error}")),
        }
    }

    fn obey(&self, order: &Order) -> Result<()> {
        match order {
            Order::Start(name) => self.start(name),
            Order::Stop(name) => self.end(name, Signal::TERM),
            Order::Crash(name) => self.end(name, Signal::KILL),
            Order::Report => Ok(()),
        }
    }

    fn report(&self) -> Vec<State> {
        let state = |(name, process): (&String, &Process)| State {
            name: name.clone(),
            pid: process
                .pid
                .and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()),
            ended: process.ended.clone(),
        };
        self.processes().iter().map(state).collect()
    }

    fn start(&self, name: &str) -> Result<()> {
        let Some(component) = self.components.iter().find(|component| component.name == name) else {
            bail!("no component is called {name}")
        };
        // Held while the process starts, so that the reaper finds its entry even if it ends at once.
        let mut processes = self.processes();
        if processes.get(name).is_some_and(|process| process.pid.is_some()) {
            return Ok(());
        }
        if !component.program.is_file() {
            bail!("{name}: no program at {}", component.program.display());
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&component.log)
            .with_context(|| format!("cannot open {}", component.log.display()))?;
        let mut command = Command::new(&component.program);
        command
            .args(&component.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", component.program.display()))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        processes.insert(name.to_owned(), Process { pid, ended: None });
        self.changed.notify_all();
        Ok(())
    }

    fn end(&self, name: &str, signal: Signal) -> Result<()> {
        let Some(pid) = self.processes().get(name).and_then(|process| process.pid) else {
            return Ok(());
        };
        rustix::process::kill_process(pid, signal).with_context(|| format!("cannot signal {name}"))?;
        if self.has_ended(name, TIME_TO_END) {
            return Ok(());
        }
        rustix::process::kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill {name}"))?;
        if self.has_ended(name, TIME_TO_DIE) {
            Ok(())
        } else {
            bail!("{name} does not die")
        }
    }

    fn has_ended(&self, name: &str, limit: Duration) -> bool {
        let runs = |processes: &mut BTreeMap<String, Process>| {
            processes.get(name).is_some_and(|process| process.pid.is_some())
        };
        let waited = self.changed.wait_timeout_while(self.processes(), limit, runs);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits for any child: components, and whatever a container left behind.
    fn reap(&self) {
        loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => self.note_end(pid, &how(status)),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                // No child at all: sleep until one is started.
                Err(_) => {
                    let none_runs = |processes: &mut BTreeMap<String, Process>| {
                        processes.values().all(|process| process.pid.is_none())
                    };
                    drop(self.changed.wait_while(self.processes(), none_runs));
                }
            }
        }
    }

    fn note_end(&self, pid: Pid, how: &str) {
        let mut processes = self.processes();
        if let Some((name, process)) = processes.iter_mut().find(|(_, process)| process.pid == Some(pid)) {
            log(&format!("{name} ended: {how}"));
            *process = Process {
                pid: None,
                ended: Some(how.to_owned()),
            };
            self.changed.notify_all();
        }
    }
}

fn how(status: rustix::process::WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "for an unknown reason".to_owned(),
    }
}
