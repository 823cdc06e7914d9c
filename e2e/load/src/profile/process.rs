//! The runtime as a child process in a control group.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::cgroup::CpuQuota;
use crate::measure::Endpoint;

/// Loading takes a second of CPU, so a hundredth of a core would need more than this.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(20);

/// Why there is no runtime to measure.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("start {}: {source}", binary.display())]
    Start {
        /// The binary.
        binary: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It was not ready in time.
    #[error("the runtime was not ready within {READY_TIMEOUT:?}")]
    NotReady,
}

/// A running runtime. Dropping it ends it and waits for its end.
#[derive(Debug)]
pub(super) struct Runtime {
    child: Child,
    address: SocketAddr,
    started: Instant,
}

impl Runtime {
    /// Starts the runtime inside the quota: a shell joins the group and becomes the runtime, so that loading counts too.
    pub(super) fn start(binary: &Path, arguments: &[String], quota: &CpuQuota) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start {
            binary: binary.to_owned(),
            source,
        };
        let address = free_address().map_err(failed)?;
        let child = Command::new("/bin/sh")
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(quota.processes())
            .arg(binary)
            .args(["serve", "--listen", &address.to_string()])
            .args(arguments)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            child,
            address,
            started: Instant::now(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the runtime says that it is ready, and how long that took.
    pub(super) async fn ready(&self, endpoint: &Endpoint) -> Result<Duration, ProcessError> {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.started.elapsed() < READY_TIMEOUT {
            ticks.tick().await;
            if endpoint.is_ready().await {
                return Ok(self.started.elapsed());
            }
        }
        Err(ProcessError::NotReady)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Its own id, which stays reserved until it is awaited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on loopback that nobody listens on now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
