//! Memory as Kubernetes writes it: `512Mi`, `1Gi`, bytes.

use std::fmt;
use std::str::FromStr;

use super::{Form, Problem, QuantityError};

static FORM: Form = Form {
    name: "memory",
    allowed: "bytes, or a decimal with Ki, Mi, Gi, Ti, k, M, G or T, of at most 1024Ti",
    example: "512Mi",
};

const MAX_BYTES: u128 = 1 << 50;
const BINARY_UNITS: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// An amount of memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory {
    bytes: u64,
}

impl Memory {
    /// Of bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for Memory {
    type Err = QuantityError;

    /// A fraction of a byte is rounded up, as Kubernetes does.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (decimal, unit) = FORM.split(text)?;
        let factor: u128 = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            unit => match BINARY_UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => u128::from(*factor),
                None => return Err(FORM.error(text, Problem::UnknownUnit)),
            },
        };
        let (digits, scale) = decimal.parts();
        let bytes = digits
            .checked_mul(factor)
            .map(|scaled| scaled.div_ceil(10_u128.saturating_pow(scale)))
            .filter(|bytes| *bytes <= MAX_BYTES)
            .and_then(|bytes| u64::try_from(bytes).ok())
            .ok_or_else(|| FORM.error(text, Problem::TooLarge))?;
        Ok(Self { bytes })
    }
}

impl fmt::Display for Memory {
    /// In the largest binary unit that divides it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY_UNITS
            .iter()
            .find(|(_, factor)| self.bytes > 0 && self.bytes.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(out, "{}{unit}", self.bytes / factor),
            None => write!(out, "{}", self.bytes),
        }
    }
}
