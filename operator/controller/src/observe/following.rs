//! Which rate is planned for where an application's rate is observed.
//!
//! The planned rate is the declared one until the gateways have seen another, and stays what it is until they have seen another again: quick for a
//! rise, slow for a fall, and neither for what may be chance.
//!
//! - **Rise.** Of all windows that end now, are two polls or longer and hold [`ENOUGH_REQUESTS`] requests or [`LONG_ENOUGH`], the one counts
//!   whose rate is surely highest ([`SURE`] standard errors below its estimate). Where that is more than [`RISE`] times the planned rate, the
//!   estimate becomes the planned rate, one standard error added. A window whose newer half or newest quarter looks busier than the rest may hold the step
//!   itself: it waits until the step is behind, at most [`PATIENCE`], so that one step leads to one change.
//! - **Fall.** An hour is cut into six blocks; where in every one of them the rate is clearly below the planned one by more than [`FALL`] times, the
//!   mean of the newer five becomes the planned rate, one standard error added. After a step down that takes an hour, and the oldest block may still
//!   hold it.
//!
//! After a change everything begins anew, so that a fall takes an hour at the least.
//!
//! How rarely chance is taken for a rise: a window in which `m` requests are expected must hold so many that `(sqrt(n + 3/8) - 2)^2 > 1.1 m`. For
//! `m` = 1 that is 9 requests (once in 10^6 windows), for 30 it is 60 (once in 10^6), for 400 it is 528 (once in 10^9); a day has some
//! hundred windows that do not overlap. How short an estimate may be: 400 requests are known to 5 %, and with one standard error added a rate that is
//! two errors too low is within the tenth that is no rise.

use std::collections::VecDeque;

use harmonybatch_api::quantity::Rate;

use super::evidence::{Scatter, Seen};

/// How long arrivals are remembered, in seconds.
const MEMORY: f64 = 3600.0;
/// Blocks that the memory is cut into.
const BLOCKS: usize = 6;
/// So many requests say enough, however soon they come: their rate is known to 5 %.
const ENOUGH_REQUESTS: f64 = 400.0;
/// So many seconds say enough, however few requests come.
const LONG_ENOUGH: f64 = 600.0;
/// Standard errors that a rise must be sure by: one look in 30,000 passes 4 by chance.
const SURE: f64 = 4.0;
/// Standard errors that each of the six blocks must be below by: all six are below it by chance once in 10^7.
const CLEAR: f64 = 1.5;
/// Standard errors between the parts of a window from which on it may hold a step: a low one, since to wait costs little.
const STEP: f64 = 0.5;
/// How many times the planned rate a rise must surely reach.
const RISE: f64 = 1.1;
/// How many times below the planned rate a fall must clearly be: more than the step within which the planner keeps the higher rate.
const FALL: f64 = 1.25;
/// How many seconds a rise that goes on and on is waited for: a steady growth has no end to wait for.
const PATIENCE: f64 = 300.0;

/// The planned rate of one application, and what was seen of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Following {
    /// None: the declared one.
    planned: Option<Rate>,
    scatter: Scatter,
    /// One entry a poll, the newest last.
    polls: VecDeque<Seen>,
}

impl Following {
    /// Goes on with the rate that was planned for before.
    pub(crate) fn new(planned: Option<Rate>) -> Self {
        Self {
            planned,
            ..Self::default()
        }
    }

    /// The rate to plan for, unless it is the declared one.
    pub(crate) fn planned(&self) -> Option<Rate> {
        self.planned
    }

    /// How its requests scatter.
    pub(crate) fn scatters(&mut self, scatter: Scatter) {
        self.scatter = scatter;
    }

    /// Takes what arrived since the last poll.
    pub(crate) fn observe(&mut self, seen: Seen, declared: Rate) {
        if seen.seconds <= 0.0 {
            return;
        }
        self.polls.push_back(seen);
        let mut remembered: f64 = self.polls.iter().map(|poll| poll.seconds).sum();
        while let Some(oldest) = self.polls.front()
            && remembered - oldest.seconds >= MEMORY
        {
            remembered -= oldest.seconds;
            self.polls.pop_front();
        }
        let planned = self.planned.unwrap_or(declared).per_second();
        let found = self.rise(planned).or_else(|| self.fall(planned));
        if let Some(rate) = found.and_then(Rate::at_least) {
            self.planned = Some(rate);
            // What came before was another rate: it is no evidence of a fall from this one.
            self.polls.clear();
        }
    }

    fn rise(&self, planned: f64) -> Option<f64> {
        let newest_first = self.polls.iter().rev();
        let rise = self.sure_rise(newest_first.clone(), planned)?;
        let goes_on = |(newer, older): &(Seen, Seen)| newer.above(*older, self.scatter) > STEP;
        let waited = || {
            let mut passed = 0.0;
            let since = newest_first.clone().take_while(|poll| {
                passed += poll.seconds;
                passed <= PATIENCE
            });
            let since = since.count();
            self.sure_rise(newest_first.skip(since), planned).is_some()
        };
        (!rise.newer_and_older.iter().any(goes_on) || waited()).then(|| rise.all.with_margin(self.scatter))
    }

    /// Of the windows that end with the newest poll and whose rate surely is a rise, the one whose rate is surely highest.
    fn sure_rise<'s>(
        &self,
        newest_first: impl Iterator<Item = &'s Seen> + Clone,
        planned: f64,
    ) -> Option<Rise> {
        let windows = newest_first.scan(Seen::default(), |all, poll| {
            *all = all.and(*poll);
            Some(*all)
        });
        let enough = |seen: &Seen| seen.requests >= ENOUGH_REQUESTS || seen.seconds >= LONG_ENOUGH;
        let (_, all) = windows
            .clone()
            .skip(1)
            .filter(|seen| enough(seen) && seen.rate() > RISE * planned)
            .map(|seen| (seen.lower(self.scatter, SURE), seen))
            .filter(|(surely, _)| *surely > RISE * planned)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let newest = |part: f64| {
            let mut windows = windows.clone();
            let newer = windows.find(|seen| seen.seconds >= all.seconds * part);
            let newer = newer.unwrap_or(all);
            (newer, all.without(newer))
        };
        Some(Rise {
            all,
            newer_and_older: [newest(0.5), newest(0.25)],
        })
    }

    fn fall(&self, planned: f64) -> Option<f64> {
        let blocks = self.blocks()?;
        let below = |block: &Seen| block.upper(self.scatter, CLEAR) * FALL < planned;
        if !blocks.iter().all(below) {
            return None;
        }
        let newer = blocks[..BLOCKS - 1]
            .iter()
            .fold(Seen::default(), |sum, block| sum.and(*block));
        Some(newer.with_margin(self.scatter))
    }

    /// The memory in equal parts, the newest first; none before it is full.
    fn blocks(&self) -> Option<[Seen; BLOCKS]> {
        let mut blocks = [Seen::default(); BLOCKS];
        let mut at = 0;
        for poll in self.polls.iter().rev() {
            blocks[at] = blocks[at].and(*poll);
            #[expect(clippy::cast_precision_loss, reason = "six blocks")]
            let length = MEMORY / BLOCKS as f64;
            if blocks[at].seconds >= length && at + 1 < BLOCKS {
                at += 1;
            }
        }
        let seconds: f64 = blocks.iter().map(|block| block.seconds).sum();
        (seconds >= MEMORY && blocks.iter().all(|block| block.seconds > 0.0)).then_some(blocks)
    }
}

/// A window whose rate is higher than the planned one.
struct Rise {
    all: Seen,
    /// Its newer half with the older one, and its newest quarter with the rest.
    newer_and_older: [(Seen, Seen); 2],
}

#[cfg(test)]
mod tests;
