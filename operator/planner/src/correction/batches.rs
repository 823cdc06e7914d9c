//! What was seen of the batches of one size on one function.

/// Between what a batch may take, in seconds.
const SHORTEST: f64 = 1e-9;
const LONGEST: f64 = 1e6;

/// Batches of one number of rows on one function, in seconds, beside what the profile says of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batches {
    /// The profile's mean latency of such a batch; above 0.
    pub expected_mean: f64,
    /// Its longest one; at least the mean.
    pub expected_max: f64,
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
            && known(self.expected_mean)
            && known(self.expected_max)
            && times.all(|time| (0.0..=LONGEST).contains(&time))
    }

    /// What a batch of this size takes as far as is seen, which is what one is taken to have needed that was given up sooner.
    fn likely(&self, ratio: f64) -> f64 {
        if self.answered > 0 {
            self.mean
        } else {
            ratio * self.expected_mean
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
