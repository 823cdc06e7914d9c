//! `harmonybatch plan --keep` as a user runs it: the real program on the samples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/samples-paper")
}

/// A file that the test may write.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn plan(arguments: &[&Path]) -> (Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harmonybatch"));
    let output: Output = command
        .args(["plan", "-o", "json", "-f"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

/// The groups of the one model: name, members.
fn groups(plan: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let groups = plan["plans"][0]["groups"].as_array().unwrap().iter();
    groups
        .map(|group| {
            let members = group["members"].as_array().unwrap().iter();
            (
                text(&group["name"]),
                members.map(|member| text(&member["app"])).collect(),
            )
        })
        .collect()
}

/// The sample's platform with another rule.
fn least_change() -> String {
    let mut text = String::new();
    for entry in sample().read_dir().unwrap() {
        text += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
        text += "\n---\n";
    }
    let at = text.find("kind: InferencePlatform").unwrap();
    let spec = at + text[at..].find("\nspec:\n").unwrap() + "\nspec:\n".len();
    text.insert_str(spec, "  replan: {prefer: LeastChange}\n");
    text
}

fn extra(slo: &str) -> String {
    format!(
        "apiVersion: harmonybatch.dev/v1alpha1\nkind: InferenceApp\nmetadata: {{name: extra}}\n\
         spec: {{modelRef: {{name: vgg19}}, slo: {{latency: {slo}}}, rate: 3/s}}\n"
    )
}

#[test]
fn a_plan_that_runs_is_kept_and_what_is_new_is_placed() {
    let (before, said) = plan(&[&sample()]);
    assert_eq!(said, "");
    let old = file("old.json", &before.to_string());

    let keep = Path::new("--keep");
    let (same, said) = plan(&[&sample(), keep, &old]);
    assert_eq!(groups(&same), groups(&before));
    assert_eq!(
        said,
        "default/vgg19: nothing has to change; 1 of 1 groups that run go on\n"
    );

    let quiet = file("quiet.yaml", &(least_change() + &extra("20s")));
    let (after, said) = plan(&[&quiet, keep, &old]);
    assert!(
        said.starts_with(
            "default/vgg19: application extra is new: placed, and everybody else left where it is; 1 of 1"
        ),
        "{said}"
    );
    let (before, after) = (groups(&before), groups(&after));
    let (name, members) = &before[0];
    let (_, now) = after.iter().find(|(now, _)| now == name).unwrap();
    assert!(members.iter().all(|app| now.contains(app)), "{after:?}");
    assert!(
        after
            .iter()
            .any(|(_, members)| members.contains(&"extra".to_owned()))
    );
}

#[test]
fn what_is_not_a_plan_is_refused() {
    let path = file("broken.json", r#"{"plans": [{"namespace": "default"}]}"#);
    let output = Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .args(["plan", "-f"])
        .args([&sample(), Path::new("--keep"), &path])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("not a plan that `harmonybatch plan` wrote"),
        "{said}"
    );
}
