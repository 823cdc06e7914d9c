//! The chart: what it renders, what it refuses, and that its copies of the kinds are those that `harmonybatch crds` writes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use e2e::cache::Cache;
use e2e::parts::{HELM, Parts};
use e2e::progress::Progress;
use serde_json::Value;

mod kinds;
mod platform;
mod rendered;
mod security;
mod values;

/// A value that every rendering needs: where the image lies.
const REPOSITORY: &str = "image.repository=\"registry.example/harmonybatch\"";

pub(crate) fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn helm(arguments: &[&str], values: &[&str]) -> Output {
    static HELM_PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = HELM_PROGRAM.get_or_init(|| {
        let parts = Parts::build(&Cache::locate().unwrap(), &Progress::new()).unwrap();
        parts.program(&HELM, "helm")
    });
    let mut command = Command::new(program);
    // Helm's own folders are not looked at, so that a plugin or a repository of the person who runs the tests changes nothing.
    let home = env!("CARGO_TARGET_TMPDIR");
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(folder, home);
    }
    command.current_dir(repository_root()).args(arguments);
    for value in values {
        command.args(["--set-json", value]);
    }
    command.output().unwrap()
}

pub(crate) fn render(values: &[&str]) -> Output {
    let arguments = [
        "template",
        "harmonybatch",
        "charts/harmonybatch",
        "--namespace",
        "harmonybatch-system",
        "--set-json",
        REPOSITORY,
    ];
    helm(&arguments, values)
}

/// What the chart renders; without the kinds unless a value asks for them, because they are long and have a test of their own.
pub(crate) fn rendered_text(values: &[&str]) -> String {
    let output = render(&[&["crds.install=false"], values].concat());
    assert!(
        output.status.success(),
        "helm template {values:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn objects(text: &str) -> Vec<Value> {
    let documents = harmonybatch_api::yaml::read(Path::new("rendered"), text).unwrap();
    documents
        .iter()
        .map(|document| document.to_json().unwrap())
        .collect()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}
