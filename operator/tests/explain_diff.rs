//! `harmonybatch explain` and `harmonybatch diff` as a user runs them: the real program on the samples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn samples(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds").join(name);
    folder.to_str().unwrap().to_owned()
}

fn harmonybatch(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end before it reads: whether it did right is in its status.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(arguments: &[&str], input: &str) -> Value {
    let output = harmonybatch(arguments, input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The documents of the paper's sample, as one text.
fn paper() -> String {
    let folder = samples("samples-paper");
    let mut files: Vec<_> = Path::new(&folder)
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let texts: Vec<String> = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    texts.join("\n---\n")
}

#[test]
fn the_page_says_where_with_whom_at_what_price_and_what_binds() {
    let output = harmonybatch(&["explain", "search", "-f", &samples("samples-paper")], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    for part in [
        "default/search on model vgg19: 99% of 5/s within 500ms",
        "With        cart (800ms, 10/s), feed (1s, 20/s)",
        "its fair share",
        "Alone",
        "Next best",
        "Binds       its own SLO",
        "SLO 400ms",
        "SLO 750ms",
        "rate 10/s",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
}

#[test]
fn the_figures_are_those_of_the_papers_example() {
    let folder = samples("samples-paper");
    let found = json(&["explain", "search", "-f", &folder, "-o", "json"], "");
    let served = &found["served"];
    // One group of all three. The paper's model says 2.2583e-5 a second, taking every batch to be full; the planner's own
    // tests hold the exact price against a quadrature, and it lies less than 1 % above.
    let total = served["cost"]["planPerSecond"].as_f64().unwrap();
    assert!((1.0..1.01).contains(&(total / 2.2583e-5)), "{total:e}");
    assert_eq!(served["group"]["sharesWith"], serde_json::json!(["cart", "feed"]));
    // The shares of the three sum to the group's cost.
    let share = |app: &str| {
        let found = json(&["explain", app, "-f", &folder, "-o", "json"], "");
        found["served"]["cost"]["perSecond"].as_f64().unwrap()
    };
    let sum: f64 = ["search", "cart", "feed"].into_iter().map(share).sum();
    assert!((sum / total - 1.0).abs() < 1e-9, "{sum:e} of {total:e}");
    // What an SLO of 400 ms costs is what the plan costs with it.
    let tighter = paper().replacen("latency: 500ms", "latency: 400ms", 1);
    let planned = json(&["plan", "-f", "-", "-o", "json"], &tighter);
    assert_eq!(
        served["sloPrices"][0]["planPerSecond"],
        planned["plans"][0]["total"]["costPerSecond"]
    );
    let yaml = harmonybatch(&["explain", "search", "-f", &folder, "-o", "yaml"], "");
    let yaml: Value = harmonybatch_api::yaml::parse(Path::new("-"), &text(&yaml.stdout)).unwrap();
    // Costs may differ in the last digit that a reader of floats gives.
    assert_eq!(yaml["served"]["group"], found["served"]["group"]);
    assert_eq!(yaml["served"]["because"], found["served"]["because"]);
}

#[test]
fn an_app_that_cannot_be_served_is_told_what_would_help() {
    let tight = paper().replacen("latency: 500ms", "latency: 2ms", 1);
    let output = harmonybatch(&["explain", "search", "-f", "-"], &tight);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    let nearest = page.split("set slo.latency to ").nth(1).unwrap();
    let nearest = nearest.split(' ').next().unwrap();
    let remedied = paper().replacen("latency: 500ms", &format!("latency: {nearest}"), 1);
    let planned = harmonybatch(&["plan", "-f", "-"], &remedied);
    assert_eq!(
        planned.status.code(),
        Some(0),
        "{page}\n{}",
        text(&planned.stdout)
    );
}

#[test]
fn an_unknown_app_is_answered_with_near_names() {
    let folder = samples("samples-paper");
    for (arguments, part) in [
        (&["explain", "serach", "-f", &folder][..], "did you mean search?"),
        (
            &["explain", "zebra-crossing", "-f", &folder],
            "there is cart, feed, search",
        ),
        (
            &["explain", "search", "-n", "elsewhere", "-f", &folder],
            "in namespace elsewhere",
        ),
    ] {
        let output = harmonybatch(arguments, "");
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains(part), "{part} is missing: {error}");
    }
}

#[test]
fn a_plan_that_was_written_and_the_files_that_it_came_from_do_not_differ() {
    for sample in ["samples-paper", "samples-gpu"] {
        let folder = samples(sample);
        for form in ["json", "yaml"] {
            let written = harmonybatch(&["plan", "-f", &folder, "-o", form], "");
            let output = harmonybatch(&["diff", "--exit-code", "-", &folder], &text(&written.stdout));
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
            assert_eq!(text(&output.stdout), "The plans do not differ.\n");
        }
    }
}

#[test]
fn a_difference_is_told_in_groups_promises_money_and_replicas() {
    let folder = samples("samples-paper");
    // Search is gone, feed is slower, and lonely shares with nobody.
    let other = paper()
        .replacen("name: search}", "name: lonely}", 1)
        .replacen("rate: 5/s", "rate: 5/s\n  batching: Isolated", 1)
        .replacen("latency: 1s", "latency: 900ms", 1);
    let new = harmonybatch(&["plan", "-f", "-", "-o", "yaml"], &other);
    assert_eq!(new.status.code(), Some(0), "{}", text(&new.stderr));
    let new = text(&new.stdout);
    let found = json(&["diff", &folder, "-", "-o", "json"], &new);
    assert_eq!(found["differ"], true);
    let model = &found["models"][0];
    let changes: Vec<&str> = model["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["change"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["Resized", "Added"], "{model}");
    assert_eq!(model["groups"][0]["left"], serde_json::json!(["search"]));
    let app = |name: &str| {
        let apps = model["apps"].as_array().unwrap();
        apps.iter().find(|it| it["app"] == name).unwrap().clone()
    };
    assert_eq!(app("search")["new"], Value::Null);
    assert_eq!(app("lonely")["old"], Value::Null);
    assert_eq!(
        (&app("feed")["old"]["sloMs"], &app("feed")["new"]["sloMs"]),
        (&1000.0.into(), &900.0.into())
    );
    let cost = |field: &str| model["cost"][field].as_f64().unwrap();
    assert!((cost("newPerSecond") - cost("oldPerSecond") - cost("differencePerSecond")).abs() < 1e-18);
    assert!(!model["switch"]["extraReplicas"].as_array().unwrap().is_empty());

    for (arguments, status) in [
        (&["diff", &folder, "-"][..], 0),
        (&["diff", "--exit-code", &folder, "-"], 1),
        (&["diff", "--exit-code", &folder, "no/such/plan.json"], 2),
    ] {
        let output = harmonybatch(arguments, &new);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    }
    let page = text(&harmonybatch(&["diff", &folder, "-"], &new).stdout);
    for part in [
        "Resized",
        "search leaves",
        "SLO",
        "900ms",
        "Cost 59.51 -> ",
        "The switch needs",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    let broken = harmonybatch(&["diff", "-", &folder], "plans: [{namespace: a}]");
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        text(&broken.stderr).contains("not a plan"),
        "{}",
        text(&broken.stderr)
    );
}
