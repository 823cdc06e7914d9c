//! How long a run must be to see what its arrivals hold.

use crate::arrival::{Load, Process, Traces};

/// What a run may be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Arrivals that do where they are Poisson.
    pub(crate) least: u64,
    /// The most arrivals, whatever bursts or traces ask for.
    pub(crate) most: u64,
    /// Blocks of a run without traces.
    pub(crate) blocks: u64,
    /// Bursts, with the quiet times between them, that a run sees of each member.
    pub(crate) bursts: f64,
    /// How often a trace is replayed.
    pub(crate) rounds: u64,
}

/// The length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Horizon {
    pub(crate) arrivals: u64,
    /// Arrivals between two looks. Where a trace is replayed, a block is one round of it: rounds differ only in what is
    /// random, so that how they differ is how sure the verdict is.
    pub(crate) block: u64,
}

impl Horizon {
    /// The least run that sees enough bursts of every member, and whole rounds of every trace.
    pub(crate) fn new(loads: &[Load], traces: &Traces, bounds: &Bounds) -> Self {
        let total: f64 = loads.iter().map(|load| load.rate).sum();
        let mut wanted = 0.0_f64;
        let mut round = 0.0_f64;
        for load in loads {
            match load.process {
                Process::Poisson => {}
                Process::Burst { factor, duration } => {
                    wanted = wanted.max(bounds.bursts * 2.0 * factor * duration * total);
                    wanted = wanted.max(requests_to_judge(load) * total / load.rate);
                }
                Process::Trace { index, .. } => {
                    let same = |other: &&Load| other.process == load.process;
                    let rate: f64 = loads.iter().filter(same).map(|load| load.rate).sum();
                    let arrivals = traces.get(index).map_or(0.0, |trace| trace.arrivals());
                    round = round.max(arrivals * (total / rate));
                    wanted = wanted.max(requests_to_judge(load) * total / load.rate);
                }
            }
        }
        let most = bounds.most.max(bounds.least);
        let arrivals = whole(wanted).clamp(bounds.least, most);
        if round <= 0.0 {
            return Self {
                arrivals,
                block: (arrivals / bounds.blocks).max(1),
            };
        }
        let block = whole(round).clamp(1, most);
        let rounds = arrivals
            .div_ceil(block)
            .max(bounds.rounds)
            .min((most / block).max(1));
        Self {
            arrivals: rounds * block,
            block,
        }
    }
}

/// Whether a run of `most` arrivals holds enough requests of every member to tell whether its percentile is kept. One
/// with bursts or a trace that is too rare beside the others cannot share a group with them: nothing could be said.
pub(crate) fn can_be_judged(loads: &[Load], most: u64) -> bool {
    let total: f64 = loads.iter().map(|load| load.rate).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let most = most as f64;
    loads
        .iter()
        .all(|load| load.process == Process::Poisson || requests_to_judge(load) * total <= most * load.rate)
}

/// Requests of a member that tell its percentile from a stricter one. Others cannot stand for it, as those of one Poisson
/// stream can.
fn requests_to_judge(load: &Load) -> f64 {
    const LATE: f64 = 20.0;
    LATE / load.miss
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; saturates"
)]
fn whole(arrivals: f64) -> u64 {
    arrivals.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::arrival::{ArrivalProcess, Trace};

    const BOUNDS: Bounds = Bounds {
        least: 20_000,
        most: 1_000_000,
        blocks: 40,
        bursts: 40.0,
        rounds: 2,
    };

    fn load(rate: f64, process: Process) -> Load {
        Load {
            slo: 1.0,
            rate,
            miss: 0.01,
            process,
        }
    }

    #[test]
    fn a_bursty_member_that_hardly_occurs_cannot_be_judged() {
        let burst = Process::Burst {
            factor: 4.0,
            duration: 30.0,
        };
        // Twenty late requests of two thousand, in a million arrivals: one in five hundred.
        let group = |share: f64| [load(1.0 - share, Process::Poisson), load(share, burst)];
        assert!(can_be_judged(&group(0.0021), 1_000_000));
        assert!(!can_be_judged(&group(0.0019), 1_000_000));
        assert!(can_be_judged(
            &[load(1.0, Process::Poisson), load(1e-9, Process::Poisson)],
            1_000_000
        ));
    }

    fn horizon(loads: &[Load], traces: &Traces) -> (u64, u64) {
        let found = Horizon::new(loads, traces, &BOUNDS);
        (found.arrivals, found.block)
    }

    #[test]
    fn a_run_sees_enough_bursts_and_whole_traces() {
        let none = Traces::default();
        let poisson = load(10.0, Process::Poisson);
        assert_eq!(horizon(&[poisson], &none), (20_000, 500));
        // A burst of 30 s and its quiet time take 4 * 2 * 30 = 240 s: forty at 20/s are 192,000 arrivals.
        let burst = load(
            10.0,
            Process::Burst {
                factor: 4.0,
                duration: 30.0,
            },
        );
        assert_eq!(horizon(&[poisson, burst], &none), (192_000, 4_800));
        // A trace of 9,000 arrivals that is half of all: a round is 18,000.
        let times: Vec<f64> = (0..9_000).map(f64::from).collect();
        let mut traces = Traces::default();
        let process = Trace::new(&times).map(|trace| traces.add(&ArrivalProcess::Trace(Arc::new(trace))));
        let replayed = process.map(|process| load(10.0, process));
        assert_eq!(
            replayed.map(|replayed| horizon(&[poisson, replayed], &traces)),
            Ok((36_000, 18_000))
        );
    }
}
