//! Quantities as users write them: strings of a decimal and a unit, parsed exactly.
//!
//! A CR keeps what was written; a reader parses it here and gets either a value or an error that says what was found, what is allowed, and an
//! example. No quantity is negative or longer than 32 characters.

mod cpu;
mod decimal;
mod duration;
mod memory;
mod rate;

pub use cpu::Cpu;
pub use decimal::Decimal;
pub use duration::Duration;
pub use memory::Memory;
pub use rate::Rate;

use serde::{Deserialize, Deserializer, de};

/// Longest quantity, in characters.
pub const MAX_LENGTH: usize = 32;

/// Why a string is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} {problem}: {} is {}, such as {}", .form.name, .form.allowed, .form.example)]
pub struct QuantityError {
    /// What was written, cut to 40 characters.
    pub found: String,
    /// What is wrong with it.
    pub problem: Problem,
    /// What is allowed.
    pub form: &'static Form,
}

/// What is wrong with a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_LENGTH`] characters.
    #[error("is longer than 32 characters")]
    TooLong,
    /// A minus sign.
    #[error("is negative")]
    Negative,
    /// No decimal at the start.
    #[error("does not start with a decimal number")]
    NotADecimal,
    /// A decimal and nothing after it, where a unit must be.
    #[error("has no unit")]
    NoUnit,
    /// A decimal and something else after it.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// Finer than can be expressed.
    #[error("is too fine")]
    TooFine,
    /// Larger than can be meant.
    #[error("is too large")]
    TooLarge,
}

/// The form of one sort of quantity.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// What it is called, with its article.
    pub name: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
    /// A good one.
    pub example: &'static str,
}

impl Form {
    fn error(&'static self, found: &str, problem: Problem) -> QuantityError {
        QuantityError {
            found: found.chars().take(40).collect(),
            problem,
            form: self,
        }
    }

    /// Splits `text` into its decimal and what follows it.
    fn split<'a>(&'static self, text: &'a str) -> Result<(Decimal, &'a str), QuantityError> {
        let problem = |problem| self.error(text, problem);
        if text.is_empty() {
            return Err(problem(Problem::Empty));
        }
        if text.chars().count() > MAX_LENGTH {
            return Err(problem(Problem::TooLong));
        }
        if text.starts_with('-') {
            return Err(problem(Problem::Negative));
        }
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let decimal = Decimal::from_digits(number).ok_or_else(|| problem(Problem::NotADecimal))?;
        Ok((decimal, unit))
    }

    fn unknown_unit(&'static self, text: &str, unit: &str) -> QuantityError {
        self.error(
            text,
            if unit.is_empty() {
                Problem::NoUnit
            } else {
                Problem::UnknownUnit
            },
        )
    }
}

/// Reads a quantity that may also be written as an integer, as Kubernetes allows for CPU and memory (`max: 1`).
pub fn string_or_integer<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum StringOrInteger {
        Integer(i64),
        String(String),
    }
    match StringOrInteger::deserialize(input) {
        Ok(StringOrInteger::Integer(integer)) => Ok(integer.to_string()),
        Ok(StringOrInteger::String(string)) => Ok(string),
        Err(_) => Err(de::Error::custom(
            "expected a string such as \"500m\" or \"1Gi\", or an integer",
        )),
    }
}

#[cfg(test)]
mod tests;
