//! Whether latencies come in two clusters, as they do where a CPU quota ends in the middle of some batches.

/// Fewest samples in which clusters are looked for.
const LEAST: usize = 20;
/// A cluster has at least this part of the samples: fewer are a tail.
const SMALLEST_PART: f64 = 0.05;
/// The slower cluster takes at least so many times as long: closer ones do not matter to a plan.
const RATIO: f64 = 1.2;
/// Least separation `sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2)` (Ashman's D). Cut at its best place, an exponential law has 2.6, a normal one 2.7 and
/// a uniform one 3.5.
const SEPARATION: f64 = 5.0;

/// Two clusters of latencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clusters {
    /// Mean of the faster one.
    pub fast: f64,
    /// Mean of the slower one.
    pub slow: f64,
    /// Part of the samples in the slower one.
    pub slow_part: f64,
}

/// Count, sum and sum of squares of some samples.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn with(self, value: f64) -> Self {
        Self {
            count: self.count + 1.0,
            sum: self.sum + value,
            squares: self.squares + value * value,
        }
    }

    fn without(self, part: Self) -> Self {
        Self {
            count: self.count - part.count,
            sum: self.sum - part.sum,
            squares: self.squares - part.squares,
        }
    }

    fn mean(self) -> f64 {
        self.sum / self.count
    }

    fn variance(self) -> f64 {
        (self.squares / self.count - self.mean().powi(2)).max(0.0)
    }
}

/// The two clusters of a sorted sample, cut where the variance between them is largest, if they are apart.
pub fn clusters(sorted: &[f64]) -> Option<Clusters> {
    if sorted.len() < LEAST {
        return None;
    }
    let all = sorted.iter().copied().fold(Moments::default(), Moments::with);
    let least = SMALLEST_PART * all.count;
    let cuts = sorted
        .iter()
        .scan(Moments::default(), |before, &value| {
            *before = before.with(value);
            Some(*before)
        })
        .map(|fast| (fast, all.without(fast)))
        .filter(|(fast, slow)| fast.count >= least && slow.count >= least);
    let between =
        |(fast, slow): &(Moments, Moments)| fast.count * slow.count * (slow.mean() - fast.mean()).powi(2);
    let (fast, slow) = cuts.max_by(|one, other| between(one).total_cmp(&between(other)))?;
    let distance = slow.mean() - fast.mean();
    let apart =
        distance * std::f64::consts::SQRT_2 >= SEPARATION * (fast.variance() + slow.variance()).sqrt();
    (apart && slow.mean() >= RATIO * fast.mean()).then(|| Clusters {
        fast: fast.mean(),
        slow: slow.mean(),
        slow_part: slow.count / all.count,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn sorted(mut sample: Vec<f64>) -> Vec<f64> {
        sample.sort_by(f64::total_cmp);
        sample
    }

    fn drawn(mut law: impl FnMut(&mut fastrand::Rng) -> f64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(7);
        sorted((0..1_000).map(|_| law(&mut random)).collect())
    }

    fn normal(random: &mut fastrand::Rng) -> f64 {
        (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
    }

    /// Batches of `work` seconds of CPU, one after the other, under a quota of so much of every 100 ms: the clock stands at
    /// `floor(x / quota) period + x mod quota` when x seconds of CPU are spent.
    fn under_quota(work: f64, quota: f64) -> Vec<f64> {
        const PERIOD: f64 = 0.1;
        let clock = |spent: f64| (spent / quota).floor() * PERIOD + spent % quota;
        sorted(
            (0..500)
                .map(f64::from)
                .map(|batch| clock((batch + 1.0) * work) - clock(batch * work))
                .collect(),
        )
    }

    #[test]
    fn a_quota_shorter_than_the_batch_next_to_it_makes_two_clusters() {
        // 31.37 ms under 50 ms of every 100: 37 % end within their slice, the others (31.37 / 50) wait 50 ms for the next one.
        let found = clusters(&under_quota(0.03137, 0.05)).unwrap();
        assert!((found.fast - 0.03137).abs() < 1e-6, "{found:?}");
        assert!((found.slow - 0.08137).abs() < 1e-6, "{found:?}");
        assert!((found.slow_part - 0.6274).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn a_batch_of_many_periods_is_one_cluster() {
        assert_eq!(clusters(&under_quota(0.31, 0.05)), None);
    }

    #[test]
    fn no_law_with_one_peak_is_two_clusters() {
        for sample in [
            drawn(fastrand::Rng::f64),
            drawn(|random| -(1.0 - random.f64()).ln()),
            drawn(|random| 10.0 + normal(random)),
            drawn(|random| (0.5 * normal(random)).exp()),
            drawn(|_| 1.0),
        ] {
            assert_eq!(clusters(&sample), None);
        }
    }

    #[test]
    fn rare_outliers_are_a_tail() {
        let sample = drawn(|random| {
            if random.f64() < 0.02 {
                50.0
            } else {
                10.0 + 0.1 * normal(random)
            }
        });
        assert_eq!(clusters(&sample), None);
    }

    #[test]
    fn a_tenth_of_slow_ones_is_a_cluster() {
        let sample = drawn(|random| if random.f64() < 0.1 { 50.0 } else { 10.0 } + 0.5 * normal(random));
        let found = clusters(&sample).unwrap();
        assert!((found.slow_part - 0.1).abs() < 0.03, "{found:?}");
    }
}
