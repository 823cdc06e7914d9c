//! Durations: `500ms`, `1.5s`, `250us`.

use std::fmt;
use std::str::FromStr;

use super::{Decimal, Form, Problem, QuantityError};

static FORM: Form = Form {
    name: "a duration",
    allowed: "a decimal with unit us, ms or s, of at most 1000000s",
    example: "500ms",
};

const NANOS_SCALE: u32 = 9;
const MAX_NANOS: u128 = 1_000_000_000_000_000;

/// A non-negative duration, exact as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration {
    seconds: Decimal,
}

impl Duration {
    /// Of nanoseconds.
    pub fn from_nanos(nanos: u64) -> Self {
        Self {
            seconds: Decimal::new(u128::from(nanos), NANOS_SCALE),
        }
    }

    /// Of seconds, rounded up to a microsecond: finer means nothing at a gateway. None where it is negative, not a number or above 1000000 s.
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        // Room for the error of the product, so that 0.0001 s stays 100 us.
        let micros = (seconds * 1e6 - 1e-6).ceil();
        if !(-1.0..=1e12).contains(&micros) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0..=1e12, see above"
        )]
        let micros = micros.max(0.0) as u64;
        Some(Self {
            seconds: Decimal::new(u128::from(micros), 6),
        })
    }

    /// In seconds, the nearest double.
    pub fn as_secs_f64(self) -> f64 {
        self.seconds.to_f64()
    }

    /// In nanoseconds, rounded.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.seconds.shifted(NANOS_SCALE).rounded()).unwrap_or(u64::MAX)
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.seconds.is_zero()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_nanos(duration.as_nanos())
    }
}

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (decimal, unit) = FORM.split(text)?;
        let scale = match unit {
            "us" => 6,
            "ms" => 3,
            "s" => 0,
            other => return Err(FORM.unknown_unit(text, other)),
        };
        let (digits, decimals) = decimal.parts();
        let seconds = Decimal::new(digits, decimals + scale);
        if seconds.shifted(NANOS_SCALE).rounded() > MAX_NANOS {
            return Err(FORM.error(text, Problem::TooLarge));
        }
        Ok(Self { seconds })
    }
}

impl fmt::Display for Duration {
    /// In the largest unit in which it is at least 1: `1.5s`, `500ms`, `250us`; zero is `0s`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.seconds.shifted(NANOS_SCALE).rounded();
        if nanos == 0 && !self.seconds.is_zero() {
            return write!(out, "{}us", self.seconds.shifted(6));
        }
        match nanos {
            0 => out.write_str("0s"),
            1_000_000_000.. => write!(out, "{}s", self.seconds),
            1_000_000.. => write!(out, "{}ms", self.seconds.shifted(3)),
            _ => write!(out, "{}us", self.seconds.shifted(6)),
        }
    }
}
