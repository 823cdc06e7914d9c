//! Where simulated requests come from.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::bursts::Bursts;
use super::random::{Random, stream_seed};
use super::replay::Replay;
use crate::arrival::{Load, Process, Traces};

/// The arrivals of a group: one stream, or several that are merged by time. Members with Poisson arrivals share one, so
/// do members with the same trace; a member with bursts has its own.
#[derive(Debug)]
pub(crate) struct Arrivals {
    sources: Vec<Source>,
    /// The next arrival of each source where there are several: its tick, its source, its member.
    next: BinaryHeap<Reverse<(u64, usize, u32)>>,
}

#[derive(Debug, Clone)]
enum Source {
    Poisson(Poisson),
    Bursts(Bursts),
    Replay(Replay),
}

/// How the arrivals of a group are played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Playing {
    pub(crate) seed: u64,
    /// Ticks in a second.
    pub(crate) ticks: f64,
    /// The arrivals that will be counted.
    pub(crate) arrivals: u64,
    /// Whether rare members occur more often than they do, and long bursts are played shorter where the run would see
    /// too few of them: for a verdict.
    pub(crate) verdict: bool,
    /// Late requests of a rare member that a verdict should rest on.
    pub(crate) late_requests: f64,
}

impl Arrivals {
    pub(crate) fn new(loads: &[Load], traces: &Traces, playing: &Playing) -> Self {
        let mut streams: Vec<Vec<u32>> = Vec::new();
        for (member, load) in (0..).zip(loads) {
            let joins =
                |stream: &&mut Vec<u32>| shares_stream(loads[stream[0] as usize].process, load.process);
            match streams.iter_mut().find(joins) {
                Some(stream) => stream.push(member),
                None => streams.push(vec![member]),
            }
        }
        let mut sources: Vec<Source> = (0..)
            .zip(&streams)
            .map(|(stream, members)| Source::new(loads, members, stream, traces, playing))
            .collect();
        let mut next = BinaryHeap::with_capacity(sources.len());
        if sources.len() > 1 {
            next.extend(sources.iter_mut().enumerate().map(|(index, source)| {
                let (tick, member) = source.next();
                Reverse((tick, index, member))
            }));
        }
        Self { sources, next }
    }

    /// The next arrival: its tick and its member.
    pub(crate) fn next(&mut self) -> (u64, u32) {
        if let [only] = self.sources.as_mut_slice() {
            return only.next();
        }
        let Some(mut first) = self.next.peek_mut() else {
            return (u64::MAX / 2, 0);
        };
        let Reverse((tick, index, member)) = *first;
        let (later, following) = self.sources[index].next();
        *first = Reverse((later, index, following));
        (tick, member)
    }
}

/// Whether two members are parts of one stream of arrivals.
fn shares_stream(a: Process, b: Process) -> bool {
    match (a, b) {
        (Process::Poisson, Process::Poisson) => true,
        (Process::Trace { index: a, .. }, Process::Trace { index: b, .. }) => a == b,
        _ => false,
    }
}

/// For every member, which members' requests tell about its own: their stream. Its requests are a random part of the
/// stream's, and see the same queue as the others'.
pub(crate) fn streams(loads: &[Load]) -> Vec<usize> {
    (0..loads.len())
        .map(|member| {
            let joins = |other: &usize| shares_stream(loads[*other].process, loads[member].process);
            (0..member).find(joins).unwrap_or(member)
        })
        .collect()
}

impl Source {
    fn new(loads: &[Load], members: &[u32], stream: u64, traces: &Traces, playing: &Playing) -> Self {
        let seed = stream_seed(playing.seed, stream);
        let part: Vec<Load> = members.iter().map(|&member| loads[member as usize]).collect();
        let total: f64 = loads.iter().map(|load| load.rate).sum();
        let rate: f64 = part.iter().map(|load| load.rate).sum();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let arrivals = playing.arrivals as f64 * (rate / total);
        let shares: Vec<f64> = if playing.verdict {
            shares(&part, arrivals, playing.late_requests)
        } else {
            part.iter().map(|load| load.rate).collect()
        };
        let marks = Marks::new(members, &shares);
        let mean_gap = playing.ticks / rate;
        let process = part.first().map_or(Process::Poisson, |load| load.process);
        let trace = match process {
            Process::Trace { index, .. } => traces.get(index),
            Process::Poisson | Process::Burst { .. } => None,
        };
        match (process, trace) {
            (Process::Burst { factor, duration }, _) => {
                let loosest = loads.iter().map(|load| load.slo).fold(0.0, f64::max);
                let played = if playing.verdict {
                    duration.min(longest_burst(factor, arrivals / rate, loosest))
                } else {
                    duration
                };
                Self::Bursts(Bursts::new(
                    seed,
                    members[0],
                    mean_gap,
                    factor,
                    played * playing.ticks,
                ))
            }
            (_, Some(trace)) => Self::Replay(Replay::new(seed, Arc::clone(trace), mean_gap, marks)),
            (_, None) => Self::Poisson(Poisson::new(seed, mean_gap, marks)),
        }
    }

    fn next(&mut self) -> (u64, u32) {
        match self {
            Self::Poisson(poisson) => poisson.next(),
            Self::Bursts(bursts) => bursts.next(),
            Self::Replay(replay) => replay.next(),
        }
    }
}

/// The longest mean duration of bursts with which a verdict sees enough of them in `span` seconds. A burst that lasts many
/// times as long as any request stays is as bad for most of its requests as a longer one.
fn longest_burst(factor: f64, span: f64, loosest: f64) -> f64 {
    /// Bursts, with the quiet times between them, that a run sees.
    const SEEN: f64 = 50.0;
    /// Times the loosest SLO that a shortened burst lasts at least.
    const STAYS: f64 = 50.0;
    (span / (SEEN * 2.0 * factor)).max(STAYS * loosest)
}

/// Poisson arrivals of several members: exponential gaps of their total rate, and a member for each.
#[derive(Debug, Clone)]
pub(crate) struct Poisson {
    random: Random,
    now: f64,
    mean_gap: f64,
    marks: Marks,
}

impl Poisson {
    /// Arrivals with a mean gap in ticks.
    fn new(seed: u64, mean_gap: f64, marks: Marks) -> Self {
        Self {
            random: Random::seeded(seed),
            now: 0.0,
            mean_gap,
            marks,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks are below 2^61"
    )]
    fn next(&mut self) -> (u64, u32) {
        self.now += self.random.exponential() * self.mean_gap;
        let member = self.marks.draw(&mut self.random);
        (self.now as u64, member)
    }
}

/// Gives each arrival of a stream to one of its members, by Walker's alias method, so that it costs the same for two
/// members and for thousands.
#[derive(Debug, Clone)]
pub(super) struct Marks(Vec<Slot>);

/// One slot of the alias table: `member` up to `threshold` (of 2^32), else `other`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    threshold: u64,
    member: u32,
    other: u32,
}

impl Marks {
    /// Members that occur in proportion to `shares`.
    pub(super) fn new(members: &[u32], shares: &[f64]) -> Self {
        let mut slots = alias_table(shares);
        for slot in &mut slots {
            slot.member = members[slot.member as usize];
            slot.other = members[slot.other as usize];
        }
        Self(slots)
    }

    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        match self.0.as_slice() {
            [single] => single.member,
            slots => {
                let bits = random.bits();
                let slot = slots[(((bits >> 32) * slots.len() as u64) >> 32) as usize];
                if bits & 0xffff_ffff < slot.threshold {
                    slot.member
                } else {
                    slot.other
                }
            }
        }
    }
}

/// Walker's alias table in Vose's order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "probabilities scaled to 32 bits, and fewer members than 2^32"
)]
fn alias_table(shares: &[f64]) -> Vec<Slot> {
    const ONE: f64 = 4_294_967_296.0;
    let total: f64 = shares.iter().sum();
    let mut scaled: Vec<f64> = shares
        .iter()
        .map(|share| share / total * shares.len() as f64)
        .collect();
    let mut slots: Vec<Slot> = (0..shares.len() as u32)
        .map(|member| Slot {
            threshold: ONE as u64,
            member,
            other: member,
        })
        .collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..scaled.len()).partition(|&member| scaled[member] < 1.0);
    while let (Some(little), Some(&much)) = (small.pop(), large.last()) {
        slots[little].threshold = (scaled[little] * ONE) as u64;
        slots[little].other = much as u32;
        scaled[much] -= 1.0 - scaled[little];
        if scaled[much] < 1.0 {
            large.pop();
            small.push(much);
        }
    }
    slots
}

/// The least share of arrivals that a member whose own samples count is given. What such a member is given beyond its own share shows a queue
/// that is more urgent than the true one.
const LEAST_SHARE: f64 = 0.02;

/// The largest share that a strict percentile may ask for.
const LARGEST_SHARE: f64 = 0.2;

/// Members whose verdict no tighter member's can stand for: those with a stricter percentile than all tighter ones.
///
/// A later deadline at the same time of completion means an earlier arrival, which is served no later: how often an
/// application is late does not grow with its SLO, under either dispatch policy. (With several replicas a batch that
/// left earlier but holds more rows may end later; that is a small part of one service.) So the others are judged
/// together with tighter members. All of `loads` are parts of one stream: of different streams that would not hold,
/// since each finds the queue as its own arrivals leave it.
pub(crate) fn leaders(loads: &[Load]) -> impl Iterator<Item = usize> + '_ {
    let mut least_miss = f64::INFINITY;
    loads.iter().enumerate().filter_map(move |(index, load)| {
        let stricter = load.miss < least_miss;
        least_miss = least_miss.min(load.miss);
        stricter.then_some(index)
    })
}

/// The shares of the members in the arrivals: those of their rates, except that a rare leader occurs often enough
/// to be judged within `arrivals` by this many late requests. The total rate, hence the load, stays what it is.
pub(crate) fn shares(loads: &[Load], arrivals: f64, late_requests: f64) -> Vec<f64> {
    let total: f64 = loads.iter().map(|load| load.rate).sum();
    let mut shares: Vec<f64> = loads.iter().map(|load| load.rate / total).collect();
    let leading: Vec<usize> = leaders(loads).collect();
    #[expect(clippy::cast_precision_loss, reason = "fewer members than 2^53")]
    let crowd = leading.len() as f64;
    for index in leading {
        let wanted =
            (late_requests / (loads[index].miss * arrivals)).clamp(LEAST_SHARE, LARGEST_SHARE) / crowd;
        shares[index] = shares[index].max(wanted);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_occur_in_proportion_to_their_shares() {
        let shares = [0.5, 0.01, 0.29, 0.2];
        let mut arrivals = Poisson::new(3, 1000.0, Marks::new(&[0, 1, 2, 3], &shares));
        let mut counts = [0.0; 4];
        let mut last = 0;
        for _ in 0..200_000 {
            let (tick, member) = arrivals.next();
            assert!(tick >= last);
            last = tick;
            counts[member as usize] += 1.0 / 200_000.0;
        }
        for (count, share) in counts.iter().zip(shares) {
            // Three standard deviations of a share of 200,000 draws.
            assert!(
                (count - share).abs() < 3.0 * (share * (1.0 - share) / 2e5).sqrt(),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn only_a_stricter_percentile_makes_a_looser_slo_lead() {
        let load = |slo, miss| Load {
            slo,
            rate: 1.0,
            miss,
            process: Process::Poisson,
        };
        let loads = [
            load(0.1, 0.01),
            load(0.2, 0.05),
            load(0.3, 0.001),
            load(0.4, 0.01),
        ];
        assert_eq!(leaders(&loads).collect::<Vec<_>>(), [0, 2]);
        assert!((shares(&loads, 1e6, 20.0).iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
