//! What was seen of the batches of one size on one function.

use crate::latency::Work;

/// Between what a batch may take, in seconds.
const SHORTEST: f64 = 1e-9;
const LONGEST: f64 = 1e6;

/// Batches of one number of rows on one function, in seconds, beside what the profile says of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batches {
    /// The profile's mean latency of such a batch.
    pub expected: Expected,
    /// Its longest one.
    pub longest: Longest,
    /// Batches that were answered.
    pub answered: u64,
    /// Their mean time.
    pub mean: f64,
    /// Their variance.
    pub variance: f64,
    /// How their times are spread: bounds between which they lie, and how many do. Later ones lie higher.
    pub spread: Vec<Bucket>,
    /// Batches that were given up because nobody waited for them any more: for how long they had been with the runtime at least, and how many.
    pub overdue: Vec<(f64, u64)>,
}

/// So many batches that follow each other say as much as one that is independent of the others, where nothing else is known of it.
const DEPENDENCE: f64 = 4.0;

/// The mean that batches are expected to have, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Seconds, above 0.
    pub mean: f64,
    /// So many of the batches say as much of the factor as one would that is independent of the others, and whose time goes with the factor.
    pub dependence: f64,
    /// Standard error of the factor that comes of the mean itself, as a part of it, whatever number of batches is seen.
    pub error: f64,
}

impl Expected {
    /// A mean that a profile says by itself.
    pub fn new(mean: f64) -> Self {
        Self {
            mean,
            dependence: DEPENDENCE,
            error: 0.0,
        }
    }

    /// As much as batches that were played depend on each other, and no less than others do. A factor that is one percent higher makes their mean `slope` percent
    /// higher.
    pub(super) fn played(mean: f64, dependence: f64, slope: f64, error: f64) -> Self {
        Self {
            mean,
            dependence: dependence.max(DEPENDENCE) / slope.powi(2),
            error: error / slope,
        }
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self::new(0.0)
    }
}

/// The longest latency that a profile knows of batches of one size, of which times are parts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Longest {
    seconds: f64,
    work: Option<Work>,
}

impl Longest {
    pub(crate) fn new(seconds: f64, work: Option<Work>) -> Self {
        Self { seconds, work }
    }

    /// So many seconds, and twice as many for what takes twice as long.
    pub fn of(seconds: f64) -> Self {
        Self::new(seconds, None)
    }

    /// By what it must be corrected to be no less than a time. Under a quota that is played it goes by the work: whatever has been spent of the quota, a batch that
    /// waits for the next one takes long, however little its work is.
    pub(super) fn part(&self, seconds: f64) -> f64 {
        self.work
            .map_or(seconds / self.seconds, |work| work.factor_reaching(seconds))
    }
}

/// Times between two bounds, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// At least so long.
    pub least: f64,
    /// At most so long.
    pub most: f64,
    /// How many.
    pub count: u64,
}

impl Batches {
    /// All of them.
    pub(super) fn count(&self) -> u64 {
        self.overdue
            .iter()
            .fold(self.answered, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether there is anything to compare, in numbers that may be times.
    pub(super) fn says_something(&self) -> bool {
        let mut times = [self.mean, self.variance]
            .into_iter()
            .chain(self.spread.iter().flat_map(|bucket| [bucket.least, bucket.most]))
            .chain(self.overdue.iter().map(|(waited, _)| *waited));
        let known = |time: f64| (SHORTEST..=LONGEST).contains(&time);
        self.count() > 0
            && known(self.expected.mean)
            && known(self.longest.seconds)
            && self.expected.dependence > 0.0
            && (0.0..=1.0).contains(&self.expected.error)
            && times.all(|time| (0.0..=LONGEST).contains(&time))
    }

    /// What a batch of this size takes as far as is seen, which is what one is taken to have needed that was given up sooner.
    fn likely(&self, ratio: f64) -> f64 {
        if self.answered > 0 {
            self.mean
        } else {
            ratio * self.expected.mean
        }
    }

    /// The batches that were given up, with the times that they are taken to have needed: for as long as they were waited for, and no less than the
    /// others take. A batch that left its queue late is given up soon, which says nothing of its speed.
    pub(super) fn given_up(&self, ratio: f64) -> impl Iterator<Item = (f64, u64)> + '_ {
        let likely = self.likely(ratio);
        self.overdue
            .iter()
            .map(move |(waited, count)| (waited.max(likely), *count))
    }
}
