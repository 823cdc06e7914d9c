//! Holds the dependency lines of `operator/ARCHITECTURE.md`: what must not be known lives in a crate that cannot name it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Package name to the names of its normal dependencies, all of the workspace.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--locked",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null());
            (
                package["name"].as_str().unwrap().to_owned(),
                normal
                    .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                    .collect(),
            )
        })
        .collect()
}

/// Every workspace package that `package` reaches, and every outside package that one of those names.
fn reaches(package: &str, all: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(name) = open.pop() {
        for dependency in all.get(&name).into_iter().flatten() {
            if found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}

fn check(package: &str, may_use_of_ours: &[&str], never: &[&str]) {
    let all = direct_dependencies();
    assert!(
        all.contains_key(package),
        "no package {package}: {:?}",
        all.keys()
    );
    let reached = reaches(package, &all);
    let ours = reached.iter().filter(|name| all.contains_key(*name));
    for name in ours {
        assert!(
            may_use_of_ours.contains(&name.as_str()),
            "{package} must not depend on {name}"
        );
    }
    for name in never {
        assert!(!reached.contains(*name), "{package} must not depend on {name}");
    }
}

const IO: &[&str] = &["kube", "k8s-openapi", "tokio", "hyper", "futures"];

#[test]
fn dispatch_depends_on_nothing() {
    let all = direct_dependencies();
    assert_eq!(all["harmonybatch-dispatch"], BTreeSet::new());
}

#[test]
fn planner_knows_neither_kubernetes_nor_io() {
    check(
        "harmonybatch-planner",
        &["harmonybatch-dispatch"],
        &[IO, &["serde", "tracing"]].concat(),
    );
}

#[test]
fn api_neither_plans_nor_does_io() {
    check(
        "harmonybatch-api",
        &[],
        &["tokio", "hyper", "futures", "harmonybatch-planner"],
    );
}

#[test]
fn controller_does_not_know_the_gateway() {
    check(
        "harmonybatch-controller",
        &[
            "harmonybatch-api",
            "harmonybatch-dispatch",
            "harmonybatch-planner",
        ],
        &["harmonybatch-gateway"],
    );
}

#[test]
fn gateway_neither_plans_nor_controls() {
    check(
        "harmonybatch-gateway",
        &[
            "harmonybatch-api",
            "harmonybatch-dispatch",
            "harmonybatch-protocol",
        ],
        &["harmonybatch-planner", "harmonybatch-controller"],
    );
}

#[test]
fn protocol_does_no_io() {
    check(
        "harmonybatch-protocol",
        &[],
        &["tokio", "hyper", "kube", "k8s-openapi"],
    );
}

#[test]
fn profiler_neither_plans_nor_talks_to_a_cluster() {
    check(
        "harmonybatch-profiler",
        &["harmonybatch-api", "harmonybatch-protocol"],
        &[
            "clap",
            "harmonybatch-planner",
            "harmonybatch-controller",
            "tracing",
        ],
    );
}

#[test]
fn the_product_needs_nothing_of_e2e_or_the_fuzzers() {
    let all = direct_dependencies();
    let reached = reaches("harmonybatch", &all);
    let of_tests = reached
        .iter()
        .filter(|name| name.starts_with("e2e") || name.ends_with("fuzz"))
        .collect::<Vec<_>>();
    assert!(of_tests.is_empty(), "the product depends on {of_tests:?}");
}
