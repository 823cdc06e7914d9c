//! Under which CPU limit to measure next, where not all are wanted.
//!
//! The first are the largest limit, the smallest, and two between (nearest to the thirds of the way, in logarithms): as many as [`LEAST_LIMITS`], without which there is no fit. From then on the curves that may be true are compared
//! at every limit that is left: those of all forms that no other one is better than beyond doubt, fitted to all limits and to all but each one between the ends. Where they are off the
//! curve in force by more than the goal's precision, there a plan could be wrong. Of such limits the one where they are farthest off for the time that its batches take is next, and where there is none, nothing that is
//! left would tell more than the goal asks for.

use std::collections::{BTreeMap, BTreeSet};

use harmonybatch_api::quantity::Cpu;

use crate::design::{Asked, Design, Grid, Known};
use crate::fit::form::Curve;
use crate::fit::{self, CpuFit, LEAST_LIMITS};
use crate::goal::Goal;
use crate::points;
use crate::samples::Samples;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The CPU limits that may be measured.
    pub limits: BTreeSet<Cpu>,
    /// Batch sizes are those from 1 to this.
    pub max_batch: u32,
    /// Whether all of it is.
    pub grid: Grid,
    /// When a size is known well enough.
    pub goal: Goal,
}

impl Wanted {
    /// The limit to measure, or to go on with, after those that there are samples of; of those in `spent` there is no time left. None at the end.
    ///
    /// A size that is found to be an anchor under one limit is measured in full under all: a limit may have to be measured again.
    pub fn next(&self, measured: &BTreeMap<Cpu, Samples>, spent: &BTreeSet<Cpu>) -> Option<Cpu> {
        let next = self.next_of_first(measured, spent);
        next.or_else(|| match self.grid {
            Grid::Full => None,
            Grid::Adaptive => self.most_uncertain(measured),
        })
    }

    /// The same of the limits that are measured at any rate, or are begun.
    pub(crate) fn next_of_first(
        &self,
        measured: &BTreeMap<Cpu, Samples>,
        spent: &BTreeSet<Cpu>,
    ) -> Option<Cpu> {
        let open = self.open(measured);
        let is_open = |limit: &Cpu| open.contains(limit) && !spent.contains(limit);
        if self.grid == Grid::Full {
            return self.limits.iter().copied().find(is_open);
        }
        let begun = measured.keys().copied().find(is_open);
        begun.or_else(|| self.first().into_iter().find(is_open))
    }

    /// How many limits are measured at any rate.
    pub fn at_least(&self) -> usize {
        match self.grid {
            Grid::Full => self.limits.len(),
            Grid::Adaptive => self.limits.len().min(LEAST_LIMITS),
        }
    }

    /// Whether all is known under a limit that is asked for there.
    pub fn is_known(&self, limit: Cpu, measured: &BTreeMap<Cpu, Samples>) -> bool {
        self.limits.contains(&limit) && !self.open(measured).contains(&limit)
    }

    /// Limits under which something is missing.
    fn open(&self, measured: &BTreeMap<Cpu, Samples>) -> BTreeSet<Cpu> {
        let known: BTreeMap<Cpu, Known> = measured
            .iter()
            .map(|(&limit, samples)| (limit, self.goal.known(samples)))
            .collect();
        let all: Vec<&Known> = known.values().collect();
        let asked = Asked {
            grid: self.grid,
            max_batch: self.max_batch,
            limits: self.at_least(),
            goal: self.goal,
        };
        let design = Design::of(asked, &all);
        let is_open = |limit: &Cpu| {
            let here = known.get(limit);
            here.is_none_or(|here| !design.is_known(here))
        };
        self.limits.iter().copied().filter(is_open).collect()
    }

    /// Those that are measured at any rate, in their order.
    fn first(&self) -> Vec<Cpu> {
        let mut left = self.limits.clone();
        let (Some(&smallest), Some(&largest)) = (left.first(), left.last()) else {
            return Vec::new();
        };
        let third = |part: f64| smallest.vcpu().powf(1.0 - part) * largest.vcpu().powf(part);
        let places = [
            largest.vcpu(),
            smallest.vcpu(),
            third(2.0 / 3.0),
            third(1.0 / 3.0),
        ];
        let nearest = places.iter().filter_map(|at| {
            let distance = |limit: &Cpu| (limit.vcpu() / at).ln().abs();
            let nearest = left
                .iter()
                .copied()
                .min_by(|one, other| distance(one).total_cmp(&distance(other)))?;
            left.remove(&nearest);
            Some(nearest)
        });
        nearest.collect()
    }

    /// Of the limits without samples the one that tells most of what is not known.
    fn most_uncertain(&self, measured: &BTreeMap<Cpu, Samples>) -> Option<Cpu> {
        let mut left = self.limits.iter().filter(|limit| !measured.contains_key(limit));
        let points = points::on_cpu(measured, self.grid, self.goal);
        let Ok(variants) = fit::variants(
            &points,
            points::after_idle_of(measured.iter().map(|(&limit, samples)| (limit, samples))),
        ) else {
            // Nothing goes through what there is: no limit can be left out.
            return left.next_back().copied();
        };
        let unknown = left.filter_map(|&limit| {
            let off = off(&variants, limit.vcpu(), self.goal);
            (off > 1.0).then(|| (off / time(&variants, limit.vcpu()), limit))
        });
        unknown
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, limit)| limit)
    }
}

/// How far off the first of the variants the others are at a limit, in multiples of what the goal allows.
fn off(variants: &[Vec<CpuFit>], vcpu: f64, goal: Goal) -> f64 {
    let Some((fit, others)) = variants.split_first() else {
        return f64::INFINITY;
    };
    let relative = |one: f64, other: f64| (one / other - 1.0).abs();
    let pairs = others.iter().flat_map(|other| other.iter().zip(fit));
    let off = pairs.map(|(other, fit)| {
        let mean = relative(other.mean.mean(vcpu), fit.mean.mean(vcpu)) / goal.precision();
        // A bound of another form is another claim, not another estimate.
        let is_same = other.tail.form() == fit.tail.form();
        let bound = |curve: &Curve| curve.bound(vcpu);
        let tail = relative(bound(&other.tail), bound(&fit.tail)) / goal.tail_precision();
        if is_same { mean.max(tail) } else { mean }
    });
    off.fold(0.0, f64::max)
}

/// Of a batch of each size, in seconds.
fn time(variants: &[Vec<CpuFit>], vcpu: f64) -> f64 {
    let fit = variants.first().into_iter().flatten();
    fit.map(|size| size.mean.mean(vcpu)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::tests::goal;

    const LIMITS: [u64; 8] = [250, 500, 750, 1000, 1500, 2000, 3000, 4000];

    fn wanted(limits: &[u64], grid: Grid) -> Wanted {
        Wanted {
            limits: limits.iter().map(|&millis| Cpu::from_millis(millis)).collect(),
            max_batch: 2,
            grid,
            goal: goal(),
        }
    }

    /// Limits in the order in which they are asked for, where what they are asked for is known afterwards.
    fn asked(wanted: &Wanted, law: impl Fn(f64) -> f64) -> Vec<u64> {
        let mut measured = BTreeMap::new();
        let mut asked = Vec::new();
        while let Some(limit) = wanted.next(&measured, &BTreeSet::new()) {
            let sample = |rows: f64| {
                [0.99, 1.0, 1.01]
                    .map(|part| rows * part * law(limit.vcpu()))
                    .repeat(20)
            };
            measured.insert(limit, Samples::from([(1, sample(1.0)), (2, sample(1.5))]));
            asked.push(limit.millis());
        }
        asked
    }

    #[test]
    fn four_limits_tell_the_others_where_one_form_goes_through_them() {
        for law in [(|vcpu: f64| 0.1 / vcpu + 0.02) as fn(f64) -> f64, |vcpu| {
            0.1 / vcpu.min(1.5)
        }] {
            let asked = asked(&wanted(&LIMITS, Grid::Adaptive), law);
            assert_eq!(asked, [4000, 250, 1500, 750]);
        }
    }

    #[test]
    fn more_are_measured_where_no_form_goes_through_four() {
        // It falls, stands still, and falls again.
        let law = |vcpu: f64| 0.1 / vcpu.min(0.6) + if vcpu < 2.5 { 0.1 } else { 0.0 };
        let asked = asked(&wanted(&LIMITS, Grid::Adaptive), law);
        assert!(asked.len() > 5, "{asked:?}");
    }

    #[test]
    fn all_four_of_four_are_measured_and_all_of_a_full_grid_smallest_first() {
        let law = |vcpu: f64| 0.1 / vcpu + 0.02;
        assert_eq!(
            asked(&wanted(&[250, 500, 1000, 2000], Grid::Adaptive), law),
            [2000, 250, 1000, 500]
        );
        assert_eq!(asked(&wanted(&LIMITS, Grid::Full), law), LIMITS);
    }

    #[test]
    fn what_is_begun_is_gone_on_with_unless_its_time_is_spent() {
        let wanted = wanted(&LIMITS, Grid::Adaptive);
        let limit = Cpu::from_millis(500);
        let measured = BTreeMap::from([(limit, Samples::from([(1, vec![0.1; 5])]))]);
        assert_eq!(wanted.next(&measured, &BTreeSet::new()), Some(limit));
        let next = wanted.next(&measured, &BTreeSet::from([limit]));
        assert_eq!(next, Some(Cpu::from_millis(4000)));
        assert!(!wanted.is_known(limit, &measured));
    }
}
