//! Bursts: arrivals at one rate for a while, then at another (see [`crate::Burst`] for what the rates are).

use super::random::Random;

/// A two-state Markov-modulated Poisson process of one member. All times are ticks.
#[derive(Debug, Clone)]
pub(super) struct Bursts {
    random: Random,
    member: u32,
    now: f64,
    /// When the present state ends.
    until: f64,
    bursting: bool,
    /// Mean gap between arrivals, and mean duration of the state: between bursts, and in one.
    gap: [f64; 2],
    duration: [f64; 2],
}

impl Bursts {
    /// Arrivals with a mean gap, `factor` times as dense in bursts that last for `duration` in the mean.
    /// Bursts in which next to nobody arrives make no difference, and are played longer: changes of state take time too.
    pub(super) fn new(seed: u64, member: u32, mean_gap: f64, factor: f64, duration: f64) -> Self {
        /// The fewest arrivals in a burst, in the mean.
        const FEWEST: f64 = 0.05;
        let duration = duration.max(FEWEST * mean_gap / factor);
        let mut random = Random::seeded(seed);
        let bursting = random.unit() * 2.0 * factor <= 1.0;
        let quiet = 2.0 * factor - 1.0;
        let mut bursts = Self {
            random,
            member,
            now: 0.0,
            until: 0.0,
            bursting,
            gap: [mean_gap * quiet / factor, mean_gap / factor],
            duration: [duration * quiet, duration],
        };
        bursts.until = bursts.random.exponential() * bursts.duration[usize::from(bursting)];
        bursts
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks are below 2^61"
    )]
    pub(super) fn next(&mut self) -> (u64, u32) {
        loop {
            let arrival = self.now + self.random.exponential() * self.gap[usize::from(self.bursting)];
            if arrival <= self.until {
                self.now = arrival;
                return (self.now as u64, self.member);
            }
            // What is left of a gap when the rate changes says nothing about the next: it is drawn anew.
            self.now = self.until;
            self.bursting = !self.bursting;
            self.until += self.random.exponential() * self.duration[usize::from(self.bursting)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals in each of `windows` windows of `length` ticks.
    fn counts(bursts: &mut Bursts, windows: usize, length: f64) -> Vec<f64> {
        let mut counts = vec![0.0; windows];
        loop {
            #[expect(clippy::cast_precision_loss, reason = "a tick of a short run")]
            let window = bursts.next().0 as f64 / length;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small positive number"
            )]
            match counts.get_mut(window as usize) {
                Some(count) => *count += 1.0,
                None => return counts,
            }
        }
    }

    /// Of a two-state MMPP with rates `l1`, `l2` that are left at rates `s1`, `s2` (Heffes and Lucantoni, 1986): mean
    /// `(l1 s2 + l2 s1) / (s1 + s2)`, and index of dispersion of the counts in a window `t`
    /// `1 + 2 (l1 - l2)^2 s1 s2 / ((s1 + s2)^2 (l1 s2 + l2 s1)) (1 - (1 - exp(-(s1 + s2) t)) / ((s1 + s2) t))`.
    #[test]
    fn rate_and_dispersion_are_those_of_the_closed_form() {
        for (factor, duration, window) in [
            (4.0, 50_000.0, 10_000.0),
            (4.0, 50_000.0, 400_000.0),
            (20.0, 20_000.0, 50_000.0),
        ] {
            let gap = 1000.0;
            let mut bursts = Bursts::new(7, 0, gap, factor, duration);
            let windows = 40_000;
            let counts = counts(&mut bursts, windows, window);
            let mean = counts.iter().sum::<f64>() / 40_000.0;
            let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 39_999.0;

            // Half of the requests arrive in bursts, at `factor` times the mean rate.
            let (l1, l2) = (factor / gap, 0.5 / (1.0 - 0.5 / factor) / gap);
            let (s1, s2) = (1.0 / duration, 0.5 / factor / (1.0 - 0.5 / factor) / duration);
            let rate = (l1 * s2 + l2 * s1) / (s1 + s2);
            assert!((rate * gap - 1.0).abs() < 1e-12, "the mean is the declared rate");
            let sum = s1 + s2;
            let limit = 2.0 * (l1 - l2).powi(2) * s1 * s2 / (sum.powi(2) * (l1 * s2 + l2 * s1));
            let dispersion = 1.0 + limit * (1.0 - (1.0 - (-sum * window).exp()) / (sum * window));
            assert!(
                (mean / (rate * window) - 1.0).abs() < 0.03,
                "{mean} is not {}",
                rate * window
            );
            assert!(
                (variance / mean / dispersion - 1.0).abs() < 0.08,
                "factor {factor}, window {window}: {} is not {dispersion}",
                variance / mean
            );
        }
    }
}
