//! What batches took at their replicas in the last minutes, by their rows: what the controller holds profiles against.
//!
//! Only first attempts count, and only batches all of whose callers had their answers of it; one that outlasted its callers counts as that, with the time
//! for which they waited, so that a runtime that is too slow for its callers is not taken for one that nobody has seen. Times are kept in slots of
//! half a minute, for the sizes that occur, as count, mean, squares and buckets of a sixteenth. A group that has had no batch lately holds nothing of
//! it: most groups are idle most of the time, and there may be thousands.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use harmonybatch_dispatch::Nanos;
use serde::Serialize;

use super::window::{bucket, upper};
use crate::config::Key;

const SLOTS: u64 = 6;
const SLOT: Nanos = 30 * 1_000_000_000;
/// Sizes that are told apart in one slot, of up to 1,024: batches of others are left out, whatever they took.
const MOST_SIZES: usize = 64;

/// For how long times are remembered, in seconds.
pub const WINDOW_SECONDS: u64 = SLOTS * SLOT / 1_000_000_000;

/// The times of one group.
#[derive(Debug, Default)]
pub struct ServiceTimes(Mutex<VecDeque<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    /// Which half minute since the clock's start.
    number: u64,
    sizes: BTreeMap<u32, Times>,
    /// When its first and its last batch were counted.
    began: Nanos,
    ended: Nanos,
}

/// Of batches of one size, in microseconds.
#[derive(Clone, Debug, Default)]
struct Times {
    count: u64,
    mean: f64,
    /// Sum of the squares of what lies between a time and the mean.
    squares: f64,
    /// Bucket to batches.
    spread: BTreeMap<u64, u64>,
    overdue: BTreeMap<u64, u64>,
}

/// The batches of one group, in `GET /observed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupObservation {
    /// The group's namespace.
    pub namespace: String,
    /// Its name.
    pub group: String,
    /// How long ago the first of these batches was over, in seconds, and the last one: between them came what they hold.
    pub began_seconds_ago: f64,
    /// The last one.
    pub ended_seconds_ago: f64,
    /// Of every time below: microseconds.
    pub unit: &'static str,
    /// By rows.
    pub batches: Vec<SizeObservation>,
}

/// Batches of so many rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SizeObservation {
    /// Rows.
    pub rows: u32,
    /// Batches that were answered.
    pub count: u64,
    /// Their mean time.
    pub mean: f64,
    /// Its variance among them.
    pub variance: f64,
    /// Upper bound (inclusive) and batches in it, without the empty ones.
    pub buckets: Vec<(u64, u64)>,
    /// The same of batches that nobody waited for any more, by how long they had been with their replica then.
    pub overdue: Vec<(u64, u64)>,
}

impl ServiceTimes {
    /// A batch was answered after so long.
    pub fn answered(&self, rows: u32, service: Nanos, now: Nanos) {
        let micros = service / 1000;
        self.count(rows, now, |times| {
            times.add(micros);
            *times.spread.entry(bucket(micros)).or_default() += 1;
        });
    }

    /// A batch was not answered while anybody waited for it, which was so long.
    pub fn overdue(&self, rows: u32, waited: Nanos, now: Nanos) {
        self.count(rows, now, |times| {
            *times.overdue.entry(bucket(waited / 1000)).or_default() += 1;
        });
    }

    fn count(&self, rows: u32, now: Nanos, count: impl FnOnce(&mut Times)) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut slots, now);
        let number = now / SLOT;
        // One that took its turn after a batch of the next half minute counts there.
        if slots.back().is_none_or(|slot| slot.number < number) {
            slots.push_back(Slot {
                number,
                sizes: BTreeMap::new(),
                began: now,
                ended: now,
            });
        }
        let Some(slot) = slots.back_mut() else { return };
        slot.ended = slot.ended.max(now);
        if slot.sizes.len() < MOST_SIZES || slot.sizes.contains_key(&rows) {
            count(slot.sizes.entry(rows).or_default());
        }
    }

    /// The batches of the last minutes; none where there were none, after which nothing of them is held.
    pub fn observation(&self, group: &Key, now: Nanos) -> Option<GroupObservation> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut slots, now);
        let Some((began, ended)) = slots
            .front()
            .zip(slots.back())
            .map(|(first, last)| (first.began, last.ended))
        else {
            // Its memory too.
            *slots = VecDeque::new();
            return None;
        };
        let ago = |then: Nanos| Duration::from_nanos(now.saturating_sub(then)).as_secs_f64();
        let mut sizes: BTreeMap<u32, Times> = BTreeMap::new();
        for (rows, times) in slots.iter().flat_map(|slot| &slot.sizes) {
            sizes.entry(*rows).or_default().merge(times);
        }
        Some(GroupObservation {
            namespace: group.namespace.to_string(),
            group: group.name.to_string(),
            began_seconds_ago: ago(began),
            ended_seconds_ago: ago(ended),
            unit: "us",
            batches: sizes
                .iter()
                .map(|(rows, times)| times.observation(*rows))
                .collect(),
        })
    }
}

fn forget(slots: &mut VecDeque<Slot>, now: Nanos) {
    while slots
        .front()
        .is_some_and(|slot| slot.number + SLOTS <= now / SLOT)
    {
        slots.pop_front();
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of some minutes")]
impl Times {
    /// One more (Welford 1962).
    fn add(&mut self, micros: u64) {
        self.count += 1;
        let off = micros as f64 - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (micros as f64 - self.mean);
    }

    /// Both (Chan, Golub and LeVeque 1979).
    fn merge(&mut self, other: &Self) {
        let (ours, theirs) = (self.count as f64, other.count as f64);
        if other.count > 0 {
            let off = other.mean - self.mean;
            self.mean += off * theirs / (ours + theirs);
            self.squares += other.squares + off * off * ours * theirs / (ours + theirs);
            self.count += other.count;
        }
        for (into, from) in [
            (&mut self.spread, &other.spread),
            (&mut self.overdue, &other.overdue),
        ] {
            for (bucket, count) in from {
                *into.entry(*bucket).or_default() += count;
            }
        }
    }

    fn observation(&self, rows: u32) -> SizeObservation {
        let written = |buckets: &BTreeMap<u64, u64>| {
            let buckets = buckets.iter();
            buckets.map(|(bucket, count)| (upper(*bucket), *count)).collect()
        };
        SizeObservation {
            rows,
            count: self.count,
            mean: self.mean,
            variance: self.squares / (self.count.max(2) - 1) as f64,
            buckets: written(&self.spread),
            overdue: written(&self.overdue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn key() -> Key {
        Key::new("shop", "mlp-a")
    }

    #[test]
    fn times_of_several_slots_are_those_of_one_list() {
        let times = ServiceTimes::default();
        let mut random = fastrand::Rng::with_seed(7);
        let mut list = Vec::new();
        for batch in 0..500 {
            let micros = random.u64(5_000..90_000);
            times.answered(8, micros * 1000, batch * 250 * MS);
            list.push(micros);
        }
        let seen = times.observation(&key(), 125_000 * MS).map(|seen| seen.batches);
        let Some([seen]) = seen.as_deref() else {
            unreachable!("one size: {seen:?}")
        };
        let number = f64::from(500);
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let list: Vec<f64> = list.into_iter().map(|micros| micros as f64).collect();
        let mean = list.iter().sum::<f64>() / number;
        let variance = list.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (number - 1.0);
        assert_eq!((seen.rows, seen.count), (8, 500));
        assert!((seen.mean / mean - 1.0).abs() < 1e-12);
        assert!((seen.variance / variance - 1.0).abs() < 1e-9);
        assert_eq!(seen.buckets.iter().map(|(_, count)| count).sum::<u64>(), 500);
    }

    #[test]
    fn a_group_that_is_idle_holds_nothing() {
        let times = ServiceTimes::default();
        assert_eq!(times.observation(&key(), 0), None);
        times.answered(4, 20 * MS, 10_000 * MS);
        times.overdue(4, 900 * MS, 40_000 * MS);
        let seen = |seconds: u64| {
            let seen = times.observation(&key(), seconds * 1000 * MS);
            seen.map(|seen| (seen.began_seconds_ago, seen.ended_seconds_ago, seen.batches))
        };
        let Some((began, ended, batches)) = seen(179) else {
            unreachable!("two batches")
        };
        assert_eq!((batches[0].count, batches[0].overdue.len()), (1, 1));
        assert!((began - 169.0).abs() < 1e-9 && (ended - 139.0).abs() < 1e-9);
        // The first half minute is over for three.
        let Some((began, ended, batches)) = seen(180) else {
            unreachable!("one batch")
        };
        assert_eq!(batches[0].count, 0);
        assert!((began - 140.0).abs() < 1e-9 && (ended - 140.0).abs() < 1e-9);
        assert_eq!(times.observation(&key(), 210_000 * MS), None);
        assert!(times.0.lock().is_ok_and(|slots| slots.capacity() == 0));
    }

    #[test]
    fn sizes_are_bounded() {
        let times = ServiceTimes::default();
        for rows in 1..=1024 {
            times.answered(rows, MS, 0);
        }
        let seen = times.observation(&key(), 0).map(|seen| seen.batches.len());
        assert_eq!(seen, Some(MOST_SIZES));
    }
}
