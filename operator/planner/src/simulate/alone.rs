//! One application's requests at random times: Lindley's recursion, for batches.
//!
//! They leave in order of arrival, so that the next batch is known without a queue by urgency: it leaves once its last place is taken or its
//! first request has waited for as long as it may, and a replica is free. Arrivals, service times and counts are those of the run through the
//! gateway's rule, tick by tick; a test holds the two together.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::random::{Random, stream_seed};
use super::{Jury, Load, Look, Outcome, ServiceTimes, Setup, Tally, ticks_per_second, to_ticks, warm_up};

/// Requests of one application that wait, and the replicas that serve them.
struct Line {
    waiting: VecDeque<u64>,
    batch_size: usize,
    max_wait: u64,
    service: ServiceTimes,
    /// Since or from when each replica is free.
    free_at: BinaryHeap<Reverse<(u64, u32)>>,
    /// When the last batch left.
    now: u64,
    tally: Tally,
}

/// Plays the setup, whose only application is `load`, for a verdict.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ticks are below 2^61"
)]
pub(super) fn play(setup: &Setup<'_>, load: &Load, look: &Look) -> Outcome {
    let warm_up = warm_up(setup, load.rate, look.arrivals);
    let ticks = ticks_per_second(load.rate, look.arrivals + warm_up);
    let slos = [to_ticks(load.slo, ticks)];
    let mut line = Line {
        waiting: VecDeque::with_capacity(2 * setup.service.len()),
        batch_size: setup.service.len(),
        max_wait: to_ticks(setup.max_wait(0), ticks),
        service: ServiceTimes::new(setup, ticks, look),
        free_at: (0..setup.replicas).map(|replica| Reverse((0, replica))).collect(),
        now: 0,
        tally: Tally::new(&slos, false),
    };
    let mut random = Random::seeded(stream_seed(look.seed, 0));
    let mean_gap = ticks / load.rate;
    let mut time = 0.0;
    let mut next_arrival = || {
        time += random.exponential() * mean_gap;
        time as u64
    };
    let mut started = 0;
    for _ in 0..warm_up {
        started = next_arrival();
        line.arrive(started);
    }
    line.tally = Tally::new(&slos, false);
    let mut jury = Jury::new(setup.loads, look, true);
    let mut last = started;
    for _ in 0..look.arrivals {
        last = next_arrival();
        line.arrive(last);
        if jury.has_decided(&mut line.tally) {
            break;
        }
    }
    for arrival in line.waiting {
        let waited = last.saturating_sub(arrival);
        if waited > slos[0] {
            line.tally.count(0, waited);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a span to divide by")]
    let span = (last - started).max(1) as f64;
    Outcome {
        tally: line.tally,
        verdict: jury.verdict,
        ticks,
        span,
    }
}

impl Line {
    /// Lets every batch leave that leaves before the arrival, and takes it in.
    fn arrive(&mut self, arrival: u64) {
        while let Some(&first) = self.waiting.front() {
            let flush_at = first + self.max_wait;
            let ready = match self.waiting.get(self.batch_size - 1) {
                Some(&last) => last.min(flush_at),
                None => flush_at,
            };
            let Some(mut earliest) = self.free_at.peek_mut() else {
                break;
            };
            let Reverse((free_at, replica)) = *earliest;
            let start = ready.max(free_at).max(self.now);
            if start > arrival {
                break;
            }
            self.now = start;
            let rows = self.waiting.len().min(self.batch_size);
            #[expect(clippy::cast_possible_truncation, reason = "batches have at most 1024 rows")]
            let taken = self
                .service
                .of_batch(rows as u32, replica, start, start - free_at);
            let service = taken.ticks;
            *earliest = Reverse((start + service, replica));
            drop(earliest);
            self.tally.batches += 1;
            self.tally.rows += rows as u64;
            #[expect(clippy::cast_precision_loss, reason = "a sum to divide")]
            {
                self.tally.busy += service as f64;
            }
            self.tally.cpu_time += taken.cpu_time;
            for request in self.waiting.drain(..rows) {
                self.tally.count(0, start + service - request);
            }
        }
        self.waiting.push_back(arrival);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::{Unobserved, play as play_the_rule};
    use super::*;
    use crate::arrival::{Process, Traces};
    use crate::latency::{Service, Spread, Work};
    use crate::plan::Dispatch;
    use crate::profile::{AfterIdle, Throttled};
    use crate::random::Random;
    use crate::simulate::{Confidence, Pace};

    /// Batches of up to `size` rows whose times grow with the rows.
    fn services(random: &mut Random, size: u32, spread: Spread) -> Vec<Service> {
        let (fixed, per_row) = (random.log_uniform(0.005, 0.2), random.log_uniform(0.0001, 0.1));
        let penalty = (random.unit() - 0.5).max(0.0);
        (1..=size)
            .map(|rows| {
                let mean = fixed + per_row * f64::from(rows);
                let after_idle = AfterIdle::new(fixed * penalty, 0.02).unwrap();
                Service {
                    mean,
                    max: 1.3 * mean + after_idle.work(),
                    least: 0.7 * mean,
                    spread,
                    after_idle,
                    work: None,
                    run_cost: 0.0,
                }
            })
            .collect()
    }

    /// Batches of up to `size` rows under a quota that is played, which stops some of them, or the larger ones alone.
    fn metered(random: &mut Random, size: u32) -> Vec<Service> {
        let vcpu = random.log_uniform(0.05, 3.0);
        let (fixed, per_row) = (random.log_uniform(0.002, 0.1), random.log_uniform(0.001, 0.05));
        let penalty = (random.unit() - 0.5).max(0.0);
        let services = (1..=size).map(|rows| {
            let work = fixed + per_row * f64::from(rows);
            let parallelism = vcpu * (0.7 + 0.4 * f64::from(rows));
            let curve = |work| Throttled::new(work, parallelism, 0.1).unwrap();
            let after_idle = AfterIdle::new(penalty * fixed, 0.02).unwrap();
            let work = Work::new(curve(work), curve(1.4 * work), vcpu, after_idle);
            let max = work.bound();
            Service {
                mean: work.never_idle(),
                max,
                after_idle: AfterIdle::NOTHING,
                least: 0.5 * max,
                spread: Spread::Uniform,
                work: Some(work),
                run_cost: 0.0,
            }
        });
        services.collect()
    }

    #[test]
    fn one_application_is_counted_as_the_rule_counts_it() {
        let mut random = Random::seeded(17);
        for case in 0..400_u32 {
            let spread = [Spread::Uniform, Spread::TwoPoints][case as usize % 2];
            let service = if case % 5 < 2 {
                metered(&mut random, 1 + case % 9)
            } else {
                services(&mut random, 1 + case % 9, spread)
            };
            let load = Load {
                slo: random.log_uniform(0.02, 2.0),
                rate: random.log_uniform(0.05, 80.0),
                miss: 0.01,
                process: Process::Poisson,
            };
            let setup = Setup {
                loads: &[load],
                traces: &Traces::default(),
                service: &service,
                replicas: 1 + case % 3,
                dispatch: [Dispatch::Eager, Dispatch::Timed][case as usize / 2 % 2],
                waits: None,
            };
            let look = Look {
                seed: u64::from(case),
                arrivals: 5_000,
                block: 125,
                early: (case % 3 > 0).then_some(Confidence(1.5)),
                last: None,
                with_latencies: false,
                pace: if case % 7 == 0 { Pace::Slowest } else { Pace::Drawn },
                late_requests: 20.0,
            };
            let (found, expected) = (
                play(&setup, &load, &look),
                play_the_rule(&setup, &look, true, &mut Unobserved),
            );
            assert_eq!(
                format!("{found:?}"),
                format!("{expected:?}"),
                "{setup:?} {look:?}"
            );
        }
    }
}
