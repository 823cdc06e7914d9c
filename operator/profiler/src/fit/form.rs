//! The forms of latency against a CPU limit, and the curve of one.

use super::Observation;
use super::exponential::{self, Exponential};
use super::hyperbolic::{self, Hyperbolic};
use super::throttled::{self, Throttled};

/// A form of latency against a CPU limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `work / vcpu + fixed`.
    Hyperbolic,
    /// CPU work under a quota.
    Throttled,
    /// The paper's.
    Exponential,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hyperbolic, Self::Throttled, Self::Exponential];

    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hyperbolic => "hyperbolic",
            Self::Throttled => "throttled",
            Self::Exponential => "exponential",
        }
    }

    /// How many are fitted.
    pub fn coefficients(self) -> u32 {
        match self {
            Self::Hyperbolic | Self::Throttled => 2,
            Self::Exponential => 3,
        }
    }

    /// The curve of least relative squares through means.
    pub fn through(self, means: &[Observation]) -> Option<Curve> {
        match self {
            Self::Hyperbolic => hyperbolic::through(means).map(Curve::Hyperbolic),
            Self::Throttled => throttled::through(means).map(Curve::Throttled),
            Self::Exponential => exponential::through(means).map(Curve::Exponential),
        }
    }

    /// The curve of least relative squares that no latency exceeds.
    pub fn above(self, tails: &[Observation]) -> Option<Curve> {
        match self {
            Self::Hyperbolic => hyperbolic::above(tails).map(Curve::Hyperbolic),
            Self::Throttled => throttled::above(tails).map(Curve::Throttled),
            Self::Exponential => exponential::above(tails).map(Curve::Exponential),
        }
    }
}

/// Latency against a CPU limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// Of [`Form::Hyperbolic`].
    Hyperbolic(Hyperbolic),
    /// Of [`Form::Throttled`].
    Throttled(Throttled),
    /// Of [`Form::Exponential`].
    Exponential(Exponential),
}

impl Curve {
    /// Mean latency at a CPU limit.
    pub fn mean(&self, vcpu: f64) -> f64 {
        match self {
            Self::Hyperbolic(curve) => curve.at(vcpu),
            Self::Throttled(curve) => curve.mean(vcpu),
            Self::Exponential(curve) => curve.at(vcpu),
        }
    }

    /// Longest latency at a CPU limit.
    pub fn bound(&self, vcpu: f64) -> f64 {
        match self {
            Self::Throttled(curve) => curve.bound(vcpu),
            Self::Hyperbolic(_) | Self::Exponential(_) => self.mean(vcpu),
        }
    }
}
