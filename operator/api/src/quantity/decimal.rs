//! Plain decimals: digits, a point, digits.

use std::fmt;
use std::str::FromStr;

use super::{Form, Problem, QuantityError};

static FORM: Form = Form {
    name: "a number",
    allowed: "a plain decimal without exponent",
    example: "0.000013",
};

/// A non-negative decimal, exact: `digits * 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    // Without zeros at the end of its fraction, so that equal numbers are equal structs.
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// The decimal of a string of digits with at most one point between two of them.
    pub(super) fn from_digits(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (text, ""),
        };
        if whole.is_empty() || fraction.contains('.') {
            return None;
        }
        // At most 32 digits (MAX_LENGTH) are below 2^107.
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self::new(digits, u32::try_from(fraction.len()).ok()?))
    }

    /// `digits * 10^-scale`.
    pub(super) fn new(mut digits: u128, mut scale: u32) -> Self {
        while scale > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale -= 1;
        }
        Self { digits, scale }
    }

    /// The same number with the point moved `places` to the right.
    pub(super) fn shifted(self, places: u32) -> Self {
        if places <= self.scale {
            return Self {
                digits: self.digits,
                scale: self.scale - places,
            };
        }
        Self {
            digits: self
                .digits
                .saturating_mul(10_u128.saturating_pow(places - self.scale)),
            scale: 0,
        }
    }

    /// The whole number, where it is one.
    pub(super) fn whole(self) -> Option<u128> {
        (self.scale == 0).then_some(self.digits)
    }

    /// The nearest whole number, half rounded up.
    pub(super) fn rounded(self) -> u128 {
        let divisor = 10_u128.saturating_pow(self.scale);
        self.digits / divisor + u128::from(self.digits % divisor >= divisor.div_ceil(2) && self.scale > 0)
    }

    /// Digits and scale of the number.
    pub(super) fn parts(self) -> (u128, u32) {
        (self.digits, self.scale)
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        // The standard library rounds a decimal string correctly; a division here would round twice.
        format!("{}e-{}", self.digits, self.scale)
            .parse()
            .unwrap_or(f64::INFINITY)
    }
}

impl FromStr for Decimal {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match FORM.split(text)? {
            (decimal, "") => Ok(decimal),
            _ => Err(FORM.error(text, Problem::NotADecimal)),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.to_string();
        let scale = self.scale as usize;
        if scale == 0 {
            return out.write_str(&digits);
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(out, "{whole}.{fraction}")
    }
}
