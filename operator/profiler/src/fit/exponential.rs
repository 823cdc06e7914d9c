//! `alpha exp(-vcpu / beta) + gamma` (HarmonyBatch, Eq. 1 and 2), alpha and gamma not negative.
//!
//! For a given beta the form is linear in alpha and gamma, whose best values follow ([`super::line`]); beta is searched, on a logarithmic grid
//! and then between the neighbours of its best value by the golden section.

use super::{Observation, line};

/// Smallest beta, in parts of the smallest limit: below it the curve is flat at all limits but the first, and alpha without bound.
const SMALLEST: f64 = 0.125;
/// Largest beta, in multiples of the largest limit: above it the curve is a straight line.
const LARGEST: f64 = 8.0;
const GRID: u32 = 200;
/// Halvings of an interval of 4 % of beta: down to a millionth.
const SECTIONS: u32 = 24;

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
        let scale = observations
            .iter()
            .map(|&(vcpu, seconds)| seconds / curve.at(vcpu))
            .fold(0.0, f64::max);
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
    let at = |step: f64| {
        let beta = low * (high / low).powf(step / f64::from(GRID));
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
        let squares: f64 = observations
            .iter()
            .map(|&(vcpu, seconds)| (curve.at(vcpu) / seconds - 1.0).powi(2))
            .sum();
        squares.is_finite().then_some((squares, curve))
    };
    let squares = |step: f64| at(step).map_or(f64::INFINITY, |(squares, _)| squares);
    let best = (0..=GRID)
        .map(f64::from)
        .min_by(|&one, &other| squares(one).total_cmp(&squares(other)))?;
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = ((best - 1.0).max(0.0), (best + 1.0).min(f64::from(GRID)));
    for _ in 0..SECTIONS {
        let (inner, outer) = (right - golden * (right - left), left + golden * (right - left));
        if squares(inner) < squares(outer) {
            right = outer;
        } else {
            left = inner;
        }
    }
    // Between the ends the squares may have two valleys; the grid's own best is never given away.
    let found = [best, f64::midpoint(left, right)].into_iter().filter_map(at);
    found
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, curve)| curve)
}
