//! How well a mean and a quantile are known from a sample.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// Runs whose means are compared: so many that Student's quantile is near the normal one, and each as long as may be.
const GROUPS: usize = 20;
/// Values of a run at least.
const LEAST_OF_A_GROUP: usize = 5;

/// The mean of a sample with Student's confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The sample's mean.
    pub value: f64,
    /// The interval is `value` plus and minus this; infinite below two samples.
    pub half_width: f64,
    /// Standard deviation of the sample; infinite below two samples.
    pub deviation: f64,
}

impl Mean {
    /// Half the interval as a part of the mean.
    pub fn relative(&self) -> f64 {
        self.half_width / self.value
    }
}

/// A quantile of a sample between two of its order statistics. It supposes no form of the distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// The sample's quantile.
    pub value: f64,
    /// Lower end, where the sample is large enough to have one.
    pub low: Option<f64>,
    /// Upper end, where the sample is large enough to have one.
    pub high: Option<f64>,
}

/// `mean +- t sd / sqrt(n)`, t being the quantile `(1 + confidence) / 2` of Student's distribution with n - 1 degrees of freedom.
/// None for an empty sample or a confidence outside (0, 1).
#[expect(clippy::cast_precision_loss, reason = "no sample has 2^52 values")]
pub fn mean(sample: &[f64], confidence: f64) -> Option<Mean> {
    if sample.is_empty() || !is_part(confidence) {
        return None;
    }
    let count = sample.len() as f64;
    let value = sample.iter().sum::<f64>() / count;
    if sample.len() < 2 {
        return Some(Mean {
            value,
            half_width: f64::INFINITY,
            deviation: f64::INFINITY,
        });
    }
    let squares: f64 = sample.iter().map(|each| (each - value).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    Some(Mean {
        value,
        half_width: half_width(deviation, sample.len(), confidence),
        deviation,
    })
}

/// The mean of values in the order in which they were measured, with an interval by batch means (Law, Simulation Modeling and Analysis, 9.5.3): Student's of [`GROUPS`] runs of values that
/// follow each other, so that it is right where neighbours are alike (a machine that is slow for a while) or make up for each other (a quota's stop comes after so many
/// batches). Of too few values for that it is [`mean`]'s.
pub fn mean_of_series(series: &[f64], confidence: f64) -> Option<Mean> {
    let size = series.len() / GROUPS;
    if size < LEAST_OF_A_GROUP {
        return mean(series, confidence);
    }
    // What is left over is the oldest.
    let groups = series[series.len() % GROUPS..].chunks_exact(size);
    let means: Option<Vec<f64>> = groups.map(|group| Some(mean(group, confidence)?.value)).collect();
    Some(Mean {
        half_width: mean(&means?, confidence)?.half_width,
        ..mean(series, confidence)?
    })
}

/// Half of Student's interval of the mean of so many samples with this standard deviation; infinite below two samples.
#[expect(clippy::cast_precision_loss, reason = "no sample has 2^52 values")]
pub fn half_width(deviation: f64, count: usize, confidence: f64) -> f64 {
    let count = count as f64;
    StudentsT::new(0.0, 1.0, count - 1.0).map_or(f64::INFINITY, |student| {
        student.inverse_cdf(f64::midpoint(1.0, confidence)) * deviation / count.sqrt()
    })
}

/// Most of so many values that exceed the quantile, but for half of `1 - confidence` of all samples. None for a level or confidence outside (0, 1).
pub fn most_beyond(count: usize, level: f64, confidence: f64) -> Option<usize> {
    if !is_part(confidence) || !is_part(level) {
        return None;
    }
    let beyond = Binomial::new(1.0 - level, count as u64).ok()?;
    usize::try_from(beyond.inverse_cdf(f64::midpoint(1.0, confidence))).ok()
}

/// The number K of values below the quantile q is binomial with (n, q), so that it lies between the l-th and the u-th smallest value
/// with probability `P(l <= K < u)`. l and u leave at most half of `1 - confidence` on each side.
///
/// The sample is sorted. None for an empty one, or for a level or confidence outside (0, 1).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rank is between 1 and the length of the sample"
)]
pub fn quantile(sorted: &[f64], level: f64, confidence: f64) -> Option<Quantile> {
    if !is_part(confidence) || !is_part(level) {
        return None;
    }
    let count = sorted.len();
    let rank = ((level * count as f64).ceil() as usize).max(1);
    let below = Binomial::new(level, count as u64).ok()?;
    let side = (1.0 - confidence) / 2.0;
    let at = |rank: u64| sorted.get(usize::try_from(rank.checked_sub(1)?).ok()?).copied();
    Some(Quantile {
        value: *sorted.get(rank - 1)?,
        low: at(below.inverse_cdf(side)),
        high: at(below.inverse_cdf(1.0 - side) + 1),
    })
}

/// Fewest values of which the largest bounds the quantile from above: `level^n <= (1 - confidence) / 2`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and saturating where the level is next to 1"
)]
pub fn least_for_upper_end(level: f64, confidence: f64) -> usize {
    (((1.0 - confidence) / 2.0).ln() / level.ln()).ceil() as usize
}

fn is_part(value: f64) -> bool {
    value > 0.0 && value < 1.0
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const DIGITS: f64 = 5e-4;

    fn ranks(count: u32) -> Vec<f64> {
        (1..=count).map(f64::from).collect()
    }

    /// Of 1..n the mean is (n + 1) / 2 and the variance n (n + 1) / 12; t(0.975, 9) = 2.2622 and t(0.995, 4) = 4.6041 stand in every table.
    #[test]
    fn a_mean_has_students_interval() {
        for (count, confidence, t) in [(10, 0.95, 2.2622), (5, 0.99, 4.6041)] {
            let n = f64::from(count);
            let found = mean(&ranks(count), confidence).unwrap();
            let half_width = t * (n * (n + 1.0) / 12.0 / n).sqrt();
            assert!((found.value - f64::midpoint(n, 1.0)).abs() < DIGITS, "{found:?}");
            assert!((found.half_width - half_width).abs() < DIGITS, "{found:?}");
        }
    }

    /// Autoregressive series of order 1, whose mean has (1 + a) / (1 - a) times the variance of as many independent values.
    #[test]
    fn the_interval_of_a_series_holds_the_truth_whether_neighbours_are_alike_or_not() {
        let mut random = fastrand::Rng::with_seed(4);
        for (a, widens) in [(-0.6, 0.5), (0.0, 1.0), (0.6, 2.0)] {
            let (mut held, mut widths) = (0, 0.0);
            for _ in 0..1_000 {
                let mut state = 0.0;
                let series: Vec<f64> = (0..1_000)
                    .map(|_| {
                        state = a * state + random.f64() - 0.5;
                        10.0 + state
                    })
                    .collect();
                let found = mean_of_series(&series, 0.95).unwrap();
                held += u32::from((found.value - 10.0).abs() <= found.half_width);
                widths += found.half_width / mean(&series, 0.95).unwrap().half_width / 1_000.0;
            }
            // Four standard deviations of 1,000 throws are 28; runs of 50 values are nearly independent.
            assert!((920..=978).contains(&held), "{a}: {held}");
            // Student's quantile of 19 degrees of freedom is 2.09 for 1.96.
            assert!((widths / widens / 1.065 - 1.0).abs() < 0.06, "{a}: {widths}");
        }
    }

    /// Of 40 values the 99th percentile is exceeded by more than one in 6.1 % of all samples, and by more than two in 0.7 %: of the binomial's terms
    /// 0.99^40 = 0.669, 40 * 0.01 * 0.99^39 = 0.270, 780 * 0.01^2 * 0.99^38 = 0.053.
    #[test]
    fn so_many_values_may_exceed_a_quantile() {
        assert_eq!(most_beyond(40, 0.99, 0.95), Some(2));
        assert_eq!(most_beyond(40, 0.99, 0.87), Some(1));
        assert_eq!(most_beyond(40, 1.0, 0.95), None);
    }

    #[test]
    fn one_value_says_nothing_of_its_mean() {
        assert!(mean(&[1.0], 0.95).unwrap().half_width.is_infinite());
        assert_eq!(mean(&[], 0.95), None);
    }

    /// The ranks for medians are those of the tables for the sign test (n = 10: 2 and 9; n = 20: 6 and 15; n = 6: 1 and 6; n = 5 has none).
    #[test]
    fn a_median_lies_between_the_ranks_of_the_sign_test() {
        let between = |count| {
            let found = quantile(&ranks(count), 0.5, 0.95).unwrap();
            (found.low, found.high)
        };
        assert_eq!(between(10), (Some(2.0), Some(9.0)));
        assert_eq!(between(20), (Some(6.0), Some(15.0)));
        assert_eq!(between(6), (Some(1.0), Some(6.0)));
        assert_eq!(between(5), (None, None));
    }

    /// Wilks: 59 values bound the 95th percentile with 95 %, 299 the 99th; on two sides with 90 % it is the same count.
    #[test]
    fn the_largest_of_wilks_sample_is_the_upper_end() {
        for (level, count) in [(0.95, 59), (0.99, 299)] {
            assert_eq!(least_for_upper_end(level, 0.9), count as usize);
            assert_eq!(
                quantile(&ranks(count), level, 0.9).unwrap().high,
                Some(f64::from(count))
            );
            assert_eq!(quantile(&ranks(count - 1), level, 0.9).unwrap().high, None);
        }
    }

    /// The share of intervals that hold the truth, from 2,000 samples of an exponential law (mean 1, quantile -ln(1 - q)).
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut means, mut tails) = (0, 0);
        for _ in 0..2_000 {
            let mut sample: Vec<f64> = (0..400).map(|_| -(1.0 - random.f64()).ln()).collect();
            sample.sort_by(f64::total_cmp);
            let found = mean(&sample, 0.95).unwrap();
            means += u32::from((found.value - 1.0).abs() <= found.half_width);
            let tail = quantile(&sample, 0.9, 0.95).unwrap();
            let truth = -(0.1_f64).ln();
            tails += u32::from(tail.low.unwrap() <= truth && truth <= tail.high.unwrap());
        }
        // Four standard deviations of 2,000 throws are 39; order statistics hold it somewhat more often than asked.
        assert!((1_861..=1_939).contains(&means), "{means}");
        assert!((1_861..=1_970).contains(&tails), "{tails}");
    }
}
