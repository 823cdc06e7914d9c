//! Orders to PID 1 of the node: one line of JSON each way over a Unix socket.
//!
//! A socket with a path is reached from other network and process namespaces, and only root may connect to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Longest wait for a reply: a stop gives the component [`super::init::TIME_TO_END`] first.
const REPLY_LIMIT: Duration = Duration::from_secs(40);

/// What PID 1 can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Starts a component that does not run.
    Start(String),
    /// Ends it with SIGTERM, and with SIGKILL if that does not help.
    Stop(String),
    /// Ends it with SIGKILL.
    Crash(String),
    /// Asks for the state of every component that was ever started.
    Report,
}

/// A component as PID 1 sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// As people call it.
    pub name: String,
    /// Process id inside the node; none once it has ended.
    pub pid: Option<u32>,
    /// How it ended, if it did.
    pub ended: Option<String>,
}

/// The states after the order, or why it was not done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    Done(Vec<State>),
    Refused(String),
}

/// Gives an order and waits until it is done.
pub(super) fn order(socket: &Path, order: &Order) -> Result<Vec<State>> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("the node does not answer at {}", socket.display()))?;
    stream
        .set_read_timeout(Some(REPLY_LIMIT))
        .context("cannot limit the wait for the node")?;
    let line = serde_json::to_string(order).context("cannot write the order")?;
    writeln!(stream, "{line}").context("the node does not take orders")?;
    match read_line(&stream)? {
        Reply::Done(states) => Ok(states),
        Reply::Refused(reason) => bail!("{reason}"),
    }
}

/// One message from the other side.
pub(super) fn read_line<T: serde::de::DeserializeOwned>(stream: &UnixStream) -> Result<T> {
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .context("the other side of the node's socket fell silent")?;
    serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))
}
