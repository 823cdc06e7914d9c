//! What must be known to end a node that an earlier run of the harness started.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::namespaces::Outer;
use crate::wait;

/// How long the kernel may take to end every process of the node.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Written before anything of the machine is changed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// `unshare`, as the machine numbers it.
    outer: u32,
    /// PID 1 of the node, as the machine numbers it.
    first_inside: u32,
    /// The machine's kernel settings as they were.
    pub(super) settings: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new(outer: Outer, settings: BTreeMap<String, String>) -> Self {
        Self {
            outer: outer.pid,
            first_inside: outer.first_inside,
            settings,
        }
    }

    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the node's record")?;
        std::fs::write(layout.record(), text)
            .with_context(|| format!("cannot write {}", layout.record().display()))
    }

    /// None where no node was started.
    pub(super) fn read(layout: &Layout) -> Result<Option<Self>> {
        let file = layout.record();
        match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is broken", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    pub(super) fn is_alive(&self, layout: &Layout) -> bool {
        is_of_node(self.outer, layout)
    }

    /// Kills the outer process; the kernel then kills PID 1 of the node and with it every other. Process ids are used again, so only a
    /// process with the node's command line is touched.
    pub(super) fn end(&self, layout: &Layout) -> Result<()> {
        for id in [self.outer, self.first_inside] {
            let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
                continue;
            };
            if is_of_node(id, layout) {
                rustix::process::kill_process(pid, Signal::KILL)
                    .with_context(|| format!("cannot end process {id} of the node"))?;
            }
        }
        let gone = || !is_of_node(self.outer, layout) && !is_of_node(self.first_inside, layout);
        wait::until("the processes of the node to end", END_LIMIT, || {
            Ok(gone().then_some(()))
        })
    }
}

/// By its command line, which is empty once a process has ended.
fn is_of_node(pid: u32, layout: &Layout) -> bool {
    let command_line =
        std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = command_line.split(|&byte| byte == 0).collect();
    let root = layout.root().as_os_str().as_encoded_bytes();
    words
        .windows(2)
        .any(|pair| pair[0] == b"node-init" && pair[1] == root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_somebody_else_is_not_ours() {
        let layout = Layout::at(Path::new("/cache/cluster"));
        assert!(!is_of_node(std::process::id(), &layout));
        assert!(!is_of_node(u32::MAX, &layout));
    }
}
