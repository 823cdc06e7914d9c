//! Which batch sizes are measured in full, and which are only checked: the design of a measurement.
//!
//! A full grid measures every batch size under every CPU limit until its mean and its high percentile are known. Most of that is known already: work grows
//! nearly in a straight line with the rows, and what a limit makes of it is one curve. [`Grid::Adaptive`] chooses while it measures:
//!
//! 1. **Anchors**, at first the sizes 1 and the largest, are measured in full. Between two neighbouring anchors their means are joined by a chord.
//! 2. Every other size is **checked** under every limit: [`goal::LEAST`](crate::goal) batches with the first anchors', and then one for every
//!    [`SPREAD`] of the anchors', so that what drifts in the minutes of a limit is in both. Its own samples say its *level*, how many times the chord it takes. The levels
//!    of all limits are put together, each with the weight of what it is known to. A check goes on until they are known within the goal's precision together, or one alone is, and each alone within [`COARSE`] times that; while limits are to come, each does its share.
//! 3. A size whose level is off the chord by more than the precision beyond doubt ([`FAR`] intervals), under one limit or all together, is **no point of the chord**: it becomes an
//!    anchor, the one that is farthest off first, and the others are held to the chords that it begins; one that is on a chord of those that came later is none any more. So a step between two sizes makes anchors of both its sides, and sizes on which a
//!    straight line is wrong are all measured in full: nothing is smoothed over that a check can see.
//! 4. The fit has curves of its own for anchors; coefficients of other sizes are those between their neighbours', times their level ([`crate::fit`]). Levels are
//!    drawn towards the chord as far as their noise explains that they are off it ([`shrink`]).
//! 5. **Limits** ([`crate::limits`]): the largest first (fewest batches are stopped there, so that the shape over the sizes is known for little), then the smallest and two between; then the one where the curves that
//!    may be true differ most, for the time that it takes, until none is left where they differ by more than the precision.
//!
//! Everything is decided anew from the samples whenever they are looked at, so that what few samples seemed to say is taken back by more; what is decided is a pure function of the
//! samples files, and what a measurement asks for next is what the fit will want. What the planner would pay is not asked (the profiler does not know the planner): its
//! latencies are known to the same precision at every size and limit as a full grid's, and a test plans from both.
//!
//! A check cannot see: what is off by less than the precision and twice its interval; under one limit only, what is off by less than about [`COARSE`] times the precision; and slow batches that
//! are rarer than its samples are many. The percentile of a size between anchors is theirs, raised where its own samples exceed it more often than the quantile lets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::goal::{Goal, LEAST, Summary};

/// A size is an anchor where its level is off by the precision and so many of its intervals: 95 % intervals are two standard errors, so that chance makes an
/// anchor of one size in some ten thousand looks.
const FAR: f64 = 2.0;
/// What a limit alone is to say of a size, in multiples of the precision.
const COARSE: f64 = 4.0;
/// Batches of each anchor for one of each other size.
const SPREAD: usize = 32;

/// What of the grid of batch sizes and CPU limits is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grid {
    /// All of it.
    #[default]
    Full,
    /// What the rest does not tell.
    Adaptive,
}

impl Grid {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(crate) fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

/// What is to be known in the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    /// Whether all sizes are measured in full.
    pub grid: Grid,
    /// Batch sizes are those from 1 to this.
    pub max_batch: u32,
    /// How many CPU limits there will be at least.
    pub limits: usize,
    /// When a size is known well enough.
    pub goal: Goal,
}

impl Asked {
    /// What levels are to be known to so far: each limit has its share of the samples.
    #[expect(clippy::cast_precision_loss, reason = "a few limits")]
    fn wanted(&self, limits: usize) -> f64 {
        let to_come = self.limits.max(limits) as f64 / limits.max(1) as f64;
        self.goal.precision() * to_come.sqrt()
    }
}

/// What is known of batch sizes under one CPU limit or on one device.
pub type Known = BTreeMap<u32, Summary>;

/// How a size compares with the chord between its neighbouring anchors, under all limits together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The anchors below and above it.
    pub between: (u32, u32),
    /// Its mean as a multiple of the chord's, as its own samples say it.
    pub found: f64,
    /// Half the interval of that.
    pub known_to: f64,
    /// The same as all sizes between anchors say it ([`shrink`]).
    pub ratio: f64,
    /// Whether that is known well enough, under all limits together and under each.
    pub is_known: bool,
    /// By how much it is off the chord beyond doubt and beyond the precision; not above 0 where it is not.
    beyond: f64,
}

impl Level {
    fn of(size: u32, between: (u32, u32), limits: &[&Known], asked: &Asked) -> Self {
        let (goal, precision) = (asked.goal, asked.goal.precision());
        let found: Vec<Option<Single>> = limits
            .iter()
            .map(|known| Single::of(size, between, known, goal))
            .collect();
        let all = together(found.iter().flatten());
        let single = |known: fn(&Single, f64) -> bool, to: f64| {
            found
                .iter()
                .map(move |single| single.as_ref().is_some_and(|single| known(single, to)))
        };
        let each = single(|single, to| single.own <= to, COARSE * precision).all(|known| known);
        let one = single(|single, to| single.own <= to, precision).any(|known| known);
        let beyond = found.iter().flatten().chain([&all]).map(|single| {
            let off = (single.ratio - 1.0).abs();
            off - precision - FAR * single.known_to
        });
        Self {
            between,
            found: all.ratio,
            known_to: all.known_to,
            ratio: all.ratio,
            is_known: each && (one || all.known_to <= asked.wanted(limits.len())),
            beyond: beyond.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// The same under one limit.
#[derive(Debug, Clone, Copy)]
struct Single {
    ratio: f64,
    /// Half the interval of the ratio.
    known_to: f64,
    /// Half the interval of the size's own mean, as a part of it.
    own: f64,
}

impl Single {
    /// None where the size or one of its neighbours has fewer than two samples.
    fn of(size: u32, between: (u32, u32), known: &Known, goal: Goal) -> Option<Self> {
        let at = |size: u32| known.get(&size).filter(|known| known.count > 1);
        let (lower, upper, own) = (at(between.0)?, at(between.1)?, at(size)?);
        let part = f64::from(size - between.0) / f64::from(between.1 - between.0);
        let chord = |of: fn(&Summary) -> f64| of(lower) * (1.0 - part) + of(upper) * part;
        let mean = chord(|known| known.mean.value);
        let known_to = f64::hypot(lower.mean.half_width * (1.0 - part), upper.mean.half_width * part) / mean;
        // A few samples say little of their own spread, and that of two clusters is nothing where one of these is missing; the anchors have more samples.
        let others = chord(|known| known.mean.deviation / known.mean.value);
        let spread = own.mean.deviation / own.mean.value;
        let own_known_to = if spread >= others {
            own.mean.relative()
        } else {
            goal.half_width(others, own.count)
        };
        let ratio = own.mean.value / mean;
        Some(Self {
            ratio,
            known_to: ratio * f64::hypot(own_known_to, known_to),
            own: own_known_to,
        })
    }
}

/// Ratios of several limits, each with the weight of what it is known to.
fn together<'a>(all: impl Iterator<Item = &'a Single>) -> Single {
    /// Two equal samples are no certainty.
    const LEAST_KNOWN_TO: f64 = 1e-6;
    let (mut weights, mut ratios, mut own) = (0.0, 0.0, f64::INFINITY);
    for single in all {
        let weight = single.known_to.max(LEAST_KNOWN_TO).powi(-2);
        weights += weight;
        ratios += weight * single.ratio;
        own = own.min(single.own);
    }
    if weights > 0.0 {
        Single {
            ratio: ratios / weights,
            known_to: weights.sqrt().recip(),
            own,
        }
    } else {
        Single {
            ratio: 1.0,
            known_to: f64::INFINITY,
            own,
        }
    }
}

/// Which sizes are anchors, and how the others compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    asked: Asked,
    /// Limits under which there are samples.
    limits: usize,
    anchors: BTreeSet<u32>,
    levels: BTreeMap<u32, Level>,
}

impl Design {
    /// What the samples under these limits ask for.
    pub fn of(asked: Asked, limits: &[&Known]) -> Self {
        let mut design = Self {
            asked,
            limits: limits.len(),
            anchors: BTreeSet::new(),
            levels: BTreeMap::new(),
        };
        let (max_batch, goal) = (asked.max_batch, asked.goal);
        if asked.grid == Grid::Full {
            design.anchors.extend(1..=max_batch);
            return design;
        }
        let is_measured =
            |known: &Known, size: u32| known.get(&size).is_some_and(|summary| goal.missing(summary) == 0);
        let in_full = |size: &u32| {
            let mut all = limits.iter();
            !limits.is_empty() && all.all(|known| is_measured(known, *size))
        };
        design.anchors.extend([1, max_batch]);
        design.anchors.extend((1..=max_batch).filter(in_full));
        let at_any_rate = design.anchors.clone();
        while let Some(size) = design.farthest(limits) {
            design.anchors.insert(size);
        }
        // What was farthest off at first may be on a chord of those that came later.
        for size in &(&design.anchors - &at_any_rate) {
            design.anchors.remove(size);
            if design.farthest(limits).is_some() {
                design.anchors.insert(*size);
            }
        }
        design.farthest(limits);
        shrink(&mut design.levels);
        design
    }

    /// Compares every other size with its chord, and returns the one that is farthest off it beyond doubt.
    fn farthest(&mut self, limits: &[&Known]) -> Option<u32> {
        let between = |size: u32| {
            let lower = self.anchors.range(..size).next_back()?;
            let upper = self.anchors.range(size..).next()?;
            Some((*lower, *upper))
        };
        self.levels = (1..=self.asked.max_batch)
            .filter(|size| !self.anchors.contains(size))
            .filter_map(|size| Some((size, Level::of(size, between(size)?, limits, &self.asked))))
            .collect();
        let off = self.levels.iter().filter(|(_, level)| level.beyond > 0.0);
        off.max_by(|(_, one), (_, other)| one.beyond.total_cmp(&other.beyond))
            .map(|(size, _)| *size)
    }

    /// Sizes that are measured in full and have curves of their own.
    pub fn anchors(&self) -> &BTreeSet<u32> {
        &self.anchors
    }

    /// The other sizes.
    pub fn levels(&self) -> &BTreeMap<u32, Level> {
        &self.levels
    }

    /// Further samples that a size needs under one of the limits; 0 once enough is known there.
    pub fn missing(&self, size: u32, here: &Known) -> usize {
        let goal = self.asked.goal;
        let known = here.get(&size);
        let Some(level) = self.levels.get(&size) else {
            return known.map_or(goal.least(), |known| goal.missing(known));
        };
        let count = known.map_or(0, |known| known.count);
        let due = self.due(|anchor| here.get(&anchor).map_or(0, |known| known.count));
        if count < due {
            return due - count;
        }
        let (coarse, wanted) = (COARSE * goal.precision(), self.asked.wanted(self.limits));
        match Single::of(size, level.between, here, goal) {
            _ if level.is_known => 0,
            Some(single) if single.own > coarse => more(count, single.own / coarse),
            // Its own samples say all that they can.
            Some(single) if single.own <= goal.precision() => 0,
            Some(single) => more(count, single.own / wanted),
            None => 1,
        }
    }

    /// Whether nothing is missing under one of the limits.
    pub fn is_known(&self, here: &Known) -> bool {
        (1..=self.asked.max_batch).all(|size| self.missing(size, here) == 0)
    }

    /// Samples that a size that is no anchor has at least, where anchors have so many.
    pub(crate) fn due(&self, count: impl Fn(u32) -> usize) -> usize {
        let most = self.anchors.iter().map(|&anchor| count(anchor)).max();
        LEAST + most.unwrap_or(0) / SPREAD
    }
}

/// Takes each level nearer to the chord the less it is known beside how far levels are off it: with a variance `t` of the true ratios about 1, of which the squares of those found have `t + s` in the mean, `s` being
/// the variance of the error, the expected ratio is `1 + (found - 1) t / (t + s)` (empirical Bayes, as James and Stein's estimator). Where work is a straight line all sizes are on the chord, which is
/// known better than each of them; where it is not, the sizes themselves say how far it is from one.
fn shrink(levels: &mut BTreeMap<u32, Level>) {
    /// Half a 95 % interval in standard errors.
    const ERRORS: f64 = 1.96;
    let error = |level: &Level| (level.known_to / ERRORS).powi(2);
    let known = || levels.values().filter(|level| level.known_to.is_finite());
    #[expect(clippy::cast_precision_loss, reason = "a few sizes")]
    let count = known().count().max(1) as f64;
    let squares = |level: &Level| (level.found - 1.0).powi(2) - error(level);
    let variance = (known().map(squares).sum::<f64>() / count).max(0.0);
    for level in levels.values_mut().filter(|level| level.known_to.is_finite()) {
        let part = variance / (variance + error(level)).max(f64::MIN_POSITIVE);
        level.ratio = 1.0 + (level.found - 1.0) * part;
    }
}

/// Further samples that make an interval so many times narrower.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "an estimate: it is positive and saturates"
)]
fn more(count: usize, times: f64) -> usize {
    let needed = (times * times * count as f64).ceil() as usize;
    needed.saturating_sub(count).max(1)
}

#[cfg(test)]
mod tests;
