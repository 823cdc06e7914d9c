//! Rates: `5/s`, `120/m`, `0.5/h`.

use std::fmt;
use std::str::FromStr;

use super::{Decimal, Form, Problem, QuantityError};

static FORM: Form = Form {
    name: "a rate",
    allowed: "a decimal per s, m or h, of at most 1000000000",
    example: "5/s",
};

/// What a conversion may add to a count that has two digits, relatively.
const ROUNDING: f64 = 1e-9;

const MAX_COUNT: u128 = 1_000_000_000;

/// What a rate counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

/// A non-negative rate, exact as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: Decimal,
    per: Per,
}

impl Rate {
    /// Of events per second, to two significant digits: what is measured of a rate is no finer. In the largest of `/s`, `/m`, `/h` in which it is at
    /// least 1. None where it is negative, not a number or above 1000000000/s.
    pub fn from_per_second(rate: f64) -> Option<Self> {
        Self::two_digits(rate, false)
    }

    /// The same, but never less than `rate`: what is planned for shall suffice.
    pub fn at_least(rate: f64) -> Option<Self> {
        Self::two_digits(rate, true)
    }

    fn two_digits(rate: f64, up: bool) -> Option<Self> {
        if !(0.0..=1e9).contains(&rate) {
            return None;
        }
        let (count, per) = match rate {
            1.0.. | 0.0 => (rate, Per::Second),
            rate if rate * 60.0 >= 1.0 => (rate * 60.0, Per::Minute),
            rate => (rate * 3600.0, Per::Hour),
        };
        // `{:.1e}` is two significant digits; read back it gives them without noise.
        let text = format!("{count:.1e}");
        let mut rounded: f64 = text.parse().ok()?;
        if up && rounded < count * (1.0 - ROUNDING) {
            let (_, exponent) = text.rsplit_once('e')?;
            rounded += 10_f64.powi(exponent.parse::<i32>().ok()? - 1);
        }
        let count = Decimal::from_digits(&format!("{rounded:.10}"))?;
        Some(Self { count, per })
    }

    /// Events per second, the nearest double.
    pub fn per_second(self) -> f64 {
        let count = self.count.to_f64();
        match self.per {
            Per::Second => count,
            Per::Minute => count / 60.0,
            Per::Hour => count / 3600.0,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.count.is_zero()
    }
}

impl FromStr for Rate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (count, unit) = FORM.split(text)?;
        let per = match unit {
            "/s" => Per::Second,
            "/m" => Per::Minute,
            "/h" => Per::Hour,
            other => return Err(FORM.unknown_unit(text, other)),
        };
        if count.rounded() > MAX_COUNT {
            return Err(FORM.error(text, Problem::TooLarge));
        }
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Per::Second => 's',
            Per::Minute => 'm',
            Per::Hour => 'h',
        };
        write!(out, "{}/{unit}", self.count)
    }
}
