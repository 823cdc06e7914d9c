//! Scripts of Python in an environment of their own, which is made once and kept in the cache folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use e2e::cache::Cache;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// Runs a script beside this file; what it prints.
///
/// # Errors
/// Where it fails, with what it said; or where the environment cannot be made.
pub fn run(script: &str, arguments: &[&str]) -> Result<String> {
    let script = folder().join(script);
    let python = environment()?;
    output(
        Command::new("timeout")
            .arg("120")
            .arg(python)
            .arg(script)
            .args(arguments),
    )
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The interpreter of an environment that has exactly what the requirements list.
fn environment() -> Result<PathBuf> {
    let folder = Cache::locate()?.clients();
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(python);
    }
    let made = output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    );
    made.context("cannot make a virtual environment; install it with\n    apt-get install -y --no-install-recommends python3 python3-venv")?;
    let requirements = self::folder().join("requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"];
    output(Command::new(&python).args(install).arg(requirements)).context("cannot install the clients")?;
    fs::write(&installed, REQUIREMENTS)?;
    Ok(python)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{command:?} failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
