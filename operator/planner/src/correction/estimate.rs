//! What batches say of a profile.
//!
//! **Mean.** Let batches of size and function `i` be expected to take `p_i`, and `n_i` of them have taken `m_i` in the mean with variance
//! `v_i`. The ratio of all work to what was expected of it, `r = sum n_i m_i / sum n_i p_i`, is what the replicas' load is off by. The profile
//! is the prior: `ln theta` is normal around 0 with the deviation [`PRIOR`], so that a profile is within a third of the truth
//! in two cases of three. The data say `ln r`, with the variance `s^2 = sum D_i n_i v_i / (sum n_i m_i)^2 + e^2` (delta method), where `D` is
//! [`Expected::dependence`](super::Expected::dependence): batches that follow each other share what slows them, and so many count as one. `v_i` is no less than
//! `(m_i / 10)^2`, lest some batches that happened to take the same be beyond all doubt. `e` is what is not known of the `p_i` themselves, which no number
//! of batches makes less: their errors, each by its part of the work. The posterior is normal again:
//!
//! ```text
//! w = PRIOR^2 / (PRIOR^2 + s^2)      ln theta = w ln r      error = PRIOR sqrt(1 - w)
//! ```
//!
//! In batches, the prior weighs as much as `D c^2 / PRIOR^2` of them, where `c` is their coefficient of variation: 3 for `c` = 0.3 and `D` = 4.
//!
//! **Maximum.** It follows the mean, and is never below what was measured: the profile's `max` is scaled until it reaches the [`HIGH`] quantile
//! of the times, taken each as a part of the `max` of its size. Counts bound a quantile by order statistics: of `n` times the one of rank `n q - z
//! sqrt(n q (1 - q))` is below it and the one of rank `n q + z sqrt(n q (1 - q)) + 1` above it, `z` = [`CONFIDENCE`] errors away. The
//! lower one raises the maximum, so that one cold start raises nothing; the upper one is what it is lowered to at most, so that where there are too
//! few times to bound it nothing is lowered, nor is the mean. Both are taken of all sizes together, and of every size that has [`ENOUGH_OF_A_SIZE`] batches.
//!
//! **What is given up.** A batch that outlasts its callers has no answer and no time. It counts as one that took for as long as it was
//! waited for, or for as long as others of its size if they take longer; beside one nothing is lowered. So a profile that is much too fast is not hidden by the
//! batches that it makes late.

use super::{BOUNDS, Batches, ENOUGH, SETTLED};

/// Deviation of the logarithm of the factor before anything is seen.
const PRIOR: f64 = 0.35;
/// The least coefficient of variation that is believed.
const LEAST_VARIATION: f64 = 0.1;
/// The quantile that the maximum is not below.
const HIGH: f64 = 0.99;
/// Standard errors between the quantile and its bounds: it is beyond one of them once in 44 times.
const CONFIDENCE: f64 = 2.0;
/// Batches of one size whose quantile counts by itself.
const ENOUGH_OF_A_SIZE: u64 = 100;

/// What batches say of the profile of a kind of device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    batches: u64,
    mean: f64,
    error: f64,
    /// By what the profile's maximum must be multiplied to be surely within the measured quantile, and surely beyond it.
    quantile: (f64, f64),
}

impl Estimate {
    /// What these batches say. Those of which the profile says nothing are left out by whoever brings them; one whose numbers are none is
    /// left out here.
    pub fn of(seen: &[Batches]) -> Self {
        let seen: Vec<&Batches> = seen.iter().filter(|batches| batches.says_something()).collect();
        let (work, expected) = seen.iter().fold((0.0, 0.0), |(work, expected), batches| {
            let answered = count(batches.answered);
            (
                work + answered * batches.mean,
                expected + answered * batches.expected.mean,
            )
        });
        let ratio = if expected > 0.0 { work / expected } else { 0.0 };
        let (mean, error) = posterior(&seen, ratio);
        Self {
            batches: seen
                .iter()
                .fold(0, |sum, batches| sum.saturating_add(batches.count())),
            mean,
            error,
            quantile: quantile(&seen, ratio),
        }
    }

    /// Batches that it rests on.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// How many times the profile's mean latency batches take, as far as is known: 1 where nothing is.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard error of the mean's logarithm: about that of the mean as a part of it.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Whether enough was seen to say anything.
    pub fn is_settled(&self) -> bool {
        self.batches >= ENOUGH && self.error <= SETTLED
    }

    /// By what the profile's maximum must be multiplied so as to be surely no more than the measured quantile: it is never less than so much.
    pub(super) fn surely_longest(&self) -> f64 {
        self.quantile.0
    }

    /// The factor of the maximum where that of the mean is `mean`: as much, and in both directions not below what was measured. Where nothing was
    /// measured it is not below 1.
    pub(super) fn max(&self, mean: f64) -> f64 {
        let (surely, beyond) = self.quantile;
        let longest = mean.max(surely);
        if longest >= 1.0 {
            longest
        } else {
            longest.max(beyond).min(1.0)
        }
    }
}

/// The mean factor, and the error of its logarithm.
fn posterior(seen: &[&Batches], ratio: f64) -> (f64, f64) {
    let (mut work, mut expected, mut variance, mut unknown) = (0.0, 0.0, 0.0, 0.0);
    let mut add = |number: u64, time: f64, batches: &Batches| {
        let floor = (LEAST_VARIATION * time).powi(2);
        work += count(number) * time;
        expected += count(number) * batches.expected.mean;
        variance += batches.expected.dependence * count(number) * batches.variance.max(floor);
        unknown += batches.expected.error * count(number) * time;
    };
    for batches in seen {
        add(batches.answered, batches.mean, batches);
        for (time, number) in batches.given_up(ratio) {
            add(number, time, batches);
        }
    }
    if work <= 0.0 || expected <= 0.0 {
        return (1.0, PRIOR);
    }
    let data = (variance + unknown.powi(2)) / work.powi(2);
    let weight = PRIOR.powi(2) / (PRIOR.powi(2) + data);
    let log = weight * (work / expected).ln();
    // Far beyond the bounds a factor is only a number.
    let (least, most) = (BOUNDS.0 / 16.0, BOUNDS.1 * 16.0);
    (log.exp().clamp(least, most), PRIOR * (1.0 - weight).sqrt())
}

/// Bounds of the high quantile of the times, each as a part of its size's maximum: surely below it, and surely above it.
fn quantile(seen: &[&Batches], ratio: f64) -> (f64, f64) {
    let of_sizes = seen
        .iter()
        .filter(|batches| batches.count() >= ENOUGH_OF_A_SIZE)
        .map(|batches| order_statistics(&[*batches], ratio));
    let mut bounds = order_statistics(seen, ratio);
    for (below, above) in of_sizes {
        // A size of which there are too few to bound it from above is held by all of them together.
        let above = if above.is_finite() { above } else { 0.0 };
        bounds = (bounds.0.max(below), bounds.1.max(above));
    }
    bounds
}

fn order_statistics(seen: &[&Batches], ratio: f64) -> (f64, f64) {
    let mut low: Vec<(f64, u64)> = Vec::new();
    let mut high = low.clone();
    let mut given_up = false;
    for batches in seen {
        let part = |time: f64| batches.longest.part(time);
        for bucket in &batches.spread {
            low.push((part(bucket.least), bucket.count));
            high.push((part(bucket.most), bucket.count));
        }
        for (time, number) in batches.given_up(ratio) {
            given_up |= number > 0;
            low.push((part(time), number));
        }
    }
    let total: f64 = low.iter().map(|(_, number)| count(*number)).sum();
    let middle = total * HIGH;
    let errors = CONFIDENCE * (total * HIGH * (1.0 - HIGH)).sqrt();
    let below = of_rank(low, (middle - errors).floor().max(1.0));
    let above = of_rank(high, (middle + errors).ceil() + 1.0);
    (
        below.unwrap_or(0.0),
        above.filter(|_| !given_up).unwrap_or(f64::INFINITY),
    )
}

/// The value of this rank, from 1 on; none beyond the last one.
fn of_rank(mut values: Vec<(f64, u64)>, rank: f64) -> Option<f64> {
    values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut seen = 0.0;
    values.into_iter().find_map(|(value, number)| {
        seen += count(number);
        (seen >= rank).then_some(value)
    })
}

#[expect(clippy::cast_precision_loss, reason = "batches of some minutes")]
fn count(number: u64) -> f64 {
    number as f64
}
