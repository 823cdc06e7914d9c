//! Forms of latency against a CPU limit.
//!
//! All are positive and none grows with the limit, which a search relies on.

use super::{AfterIdle, ProfileError, Throttled};

/// Latency of one batch size against the CPU limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CpuCurve {
    /// The paper's.
    Exponential(Exponential),
    /// In proportion to the time that a CPU needs.
    Hyperbolic(Hyperbolic),
    /// CPU time under a quota in every period.
    Throttled(Throttled),
}

impl CpuCurve {
    /// The mean latency in seconds under a limit of `vcpu`.
    pub fn mean(&self, vcpu: f64) -> f64 {
        match self {
            Self::Exponential(curve) => curve.at(vcpu),
            Self::Hyperbolic(curve) => curve.at(vcpu),
            Self::Throttled(curve) => curve.mean(vcpu),
        }
    }

    /// The longest latency in seconds under a limit of `vcpu`. A quota bounds it apart from its mean; the other forms are the same
    /// curve with coefficients of their own.
    pub fn bound(&self, vcpu: f64) -> f64 {
        match self {
            Self::Exponential(curve) => curve.at(vcpu),
            Self::Hyperbolic(curve) => curve.at(vcpu),
            Self::Throttled(curve) => curve.bound(vcpu),
        }
    }

    /// The same where idle time costs so much. The other forms are of latencies that were measured under each limit, and have it in them.
    pub(super) fn with_after_idle(self, after_idle: AfterIdle) -> Self {
        match self {
            Self::Throttled(curve) => Self::Throttled(curve.with_after_idle(after_idle)),
            Self::Exponential(_) | Self::Hyperbolic(_) => self,
        }
    }

    /// What a batch takes for so much more CPU work that one core does, in seconds, under a limit of `vcpu`.
    pub(crate) fn seconds_of(&self, work: f64, vcpu: f64) -> f64 {
        match self {
            Self::Throttled(curve) => curve.seconds_of(work, vcpu),
            Self::Exponential(_) | Self::Hyperbolic(_) => work / vcpu.min(1.0),
        }
    }

    /// The latency in seconds of a batch that is stopped least often, where a limit of `vcpu` stops any.
    pub(crate) fn least_stopped(&self, vcpu: f64) -> Option<f64> {
        match self {
            Self::Throttled(curve) if vcpu < curve.parallelism() => Some(curve.shortest(vcpu)),
            _ => None,
        }
    }
}

impl From<Exponential> for CpuCurve {
    fn from(curve: Exponential) -> Self {
        Self::Exponential(curve)
    }
}

impl From<Hyperbolic> for CpuCurve {
    fn from(curve: Hyperbolic) -> Self {
        Self::Hyperbolic(curve)
    }
}

impl From<Throttled> for CpuCurve {
    fn from(curve: Throttled) -> Self {
        Self::Throttled(curve)
    }
}

/// Latency against CPU limit, Eq. 1 of the paper: `alpha * exp(-vcpu / beta) + gamma`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    alpha: f64,
    beta: f64,
    gamma: f64,
}

impl Exponential {
    /// Takes `alpha` and `gamma` in seconds and `beta` in vCPU. Latency must be positive and must not grow with
    /// the limit: `alpha >= 0`, `beta > 0`, `gamma >= 0`, `alpha + gamma > 0`, each at most one million.
    pub fn new(alpha: f64, beta: f64, gamma: f64) -> Result<Self, ProfileError> {
        let error = |coefficient, found, allowed| {
            Err(ProfileError::Curve {
                form: "an exponential",
                coefficient,
                found,
                allowed,
            })
        };
        if !(0.0..=1e6).contains(&alpha) {
            return error("alpha", alpha, "between 0 and 1000000");
        }
        if !(1e-9..=1e6).contains(&beta) {
            return error("beta", beta, "above 0 and at most 1000000");
        }
        if !(0.0..=1e6).contains(&gamma) {
            return error("gamma", gamma, "between 0 and 1000000");
        }
        if alpha + gamma <= 0.0 {
            return error("alpha + gamma", alpha + gamma, "above 0");
        }
        Ok(Self { alpha, beta, gamma })
    }

    /// The latency in seconds under a limit of `vcpu`.
    pub fn at(&self, vcpu: f64) -> f64 {
        self.alpha * (-vcpu / self.beta).exp() + self.gamma
    }
}

/// Latency against CPU limit as a hyperbola: `work / vcpu + fixed`, in seconds. `work` is CPU time that takes the longer the smaller
/// the limit is, `fixed` what no limit changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyperbolic {
    work: f64,
    fixed: f64,
}

impl Hyperbolic {
    /// Takes `work` in CPU seconds and `fixed` in seconds: neither negative, their sum positive, each at most one million.
    pub fn new(work: f64, fixed: f64) -> Result<Self, ProfileError> {
        let error = |coefficient, found, allowed| {
            Err(ProfileError::Curve {
                form: "a hyperbolic",
                coefficient,
                found,
                allowed,
            })
        };
        if !(0.0..=1e6).contains(&work) {
            return error("work", work, "between 0 and 1000000");
        }
        if !(0.0..=1e6).contains(&fixed) {
            return error("fixed", fixed, "between 0 and 1000000");
        }
        if work + fixed <= 0.0 {
            return error("work + fixed", work + fixed, "above 0");
        }
        Ok(Self { work, fixed })
    }

    /// The latency in seconds under a limit of `vcpu`.
    pub fn at(&self, vcpu: f64) -> f64 {
        self.work / vcpu + self.fixed
    }
}
