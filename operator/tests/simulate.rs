//! `harmonybatch simulate` as a user runs it: the real program on the samples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn samples(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds").join(name)
}

fn harmonybatch(command: &str, folder: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .args([command, "-f", samples(folder).to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn apps(output: &Output) -> Vec<serde_json::Value> {
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let groups = seen["simulations"][0]["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["apps"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn the_sample_keeps_its_slos_until_its_callers_come_in_bursts() {
    let calm = harmonybatch("simulate", "samples", &["-o", "json"]);
    assert_eq!(calm.status.code(), Some(0), "{}", text(&calm.stderr));
    assert_eq!(apps(&calm).len(), 3);
    assert!(
        apps(&calm)
            .iter()
            .all(|app| app["kept"] == true && app["attainment"].as_f64().unwrap() >= 0.99)
    );

    let bursts = ["--burst", "20,30s", "-o", "json"];
    let surprised = harmonybatch("simulate", "samples", &bursts);
    assert_eq!(surprised.status.code(), Some(2), "{}", text(&surprised.stderr));
    assert!(apps(&surprised).iter().any(|app| app["kept"] == false));

    let again = harmonybatch("simulate", "samples", &bursts);
    assert_eq!(again.stdout, surprised.stdout, "the same seed is the same stream");
}

#[test]
fn a_slowdown_is_played_with_the_plan_as_it_is() {
    let at = |factor: &str| harmonybatch("simulate", "samples", &["-o", "json", "--slowdown", factor]);
    let p90 = |output: &Output| -> Vec<f64> {
        apps(output)
            .iter()
            .map(|app| app["p90Ms"].as_f64().unwrap())
            .collect()
    };
    let calm = harmonybatch("simulate", "samples", &["-o", "json"]);
    let runs = [at("0.5"), at("1"), at("1.2"), at("3")];
    assert_eq!(runs[1].stdout, calm.stdout, "as often as the plan has it");
    for (faster, slower) in runs.iter().zip(&runs[1..]) {
        for (faster, slower) in p90(faster).iter().zip(p90(slower)) {
            assert!(*faster < slower, "{faster} and {slower} ms");
        }
    }
    assert_eq!(runs[0].status.code(), Some(0));
    assert_eq!(
        runs[3].status.code(),
        Some(2),
        "three times as slow, on the same pods"
    );
    let refused = at("5");
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(
        said.contains("'5' for '--slowdown <FACTOR>': must be from 0.25 to 4"),
        "{said}"
    );
}

/// A request every 2 s finds a free pod and leaves alone: had its time been scaled to the 5/s of the sample, it would share batches.
#[test]
fn a_trace_is_played_at_its_own_times_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arrivals.csv");
    let times: Vec<String> = (0..100).map(|index| format!("{}\n", 2 * index)).collect();
    std::fs::write(&file, times.concat()).unwrap();
    let groups = |more: &[&str]| {
        let traces: Vec<String> = ["search", "cart", "feed"]
            .map(|app| format!("{app}={}", file.display()))
            .to_vec();
        let mut arguments = vec!["-o", "json", "--requests", "300"];
        for trace in &traces {
            arguments.extend(["--trace", trace]);
        }
        arguments.extend(more);
        let output = harmonybatch("simulate", "samples", &arguments);
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        seen["simulations"][0]["groups"].as_array().unwrap().clone()
    };
    for group in groups(&["--as-recorded"]) {
        // Applications with the same trace share one stream, whose arrivals are theirs by chance: at three times its rate where there are three.
        let apps = group["apps"].as_array().unwrap().len();
        #[expect(clippy::cast_precision_loss, reason = "a few applications")]
        let expected = 300.0 * 2.0 / apps as f64;
        let seconds = group["seconds"].as_f64().unwrap();
        assert!(
            (seconds / expected - 1.0).abs() < 0.02,
            "{seconds} s for {expected}"
        );
    }
    let scaled = groups(&[]);
    assert!(
        scaled
            .iter()
            .all(|group| group["seconds"].as_f64().unwrap() < 100.0)
    );
}

#[test]
fn the_table_tells_attainment_latencies_batches_and_cost() {
    let output = harmonybatch("simulate", "samples-paper", &["--requests", "20000"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in [
        "WITHIN SLO",
        "P99",
        "MEAN BATCH",
        "SHARE OF BATCHES",
        "COST/MONTH",
        "of 31",
    ] {
        assert!(table.contains(part), "{part} is missing in\n{table}");
    }
}

#[test]
fn a_trace_is_planned_for_and_a_wrong_one_is_named() {
    let folder = std::env::temp_dir().join(format!("harmonybatch-traces-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("arrivals.csv");
    let app = apps(&harmonybatch(
        "simulate",
        "samples",
        &["-o", "json", "--requests", "1000"],
    ))[0]["app"]
        .clone();
    let trace = format!("{}={}", app.as_str().unwrap(), file.display());

    // Thirty at once, once a minute.
    let times: Vec<String> = (0..3000).map(|index| (60 * (index / 30)).to_string()).collect();
    std::fs::write(&file, times.join("\n")).unwrap();
    let cost = |arguments: &[&str]| {
        let output = harmonybatch("plan", "samples", &[&["-o", "json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["plans"][0]["total"]["costPerSecond"].as_f64().unwrap()
    };
    assert!(cost(&["--trace", &trace]) > cost(&[]));

    std::fs::write(&file, "time\n1\n3\n2\n").unwrap();
    let output = harmonybatch("simulate", "samples", &["--trace", &trace]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("arrivals.csv: line 4: \"2\" is earlier than the time before it"),
        "{said}"
    );

    let output = harmonybatch(
        "plan",
        "samples",
        &["--trace", &format!("nobody={}", file.display())],
    );
    assert_eq!(output.status.code(), Some(1));
    std::fs::remove_dir_all(&folder).unwrap();
}
