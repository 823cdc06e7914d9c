//! Amounts of money as users read them: plain decimals in the platform's currency.

/// Hours of a month: 365 days / 12.
const MONTH_SECONDS: f64 = 730.0 * 3600.0;

/// Of a month, from the cost of a second.
pub fn per_month(per_second: f64) -> String {
    amount(per_second * MONTH_SECONDS)
}

/// Of a month, from a difference between costs of a second, with its sign; 0.00 where there is none.
pub fn difference_per_month(per_second: f64) -> String {
    let sign = if per_second > 0.0 {
        "+"
    } else if per_second < 0.0 {
        "-"
    } else {
        ""
    };
    format!("{sign}{}", per_month(per_second.abs()))
}

/// Of a million rows, from the cost of a row.
pub fn per_million(per_row: f64) -> String {
    amount(per_row * 1e6)
}

/// Two decimals; where those would hide the amount, two significant digits.
fn amount(value: f64) -> String {
    // The sum of nothing is minus zero.
    let value = value + 0.0;
    if value >= 0.1 || value <= 0.0 || !value.is_finite() {
        return format!("{value:.2}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 2 and 30"
    )]
    let decimals = (1.0 - value.log10().floor()).clamp(2.0, 30.0) as usize;
    format!("{value:.decimals$}")
}

/// A fraction as a whole percentage.
pub fn percent(fraction: f64) -> String {
    format!("{:.0}%", fraction * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_at_a_glance() {
        for (value, text) in [
            (16.6, "16.60"),
            (0.0, "0.00"),
            (-0.0, "0.00"),
            (0.1, "0.10"),
            (0.0123, "0.012"),
            (0.000_004_56, "0.0000046"),
            (1234.567, "1234.57"),
        ] {
            assert_eq!(amount(value), text);
        }
        assert_eq!(per_month(2.2583e-5), "59.35");
        assert_eq!(percent(0.312), "31%");
        assert_eq!(difference_per_month(2.2583e-5), "+59.35");
        assert_eq!(difference_per_month(-2.2583e-5), "-59.35");
        assert_eq!(difference_per_month(-0.0), "0.00");
    }
}
