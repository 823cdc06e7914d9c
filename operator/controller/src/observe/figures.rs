//! From the counts of all gateways to the few figures that a user reads, with two significant digits.

use std::collections::BTreeMap;

use crate::gateways::{Observed, ObservedApp};
use crate::observe::spread::Spread;

/// The counts of one application over all gateways.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Rows per second: the sum of what each gateway saw in its own span.
    pub(crate) rate: f64,
    /// Requests answered 2xx within the SLO.
    pub(crate) within_slo: u64,
    /// Requests answered 2xx after the SLO, with 5xx, or with 504.
    pub(crate) missed: u64,
    /// How bursty its rows came.
    pub(crate) spread: Spread,
    latency: BTreeMap<u64, u64>,
}

impl Counts {
    /// Requests that count for or against the SLO.
    pub(crate) fn samples(&self) -> u64 {
        self.within_slo + self.missed
    }

    /// Share of the counted requests that kept the SLO, as a fraction; `None` before the first.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
    pub(crate) fn attainment(&self) -> Option<f64> {
        (self.samples() > 0).then(|| self.within_slo as f64 / self.samples() as f64)
    }

    /// The upper bound, in microseconds, of the bucket in which the `quantile` (0 to 1) of the latencies lies.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts of an hour are far below 2^53"
    )]
    pub(crate) fn latency(&self, quantile: f64) -> Option<u64> {
        let total: u64 = self.latency.values().sum();
        let rank = ((total as f64 * quantile).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        self.latency.iter().find_map(|(upper, count)| {
            seen += count;
            (seen >= rank).then_some(*upper)
        })
    }
}

/// Adds up what the gateways counted; the key is namespace and name of the application.
pub(crate) fn merge<'a>(
    gateways: impl IntoIterator<Item = &'a Observed>,
) -> BTreeMap<(String, String), Counts> {
    let mut merged: BTreeMap<(String, String), Counts> = BTreeMap::new();
    for seen in gateways.into_iter().flat_map(|gateway| &gateway.apps) {
        let counts = merged
            .entry((seen.namespace.clone(), seen.app.clone()))
            .or_default();
        add(counts, seen);
    }
    merged
}

#[expect(clippy::cast_precision_loss, reason = "rows of an hour are far below 2^53")]
fn add(counts: &mut Counts, seen: &ObservedApp) {
    if seen.span_seconds > 0.0 {
        counts.rate += seen.rows as f64 / seen.span_seconds;
    }
    counts.spread.add(seen);
    counts.within_slo += seen.within_slo;
    counts.missed += seen.late + seen.failed;
    for (upper, count) in &seen.latency.buckets {
        *counts.latency.entry(*upper).or_default() += count;
    }
}

/// Rounds to two significant digits and writes without a needless zero: `4.8`, `240`, `0.0033`.
pub(crate) fn two_digits(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        return "0".to_owned();
    }
    // 9.96 has the exponent of 10 once it is rounded; the second round sees to that.
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    trimmed(rounded, 1 - exponent(rounded))
}

/// Power of ten of the first digit.
#[expect(clippy::cast_possible_truncation, reason = "an f64's exponent fits")]
fn exponent(value: f64) -> i32 {
    value.log10().floor() as i32
}

fn trimmed(value: f64, decimals: i32) -> String {
    let decimals = usize::try_from(decimals).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A latency with two significant digits and its unit: `850us`, `240ms`, `12s`.
#[expect(clippy::cast_precision_loss, reason = "two digits are kept")]
pub(crate) fn latency(micros: u64) -> String {
    let micros = micros as f64;
    if micros < 995.0 {
        format!("{}us", two_digits(micros))
    } else if micros < 9_950_000.0 {
        format!("{}ms", two_digits(micros / 1e3))
    } else {
        format!("{}s", two_digits(micros / 1e6))
    }
}

/// An attainment in percent whose misses have two significant digits: `100`, `99.7`, `99.966`.
pub(crate) fn attainment(fraction: f64) -> String {
    let missed = (1.0 - fraction) * 100.0;
    if missed <= 0.0 {
        return "100".to_owned();
    }
    let missed: f64 = format!("{missed:.1e}").parse().unwrap_or(missed);
    trimmed(100.0 - missed, 1 - exponent(missed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateways::Histogram;

    #[test]
    fn figures_keep_two_significant_digits() {
        let numbers = [
            (4.837, "4.8"),
            (240.4, "240"),
            (0.003_333, "0.0033"),
            (9.96, "10"),
            (1.0, "1"),
            (0.0, "0"),
        ];
        for (value, text) in numbers {
            assert_eq!(two_digits(value), text);
        }
        let latencies = [
            (850, "850us"),
            (999, "1ms"),
            (243_000, "240ms"),
            (2_345_000, "2300ms"),
            (12_300_000, "12s"),
        ];
        for (micros, text) in latencies {
            assert_eq!(latency(micros), text);
        }
        let attainments = [
            (1.0, "100"),
            (0.997, "99.7"),
            (0.999_66, "99.966"),
            (0.5, "50"),
            (0.0, "0"),
        ];
        for (fraction, text) in attainments {
            assert_eq!(attainment(fraction), text);
        }
    }

    fn seen(rows: u64, span: f64, within: u64, late: u64, buckets: &[(u64, u64)]) -> Observed {
        Observed {
            apps: vec![ObservedApp {
                namespace: "shop".to_owned(),
                app: "search".to_owned(),
                span_seconds: span,
                rows,
                within_slo: within,
                late,
                latency: Histogram {
                    buckets: buckets.to_vec(),
                },
                ..ObservedApp::default()
            }],
            ..Observed::default()
        }
    }

    #[test]
    fn gateways_that_saw_different_spans_add_up() {
        let merged = merge(&[
            seen(360, 3600.0, 90, 10, &[(100, 50), (200, 50)]),
            seen(60, 60.0, 100, 0, &[(100, 1), (400, 99)]),
        ]);
        let counts = &merged[&("shop".to_owned(), "search".to_owned())];
        assert_eq!(two_digits(counts.rate), "1.1");
        assert_eq!((counts.samples(), counts.attainment()), (200, Some(0.95)));
        assert_eq!(
            [0.0, 0.5, 0.99].map(|q| counts.latency(q)),
            [Some(100), Some(200), Some(400)]
        );
    }

    #[test]
    fn nothing_seen_gives_no_figure() {
        let counts = Counts::default();
        assert_eq!((counts.attainment(), counts.latency(0.5)), (None, None));
    }
}
