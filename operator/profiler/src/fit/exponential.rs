//! `alpha exp(-vcpu / beta) + gamma` (HarmonyBatch, Eq. 1 and 2), alpha and gamma not negative.
//!
//! For a given beta the form is linear in alpha and gamma, whose best values follow ([`super::line`]); beta is searched
//! (`search`).

use super::{Observation, line, search};

/// Smallest beta, in parts of the smallest limit: below it the curve is flat at all limits but the first, and alpha without bound.
const SMALLEST: f64 = 0.125;
/// Largest beta, in multiples of the largest limit: above it the curve is a straight line.
const LARGEST: f64 = 8.0;

/// Coefficients: seconds, vCPU, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// What more vCPU can take away.
    pub alpha: f64,
    /// Decay.
    pub beta: f64,
    /// What no vCPU can take away.
    pub gamma: f64,
}

impl Exponential {
    /// Latency at a CPU limit.
    pub fn at(&self, vcpu: f64) -> f64 {
        self.alpha * (-vcpu / self.beta).exp() + self.gamma
    }
}

/// The curve of least relative squares through latencies at CPU limits. None for fewer than two, or where none is positive.
pub fn through(observations: &[Observation]) -> Option<Exponential> {
    search(observations, |curve| curve)
}

/// A curve that no latency exceeds: for each beta the curve of least squares is scaled until it bounds them, and the beta with the smallest
/// squares after that wins.
pub fn above(observations: &[Observation]) -> Option<Exponential> {
    search(observations, |curve| {
        let scale = super::scale_above(observations, |vcpu| curve.at(vcpu));
        Exponential {
            alpha: curve.alpha * scale,
            gamma: curve.gamma * scale,
            ..curve
        }
    })
}

fn search(observations: &[Observation], adjust: impl Fn(Exponential) -> Exponential) -> Option<Exponential> {
    let limits = || observations.iter().map(|&(vcpu, _)| vcpu);
    let low = SMALLEST * limits().fold(f64::INFINITY, f64::min);
    let high = LARGEST * limits().fold(0.0, f64::max);
    search::search(low, high, |beta| {
        let decay: Vec<Observation> = observations
            .iter()
            .map(|&(vcpu, seconds)| ((-vcpu / beta).exp(), seconds))
            .collect();
        let line = line::through(&decay)?;
        let curve = adjust(Exponential {
            alpha: line.slope,
            beta,
            gamma: line.fixed,
        });
        let squares = super::squares(observations, |vcpu| curve.at(vcpu));
        squares.is_finite().then_some((squares, curve))
    })
}
