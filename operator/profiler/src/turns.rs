//! CPU limits that take turns in one pod: in which order, and whether one pod may stand for all of them.
//!
//! A runtime may look at its limit only when it starts, as for the number of its threads. Then a pod whose limit is changed in place is not what a replica under that
//! limit will be. So the largest limit is measured twice before anything else: in a pod that started under the smallest, and in one that started under it. Where
//! these two are not alike, nothing that is measured after a change counts.

use std::collections::{BTreeMap, BTreeSet};

use harmonybatch_api::quantity::Cpu;

use crate::interval::mean_of_series;
use crate::limits::Wanted;
use crate::samples::Samples;

/// Of the interval of the ratio between two pods.
const CONFIDENCE: f64 = 0.99;
/// Two pods of one image under one limit differ by some percent by themselves.
const ALIKE: f64 = 1.15;
/// Half the interval of the ratio at which something is known at all: what makes twice as much of a core would have been seen.
const LARGEST_DOUBT: f64 = 0.3;

/// How a pod whose limit was changed compares with one that started under it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Likeness {
    /// One may stand for the other, as far as is known.
    Alike,
    /// Batches take so many times as long where the limit was changed.
    Apart(f64),
    /// Too little is known: less than two batches of a size in one of them, or an interval that holds both.
    Unknown,
}

impl Wanted {
    /// The limits that are to be measured now, each once, in an order that another seed shuffles otherwise; of those in `spent` there is no time left. Empty at the end.
    pub fn round(&self, measured: &BTreeMap<Cpu, Samples>, spent: &BTreeSet<Cpu>, seed: u64) -> Vec<Cpu> {
        // Whatever would come next, if those before it had no time left.
        let mut without = spent.clone();
        let first = std::iter::from_fn(|| {
            let next = self.next_of_first(measured, &without)?;
            without.insert(next);
            Some(next)
        });
        let mut round: Vec<Cpu> = first.collect();
        if round.is_empty() {
            round.extend(self.next(measured, spent));
        }
        fastrand::Rng::with_seed(seed).shuffle(&mut round);
        round
    }
}

/// Compares batches under one limit of a pod that was given it with those of a pod that started under it: the sums of the mean latencies of the sizes that both had.
pub fn likeness(given: &Samples, started: &Samples) -> Likeness {
    let both = given.iter().filter_map(|(size, sample)| {
        let given = mean_of_series(sample, CONFIDENCE)?;
        let started = mean_of_series(started.get(size)?, CONFIDENCE)?;
        (given.half_width.is_finite() && started.half_width.is_finite()).then_some((given, started))
    });
    let (mut sums, mut squares) = ([0.0; 2], 0.0);
    for (given, started) in both {
        sums[0] += given.value;
        sums[1] += started.value;
        squares += given.half_width.powi(2) + started.half_width.powi(2);
    }
    let [given, started] = sums;
    if started <= 0.0 {
        return Likeness::Unknown;
    }
    let (ratio, off) = (given / started, squares.sqrt() / started);
    let is_alike = (1.0 / ALIKE..=ALIKE).contains(&ratio);
    if !is_alike && (ratio - 1.0).abs() > off {
        Likeness::Apart(ratio)
    } else if off <= LARGEST_DOUBT {
        Likeness::Alike
    } else {
        Likeness::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::Grid;
    use crate::points::tests::goal;

    fn wanted(limits: &[u64], grid: Grid) -> Wanted {
        Wanted {
            limits: limits.iter().map(|&millis| Cpu::from_millis(millis)).collect(),
            max_batch: 1,
            grid,
            goal: goal(),
        }
    }

    fn millis(round: &[Cpu]) -> Vec<u64> {
        round.iter().map(|limit| limit.millis()).collect()
    }

    fn sorted(mut round: Vec<u64>) -> Vec<u64> {
        round.sort_unstable();
        round
    }

    #[test]
    fn a_round_has_every_limit_that_is_measured_now_once_in_an_order_of_its_own() {
        let limits = [250, 500, 750, 1000, 1500, 2000, 3000, 4000];
        let none = BTreeMap::new();
        let adaptive = wanted(&limits, Grid::Adaptive);
        let rounds: BTreeSet<Vec<u64>> = (0..100)
            .map(|seed| millis(&adaptive.round(&none, &BTreeSet::new(), seed)))
            .collect();
        for round in &rounds {
            assert_eq!(
                sorted(round.clone()),
                [250, 750, 1500, 4000],
                "those of its first four"
            );
        }
        // All 24 orders but for chance: 24 (23/24)^100 = 0.34 are missing on the average.
        assert!(rounds.len() > 18, "{}", rounds.len());
        let full = wanted(&limits, Grid::Full);
        assert_eq!(sorted(millis(&full.round(&none, &BTreeSet::new(), 1))), limits);
        let spent = BTreeSet::from([Cpu::from_millis(250), Cpu::from_millis(4000)]);
        assert_eq!(sorted(millis(&adaptive.round(&none, &spent, 1))), [750, 1500]);
    }

    #[test]
    fn what_is_known_has_no_turn_and_what_is_begun_has() {
        let limits = [250, 500, 1000, 2000];
        let adaptive = wanted(&limits, Grid::Adaptive);
        let sample = |count: usize| Samples::from([(1, [0.099, 0.1, 0.101].repeat(count))]);
        let measured = BTreeMap::from([
            (Cpu::from_millis(250), sample(20)),
            (Cpu::from_millis(500), sample(1)),
        ]);
        assert_eq!(
            sorted(millis(&adaptive.round(&measured, &BTreeSet::new(), 1))),
            [500, 1000, 2000]
        );
        let all = limits.map(|limit| (Cpu::from_millis(limit), sample(20)));
        assert!(
            adaptive
                .round(&BTreeMap::from(all), &BTreeSet::new(), 1)
                .is_empty()
        );
    }

    fn samples(values: &[(u32, f64)]) -> Samples {
        let around = |value: f64| [0.98, 1.0, 1.02].map(|part| part * value).repeat(4);
        values
            .iter()
            .map(|&(size, value)| (size, around(value)))
            .collect()
    }

    #[test]
    fn pods_are_alike_unless_they_differ_beyond_doubt() {
        let started = samples(&[(1, 0.1), (2, 0.15)]);
        assert_eq!(
            likeness(&samples(&[(1, 0.104), (2, 0.15)]), &started),
            Likeness::Alike
        );
        // Twice the threads: 0.375 / 0.25.
        match likeness(&samples(&[(1, 0.15), (2, 0.225)]), &started) {
            Likeness::Apart(ratio) => assert!((ratio - 1.5).abs() < 1e-9, "{ratio}"),
            other => unreachable!("{other:?}"),
        }
        assert!(matches!(
            likeness(&started, &samples(&[(1, 0.15), (2, 0.225)])),
            Likeness::Apart(_)
        ));
        // One batch, or none of the same size, tells nothing; neither do two that are far apart.
        for too_few in [
            Samples::from([(1, vec![0.1])]),
            samples(&[(3, 0.1)]),
            Samples::from([(1, vec![0.05, 0.15])]),
        ] {
            assert_eq!(likeness(&too_few, &started), Likeness::Unknown, "{too_few:?}");
        }
    }
}
