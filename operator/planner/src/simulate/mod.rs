//! Plays a group's requests through the very batching rule that the gateway runs.
//!
//! Requests arrive (`arrivals`) at random, in `bursts`, or as in a trace (`replay`), wait in a [`Dispatcher`] and leave in batches for the first free replica;
//! a batch takes a time drawn from the law of its size (`service`), or what a CPU quota makes of its work (`quota`). `tally` counts who was late and says how sure a verdict is.
//! Time is whole ticks, a nanosecond each unless a run would last longer than 64 bits count. The same seed gives the
//! same counts; nothing allocates per request once the queue has grown to its largest.
//!
//! The requests of one application leave in the order in which they came. A search asks for far more verdicts on single applications than on
//! groups; `alone` gives the very same ones without a queue that can do more.
//!
//! Where the profile says what CPU work a batch is ([`crate::latency::Work`]), the kernel's bandwidth controller is played: each replica has its own periods and
//! what is left of its quota, so that a batch after idle time finds the whole of it and one in a crowd what those before it have left. Of the work, and elsewhere of
//! the time, the law is assumed from the profile's mean and maximum ([`crate::latency::Service`]), since profiles say no more than these. [`Pace::Slowest`]
//! shows what happens if every batch takes its maximum, whatever is left of a quota.
//!
//! `batches` says what batches of each size take in the mean, which is what those that were seen are held against.
//!
//! A batch goes to the free replica that has been free for longest, as the gateway chooses. If that was idle until then, and not just free, the batch takes what the profile
//! says is added after idle time.

mod alone;
mod arrivals;
mod batches;
mod bursts;
mod horizon;
mod quota;
mod random;
mod replay;
mod report;
mod service;
mod tally;

pub(crate) use batches::{Played, play_batches};
pub(crate) use horizon::{Bounds, Horizon, can_be_judged};
pub(crate) use random::mix;
pub use report::{AppSimulation, GroupSimulation, LatencyRange, Simulation, simulate_plan};
pub(crate) use tally::{Confidence, Tally, Verdict};

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use harmonybatch_dispatch::{Dispatcher, Lane, MemberRule, Rule};

use crate::arrival::{Load, Process, Traces};
use crate::latency::Service;
use crate::plan::Dispatch;
use arrivals::{Arrivals, Playing};
use service::ServiceTimes;

/// A group of applications and what serves it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// In order of SLO.
    pub(crate) loads: &'a [Load],
    /// What loads with traces refer to.
    pub(crate) traces: &'a Traces,
    /// Service of 1, 2, ... rows; its length is the batch size.
    pub(crate) service: &'a [Service],
    pub(crate) replicas: u32,
    pub(crate) dispatch: Dispatch,
    /// How long requests of each load may wait, in seconds, where a plan says so; else for as long as a full batch leaves of their SLO.
    pub(crate) waits: Option<&'a [f64]>,
}

impl Setup<'_> {
    /// How long a request of the member may wait for its batch to fill, in seconds.
    pub(crate) fn max_wait(&self, member: usize) -> f64 {
        match (self.dispatch, self.waits) {
            (Dispatch::Eager, _) => 0.0,
            (Dispatch::Timed, Some(waits)) => waits[member],
            (Dispatch::Timed, None) => (self.loads[member].slo - self.slowest()).max(0.0),
        }
    }

    fn slowest(&self) -> f64 {
        self.service.last().map_or(0.0, |service| service.max)
    }
}

/// Which of the times that a batch may take it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One drawn from the law.
    Drawn,
    /// Always the longest.
    Slowest,
}

/// How long and how closely to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) seed: u64,
    /// The most arrivals that are counted.
    pub(crate) arrivals: u64,
    /// Arrivals between two looks at the verdict.
    pub(crate) block: u64,
    /// How sure a verdict must be to end the run early; without it the run is played to its end.
    pub(crate) early: Option<Confidence>,
    /// How sure a verdict must be at the end: a run that will hardly come to that ends early as well.
    pub(crate) last: Option<Confidence>,
    pub(crate) with_latencies: bool,
    pub(crate) pace: Pace,
    /// Late requests of a rare member that the verdict should rest on, where just as many are late as may be: it occurs more often than it
    /// does, as far as that takes.
    pub(crate) late_requests: f64,
}

/// Blocks that must be complete before a run may end early, in the group's favour or not.
const BLOCKS_TO_KEEP: usize = 5;
const BLOCKS_TO_BREAK: usize = 3;

/// The part of a run that must be seen before it is given up as one that will not be decided.
const SEEN_TO_GIVE_UP: f64 = 0.25;

/// What a simulation found. Times in the tally are ticks.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) verdict: Verdict,
    /// Ticks in a second.
    pub(crate) ticks: f64,
    /// Length of the run in ticks.
    pub(crate) span: f64,
}

/// Plays the setup for a verdict.
pub(crate) fn simulate(setup: &Setup<'_>, look: &Look) -> Outcome {
    match setup.loads {
        [only] if only.process == Process::Poisson && !look.with_latencies => alone::play(setup, only, look),
        _ => play(setup, look, true, &mut Unobserved),
    }
}

/// Sees every answered request and every batch of a run, once counting has begun.
pub(crate) trait Observer {
    fn request(&mut self, _member: u32, _latency: u64) {}

    fn batch(&mut self, _rows: u32, _service: u64) {}
}

struct Unobserved;

impl Observer for Unobserved {}

/// Plays the setup; for a `verdict` rare members occur more often than they do.
fn play(setup: &Setup<'_>, look: &Look, verdict: bool, observer: &mut impl Observer) -> Outcome {
    let rate: f64 = setup.loads.iter().map(|load| load.rate).sum();
    let warm_up = warm_up(setup, rate, look.arrivals);
    let ticks = ticks_per_second(rate, look.arrivals + warm_up);
    let slos: Vec<u64> = setup.loads.iter().map(|load| to_ticks(load.slo, ticks)).collect();
    let random = setup.loads.iter().all(|load| load.process == Process::Poisson);
    let mut empty = Tally::new(&slos, look.with_latencies);
    if !random {
        empty = empty.of_streams(arrivals::streams(setup.loads));
    }
    let broken = |tally| Outcome {
        tally,
        verdict: Verdict::Broken,
        ticks,
        span: 1.0,
    };
    let Some(mut queue) = Queue::new(setup, &slos, ticks, look) else {
        return broken(empty);
    };
    let playing = Playing {
        seed: look.seed,
        ticks,
        arrivals: look.arrivals,
        verdict,
        late_requests: look.late_requests,
    };
    let mut source = Arrivals::new(setup.loads, setup.traces, &playing);

    let mut started = 0;
    for _ in 0..warm_up {
        let (arrival, member) = source.next();
        queue.arrive(arrival, member, &mut Unobserved);
        started = arrival;
    }
    queue.tally = empty;
    let mut jury = Jury::new(setup.loads, look, random);
    let mut last = started;
    for _ in 0..look.arrivals {
        let (arrival, member) = source.next();
        queue.arrive(arrival, member, observer);
        last = arrival;
        if jury.has_decided(&mut queue.tally) {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a span to divide by")]
    let span = (last - started).max(1) as f64;
    // What still waits and is late already counts as late: a queue that only grows must not hide behind the end.
    Outcome {
        tally: queue.end(last, observer),
        verdict: jury.verdict,
        ticks,
        span,
    }
}

/// Looks at the counts after every block of arrivals, and says when they suffice.
struct Jury<'a> {
    loads: &'a [Load],
    block: u64,
    left_in_block: u64,
    early: Option<Confidence>,
    last: Option<Confidence>,
    /// Blocks of the whole run.
    blocks: u64,
    /// Whether arrivals are spread evenly: elsewhere the worst may be yet to come, and only the end of the run speaks in the group's favour.
    even: bool,
    /// What was decided before the run's end.
    verdict: Verdict,
}

impl<'a> Jury<'a> {
    fn new(loads: &'a [Load], look: &Look, even: bool) -> Self {
        Self {
            loads,
            block: look.block,
            left_in_block: look.block,
            early: look.early,
            last: look.last,
            blocks: look.arrivals / look.block.max(1),
            even,
            verdict: Verdict::Open,
        }
    }

    /// Whether the rest of the run would have to be much better than what was seen for the verdict to be sure at its end.
    fn is_hopeless(&self, tally: &Tally, last: Confidence) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "few blocks")]
        let seen = tally.blocks() as f64 / self.blocks.max(1) as f64;
        self.even && seen >= SEEN_TO_GIVE_UP && tally.will_stay_open(self.loads, seen, last)
    }

    /// Called after each arrival that counts: whether the run may end here.
    fn has_decided(&mut self, tally: &mut Tally) -> bool {
        self.left_in_block -= 1;
        if self.left_in_block > 0 {
            return false;
        }
        self.left_in_block = self.block;
        tally.end_block();
        let Some(confidence) = self.early else {
            return false;
        };
        let verdict = match (tally.verdict(self.loads, confidence), self.last) {
            (Verdict::Open, Some(last)) if self.is_hopeless(tally, last) => Verdict::Broken,
            (verdict, _) => verdict,
        };
        let enough = match verdict {
            Verdict::Kept => self.even && tally.blocks() >= BLOCKS_TO_KEEP,
            Verdict::Broken => tally.blocks() >= BLOCKS_TO_BREAK,
            Verdict::Open => false,
        };
        if enough {
            self.verdict = verdict;
        }
        enough
    }
}

/// Arrivals before anything is counted: those within a few times the longest that a request normally stays, so that
/// the queue is no longer empty because the run has just begun.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is bounded below"
)]
fn warm_up(setup: &Setup<'_>, rate: f64, arrivals: u64) -> u64 {
    const STAYS: f64 = 3.0;
    let stay = setup
        .loads
        .first()
        .map_or(0.0, |load| load.slo)
        .min(10.0 * setup.slowest());
    ((STAYS * stay * rate) as u64).min(arrivals / 2)
}

/// Ticks in a second: nanoseconds, or coarser where the run would leave 2^60 ticks.
#[expect(clippy::cast_precision_loss, reason = "an estimate of the run's length")]
fn ticks_per_second(rate: f64, arrivals: u64) -> f64 {
    const LONGEST: f64 = (1_u64 << 60) as f64;
    let expected = 2.0 * arrivals as f64 / rate + 1e6;
    1e9_f64.min(LONGEST / expected)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; durations are not negative"
)]
fn to_ticks(seconds: f64, ticks: f64) -> u64 {
    (seconds * ticks).round() as u64
}

/// A request in the queue.
#[derive(Debug, Clone, Copy)]
struct Request {
    arrival: u64,
    member: u32,
}

/// Requests that wait and replicas that serve them.
struct Queue {
    dispatcher: Dispatcher<Request>,
    lane: Lane,
    service: ServiceTimes,
    /// Since or from when each replica is free: the first is the one that has been free for longest, or will be first.
    free_at: BinaryHeap<Reverse<(u64, u32)>>,
    now: u64,
    batch: Vec<Request>,
    tally: Tally,
}

impl Queue {
    #[expect(clippy::cast_possible_truncation, reason = "batches have at most 1024 rows")]
    fn new(setup: &Setup<'_>, slos: &[u64], ticks: f64, look: &Look) -> Option<Self> {
        let members = slos.iter().enumerate().map(|(member, &slo)| MemberRule {
            slo,
            max_wait: to_ticks(setup.max_wait(member), ticks),
        });
        let batch_size = setup.service.len() as u32;
        let mut dispatcher = Dispatcher::new(Rule {
            batch_size,
            members: members.collect(),
        })
        .ok()?;
        let lane = dispatcher.open_lane();
        Some(Self {
            dispatcher,
            lane,
            service: ServiceTimes::new(setup, ticks, look),
            free_at: (0..setup.replicas).map(|replica| Reverse((0, replica))).collect(),
            now: 0,
            batch: Vec::with_capacity(batch_size as usize),
            tally: Tally::new(slos, false),
        })
    }

    /// Lets everything happen that happens before the arrival, and takes it in.
    fn arrive(&mut self, arrival: u64, member: u32, observer: &mut impl Observer) {
        self.advance(arrival, observer);
        // The lane is open, the member exists and has a row; memory ends long before the dispatcher is exhausted.
        let _ = self
            .dispatcher
            .arrive(arrival, self.lane, member, 1, Request { arrival, member });
    }

    fn advance(&mut self, until: u64, observer: &mut impl Observer) {
        while let Some(&Reverse((free_at, replica))) = self.free_at.peek() {
            if free_at > until {
                return;
            }
            let Some(ready) = self.dispatcher.next_ready() else {
                return;
            };
            let start = ready.max(free_at).max(self.now);
            if start > until {
                return;
            }
            self.start_batch(start, (free_at, replica), observer);
        }
    }

    fn start_batch(&mut self, start: u64, (free_at, replica): (u64, u32), observer: &mut impl Observer) {
        self.batch.clear();
        self.now = start;
        let Some(taken) = self.dispatcher.take(start, &mut self.batch) else {
            return;
        };
        let ran = self.service.of_batch(taken.rows, replica, start, start - free_at);
        let service = ran.ticks;
        let finished = start + service;
        if let Some(mut first) = self.free_at.peek_mut() {
            *first = Reverse((finished, replica));
        }
        self.tally.batches += 1;
        self.tally.rows += u64::from(taken.rows);
        observer.batch(taken.rows, service);
        #[expect(clippy::cast_precision_loss, reason = "a sum to divide")]
        {
            self.tally.busy += service as f64;
        }
        self.tally.cpu_time += ran.cpu_time;
        for request in &self.batch {
            self.tally.count(request.member, finished - request.arrival);
            observer.request(request.member, finished - request.arrival);
        }
    }

    /// Ends the run: counts as late what waits past its SLO already.
    fn end(mut self, now: u64, observer: &mut impl Observer) -> Tally {
        for waiting in self.dispatcher.into_waiting() {
            let waited = now.saturating_sub(waiting.arrival);
            if waited > self.tally.members[waiting.member as usize].slo {
                self.tally.count(waiting.member, waited);
                observer.request(waiting.member, waited);
            }
        }
        self.tally
    }
}

#[cfg(test)]
mod tests;
