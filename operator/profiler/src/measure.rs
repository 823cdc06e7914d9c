//! The measurement: rounds of the batch sizes that are not known well enough yet, each round in a new random order.
//!
//! In a round every open size has one turn, so that what drifts meanwhile (clock rates, neighbours) is no difference between sizes. Where a quota stops batches a turn is some
//! of its periods long: between two stops the batches of a size have spent a whole quota, and their mean is known to a stop more or less, whereas of sizes that
//! take turns batch by batch it is left to chance which of them is stopped, and of the small ones hardly any is. A size closes when
//! [`Goal`] is reached; it is looked at only when its samples have grown by an eighth, because an interval that is looked at after every sample
//! would be narrow by chance too often. Which sizes are to reach it, and which are only held to what lies between others, the [`Design`] says anew after every look.

mod pauses;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::design::{Asked, Design, Grid, Known};
use crate::goal::Goal;
use crate::samples::{AfterPause, Samples};

/// What of the budget batches after pauses may take: one in so many.
const PART_OF_PAUSES: u32 = 4;

/// Something that takes time for a batch.
pub trait Timed {
    /// Why it failed.
    type Error;

    /// How long it took for a batch of so many rows.
    fn time(&mut self, batch: u32) -> impl Future<Output = Result<Duration, Self::Error>> + Send;
}

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Batch sizes are those from 1 to this.
    pub max_batch: u32,
    /// When a size is known well enough.
    pub goal: Goal,
    /// No batch is sent after this time; the warm-up is not in it.
    pub budget: Duration,
    /// Batches of each size that are sent first and not counted.
    pub warm_up: u32,
    /// For how long a size is asked until another one has its turn: for one batch at least.
    pub turn: Duration,
    /// Whether batches are sent after pauses as well, before the others.
    pub pauses: bool,
    /// Of the order.
    pub seed: u64,
    /// Whether all sizes are measured in full.
    pub grid: Grid,
    /// How many CPU limits there will be at least.
    pub limits: usize,
    /// What is known under other limits.
    pub elsewhere: Vec<Known>,
}

/// How a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every batch size is known well enough.
    Known,
    /// The time is over.
    BudgetSpent,
    /// The caller did not want to go on.
    Stopped,
}

/// Where a measurement is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Batches that are not counted.
    WarmUp {
        /// Sent.
        done: u32,
        /// To send.
        of: u32,
    },
    /// Batches after pauses.
    AfterPauses {
        /// Answered.
        done: usize,
        /// At most.
        of: usize,
    },
    /// Batches that follow each other.
    Measuring {
        /// In all, those of an earlier measurement that this one goes on with included.
        samples: usize,
        /// Batch sizes that are known.
        known: usize,
        /// Batch sizes in all.
        sizes: usize,
        /// Batch sizes that are measured in full.
        in_full: usize,
        /// Estimate of the time to the end.
        left: Duration,
    },
}

/// What one does with a measurement while it runs.
pub trait Observer {
    /// Why a measurement failed: a batch did, or a sample was not kept.
    type Error;

    /// Keeps a sample. An error ends the measurement.
    fn keep(&mut self, batch: u32, seconds: f64) -> Result<(), Self::Error>;

    /// Keeps a batch after a pause. An error ends the measurement.
    fn keep_after_pause(&mut self, sample: &AfterPause) -> Result<(), Self::Error>;

    /// Shows where it is.
    fn show(&mut self, progress: &Progress);
}

/// Measures until every size is known, the budget is spent or `stop` completes. `samples` are those that are there already, and grow.
///
/// The batch in flight when `stop` completes is not counted.
pub async fn measure<T: Timed, O: Observer<Error: From<T::Error>>>(
    target: &mut T,
    plan: &Plan,
    samples: &mut Samples,
    observer: &mut O,
    stop: impl Future<Output = ()>,
) -> Result<End, O::Error> {
    tokio::select! {
        biased;
        // First, so that it is heard also where batches take no time.
        () = stop => Ok(End::Stopped),
        end = run(target, plan, samples, observer) => end,
    }
}

impl Plan {
    fn design(&self, here: &Known) -> Design {
        let limits: Vec<&Known> = self.elsewhere.iter().chain([here]).collect();
        let asked = Asked {
            grid: self.grid,
            max_batch: self.max_batch,
            limits: self.limits,
            goal: self.goal,
        };
        Design::of(asked, &limits)
    }

    /// Whether every batch size is known well enough already.
    pub fn is_known(&self, samples: &Samples) -> bool {
        let here = self.goal.known(samples);
        self.design(&here).is_known(&here)
    }
}

async fn run<T: Timed, O: Observer<Error: From<T::Error>>>(
    target: &mut T,
    plan: &Plan,
    samples: &mut Samples,
    observer: &mut O,
) -> Result<End, O::Error> {
    let mut counted: usize = samples.values().map(Vec::len).sum();
    // Another order than before, where a measurement goes on.
    let mut random = fastrand::Rng::with_seed(plan.seed.wrapping_add(counted as u64));
    let of = plan.warm_up.saturating_mul(plan.max_batch);
    for done in 0..of {
        observer.show(&Progress::WarmUp { done, of });
        target.time(done % plan.max_batch + 1).await?;
    }
    let started = Instant::now();
    if plan.pauses {
        let budget = plan.budget / PART_OF_PAUSES;
        pauses::measure(target, samples, observer, &mut random, budget).await?;
    }
    let mut state = State::new(plan, samples);
    loop {
        let mut round: Vec<u32> = state.open().collect();
        if round.is_empty() {
            return Ok(End::Known);
        }
        random.shuffle(&mut round);
        for size in round {
            let since = Instant::now();
            // What seemed to be missing when its turn began: more is asked for when the others are known better as well.
            for _ in 0..state.missing[&size] {
                let budget = plan.budget.saturating_sub(started.elapsed());
                if budget.is_zero() {
                    return Ok(End::BudgetSpent);
                }
                observer.show(&state.progress(counted, budget));
                let seconds = target.time(size).await?.as_secs_f64();
                observer.keep(size, seconds)?;
                counted += 1;
                let sample = samples.entry(size).or_default();
                sample.push(seconds);
                state.took(size, sample, plan.goal);
                state.decide(plan);
                if state.missing[&size] == 0 || since.elapsed() >= plan.turn {
                    break;
                }
            }
        }
    }
}

/// What is known since sizes were last looked at.
#[derive(Debug)]
struct State {
    known: Known,
    /// Counts of samples at which a size is looked at again.
    look_again_at: BTreeMap<u32, usize>,
    /// Whether something was looked at since it was decided what is missing.
    is_new: bool,
    /// Further samples of each size.
    missing: BTreeMap<u32, usize>,
    in_full: usize,
}

impl State {
    fn new(plan: &Plan, samples: &Samples) -> Self {
        let mut state = Self {
            known: Known::new(),
            look_again_at: BTreeMap::new(),
            is_new: true,
            missing: BTreeMap::new(),
            in_full: 0,
        };
        for (&size, sample) in samples.iter() {
            state.took(size, sample, plan.goal);
        }
        state.decide(plan);
        state
    }

    /// Looks at a size if it has grown enough.
    fn took(&mut self, size: u32, sample: &[f64], goal: Goal) {
        let count = sample.len();
        if count < self.look_again_at.get(&size).copied().unwrap_or(0) {
            return;
        }
        self.look_again_at.insert(size, count + (count / 8).max(1));
        if let Some(summary) = goal.summary(sample) {
            self.known.insert(size, summary);
        }
        self.is_new = true;
    }

    fn decide(&mut self, plan: &Plan) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        let design = plan.design(&self.known);
        self.missing = (1..=plan.max_batch)
            .map(|size| (size, design.missing(size, &self.known)))
            .collect();
        self.in_full = design.anchors().len();
    }

    fn open(&self) -> impl Iterator<Item = u32> {
        let open = self.missing.iter().filter(|(_, missing)| **missing > 0);
        open.map(|(&size, _)| size)
    }

    fn progress(&self, samples: usize, budget: Duration) -> Progress {
        Progress::Measuring {
            samples,
            known: self.missing.len() - self.open().count(),
            sizes: self.missing.len(),
            in_full: self.in_full,
            left: self.left().min(budget),
        }
    }

    /// Time that the missing samples take; of a size without one, as much as the slowest known takes.
    fn left(&self) -> Duration {
        let mean = |size: &u32| self.known.get(size).map(|summary| summary.mean.value);
        let slowest = self.known.keys().filter_map(mean).fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = self
            .missing
            .iter()
            .map(|(size, &missing)| missing as f64 * mean(size).unwrap_or(slowest))
            .sum();
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests;
