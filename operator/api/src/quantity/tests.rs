//! What is a quantity, what is not, and what the error says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::{Cpu, Decimal, Duration, Memory, Rate};

fn canonical<T: std::str::FromStr<Err = super::QuantityError> + ToString>(text: &str) -> String {
    text.parse::<T>()
        .map_or_else(|error| error.to_string(), |value| value.to_string())
}

#[test]
fn durations_are_read_exactly_and_written_in_the_largest_unit() {
    for (text, written, seconds) in [
        ("500ms", "500ms", 0.5),
        ("0.5s", "500ms", 0.5),
        ("1s", "1s", 1.0),
        ("1500ms", "1.5s", 1.5),
        ("250us", "250us", 0.000_25),
        ("1000us", "1ms", 0.001),
        ("0ms", "0s", 0.0),
        (
            "1826.0695578676214ms",
            "1.8260695578676214s",
            1.826_069_557_867_621_4,
        ),
        ("0.00001us", "0.00001us", 1e-11),
        ("1000000s", "1000000s", 1e6),
    ] {
        assert_eq!(canonical::<Duration>(text), written, "{text}");
        assert_eq!(
            text.parse::<Duration>().unwrap().as_secs_f64().to_bits(),
            f64::to_bits(seconds),
            "{text}"
        );
    }
    assert_eq!("1.67984ms".parse::<Duration>().unwrap().as_nanos(), 1_679_840);
    assert_eq!(Duration::from_nanos(212_000_000).to_string(), "212ms");
    assert_eq!(Duration::from_secs_f64(0.000_1).unwrap().to_string(), "100us");
    assert_eq!(
        Duration::from_secs_f64(0.212_000_4).unwrap().to_string(),
        "212.001ms"
    );
    assert_eq!(Duration::from_secs_f64(0.0).unwrap().to_string(), "0s");
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
        assert_eq!(Duration::from_secs_f64(bad), None, "{bad}");
    }
}

#[test]
fn rates_keep_their_unit() {
    for (text, written, per_second) in [
        ("5/s", "5/s", 5.0),
        ("120/m", "120/m", 2.0),
        ("0.50/h", "0.5/h", 0.5 / 3600.0),
        ("4.8/s", "4.8/s", 4.8),
    ] {
        assert_eq!(canonical::<Rate>(text), written, "{text}");
        assert_eq!(
            text.parse::<Rate>().unwrap().per_second().to_bits(),
            f64::to_bits(per_second),
            "{text}"
        );
    }
    for (measured, written) in [
        (4.812, "4.8/s"),
        (0.0, "0/s"),
        (35.4, "35/s"),
        (1234.0, "1200/s"),
        (0.5, "30/m"),
        (0.001, "3.6/h"),
    ] {
        assert_eq!(
            Rate::from_per_second(measured).unwrap().to_string(),
            written,
            "{measured}"
        );
    }
    assert_eq!(Rate::from_per_second(f64::NAN), None);
}

#[test]
fn cpu_is_whole_millis() {
    for (text, written, millis) in [
        ("1650m", "1650m", 1650),
        ("1.65", "1650m", 1650),
        ("2", "2", 2000),
        ("2000m", "2", 2000),
        ("0.05", "50m", 50),
        ("0", "0", 0),
    ] {
        assert_eq!(canonical::<Cpu>(text), written, "{text}");
        assert_eq!(text.parse::<Cpu>().unwrap().millis(), millis, "{text}");
    }
}

#[test]
fn memory_is_whole_bytes() {
    for (text, written, bytes) in [
        ("1Gi", "1Gi", 1 << 30),
        ("1024Mi", "1Gi", 1 << 30),
        ("1.5Gi", "1536Mi", 3 << 29),
        ("0", "0", 0),
        ("1k", "1000", 1000),
        ("1500", "1500", 1500),
    ] {
        assert_eq!(canonical::<Memory>(text), written, "{text}");
        assert_eq!(text.parse::<Memory>().unwrap().bytes(), bytes, "{text}");
    }
}

#[test]
fn decimals_are_exact() {
    for (text, written, value) in [
        ("0.000013", "0.000013", 1.3e-5),
        ("0.00000013", "0.00000013", 1.3e-7),
        ("99", "99", 99.0),
        ("99.90", "99.9", 99.9),
        ("0", "0", 0.0),
    ] {
        assert_eq!(canonical::<Decimal>(text), written, "{text}");
        assert_eq!(
            text.parse::<Decimal>().unwrap().to_f64().to_bits(),
            f64::to_bits(value),
            "{text}"
        );
    }
}

#[test]
fn an_error_says_what_was_found_what_is_allowed_and_an_example() {
    let duration = "a duration is a decimal with unit us, ms or s, of at most 1000000s, such as 500ms";
    for (text, problem) in [
        ("", "is empty"),
        ("500", "has no unit"),
        ("500m", "has an unknown unit"),
        ("500 ms", "has an unknown unit"),
        ("-5ms", "is negative"),
        ("ms", "does not start with a decimal number"),
        (".5s", "does not start with a decimal number"),
        ("5.s", "does not start with a decimal number"),
        ("1.2.3s", "does not start with a decimal number"),
        ("1e3ms", "has an unknown unit"),
        ("1000001s", "is too large"),
        ("99999999999999999999999999999ms", "is too large"),
        (
            "000000000000000000000000000000001s",
            "is longer than 32 characters",
        ),
    ] {
        assert_eq!(
            canonical::<Duration>(text),
            format!("{text:?} {problem}: {duration}")
        );
    }
    for (error, part) in [
        (
            canonical::<Rate>("5"),
            "\"5\" has no unit: a rate is a decimal per s, m or h",
        ),
        (canonical::<Rate>("5/d"), "has an unknown unit"),
        (canonical::<Rate>("2000000000/s"), "is too large"),
        (canonical::<Cpu>("0.0005"), "is too fine"),
        (canonical::<Cpu>("0.5m"), "is too fine"),
        (canonical::<Cpu>("2k"), "has an unknown unit"),
        (canonical::<Cpu>("10001"), "is too large"),
        (canonical::<Memory>("1Xi"), "has an unknown unit"),
        (canonical::<Memory>("9999999Ti"), "is too large"),
        (
            canonical::<Decimal>("1.3e-5"),
            "does not start with a decimal number: a number is a plain decimal without exponent",
        ),
        (canonical::<Decimal>("1%"), "does not start with a decimal number"),
    ] {
        assert!(error.contains(part), "{error}");
    }
}
