//! A rule of the schema and the parser of the same quantity agree: what is accepted can be read, and what is refused is no quantity of the field.

use harmonybatch_api::quantity::{Cpu, Decimal, Duration, Memory, Rate};
use serde_json::json;

use crate::decide::decide;
use crate::tables::{base, set};

/// Strings of every sort of quantity, and near misses of each.
const STRINGS: &[&str] = &[
    "",
    "0",
    "1",
    "99",
    "99.9",
    "100",
    "0.000013",
    "1.3e-5",
    "-1",
    "+1",
    " 1",
    "1 ",
    ".5",
    "5.",
    "1.2.3",
    "1,5",
    "0ms",
    "500ms",
    "0.5s",
    "1.5s",
    "250us",
    "3600s",
    "3600.1s",
    "1h",
    "5m",
    "5",
    "ms",
    "500 ms",
    "500MS",
    "999999999s",
    "5/s",
    "0/s",
    "120/m",
    "0.5/h",
    "5/d",
    "5 /s",
    "/s",
    "5/",
    "1000000000/s",
    "999999999/s",
    "50m",
    "0m",
    "1650m",
    "1.65",
    "0.0005",
    "0.5m",
    "2",
    "16",
    "10000",
    "10001",
    "1Gi",
    "512Mi",
    "1.5Gi",
    "1GB",
    "1gi",
    "5Ki",
    "1024Ti",
    "1e3",
    "0x10",
    "٣ms",
    "5ms\n",
    "\u{200b}5ms",
    "00000000000000000000000000000001",
    "000000000000000000000000000000001",
];

fn accepted(kind: &str, path: &str, text: &str) -> bool {
    let mut object = base(kind);
    set(&mut object, path, json!(text));
    let named = path.replace(".0", "[0]").replace(".1", "[1]");
    !decide(&object, None)
        .iter()
        .any(|error| error.starts_with(&named))
}

fn check(kind: &str, path: &str, readable: impl Fn(&str) -> bool) {
    for text in STRINGS {
        let accepted = accepted(kind, path, text);
        assert!(
            !accepted || readable(text),
            "{path}: {text:?} is accepted and cannot be read"
        );
        // The rules bound the digits, so that they are cheap; the parser bounds the characters only.
        let many_digits = text.starts_with("0000");
        assert!(
            accepted || many_digits || !readable(text),
            "{path}: {text:?} can be read and is refused"
        );
    }
}

fn latency(text: &str) -> bool {
    text.parse::<Duration>()
        .is_ok_and(|duration| !duration.is_zero() && duration.as_nanos() <= 3_600_000_000_000)
}

#[test]
fn rules_and_parsers_agree() {
    check(
        "InferenceModel",
        "spec.profile.cpu.0.mean.exponential.gamma",
        latency,
    );
    check(
        "InferenceModel",
        "spec.profile.cpu.1.max.throttled.period",
        |text| {
            let kernels = 1_000_000..=1_000_000_000;
            text.parse::<Duration>()
                .is_ok_and(|duration| kernels.contains(&duration.as_nanos()))
        },
    );
    check("InferencePlatform", "spec.overhead", |text| {
        text == "0ms" || latency(text)
    });
    check("InferenceApp", "spec.rate", |text| {
        text.parse::<Rate>()
            .is_ok_and(|rate| !rate.is_zero() && text != "1000000000/s")
    });
    check("InferenceApp", "spec.slo.percentile", |text| {
        text.parse::<Decimal>()
            .is_ok_and(|percentile| percentile.to_f64() > 0.0 && percentile.to_f64() < 100.0)
    });
    check("InferencePlatform", "spec.prices.vcpuSecond", |text| {
        text.parse::<Decimal>().is_ok_and(|price| !price.is_zero())
    });
    check("InferencePlatform", "spec.prices.request", |text| {
        text.parse::<Decimal>().is_ok()
    });
    check("InferenceModel", "spec.runtime.memory.base", |text| {
        text.parse::<Memory>().is_ok()
    });
    check("InferencePlatform", "spec.cpu.max", |text| {
        text.parse::<Cpu>()
            .is_ok_and(|cpu| cpu.millis() >= 50 && text != "10001")
    });
}
