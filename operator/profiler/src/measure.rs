//! The measurement: rounds of the batch sizes that are not known well enough yet, each round in a new random order.
//!
//! In a round every open size has one turn, so that what drifts meanwhile (clock rates, neighbours) is no difference between sizes. Where a quota stops batches a turn is some
//! of its periods long: between two stops the batches of a size have spent a whole quota, and their mean is known to a stop more or less, whereas of sizes that
//! take turns batch by batch it is left to chance which of them is stopped, and of the small ones hardly any is. A size closes when
//! [`Goal`] is reached; it is looked at only when its samples have grown by an eighth, because an interval that is looked at after every sample
//! would be narrow by chance too often. Which sizes are to reach it, and which are only held to what lies between others, the [`Design`] says anew after every look.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::design::{Asked, Design, Grid, Known};
use crate::goal::Goal;
use crate::samples::Samples;

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
    /// Batches that are.
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
    let mut counted = samples.values().map(Vec::len).sum();
    // Another order than before, where a measurement goes on.
    let mut random = fastrand::Rng::with_seed(plan.seed.wrapping_add(counted as u64));
    let of = plan.warm_up.saturating_mul(plan.max_batch);
    for done in 0..of {
        observer.show(&Progress::WarmUp { done, of });
        target.time(done % plan.max_batch + 1).await?;
    }
    let mut state = State::new(plan, samples);
    let started = Instant::now();
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
        for (&size, sample) in samples {
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::future::{pending, ready};

    use super::*;

    /// Takes `10 + 2 b` ms, give or take a millisecond, and fails at a size.
    struct Law {
        random: fastrand::Rng,
        asked: Vec<u32>,
        fails_at: Option<u32>,
    }

    impl Law {
        fn new() -> Self {
            Self {
                random: fastrand::Rng::with_seed(3),
                asked: Vec::new(),
                fails_at: None,
            }
        }
    }

    impl Timed for Law {
        type Error = &'static str;

        async fn time(&mut self, batch: u32) -> Result<Duration, &'static str> {
            self.asked.push(batch);
            if self.fails_at == Some(batch) {
                return Err("refused");
            }
            let started = Instant::now();
            let millis = 10 + 2 * u64::from(batch) + self.random.u64(..3) - 1;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(started.elapsed())
        }
    }

    #[derive(Default)]
    struct Log {
        kept: Vec<u32>,
        shown: Vec<Progress>,
    }

    impl Observer for Log {
        type Error = &'static str;

        fn keep(&mut self, batch: u32, _: f64) -> Result<(), &'static str> {
            self.kept.push(batch);
            Ok(())
        }

        fn show(&mut self, progress: &Progress) {
            self.shown.push(progress.clone());
        }
    }

    fn plan() -> Plan {
        Plan {
            max_batch: 4,
            goal: Goal::new(0.05, 0.2, 0.9, 0.95).unwrap(),
            budget: Duration::from_mins(5),
            warm_up: 2,
            turn: Duration::ZERO,
            seed: 1,
            grid: Grid::Full,
            limits: 1,
            elsewhere: Vec::new(),
        }
    }

    /// Under a quota of 10 ms in 100 ms: 1 ms of CPU for each row, and what does not fit waits for the next period.
    struct Stopped {
        left: u64,
        refill_at: Instant,
    }

    impl Timed for Stopped {
        type Error = &'static str;

        async fn time(&mut self, batch: u32) -> Result<Duration, &'static str> {
            let started = Instant::now();
            let mut needed = u64::from(batch) * 1_000;
            while needed > 0 {
                if Instant::now() >= self.refill_at {
                    self.refill_at += Duration::from_millis(100);
                    self.left = 10_000;
                }
                let runs = needed.min(self.left);
                tokio::time::sleep(Duration::from_micros(runs)).await;
                (needed, self.left) = (needed - runs, self.left - runs);
                if needed > 0 {
                    tokio::time::sleep_until(self.refill_at).await;
                }
            }
            Ok(started.elapsed())
        }
    }

    /// A replica that is never idle takes ten times the work of each batch in the mean. Timers of a paused clock end up to a millisecond late.
    #[tokio::test(start_paused = true)]
    async fn turns_of_some_periods_tell_what_small_batches_take_under_a_quota() {
        let mut off = Vec::new();
        for turn in [Duration::ZERO, Duration::from_secs(1)] {
            let mut target = Stopped {
                left: 10_000,
                refill_at: Instant::now() + Duration::from_millis(100),
            };
            let plan = Plan {
                max_batch: 6,
                goal: Goal::new(0.001, 0.001, 0.99, 0.95).unwrap(),
                budget: Duration::from_mins(1),
                turn,
                ..plan()
            };
            let (mut samples, mut log) = (Samples::new(), Log::default());
            measure(&mut target, &plan, &mut samples, &mut log, pending())
                .await
                .unwrap();
            let worst = samples.iter().map(|(&size, sample)| {
                let mean = plan.goal.summary(sample).unwrap().mean.value;
                (mean / (0.010 * f64::from(size)) - 1.0).abs()
            });
            off.push(worst.fold(0.0, f64::max));
        }
        assert!(off[1] < 0.06 && off[1] < off[0] / 2.0, "{off:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_law_is_found() {
        let (mut law, mut samples, mut log) = (Law::new(), Samples::new(), Log::default());
        let end = measure(&mut law, &plan(), &mut samples, &mut log, pending()).await;
        assert_eq!(end, Ok(End::Known));
        for (&batch, sample) in &samples {
            let summary = plan().goal.summary(sample).unwrap();
            let truth = 0.010 + 0.002 * f64::from(batch);
            assert!(
                (summary.mean.value - truth).abs() <= 0.05 * truth,
                "{batch}: {summary:?}"
            );
        }
        assert_eq!(samples.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn sizes_take_turns_in_an_order_that_changes_and_the_warm_up_is_not_counted() {
        let (mut law, mut samples, mut log) = (Law::new(), Samples::new(), Log::default());
        measure(&mut law, &plan(), &mut samples, &mut log, pending())
            .await
            .unwrap();
        assert_eq!(law.asked[..8], [1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!(law.asked[8..], log.kept);
        // 36 samples are the least for the 90th percentile: so many rounds have all sizes.
        let rounds: Vec<&[u32]> = log.kept.chunks(4).take(36).collect();
        for round in &rounds {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [1, 2, 3, 4]);
        }
        let first = rounds.iter().filter(|round| round[0] == 1).count();
        assert!((1..36).contains(&first), "{first}");
        assert!(rounds.windows(2).any(|two| two[0] != two[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_ends_it() {
        let plan = Plan {
            budget: Duration::from_millis(500),
            ..plan()
        };
        let (mut law, mut samples, mut log) = (Law::new(), Samples::new(), Log::default());
        let warm_up = 2 * (12 + 14 + 16 + 18);
        let started = Instant::now();
        let end = measure(&mut law, &plan, &mut samples, &mut log, pending()).await;
        assert_eq!(end, Ok(End::BudgetSpent));
        // At most one batch more, and a millisecond for each of the warm-up.
        let most = Duration::from_millis(500 + warm_up + 8 + 19);
        assert!(started.elapsed() <= most, "{:?}", started.elapsed());
        assert!(
            (25..=42).contains(&log.kept.len()),
            "500 ms of 11 to 19 ms: {}",
            log.kept.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_keeps_what_is_measured_and_the_rest_is_asked_for_afterwards() {
        let (mut law, mut samples, mut log) = (Law::new(), Samples::new(), Log::default());
        let stop = tokio::time::sleep(Duration::from_millis(700));
        let end = measure(&mut law, &plan(), &mut samples, &mut log, stop).await;
        assert_eq!(end, Ok(End::Stopped));
        let before = samples.values().map(Vec::len).sum::<usize>();
        assert!(before > 0 && before == log.kept.len());
        let end = measure(&mut law, &plan(), &mut samples, &mut log, pending()).await;
        assert_eq!(end, Ok(End::Known));
        let all = samples.values().map(Vec::len).sum::<usize>();
        assert_eq!(all, log.kept.len());
        let (mut afresh, mut whole) = (Samples::new(), Log::default());
        measure(&mut Law::new(), &plan(), &mut afresh, &mut whole, pending())
            .await
            .unwrap();
        assert!(
            log.kept.len() <= whole.kept.len() + 8,
            "nothing was measured twice"
        );
        // All is known now: nothing but the warm-up is asked.
        let asked = law.asked.len();
        measure(&mut law, &plan(), &mut samples, &mut log, pending())
            .await
            .unwrap();
        assert_eq!(law.asked.len(), asked + 8);
        let stopped = measure(&mut law, &plan(), &mut samples, &mut log, ready(())).await;
        assert_eq!(stopped, Ok(End::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn the_estimate_of_what_is_left_is_near_what_it_takes() {
        let (mut law, mut samples, mut log) = (Law::new(), Samples::new(), Log::default());
        let started = Instant::now();
        measure(&mut law, &plan(), &mut samples, &mut log, pending())
            .await
            .unwrap();
        let took = started.elapsed();
        // After the first round: 36 rounds of 12 + 14 + 16 + 18 ms.
        let estimate = log.shown.iter().find_map(|progress| match progress {
            Progress::Measuring { samples: 8, left, .. } => Some(*left),
            _ => None,
        });
        let ratio = estimate.unwrap().as_secs_f64() / took.as_secs_f64();
        assert!((0.7..=1.3).contains(&ratio), "{estimate:?} of {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_it() {
        let mut law = Law {
            fails_at: Some(3),
            ..Law::new()
        };
        let end = measure(
            &mut law,
            &plan(),
            &mut Samples::new(),
            &mut Log::default(),
            pending(),
        )
        .await;
        assert_eq!(end, Err("refused"));
    }
}
