//! How far a measurement is: one line that changes on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use harmonybatch_profiler::measure::Progress;
use tokio::time::Instant;

use crate::cli::print;

/// Often enough for eyes.
const ON_TERMINAL: Duration = Duration::from_millis(200);
/// Seldom enough for logs.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Where the progress is shown.
pub(super) struct Display {
    /// What is measured, where it is one of several.
    what: String,
    terminal: bool,
    shown: Option<Instant>,
}

impl Display {
    pub(super) fn new(what: String) -> Self {
        Self {
            what,
            terminal: stderr().is_terminal(),
            shown: None,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let every = if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = format!("{}{}", self.what, line(progress));
        if self.terminal {
            print::status(&line);
        } else {
            print::error(&line);
        }
    }

    /// Makes room for what is said next.
    pub(super) fn end(&self) {
        if self.terminal {
            print::status("");
        }
    }
}

fn line(progress: &Progress) -> String {
    match progress {
        Progress::AfterPauses { done, of } => {
            format!("after pauses: {done} batches, {of} at most")
        }
        Progress::WarmUp { done, of } => format!("warming up: {done} of {of} batches"),
        Progress::Measuring {
            samples,
            known,
            sizes,
            in_full,
            left,
        } => {
            let left = left.as_secs();
            let in_full = if in_full == sizes {
                String::new()
            } else {
                format!(", {in_full} in full")
            };
            format!(
                "measuring: {known} of {sizes} batch sizes known{in_full}, {samples} batches; about {}:{:02} left (Ctrl-C keeps what is measured)",
                left / 60,
                left % 60
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known_and_what_is_left() {
        let progress = |in_full| Progress::Measuring {
            samples: 120,
            known: 3,
            sizes: 8,
            in_full,
            left: Duration::from_secs(65),
        };
        assert_eq!(
            line(&progress(8)),
            "measuring: 3 of 8 batch sizes known, 120 batches; about 1:05 left (Ctrl-C keeps what is measured)"
        );
        assert_eq!(
            line(&progress(2)),
            "measuring: 3 of 8 batch sizes known, 2 in full, 120 batches; about 1:05 left (Ctrl-C keeps what is measured)"
        );
    }
}
