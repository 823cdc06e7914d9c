//! `work / vcpu + fixed`, neither negative: a line in `1 / vcpu` ([`super::line`]).

use super::{Observation, line};

/// Coefficients: CPU seconds, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyperbolic {
    /// Time on one whole CPU that takes the longer the less there is.
    pub work: f64,
    /// What no vCPU can take away.
    pub fixed: f64,
}

impl Hyperbolic {
    /// Latency at a CPU limit.
    pub fn at(&self, vcpu: f64) -> f64 {
        self.work / vcpu + self.fixed
    }
}

/// The curve of least relative squares. None for fewer than two observations, or where a latency is not positive.
pub fn through(observations: &[Observation]) -> Option<Hyperbolic> {
    let inverse: Vec<Observation> = observations
        .iter()
        .map(|&(vcpu, seconds)| (1.0 / vcpu, seconds))
        .collect();
    line::through(&inverse).map(|line| Hyperbolic {
        work: line.slope,
        fixed: line.fixed,
    })
}

/// The same, scaled until no latency exceeds it.
pub fn above(observations: &[Observation]) -> Option<Hyperbolic> {
    let curve = through(observations)?;
    let scale = super::scale_above(observations, |vcpu| curve.at(vcpu));
    Some(Hyperbolic {
        work: curve.work * scale,
        fixed: curve.fixed * scale,
    })
}
