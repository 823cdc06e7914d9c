//! What a person sees while the cluster comes up: one line a step, with the time since the start.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};

/// Writes progress lines to standard error, so that standard output stays free for results.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    started: Instant,
}

impl Progress {
    /// Time is counted from here.
    #[expect(
        clippy::new_without_default,
        reason = "a start has a moment; a default has none"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// One line.
    pub fn say(&self, text: &str) {
        // A closed standard error must not end a start that works.
        let _ = writeln!(
            std::io::stderr().lock(),
            "[{:6.1} s] {text}",
            self.started.elapsed().as_secs_f64()
        );
    }

    /// Does `work`, then says how long it took; its error names the step.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let done = work().with_context(|| format!("{name} failed"))?;
        self.say(&format!("{name}: done in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(done)
    }

    /// A step that takes long enough for people to wonder: it is announced too.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn long_step<T>(&self, name: &str, hint: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.say(&format!("{name} ({hint}) ..."));
        self.step(name, work)
    }
}
