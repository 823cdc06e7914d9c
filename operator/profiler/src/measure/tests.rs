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
    after_pauses: usize,
    shown: Vec<Progress>,
}

impl Observer for Log {
    type Error = &'static str;

    fn keep(&mut self, batch: u32, _: f64) -> Result<(), &'static str> {
        self.kept.push(batch);
        Ok(())
    }

    fn keep_after_pause(&mut self, _: &AfterPause) -> Result<(), &'static str> {
        self.after_pauses += 1;
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
        pauses: false,
        seed: 1,
        grid: Grid::Full,
        limits: 1,
        elsewhere: Vec::new(),
    }
}

/// Takes 20 ms, and after idle time `4 (1 - exp(-t / 10 ms))` more.
struct Cooling {
    busy_until: Option<Instant>,
}

impl Timed for Cooling {
    type Error = &'static str;

    async fn time(&mut self, _: u32) -> Result<Duration, &'static str> {
        let started = Instant::now();
        let idle = self
            .busy_until
            .map_or(1.0, |until| (started - until).as_secs_f64());
        let seconds = 0.02 + 0.004 * (1.0 - (-idle / 0.01).exp());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        self.busy_until = Some(Instant::now());
        // Timers of a paused clock end up to a millisecond late; what it takes is known better.
        Ok(Duration::from_secs_f64(seconds))
    }
}

#[tokio::test(start_paused = true)]
async fn what_idle_time_adds_is_measured_and_gone_on_with() {
    let (mut samples, mut log) = (Samples::new(), Log::default());
    let plan = Plan {
        pauses: true,
        ..plan()
    };
    let mut target = Cooling { busy_until: None };
    let end = measure(&mut target, &plan, &mut samples, &mut log, pending()).await;
    assert_eq!(end, Ok(End::Known));
    assert_eq!(log.after_pauses, samples.after_pauses.len());
    let found = crate::fit::after_idle::of(&samples.after_pauses, 1.0).unwrap();
    assert!((found.seconds / 0.004 - 1.0).abs() < 0.05, "{found:?}");
    assert!((found.time_constant / 0.01 - 1.0).abs() < 0.2, "{found:?}");
    // Going on with it sends no more of them.
    measure(&mut target, &plan, &mut samples, &mut log, pending())
        .await
        .unwrap();
    assert_eq!(log.after_pauses, samples.after_pauses.len());
    // Where batches after pauses are too long for the time, the others have theirs.
    let short = Plan {
        budget: Duration::from_millis(800),
        ..plan
    };
    let (mut samples, mut log) = (Samples::new(), Log::default());
    measure(&mut target, &short, &mut samples, &mut log, pending())
        .await
        .unwrap();
    assert!(
        log.after_pauses < 20 && !log.kept.is_empty(),
        "{}",
        log.after_pauses
    );
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
    for (&batch, sample) in samples.iter() {
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
