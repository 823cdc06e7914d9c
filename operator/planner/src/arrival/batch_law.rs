//! The exact law of the batch size for Poisson arrivals, by renewal reward.
//!
//! A batch starts with a request, and closes at the b-th request or at the earliest `arrival_i + t_i`. With sorted
//! waits `t_1 <= t_2 <= ...`, total rate `R` and `Lambda(u) = sum of r_j min(u, t_j)`, a batch is open at age `u` with
//! probability `S(u) = [sum over t_i > u of r_i/R] * product of exp(-r_j max(u - t_j, 0))`, and then holds one more
//! than Poisson(`Lambda(u)`) requests, so that
//!
//! `P(B > k) = R * integral of S(u) Poisson(k-1; Lambda(u)) du`.
//!
//! `Lambda(u) + sum of r_j max(u - t_j, 0) = R u`, so between two waits, where `Lambda` grows with the rate `p` of those
//! that may still wait, the integrand is `p G_(k-1)(u)` with `G_k(u) = exp(-R u) Lambda(u)^k / k!`. By parts, its integral
//! from `u` to `w` follows a recursion without any quadrature: `X_k = p/R (G_k(u) - G_k(w) + X_(k-1))`.
//!
//! Neither the lengths of the pieces nor their rates depend on the function, since `t_j = s_j - L_max`: a [`BatchLaw`]
//! is made once for a run of applications and is then asked for any first wait.

use statrs::function::gamma::ln_gamma;

use super::Load;

/// Batches open with a smaller probability are left out.
const NEGLIGIBLE: f64 = 1e-13;

/// Above this exponent `exp(-x)` is too close to underflow to start a recursion from.
const LARGE: f64 = 600.0;

/// Batches of up to this many requests are full with certainty, to all digits, where `LARGE` of them are expected.
const SURELY_FULL: u32 = 128;

/// One of the waits, as a time after the first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wait {
    /// `t_j - t_1`.
    after_first: f64,
    /// `Lambda(t_j) - R t_1`.
    arrived: f64,
    /// Part of the rate that may wait for longer, p/R.
    patient: f64,
    /// `exp(-R (t_j - t_1))`.
    decay: f64,
}

/// The law of the batch size of a run of applications, for any function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchLaw {
    /// Total rate, R.
    rate: f64,
    /// The tightest SLO.
    slo: f64,
    /// Requests that join a batch on average after the first wait, were there no limit to its size.
    late: f64,
    /// The distinct waits, shortest first.
    waits: Vec<Wait>,
}

/// What an evaluation needs room for, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// `P(B > 1)`, `P(B > 2)`, ... of the last evaluation.
    pub(crate) exceedance: Vec<f64>,
    /// `Lambda` and `G_k` at each wait, and `X_k` of the piece that follows it.
    arrived: Vec<f64>,
    at_wait: Vec<f64>,
    joined: Vec<f64>,
}

impl BatchLaw {
    /// For loads in order of SLO.
    pub(crate) fn new(loads: &[Load]) -> Self {
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let slo = loads.first().map_or(0.0, |load| load.slo);
        let mut law = Self {
            rate,
            slo,
            late: 0.0,
            waits: Vec::with_capacity(loads.len().min(64)),
        };
        // Applications whose wait is over may close the batch; `closing` is the exponent of it being open.
        let (mut closing_rate, mut closing, mut arrived, mut age) = (0.0, 0.0_f64, 0.0, 0.0);
        let mut rest = loads;
        while let Some(first) = rest.first() {
            let next_age = first.slo - slo;
            let length = next_age - age;
            if length > 0.0 {
                let patient = (rate - closing_rate).max(0.0);
                let open = f64::exp(-closing);
                // The integral of exp(-closing_rate v) over the piece.
                law.late += patient * open * -(-closing_rate * length).exp_m1() / closing_rate;
                arrived += patient * length;
                closing += closing_rate * length;
                age = next_age;
            }
            while let Some(next) = rest.first().filter(|next| next.slo - slo <= age) {
                closing_rate += next.rate;
                rest = &rest[1..];
            }
            let patient = if rest.is_empty() {
                0.0
            } else {
                ((rate - closing_rate) / rate).max(0.0)
            };
            law.waits.push(Wait {
                after_first: age,
                arrived,
                patient,
                decay: f64::exp(-rate * age),
            });
            if patient * f64::exp(-closing) < NEGLIGIBLE {
                break;
            }
        }
        law
    }

    /// Total rate.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// The tightest SLO.
    pub(crate) fn slo(&self) -> f64 {
        self.slo
    }

    /// A bound that no batch size exceeds on average: requests that join within the first wait or after it, were
    /// there no limit but `batch`.
    pub(crate) fn mean_batch_bound(&self, first_wait: f64, batch: u32) -> f64 {
        (1.0 + self.rate * first_wait + self.late).min(f64::from(batch))
    }

    /// `P(B > 1)`, `P(B > 2)`, ... `P(B > batch - 1)` where the tightest application may wait for `first_wait`; how many
    /// requests it takes to fill a batch changes none of them.
    pub(crate) fn exceedance(&self, first_wait: f64, batch: u32, into: &mut Workspace) {
        let Workspace {
            exceedance,
            arrived,
            at_wait,
            joined,
        } = into;
        exceedance.clear();
        arrived.clear();
        at_wait.clear();
        joined.clear();
        if batch <= 1 {
            return;
        }
        let before = self.rate * first_wait;
        let decay = f64::exp(-before);
        for wait in &self.waits {
            arrived.push(before + wait.arrived);
            at_wait.push(decay * wait.decay);
        }
        joined.resize(self.waits.len(), 0.0);
        let pieces = self.waits.len() - 1;
        let by_logarithm = batch > SURELY_FULL
            && self
                .waits
                .last()
                .is_some_and(|last| self.rate * (first_wait + last.after_first) > LARGE);
        // The piece up to the first wait starts with no arrival and the whole rate.
        let mut fewer = 0.0;
        let mut rank = 0.0;
        for _ in 1..batch {
            fewer += at_wait[0];
            let mut more = (1.0 - fewer).max(0.0);
            for piece in 0..pieces {
                let ends = at_wait[piece] - at_wait[piece + 1];
                joined[piece] = self.waits[piece].patient * (ends + joined[piece]);
                more += joined[piece];
            }
            exceedance.push(more.clamp(0.0, 1.0));
            rank += 1.0;
            for (at_wait, arrived) in at_wait.iter_mut().zip(arrived.iter()) {
                *at_wait *= arrived / rank;
            }
            if by_logarithm {
                self.restart(first_wait, rank, arrived, at_wait);
            }
        }
    }

    /// `G_k` where the recursion started from an underflow.
    fn restart(&self, first_wait: f64, rank: f64, arrived: &[f64], at_wait: &mut [f64]) {
        let waits = self.waits.iter().zip(arrived).zip(at_wait);
        for ((wait, arrived), at_wait) in waits {
            let exponent = self.rate * (first_wait + wait.after_first);
            if exponent > LARGE {
                *at_wait = (rank * arrived.ln() - exponent - ln_gamma(rank + 1.0)).exp();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::Process;

    fn mean_batch(law: &BatchLaw, first_wait: f64, batch: u32) -> f64 {
        let mut workspace = Workspace::default();
        law.exceedance(first_wait, batch, &mut workspace);
        1.0 + workspace.exceedance.iter().sum::<f64>()
    }

    #[test]
    fn one_application_fills_a_batch_with_a_poisson_number_of_others() {
        let law = BatchLaw::new(&[Load {
            slo: 1.0,
            rate: 3.0,
            miss: 0.01,
            process: Process::Poisson,
        }]);
        // 1 + E[min(Poisson(1.5), 1)] = 2 - exp(-1.5).
        assert!((mean_batch(&law, 0.5, 2) - (2.0 - (-1.5_f64).exp())).abs() < 1e-14);
        assert!((mean_batch(&law, 0.5, 200) - 2.5).abs() < 1e-12);
        assert!((mean_batch(&law, 0.0, 7) - 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_large_mean_fills_every_batch() {
        let law = BatchLaw::new(&[
            Load {
                slo: 1.0,
                rate: 1e9,
                miss: 0.01,
                process: Process::Poisson,
            },
            Load {
                slo: 2.0,
                rate: 1e9,
                miss: 0.01,
                process: Process::Poisson,
            },
        ]);
        assert!((mean_batch(&law, 1.0, 1024) - 1024.0).abs() < 1e-9);
        let law = BatchLaw::new(&[Load {
            slo: 1.0,
            rate: 700.0,
            miss: 0.01,
            process: Process::Poisson,
        }]);
        assert!(
            (mean_batch(&law, 1.0, 1024) - 701.0).abs() < 1e-6,
            "{}",
            mean_batch(&law, 1.0, 1024)
        );
    }

    /// For two applications and no limit of the size, Eq. 5 is the mean age at which a batch closes only where
    /// the first request decides; the law must lie within the plain bounds.
    #[test]
    fn no_batch_exceeds_its_bound() {
        let loads = [
            Load {
                slo: 0.5,
                rate: 5.0,
                miss: 0.01,
                process: Process::Poisson,
            },
            Load {
                slo: 0.8,
                rate: 10.0,
                miss: 0.01,
                process: Process::Poisson,
            },
            Load {
                slo: 1.0,
                rate: 20.0,
                miss: 0.01,
                process: Process::Poisson,
            },
        ];
        let law = BatchLaw::new(&loads);
        for batch in 1..40 {
            for wait in [0.0, 0.05, 0.2, 0.5] {
                let mean = mean_batch(&law, wait, batch);
                assert!(mean <= law.mean_batch_bound(wait, batch) + 1e-12);
                assert!(mean >= 1.0);
            }
        }
    }
}
