//! Where so many applications are cut that neighbours had to be brought together first, the cut is looked at again with finer
//! parts around the places where it cuts.

use std::collections::BTreeSet;

use super::pruned::{MOST_PARTS, Priced, cut_at, pruned_cut};
use super::{Cut, MOST_MEMBERS};
use crate::arrival::Load;
use crate::provision::Choice;

/// How often the cut is looked at again, at most.
const ROUNDS: usize = 4;

/// A round that saves a smaller part of the cost is the last one.
const WORTH_A_ROUND: f64 = 1e-4;

/// The cheapest cut into runs of loads that are sorted by SLO and feasible one by one, as `alone`.
pub(super) fn refined_cut<P: Priced>(loads: &[Load], alone: &[Choice], prices: &P) -> Vec<Cut> {
    let mut best = pruned_cut(loads, alone, prices);
    if loads.len() <= MOST_PARTS {
        return best;
    }
    for _ in 0..ROUNDS {
        let finer = cut_at(&edges_around(&best, loads.len()), loads, alone, prices);
        let (before, after) = (cost(&best), cost(&finer));
        if after < before {
            best = finer;
        }
        if after >= before * (1.0 - WORTH_A_ROUND) {
            break;
        }
    }
    best
}

fn cost(cuts: &[Cut]) -> f64 {
    cuts.iter().map(|cut| cut.choice.cost_per_second).sum()
}

/// Edges at and near those of the cut, at growing distances, and some everywhere.
fn edges_around(cuts: &[Cut], count: usize) -> Vec<usize> {
    let few = (MOST_PARTS / 2).max(count.div_ceil(MOST_MEMBERS));
    let mut edges: BTreeSet<usize> = (0..=few).map(|part| part * count / few).collect();
    let places: Vec<usize> = cuts
        .iter()
        .filter_map(|cut| cut.members.first().copied())
        .collect();
    edges.extend(&places);
    let mut distance = 1;
    while distance <= count / few {
        for place in &places {
            edges.extend([place.saturating_sub(distance), (place + distance).min(count)]);
        }
        if edges.len() > MOST_PARTS {
            break;
        }
        distance *= 2;
    }
    edges.into_iter().collect()
}
