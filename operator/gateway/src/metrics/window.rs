//! Counts of the last hour, in slots of a minute. There are none for minutes in which nothing happened: most applications are idle most of the time, and
//! there may be thousands.

use std::collections::{BTreeMap, VecDeque};

use harmonybatch_dispatch::Nanos;
use serde::Serialize;

use super::dispersion::{Counting, Dispersion, Squares};

const SLOTS: u64 = 60;
const SLOT: Nanos = 60 * 1_000_000_000;
/// Buckets of a power of two: a latency is known to 1/16.
const BUCKETS_PER_OCTAVE: u64 = 16;

/// What became of an application's requests in a sliding hour.
#[derive(Clone, Debug)]
pub struct Window {
    started: Nanos,
    /// By minute.
    slots: VecDeque<Slot>,
    arrived: Arrived,
    counting: Counting,
}

/// What arrived since the gateway began to count an application: it only grows, so that two answers tell what came between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Arrived {
    /// Well-formed requests, refused ones too.
    pub requests: u64,
    /// Their rows.
    pub rows: u64,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Which minute since the clock's start it counts.
    minute: u64,
    counts: Counts,
    /// Of the rows in the windows of the minute.
    squares: Squares,
    /// Bucket to answers.
    latency: BTreeMap<u64, u64>,
}

/// Sums of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Rows that arrived, refused ones too: the offered load.
    pub rows: u64,
    /// Requests that count for the SLO: admitted, and ended otherwise than by a caller that left before its SLO.
    pub admitted: u64,
    /// Answered 2xx within the SLO.
    pub within_slo: u64,
    /// Answered 2xx after it, or left after it.
    pub late: u64,
    /// Answered otherwise.
    pub failed: u64,
    /// 429, or 503 at the door: never admitted.
    pub refused: u64,
    /// Left before the SLO: not counted as admitted.
    pub left: u64,
}

/// One entry of `GET /observed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppObservation {
    /// The application's namespace.
    pub namespace: String,
    /// Its name.
    pub app: String,
    /// The part of the hour that this gateway has seen.
    pub span_seconds: u64,
    /// Sums.
    #[serde(flatten)]
    pub counts: Counts,
    /// What arrived in all.
    pub arrived: Arrived,
    /// How bursty the rows of the hour came.
    pub dispersion: Dispersion,
    /// Latencies of the answers.
    pub latency: Latency,
}

/// A histogram that adds up with those of other gateways: bucket bounds depend on nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Microseconds.
    pub unit: &'static str,
    /// Upper bound (inclusive) and answers in it, without the empty ones.
    pub buckets: Vec<(u64, u64)>,
}

impl Window {
    /// Begins to count.
    pub fn new(now: Nanos) -> Self {
        Self {
            started: now,
            slots: VecDeque::new(),
            arrived: Arrived::default(),
            counting: Counting::default(),
        }
    }

    /// Counts a request that arrived.
    pub fn arrive(&mut self, now: Nanos, rows: u64) {
        self.arrived.requests += 1;
        self.arrived.rows += rows;
        let more = self.counting.arrive(now, rows);
        let slot = self.slot(now);
        slot.counts.rows += rows;
        for (sum, more) in slot.squares.iter_mut().zip(more) {
            *sum = sum.saturating_add(more);
        }
    }

    /// The sums of squares of the last hour.
    pub fn dispersion(&self, now: Nanos) -> Dispersion {
        let mut sums = Squares::default();
        for slot in self.of_the_hour(now) {
            for (sum, squares) in sums.iter_mut().zip(slot.squares) {
                *sum = sum.saturating_add(squares);
            }
        }
        Dispersion::new(sums)
    }

    fn of_the_hour(&self, now: Nanos) -> impl Iterator<Item = &Slot> {
        let minute = now / SLOT;
        let hour = minute.saturating_sub(SLOTS - 1)..=minute;
        self.slots.iter().filter(move |slot| hour.contains(&slot.minute))
    }

    /// What arrived in all.
    pub fn arrived(&self) -> Arrived {
        self.arrived
    }

    fn slot(&mut self, now: Nanos) -> &mut Slot {
        let minute = now / SLOT;
        // The last one, but for a count that was made when a minute ended and took its turn after one of the next.
        let later = self.slots.iter().rev().take_while(|slot| slot.minute > minute);
        let mut index = self.slots.len() - later.count();
        if index > 0 && self.slots[index - 1].minute == minute {
            return &mut self.slots[index - 1];
        }
        while index > 0 && self.slots[0].minute + SLOTS <= minute {
            self.slots.pop_front();
            index -= 1;
        }
        let slot = Slot {
            minute,
            ..Slot::default()
        };
        self.slots.insert(index, slot);
        &mut self.slots[index]
    }

    /// Counts something.
    pub fn count(&mut self, now: Nanos, count: impl FnOnce(&mut Counts)) {
        count(&mut self.slot(now).counts);
    }

    /// Counts an answer's latency.
    pub fn observe(&mut self, now: Nanos, latency: Nanos) {
        *self.slot(now).latency.entry(bucket(latency / 1000)).or_default() += 1;
    }

    /// The sums of the last hour, and its latencies by upper bound.
    pub fn sums(&self, now: Nanos) -> (u64, Counts, Latency) {
        let minute = now / SLOT;
        let oldest = minute.saturating_sub(SLOTS - 1);
        let mut sums = Counts::default();
        let mut buckets = BTreeMap::<u64, u64>::new();
        for slot in self.of_the_hour(now) {
            let counts = slot.counts;
            sums.rows += counts.rows;
            sums.admitted += counts.admitted;
            sums.within_slo += counts.within_slo;
            sums.late += counts.late;
            sums.failed += counts.failed;
            sums.refused += counts.refused;
            sums.left += counts.left;
            for (bucket, count) in &slot.latency {
                *buckets.entry(upper(*bucket)).or_default() += count;
            }
        }
        let since = self.started.max(oldest * SLOT);
        let span_seconds = now.saturating_sub(since) / 1_000_000_000;
        (
            span_seconds,
            sums,
            Latency {
                unit: "us",
                buckets: buckets.into_iter().collect(),
            },
        )
    }
}

/// The bucket of a value: each power of two has 16 of one width; below 16 every value has its own.
pub(super) fn bucket(value: u64) -> u64 {
    if value < BUCKETS_PER_OCTAVE {
        return value;
    }
    let shift = u64::from(value.ilog2() - BUCKETS_PER_OCTAVE.ilog2());
    shift * BUCKETS_PER_OCTAVE + (value >> shift)
}

/// The largest value of a bucket.
pub(super) fn upper(bucket: u64) -> u64 {
    if bucket < 2 * BUCKETS_PER_OCTAVE {
        return bucket;
    }
    let shift = bucket / BUCKETS_PER_OCTAVE - 1;
    let lowest = u128::from(bucket - shift * BUCKETS_PER_OCTAVE) << shift;
    u64::try_from(lowest + (1 << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_to_a_sixteenth() {
        let mut last = None;
        for value in (0..5000).chain([1 << 20, (1 << 20) + 1, 1 << 40, u64::MAX]) {
            let upper = upper(bucket(value));
            assert!(
                upper >= value && upper - value <= value / 16,
                "{value} in a bucket up to {upper}"
            );
            assert!(last.is_none_or(|last| last <= upper), "{value}");
            assert_eq!(bucket(upper), bucket(value));
            last = Some(upper);
        }
    }

    #[test]
    fn what_is_older_than_an_hour_is_forgotten() {
        let mut window = Window::new(5 * SLOT);
        window.count(5 * SLOT, |counts| counts.rows += 7);
        window.observe(5 * SLOT, 2_000_000);
        window.count(6 * SLOT, |counts| counts.rows += 1);
        let (span, counts, latency) = window.sums(6 * SLOT);
        assert_eq!((span, counts.rows), (60, 8));
        assert_eq!(latency.buckets, [(2047, 1)]);
        let (span, counts, _) = window.sums(64 * SLOT + SLOT / 2);
        assert_eq!((span, counts.rows), (59 * 60 + 30, 8));
        let (_, counts, latency) = window.sums(65 * SLOT);
        assert_eq!((counts.rows, latency.buckets.len()), (1, 0));
        window.count(65 * SLOT, |counts| counts.rows += 2);
        assert_eq!(window.sums(65 * SLOT).1.rows, 3);
        // Nothing is kept of a minute that is over for so long.
        window.count(66 * SLOT, |counts| counts.rows += 1);
        assert_eq!(window.slots.len(), 2);
        assert_eq!(window.sums(300 * SLOT).1, Counts::default());
    }

    #[test]
    fn a_count_that_comes_after_one_of_the_next_minute_is_in_its_own() {
        let mut window = Window::new(0);
        for minute in [1, 3, 2, 3, 2, 0] {
            window.count(minute * SLOT, |counts| counts.rows += 1);
        }
        let minutes: Vec<_> = window
            .slots
            .iter()
            .map(|slot| (slot.minute, slot.counts.rows))
            .collect();
        assert_eq!(minutes, [(0, 1), (1, 1), (2, 2), (3, 2)]);
    }

    #[test]
    fn squares_are_of_the_last_hour() {
        let mut window = Window::new(0);
        let told = |squares| Dispersion::new([squares; 4]);
        window.arrive(0, 3);
        assert_eq!(window.dispersion(59 * SLOT), told(9));
        window.arrive(60 * SLOT, 2);
        window.arrive(60 * SLOT, 2);
        assert_eq!(window.dispersion(60 * SLOT), told(16));
        assert_eq!(window.dispersion(120 * SLOT), told(0));
    }

    #[test]
    fn what_arrived_in_all_is_not_forgotten() {
        let mut window = Window::new(0);
        window.arrive(0, 7);
        window.arrive(90 * SLOT, 2);
        assert_eq!(window.arrived(), Arrived { requests: 2, rows: 9 });
        assert_eq!(window.sums(90 * SLOT).1.rows, 2);
    }
}
