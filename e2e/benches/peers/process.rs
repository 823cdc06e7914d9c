//! Programs that are measured: each on a core that it is told, ended when its owner is dropped.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use e2e::wait;
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a program may take to end after it is told to.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program on one core. It is told to end when this one dies, however that comes.
pub(crate) fn on_core(core: usize, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &core.to_string()])
        .arg(program.as_ref());
    command
}

/// A running program, with all that it started.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it in a process group of its own. What it says is not shown, but for errors.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {command:?}"))?))
    }

    /// Starts one that says on its first line where it listens.
    pub(crate) fn listening(command: &mut Command) -> Result<(Self, String)> {
        let mut process = Self::start(command.stdout(Stdio::piped()))?;
        let output = process.0.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().to_owned();
        anyhow::ensure!(!address.is_empty(), "{command:?} ended before it listened");
        Ok((process, address))
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(group) = i32::try_from(self.0.id()) else {
            return;
        };
        let Some(group) = Pid::from_raw(group) else { return };
        // Fails where all of the group have ended.
        let _ = kill_process_group(group, Signal::TERM);
        let _ = wait::until("its end", PATIENCE, || Ok(self.has_ended().then_some(())));
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}
