//! The cheapest runs where the price of a run is dear to find: most runs are ruled out by a bound.
//!
//! A run costs at least what its total rate and tightest SLO ask for, and at least what it costs without its first or
//! its last application (removing one never raised the cost in any case that was looked at; it is not proved). A run
//! whose bound cannot beat the best so far is not priced, and one that is priced is only searched for something
//! cheaper than that: finding nothing is a bound as well.

use super::{Cut, MOST_MEMBERS};
use crate::arrival::Load;
use crate::provision::Choice;

/// More applications than this are first brought together with their neighbours in the order of SLO, so that the
/// number of runs stays bounded. Neighbours among so many have nearly the same SLO.
pub(super) const MOST_PARTS: usize = 100;

/// Costs closer than this are the same, and fewer groups win.
const SAME: f64 = 1e-9;

/// Prices runs, and knows what they cost at least.
pub(crate) trait Priced {
    /// Whether a run costs at least what it costs without one of its applications.
    const MONOTONE: bool;

    /// A lower bound of the cost of a run, cheap to have; the best one there is only as far as it is below `enough`.
    fn bound(&self, run: &[Load], enough: f64) -> f64;

    /// The cheapest choice below `budget`, if there is one, given that nothing costs less than `floor`.
    fn within(&self, loads: &[Load], floor: f64, budget: f64) -> Option<Choice>;
}

/// The cheapest way to serve the first few parts.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    cost: f64,
    groups: usize,
    /// Where the last run starts, and its function; nothing for no part at all.
    last: Option<(usize, Choice)>,
}

/// The cheapest cut into runs of loads that are sorted by SLO and feasible one by one, as `alone`.
pub(crate) fn pruned_cut<P: Priced>(loads: &[Load], alone: &[Choice], prices: &P) -> Vec<Cut> {
    let count = loads
        .len()
        .min(MOST_PARTS.max(loads.len().div_ceil(MOST_MEMBERS)));
    let edges: Vec<usize> = (0..=count)
        .map(|part| part * loads.len() / count.max(1))
        .collect();
    cut_at(&edges, loads, alone, prices)
}

/// The same, of those that begin and end at one of the edges, the first and the last of which are the ends of the loads.
pub(super) fn cut_at<P: Priced>(edges: &[usize], loads: &[Load], alone: &[Choice], prices: &P) -> Vec<Cut> {
    let mut search = Search {
        loads,
        edges,
        prices,
        best: vec![Prefix {
            cost: 0.0,
            groups: 0,
            last: None,
        }],
    };
    let mut shorter: Vec<f64> = Vec::new();
    for end in 1..edges.len() {
        shorter = search.extend(end, alone, &shorter);
    }
    search.cuts()
}

struct Search<'a, P> {
    loads: &'a [Load],
    /// Part `k` is the loads from `edges[k]` to `edges[k + 1]`.
    edges: &'a [usize],
    prices: &'a P,
    best: Vec<Prefix>,
}

impl<P: Priced> Search<'_, P> {
    /// Finds the best way to serve the first `end` parts. `shorter` are lower bounds of the runs from each part up to
    /// the part before the last; returns those up to the last.
    fn extend(&mut self, end: usize, alone: &[Choice], shorter: &[f64]) -> Vec<f64> {
        let last = end - 1;
        let mut bounds = vec![0.0; end];
        let mut found = self.apart(last, alone);
        bounds[last] = found.cost - self.best[last].cost;
        // Usually the last part joins the group of the one before it.
        let guess = self.best[last].last.map(|(start, _)| start);
        if let Some(start) = guess {
            bounds[start] = self.attempt(start, end, Self::known(start, 0.0, shorter), &mut found);
        }
        for start in (0..last).rev() {
            let without_first = if start + 1 < end { bounds[start + 1] } else { 0.0 };
            if guess == Some(start) {
                bounds[start] = f64::max(bounds[start], without_first);
            } else {
                let known = Self::known(start, without_first, shorter);
                bounds[start] = self.attempt(start, end, known, &mut found);
            }
        }
        self.best.push(found);
        bounds
    }

    /// The last part in runs of its own: one for each application, or one for all where that is cheaper.
    fn apart(&self, last: usize, alone: &[Choice]) -> Prefix {
        let (from, to) = (self.edges[last], self.edges[last + 1]);
        let before = self.best[last];
        if let [single] = &alone[from..to] {
            return Prefix {
                cost: before.cost + single.cost_per_second,
                groups: before.groups + 1,
                last: Some((last, *single)),
            };
        }
        let apart: f64 = alone[from..to].iter().map(|choice| choice.cost_per_second).sum();
        let bound = self.prices.bound(&self.loads[from..to], apart);
        let together = self.prices.within(&self.loads[from..to], bound, apart);
        // Neighbours that are cheaper alone are one run here all the same; no replica serves it, so that whoever
        // looks closer takes it apart.
        let choice = together.unwrap_or(Choice {
            cost_per_second: apart,
            replicas: 0,
            ..alone[from]
        });
        Prefix {
            cost: before.cost + choice.cost_per_second,
            groups: before.groups + 1,
            last: Some((last, choice)),
        }
    }

    /// What a run costs at least, by what it costs without its first or its last part.
    fn known(start: usize, without_first: f64, shorter: &[f64]) -> f64 {
        if P::MONOTONE {
            without_first.max(shorter.get(start).copied().unwrap_or(0.0))
        } else {
            0.0
        }
    }

    /// Prices the run if it may be part of a better way than the one found; returns what it costs at least.
    fn attempt(&self, start: usize, end: usize, known: f64, found: &mut Prefix) -> f64 {
        let before = self.best[start];
        // Equal costs are worth having where they save a group.
        let room = found.cost - before.cost;
        let slack = if before.groups + 1 < found.groups {
            SAME
        } else {
            -SAME
        };
        let budget = room * (1.0 + slack) + f64::MIN_POSITIVE;
        if known >= budget {
            return known;
        }
        let run = &self.loads[self.edges[start]..self.edges[end]];
        if run.len() > MOST_MEMBERS {
            return f64::INFINITY;
        }
        let bound = known.max(self.prices.bound(run, budget));
        if bound >= budget {
            return bound;
        }
        let Some(choice) = self.prices.within(run, bound, budget) else {
            return bound.max(room);
        };
        *found = Prefix {
            cost: before.cost + choice.cost_per_second,
            groups: before.groups + 1,
            last: Some((start, choice)),
        };
        choice.cost_per_second
    }

    fn cuts(&self) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let mut end = self.edges.len() - 1;
        while let Some((start, choice)) = self.best[end].last {
            cuts.push(Cut {
                members: (self.edges[start]..self.edges[end]).collect(),
                choice,
            });
            end = start;
        }
        cuts.reverse();
        cuts
    }
}
