//! Counts as plain numbers, beside what they count: an application or a group that is idle shall cost next to nothing, and there may be thousands. They are
//! put into series by a scrape.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Values in buckets whose bounds double: the first one holds what is at most `LEAST`, and one behind the last what is beyond. Memory is taken with the first
/// value.
#[derive(Debug, Default)]
pub(super) struct Histogram<const LEAST: u64, const BUCKETS: usize>(OnceLock<Box<Buckets<BUCKETS>>>);

/// 1 ms to 65 s, in ns: SLOs lie between 10 ms and 60 s, and doubling tells a kept one from a missed one well enough beside the exact counts.
pub(super) type Latencies = Histogram<1_000_000, 17>;

/// 50 us to 51 ms, in ns: what a timer and a scheduler cost.
pub(super) type Delays = Histogram<50_000, 11>;

/// 1 to 1024 rows, the largest batch size.
pub(super) type Sizes = Histogram<1, 11>;

#[derive(Debug)]
struct Buckets<const BUCKETS: usize> {
    counts: [Count; BUCKETS],
    beyond: Count,
    sum: Count,
}

impl<const BUCKETS: usize> Default for Buckets<BUCKETS> {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| Count::default()),
            beyond: Count::default(),
            sum: Count::default(),
        }
    }
}

/// What a histogram holds, in the unit of its family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) sum: f64,
    /// Upper bounds (inclusive), the last one infinite, and values in each bucket alone.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl<const LEAST: u64, const BUCKETS: usize> Histogram<LEAST, BUCKETS> {
    pub(super) fn observe(&self, value: u64) {
        let buckets = self.0.get_or_init(Box::default);
        // The smallest i with value <= LEAST * 2^i.
        let index = (value.saturating_sub(1) / LEAST)
            .checked_ilog2()
            .map_or(0, |octave| octave as usize + 1);
        buckets.counts.get(index).unwrap_or(&buckets.beyond).inc();
        buckets.sum.add(value);
    }

    /// With so many of the values' units in one of the family's.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum may lose what is below its 53 bits"
    )]
    pub(super) fn read(&self, units: f64) -> Reading {
        let buckets = self.0.get();
        let count = |count: fn(&Buckets<BUCKETS>, usize) -> &Count, index| {
            buckets.map_or(0, |buckets| count(buckets, index).get())
        };
        let bounds = (0..BUCKETS).map(|index| {
            let bound = (LEAST << index) as f64 / units;
            (bound, count(|buckets, index| &buckets.counts[index], index))
        });
        let beyond = (f64::INFINITY, count(|buckets, _| &buckets.beyond, 0));
        Reading {
            sum: count(|buckets, _| &buckets.sum, 0) as f64 / units,
            buckets: bounds.chain([beyond]).collect(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use prometheus_client::{
        encoding::text::encode,
        metrics::histogram::{Histogram as Reference, exponential_buckets},
        registry::Registry,
    };

    use super::*;

    /// The counts up to each bound, as the text form has them.
    fn cumulated(text: &str) -> Vec<(f64, u64)> {
        let lines = text.lines().filter_map(|line| line.split_once("le=\""));
        let lines = lines.filter_map(|(_, rest)| rest.split_once("\"} "));
        lines
            .map(|(bound, count)| {
                let bound = if bound == "+Inf" {
                    Ok(f64::INFINITY)
                } else {
                    bound.parse()
                };
                (bound.unwrap(), count.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn values_are_counted_as_the_library_counts_them() {
        let ours = Latencies::default();
        let mut nothing = ours.read(1e9).buckets.into_iter();
        assert!(nothing.all(|(_, count)| count == 0));
        let reference = Reference::new(exponential_buckets(0.001, 2.0, 17));
        let around = (0..20).flat_map(|octave| {
            let bound = 1_000_000_u64 << octave;
            [bound - 1, bound, bound + 1, bound + bound / 3]
        });
        let mut sum = 0.0;
        for value in around.chain([0, 1, 999_999, 1 << 45]) {
            ours.observe(value);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let value = value as f64 / 1e9;
            reference.observe(value);
            sum += value;
        }
        let mut registry = Registry::default();
        registry.register("h", "h", reference);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let reading = ours.read(1e9);
        let mut up_to = 0;
        let ours: Vec<_> = reading
            .buckets
            .into_iter()
            .map(|(bound, count)| {
                up_to += count;
                (bound, up_to)
            })
            .collect();
        assert_eq!(ours, cumulated(&text));
        assert!((reading.sum - sum).abs() < 1e-6 * sum);
    }
}
