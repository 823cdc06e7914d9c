//! `harmonybatch burstiness` as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn harmonybatch(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = harmonybatch(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file of its own for a test, with these times.
fn written(name: &str, times: impl Iterator<Item = f64>) -> PathBuf {
    let file = std::env::temp_dir().join(format!("harmonybatch-burstiness-{}-{name}", std::process::id()));
    let lines: Vec<String> = times.map(|time| time.to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    file
}

#[test]
fn clusters_become_a_burst_that_the_planner_pays_for() {
    // Ten in a tenth of a second, every ten seconds, all but the first half a second later: in windows of 20 s always twenty.
    let time = |arrival: u32| {
        let late = if arrival < 10 { 0.0 } else { 0.5 };
        f64::from(arrival / 10 * 10) + 0.01 * f64::from(arrival % 10) + late
    };
    let file = written("clusters", (0..4000).map(time));
    let path = file.to_str().unwrap();
    let found = json(&["burstiness", path, "--window", "1s,20s", "-o", "json"]);
    let index = |window: usize| found["windows"][window]["indexOfDispersion"].as_f64().unwrap();
    // One window in ten has ten: mean 1, variance 9 of all four thousand.
    assert!((index(0) - 9.0).abs() < 0.02, "{found}");
    assert!(index(1) < 1e-9, "{found}");

    std::fs::remove_file(&file).unwrap();

    // Ten in a tenth of a second, after gaps of up to twenty seconds.
    let mut state = 1_u64;
    let mut began = 0.0;
    let times = (0_u32..4000).map(|arrival| {
        if arrival % 10 == 0 {
            // Knuth's MMIX generator.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            began += 0.1 + f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX) * 20.0;
        }
        began + 0.01 * f64::from(arrival % 10)
    });
    let file = written("random", times);
    let path = file.to_str().unwrap();
    let found = json(&["burstiness", path, "-o", "json"]);
    let burst = &found["burst"];
    let declared = format!(
        "{},{}",
        burst["factor"].as_str().unwrap(),
        burst["duration"].as_str().unwrap()
    );
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/samples");
    // What the plan costs that is made for these arrivals; whether a short run keeps every SLO is not asked.
    let cost = |arguments: &[&str]| -> f64 {
        let samples = samples.to_str().unwrap();
        let simulate = [
            "simulate",
            "-f",
            samples,
            "--requests",
            "1000",
            "--replan",
            "-o",
            "json",
        ];
        let output = harmonybatch(&[&simulate, arguments].concat());
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let groups = found["simulations"][0]["groups"].as_array().unwrap();
        groups
            .iter()
            .map(|group| group["costPerSecond"].as_f64().unwrap())
            .sum()
    };
    assert!(cost(&["--burst", &declared]) > cost(&[]), "{declared}");

    // Five times the rate: a fifth of the time.
    let faster = json(&["burstiness", path, "--rate", "5/s", "-o", "json"]);
    let rate = |found: &serde_json::Value| found["ratePerSecond"].as_f64().unwrap();
    assert!((rate(&faster) / 5.0 - 1.0).abs() < 1e-9 && (rate(&found) - 1.0).abs() < 0.1);
    // Windows are as long in arrivals, but for rounding.
    let factor = |burst: &serde_json::Value| burst["factor"].as_str().unwrap().parse::<f64>().unwrap();
    assert!(
        (factor(&faster["burst"]) / factor(burst) - 1.0).abs() < 0.01,
        "{faster}"
    );

    let told = String::from_utf8(harmonybatch(&["burstiness", path]).stdout).unwrap();
    assert!(
        told.contains("INDEX OF DISPERSION") && told.contains("burst: {factor: \""),
        "{told}"
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_clock_has_no_burst_and_what_is_too_short_is_said() {
    let file = written("clock", (0_u32..1000).map(f64::from));
    let told = String::from_utf8(harmonybatch(&["burstiness", file.to_str().unwrap()]).stdout).unwrap();
    assert!(told.contains("No burstier than Poisson arrivals"), "{told}");
    let output = harmonybatch(&["burstiness", file.to_str().unwrap(), "--window", "501s"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("window 501s does not fit at least twice into 1000.0 s"),
        "{said}"
    );
    std::fs::remove_file(file).unwrap();

    let file = written("short", [0.0, 1.0, 3.0].into_iter());
    let output = harmonybatch(&["burstiness", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("3 arrivals are too few")
    );
    std::fs::remove_file(file).unwrap();
}
