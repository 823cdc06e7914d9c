//! CPU as Kubernetes writes it: `1650m`, `1.65`, `2`.

use std::fmt;
use std::str::FromStr;

use super::{Form, Problem, QuantityError};

static FORM: Form = Form {
    name: "CPU",
    allowed: "whole millis (1650m) or vCPU with at most three decimals (1.65), of at most 10000",
    example: "1650m",
};

const MAX_MILLIS: u128 = 10_000_000;

/// An amount of CPU in whole thousandths of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu {
    millis: u64,
}

impl Cpu {
    /// Of thousandths of a vCPU.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// In thousandths of a vCPU.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// In vCPU.
    #[expect(clippy::cast_precision_loss, reason = "at most 10 million millis")]
    pub fn vcpu(self) -> f64 {
        self.millis as f64 / 1000.0
    }
}

impl FromStr for Cpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (decimal, unit) = FORM.split(text)?;
        let millis = match unit {
            "m" => decimal,
            "" => decimal.shifted(3),
            _ => return Err(FORM.error(text, Problem::UnknownUnit)),
        };
        let millis = millis.whole().ok_or_else(|| FORM.error(text, Problem::TooFine))?;
        match u64::try_from(millis) {
            Ok(millis) if u128::from(millis) <= MAX_MILLIS => Ok(Self { millis }),
            _ => Err(FORM.error(text, Problem::TooLarge)),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1000) {
            write!(out, "{}", self.millis / 1000)
        } else {
            write!(out, "{}m", self.millis)
        }
    }
}
