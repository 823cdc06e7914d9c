//! How far the measurement of all limits is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harmonybatch_api::quantity::Cpu;
use harmonybatch_profiler::limits::Wanted;
use harmonybatch_profiler::measure::End;
use harmonybatch_profiler::samples::{Header, Samples};
use tokio::sync::watch;

use super::super::session::{Measured, Turn};
use super::{Files, samples};

pub(super) struct Course {
    pub(super) wanted: Wanted,
    pub(super) files: Files,
    /// Limits of which there is no time left.
    spent: BTreeSet<Cpu>,
    /// Of the time of each limit.
    used: BTreeMap<Cpu, Duration>,
    stopped: watch::Receiver<bool>,
}

impl Course {
    pub(super) fn new(wanted: Wanted, files: Files, stopped: watch::Receiver<bool>) -> Self {
        Self {
            wanted,
            files,
            spent: BTreeSet::new(),
            used: BTreeMap::new(),
            stopped,
        }
    }

    /// The limit to measure next; none at the end.
    pub(super) fn next(&self) -> Option<Cpu> {
        self.wanted.next(&samples(&self.files), &self.spent)
    }

    /// Those that take turns now, in their order.
    pub(super) fn round(&self, seed: u64) -> Vec<Cpu> {
        self.wanted.round(&samples(&self.files), &self.spent, seed)
    }

    /// What is left of the time of a limit.
    pub(super) fn left(&self, limit: Cpu, budget: Duration) -> Duration {
        budget.saturating_sub(self.used.get(&limit).copied().unwrap_or_default())
    }

    /// Notes a turn.
    pub(super) fn took(&mut self, limit: Cpu, measured: Measured, turn: Turn) -> End {
        *self.used.entry(limit).or_default() += measured.used;
        if measured.end == End::BudgetSpent && !turn.is_one_of_several {
            self.spent.insert(limit);
        }
        self.files.insert(limit, measured.file);
        measured.end
    }

    /// The files of the other limits.
    pub(super) fn others(&self, limit: Cpu) -> Vec<(Header, Samples)> {
        let others = self.files.iter().filter(|(other, _)| **other != limit);
        others.map(|(_, file)| file.clone()).collect()
    }

    /// Completes when the caller wants no more.
    pub(super) fn stop(&self) -> impl Future<Output = ()> + use<> {
        let mut stopped = self.stopped.clone();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    }
}
