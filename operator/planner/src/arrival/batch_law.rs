//! The exact law of the batch size for Poisson arrivals, by renewal reward.
//!
//! A batch starts with a request, and closes at the b-th request or at the earliest `arrival_i + t_i`. With sorted
//! waits `t_1 <= t_2 <= ...`, total rate `R` and `Lambda(u) = sum of r_j min(u, t_j)`, a batch is open at age `u` with
//! probability `S(u) = [sum over t_i > u of r_i/R] * product of exp(-r_j max(u - t_j, 0))`, and then holds one more
//! than Poisson(`Lambda(u)`) requests, so that
//!
//! `P(B > k) = R * integral of S(u) Poisson(k-1; Lambda(u)) du`.
//!
//! Up to `t_1` this is `P(Poisson(R t_1) >= k)`. Past it, with `v = u - t_1` and `d_j = s_j - s_1`, neither `S` nor
//! `Lambda - R t_1` depends on the function, since `t_j = s_j - L_max`: a [`BatchLaw`] integrates once for a run of
//! applications and is then asked for any first wait.

use statrs::function::gamma::ln_gamma;

use super::Load;

/// Nodes and weights of Gauss-Legendre quadrature of order 8 on [-1, 1], half of each (they are symmetric).
const NODES: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// The longest piece, in expected arrivals, that one set of nodes integrates to about ten digits.
const ARRIVALS_PER_PIECE: f64 = 4.0;

/// Batches open with a smaller probability are left out of the integral.
const NEGLIGIBLE: f64 = 1e-13;

/// Above this mean `exp(-mean)` is too close to underflow to start a recursion from.
const LARGE_MEAN: f64 = 600.0;

/// One node of the integral past the first wait.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Node {
    /// `R S(v) dv`: how many requests join at about this age.
    joining: f64,
    /// `Lambda(t_1 + v) - R t_1`.
    arrived: f64,
}

/// The law of the batch size of a run of applications, for any function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchLaw {
    /// Total rate, R.
    rate: f64,
    /// Requests that join a batch on average after the first wait, were there no limit to its size.
    late: f64,
    nodes: Vec<Node>,
}

impl BatchLaw {
    /// Integrates for loads in order of SLO.
    pub(crate) fn new(loads: &[Load]) -> Self {
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let mut law = Self {
            rate,
            late: 0.0,
            nodes: Vec::new(),
        };
        // Between two distinct SLOs the applications before `index` may close the batch, those from it on not yet.
        let mut closing_rate = 0.0;
        let mut closing = 0.0;
        let mut arrived = 0.0;
        for (index, pair) in loads.windows(2).enumerate() {
            closing_rate += pair[0].rate;
            let length = pair[1].slo - pair[0].slo;
            if length <= 0.0 {
                continue;
            }
            let patient_rate: f64 = loads[index + 1..].iter().map(|load| load.rate).sum();
            let share = patient_rate / rate;
            let pieces = (rate * length / ARRIVALS_PER_PIECE).ceil().max(1.0);
            let piece = length / pieces;
            let mut start = 0.0;
            while start < length - piece / 2.0 {
                if share * f64::exp(-(closing + closing_rate * start)) < NEGLIGIBLE {
                    return law;
                }
                for (position, weight) in NODES {
                    for position in [-position, position] {
                        let age = start + piece / 2.0 * (1.0 + position);
                        let open = share * f64::exp(-(closing + closing_rate * age));
                        let joining = rate * open * weight * piece / 2.0;
                        law.late += joining;
                        law.nodes.push(Node {
                            joining,
                            arrived: arrived + patient_rate * age,
                        });
                    }
                }
                start += piece;
            }
            closing += closing_rate * length;
            arrived += patient_rate * length;
        }
        law
    }

    /// A bound that no batch size exceeds on average: requests that join within the first wait or after it, were
    /// there no limit but `batch`.
    pub(crate) fn mean_batch_bound(&self, first_wait: f64, batch: u32) -> f64 {
        (1.0 + self.rate * first_wait + self.late).min(f64::from(batch))
    }

    /// `P(B > 1)`, `P(B > 2)`, ... `P(B > batch - 1)` where the tightest application may wait for `first_wait`.
    pub(crate) fn exceedance(&self, first_wait: f64, batch: u32, into: &mut Vec<f64>) {
        into.clear();
        into.resize(batch as usize - 1, 0.0);
        let before = self.rate * first_wait;
        // P(Poisson(R t_1) >= k) = 1 - P(< k).
        let mut fewer = 0.0;
        for_each_probability(before, into.len(), |count, probability| {
            fewer += probability;
            into[count] = (1.0 - fewer).max(0.0);
        });
        for node in &self.nodes {
            for_each_probability(before + node.arrived, into.len(), |count, probability| {
                into[count] += node.joining * probability;
            });
        }
    }
}

/// Calls `visit(k, P(N = k))` for `k` from 0 to `count - 1`, N being Poisson with the mean.
fn for_each_probability(mean: f64, count: usize, mut visit: impl FnMut(usize, f64)) {
    let mut rank = 0.0;
    let mut probability = (-mean).exp();
    for k in 0..count {
        if mean > LARGE_MEAN {
            probability = (rank * mean.ln() - mean - ln_gamma(rank + 1.0)).exp();
        }
        visit(k, probability);
        rank += 1.0;
        probability *= mean / rank;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::Process;

    fn mean_batch(law: &BatchLaw, first_wait: f64, batch: u32) -> f64 {
        let mut exceedance = Vec::new();
        law.exceedance(first_wait, batch, &mut exceedance);
        1.0 + exceedance.iter().sum::<f64>()
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
