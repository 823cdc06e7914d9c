//! The forms of latency against a CPU limit, and the curve of one.

use super::Observation;
use super::after_idle::AfterIdle;
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

    /// The curve of least relative squares through means. Of what idle time adds a quota alone knows.
    pub fn through(self, means: &[Observation], after_idle: AfterIdle) -> Option<Curve> {
        match self {
            Self::Hyperbolic => hyperbolic::through(means).map(Curve::Hyperbolic),
            Self::Throttled => throttled::through(means, after_idle).map(Curve::Throttled),
            Self::Exponential => exponential::through(means).map(Curve::Exponential),
        }
    }

    /// The curve of least relative squares that no latency exceeds.
    pub fn above(self, tails: &[Observation], after_idle: AfterIdle) -> Option<Curve> {
        match self {
            Self::Hyperbolic => hyperbolic::above(tails).map(Curve::Hyperbolic),
            Self::Throttled => throttled::above(tails, after_idle).map(Curve::Throttled),
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
    /// Its form.
    pub fn form(&self) -> Form {
        match self {
            Self::Hyperbolic(_) => Form::Hyperbolic,
            Self::Throttled(_) => Form::Throttled,
            Self::Exponential(_) => Form::Exponential,
        }
    }

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

    /// The curve of a batch size that lies at this part of the way from one with the one curve to one with the other, `times` as long: what is in seconds lies between theirs as the size
    /// does (work under a quota by the CPU seconds and by the seconds of a batch that nothing stops). None of two forms.
    pub fn between(&self, other: &Self, part: f64, times: f64) -> Option<Self> {
        let chord = |one: f64, other: f64| one * (1.0 - part) + other * part;
        let seconds = |one: f64, other: f64| times * chord(one, other);
        Some(match (self, other) {
            (Self::Hyperbolic(one), Self::Hyperbolic(other)) => Self::Hyperbolic(Hyperbolic {
                work: seconds(one.work, other.work),
                fixed: seconds(one.fixed, other.fixed),
            }),
            (Self::Throttled(one), Self::Throttled(other)) => {
                let work = seconds(one.work, other.work);
                let alone = seconds(one.work / one.parallelism, other.work / other.parallelism);
                Self::Throttled(Throttled {
                    work,
                    parallelism: work / alone,
                    after_idle: one.after_idle,
                })
            }
            (Self::Exponential(one), Self::Exponential(other)) => Self::Exponential(Exponential {
                alpha: seconds(one.alpha, other.alpha),
                beta: chord(one.beta, other.beta),
                gamma: seconds(one.gamma, other.gamma),
            }),
            _ => return None,
        })
    }
}
