//! The quantities that a plan is made of, as newtypes whose value has been checked once.
//!
//! A value that exists is finite and within bounds that no real platform leaves, so that the code past this
//! module needs no case for NaN, infinities or overflow.

use std::fmt;

/// A number that is no such quantity.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{quantity} {found} must be {allowed}")]
pub struct UnitError {
    /// What the number was meant to be, in words.
    pub quantity: &'static str,
    /// The number that was found.
    pub found: f64,
    /// What is allowed, in words.
    pub allowed: &'static str,
}

/// Declares a newtype over `f64` that holds only finite values accepted by `$check`.
macro_rules! real_quantity {
    ($(#[$doc:meta])* $name:ident, $quantity:literal, $check:expr, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Checks that the value is ", $allowed, ".")]
            pub fn new(value: f64) -> Result<Self, UnitError> {
                let check: fn(f64) -> bool = $check;
                if value.is_finite() && check(value) {
                    Ok(Self(value))
                } else {
                    Err(UnitError { quantity: $quantity, found: value, allowed: $allowed })
                }
            }

            /// The bare number, in the unit that the type's documentation names.
            pub const fn get(self) -> f64 {
                self.0
            }
        }
    };
}

real_quantity!(
    /// A duration in seconds, 0 to one million.
    Seconds,
    "duration in seconds",
    |v| (0.0..=1e6).contains(&v),
    "between 0 and 1000000"
);

real_quantity!(
    /// A long-run mean of rows per second, above 1e-9 (one row in 31 years) and at most 1e9.
    Rate,
    "rate in rows per second",
    |v| (1e-9..=1e9).contains(&v),
    "between 0.000000001 and 1000000000"
);

real_quantity!(
    /// A price in the platform's currency per unit of what is bought; zero is allowed.
    Price,
    "price",
    |v| (0.0..=1e6).contains(&v),
    "between 0 and 1000000"
);

real_quantity!(
    /// The share of requests, in percent, that must keep their SLO: above 0, at most 100.
    Percentile,
    "percentile",
    |v| v > 0.0 && v <= 100.0,
    "above 0 and at most 100"
);

real_quantity!(
    /// How much longer batches may take than their profile says, as a part of that, while every promise is kept: 0 to 1.
    Headroom,
    "headroom",
    |v| (0.0..=1.0).contains(&v),
    "between 0 and 1"
);

impl Headroom {
    /// Batches take what the profile says.
    pub const NONE: Self = Self(0.0);

    /// So many times the profile's latencies.
    pub fn factor(self) -> f64 {
        1.0 + self.0
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.0 <= 0.0
    }

    /// The least number of whole tenths of a percent that is no less.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 1000"
    )]
    pub(crate) fn tenths_up(self) -> u32 {
        // A percentage that is written with one decimal is a whole number of them but for rounding.
        const ROUNDING: f64 = 1e-9;
        (self.0 * 1000.0 - ROUNDING).ceil().max(0.0) as u32
    }

    /// Tenths of a percent, at most 1000.
    pub(crate) fn from_tenths(tenths: u32) -> Self {
        Self(f64::from(tenths.min(1000)) / 1000.0)
    }
}

impl fmt::Display for Headroom {
    /// A percentage with at most six decimals: `10%`, `2.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.6}", self.0 * 100.0);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);

    /// Takes a duration in milliseconds.
    pub fn from_millis(millis: f64) -> Result<Self, UnitError> {
        Self::new(millis / 1000.0)
    }

    /// The duration in milliseconds.
    pub fn as_millis(self) -> f64 {
        self.0 * 1000.0
    }

    /// A duration that a computation on checked quantities gave; what leaves the bounds is brought back to them.
    pub(crate) fn clamped(value: f64) -> Self {
        if value.is_nan() {
            Self::ZERO
        } else {
            Self(value.clamp(0.0, 1e6))
        }
    }
}

impl fmt::Display for Seconds {
    /// Milliseconds with at most three significant decimals: `239ms`, `1.68ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.as_millis());
        write!(f, "{}ms", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Percentile {
    /// The same share as a fraction of 1.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

/// A CPU limit in thousandths of a vCPU, as Kubernetes counts them, 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vcpu(u32);

impl Vcpu {
    /// Checks that the limit is between 1m and 1000000m.
    pub fn from_millis(millis: u32) -> Result<Self, UnitError> {
        if (1..=1_000_000).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(UnitError {
                quantity: "CPU limit in thousandths of a vCPU",
                found: f64::from(millis),
                allowed: "between 1 and 1000000",
            })
        }
    }

    /// The limit in thousandths of a vCPU.
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// The limit in vCPU.
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Vcpu {
    /// As Kubernetes writes it: `1650m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

/// A share of a GPU in the units that its pool divides a device into, 1 to 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GpuUnits(u32);

impl GpuUnits {
    /// Checks that the share is between 1 and 1024 units.
    pub fn new(units: u32) -> Result<Self, UnitError> {
        if (1..=1024).contains(&units) {
            Ok(Self(units))
        } else {
            Err(UnitError {
                quantity: "GPU share in units",
                found: f64::from(units),
                allowed: "between 1 and 1024",
            })
        }
    }

    /// The number of units.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for GpuUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The most rows that a batch may hold, 1 to 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchSize(u32);

impl BatchSize {
    /// A batch of one row.
    pub const ONE: Self = Self(1);

    /// Checks that the batch is between 1 and 1024 rows.
    pub fn new(rows: u32) -> Result<Self, UnitError> {
        if (1..=1024).contains(&rows) {
            Ok(Self(rows))
        } else {
            Err(UnitError {
                quantity: "batch size in rows",
                found: f64::from(rows),
                allowed: "between 1 and 1024",
            })
        }
    }

    /// The number of rows.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// Whole mebibytes, rounded up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Mi", self.0.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_quantity_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e308] {
            assert!(Seconds::new(bad).is_err(), "{bad} seconds");
            assert!(Rate::new(bad).is_err(), "{bad} rows per second");
            assert!(Price::new(bad).is_err(), "price {bad}");
            assert!(Percentile::new(bad).is_err(), "percentile {bad}");
        }
        assert!(Rate::new(0.0).is_err());
        assert!(Percentile::new(0.0).is_err());
        assert!(Headroom::new(-0.01).is_err() && Headroom::new(1.01).is_err());
        assert!(Percentile::new(100.001).is_err());
        assert!(Vcpu::from_millis(0).is_err());
        assert!(GpuUnits::new(0).is_err());
        assert!(GpuUnits::new(1025).is_err());
        assert!(BatchSize::new(0).is_err());
        assert!(BatchSize::new(u32::MAX).is_err());
    }

    #[test]
    fn an_error_names_quantity_value_and_bounds() {
        let text = Rate::new(-2.5).map_err(|error| error.to_string());
        assert_eq!(
            text.err().as_deref(),
            Some("rate in rows per second -2.5 must be between 0.000000001 and 1000000000")
        );
    }

    #[test]
    fn quantities_are_written_as_users_write_them() {
        assert_eq!(Seconds::clamped(0.23912).to_string(), "239.12ms");
        assert_eq!(Seconds::clamped(2.0).to_string(), "2000ms");
        assert_eq!(Vcpu(1650).to_string(), "1650m");
        for (headroom, text) in [
            (0.0, "0%"),
            (0.1, "10%"),
            (0.025, "2.5%"),
            (1.0, "100%"),
            (0.07, "7%"),
        ] {
            assert_eq!(Headroom(headroom).to_string(), text);
        }
        assert_eq!(Bytes((1 << 30) + 1).to_string(), "1025Mi");
    }
}
