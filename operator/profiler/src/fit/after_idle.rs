//! What idle time adds to a latency: `d = s (1 - exp(-t / T))` after an idle time t, whatever the batch size.
//!
//! The differences `d` between a batch after a pause and those that followed each other just before have outliers (interrupts, other tenants), so that the sum of
//! their absolute errors is made least, and not that of squares: for a time constant T that is a median of the `d / g` with the weights `g = 1 - exp(-t / T)`, and
//! T is looked for on a grid of its logarithm.

use crate::samples::AfterPause;

/// Time constants that are tried, in seconds: what is quicker is there at once, and what is slower than the longest pauses is not seen.
const QUICKEST: f64 = 0.000_5;
const SLOWEST: f64 = 0.2;
const GRID: u32 = 60;
/// Fewest batches after pauses that say anything.
const FEWEST: usize = 10;
/// Of their standard errors, what the seconds must be above to be more than noise.
const SURE: f64 = 2.0;

/// What idle time adds, at a CPU limit that stops nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterIdle {
    /// Seconds after a long idle time.
    pub seconds: f64,
    /// In seconds.
    pub time_constant: f64,
    /// Standard error of the seconds.
    pub error: f64,
    /// The CPU limit.
    pub vcpu: f64,
}

impl AfterIdle {
    /// Nothing.
    pub const NOTHING: Self = Self {
        seconds: 0.0,
        time_constant: 1.0,
        error: 0.0,
        vcpu: 1.0,
    };

    /// Seconds after an idle time.
    pub fn after(&self, idle: f64) -> f64 {
        self.seconds * part(idle, self.time_constant)
    }

    /// The same, or nothing where it may be noise.
    #[must_use]
    pub fn if_sure(self) -> Self {
        if self.seconds > SURE * self.error {
            self
        } else {
            Self::NOTHING
        }
    }
}

fn part(idle: f64, time_constant: f64) -> f64 {
    -(-idle / time_constant).exp_m1()
}

/// What batches after pauses say at a CPU limit; None of too few. Where idle time makes batches faster it adds nothing.
pub fn of(samples: &[AfterPause], vcpu: f64) -> Option<AfterIdle> {
    if samples.len() < FEWEST {
        return None;
    }
    let steps =
        (0..=GRID).map(|step| QUICKEST * (SLOWEST / QUICKEST).powf(f64::from(step) / f64::from(GRID)));
    let fits = steps.map(|time_constant| with(samples, time_constant));
    let (_, best) = fits.min_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some(AfterIdle { vcpu, ..best })
}

/// The best of a time constant, and the sum of its absolute errors.
fn with(samples: &[AfterPause], time_constant: f64) -> (f64, AfterIdle) {
    let mut parts: Vec<(f64, f64)> = samples
        .iter()
        .map(|sample| {
            let weight = part(sample.idle, time_constant);
            ((sample.seconds - sample.busy) / weight, weight)
        })
        .collect();
    parts.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let half = parts.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let median = parts.iter().find(|(_, weight)| {
        below += weight;
        below >= half
    });
    let seconds = median.map_or(0.0, |(seconds, _)| seconds.max(0.0));
    let found = AfterIdle {
        seconds,
        time_constant,
        ..AfterIdle::NOTHING
    };
    let mut off: Vec<f64> = samples
        .iter()
        .map(|sample| (sample.seconds - sample.busy - found.after(sample.idle)).abs())
        .collect();
    let sum: f64 = off.iter().sum();
    off.sort_by(f64::total_cmp);
    // The median of the absolute errors is 0.6745 deviations of normal ones, and a median of n is known to 1.2533 / sqrt(n) of them.
    let deviation = off[off.len() / 2] / 0.674_5;
    let weights: f64 = parts.iter().map(|(_, weight)| weight * weight).sum();
    let error = 1.253_3 * deviation / weights.max(f64::MIN_POSITIVE).sqrt();
    (sum, AfterIdle { error, ..found })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Batches of 2 ms after pauses of 1 to 100 ms, with normal noise and one in twenty that something else held up.
    fn samples(seconds: f64, time_constant: f64, noise: f64, count: u32, seed: u64) -> Vec<AfterPause> {
        let mut random = fastrand::Rng::with_seed(seed);
        let busy = 0.002;
        (0..count)
            .map(|_| {
                let idle = 0.001 * 100_f64.powf(random.f64());
                let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
                let held_up = if random.u32(0..20) == 0 {
                    0.004 * random.f64()
                } else {
                    0.0
                };
                let seconds =
                    busy + seconds * (1.0 - (-idle / time_constant).exp()) + noise * normal + held_up;
                AfterPause {
                    batch: 1,
                    seconds,
                    idle,
                    busy,
                }
            })
            .collect()
    }

    #[test]
    fn a_known_law_is_found_within_its_error() {
        for seed in 0..20 {
            let found = of(&samples(0.000_7, 0.008, 0.000_05, 100, seed), 1.0).unwrap();
            assert!((found.seconds / 0.000_7 - 1.0).abs() < 0.1, "{found:?}");
            assert!((0.005..0.013).contains(&found.time_constant), "{found:?}");
            assert!(
                found.error < 0.05 * found.seconds && found.if_sure() == found,
                "{found:?}"
            );
        }
    }

    /// Two standard errors are exceeded upwards by one in 44; the time constant that fits noise best makes that more. What is found then is little.
    #[test]
    fn noise_is_nothing() {
        let found = (0..200).map(|seed| {
            of(&samples(0.0, 0.008, 0.000_1, 100, seed), 1.0)
                .unwrap()
                .if_sure()
        });
        let sure: Vec<AfterIdle> = found.filter(|found| found.seconds > 0.0).collect();
        assert!(sure.len() <= 20, "{}", sure.len());
        assert!(sure.iter().all(|found| found.after(0.05) < 0.000_1), "{sure:?}");
        assert_eq!(of(&samples(0.001, 0.008, 0.0, 9, 1), 1.0), None);
    }
}
