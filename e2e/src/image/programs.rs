//! Builds the static programs that images hold.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::command;

/// The C library is linked in: an image has nothing but the program.
const STATIC: &str = "target-feature=+crt-static";
/// Named explicitly, so that build scripts and procedural macros are not linked statically (they cannot be).
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};
const PAUSE: &str = include_str!("pause.rs");

/// The repository that the harness was built from.
pub(crate) fn repository() -> Result<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    repository
        .canonicalize()
        .with_context(|| format!("the repository is no longer at {}", repository.display()))
}

/// A release build of a workspace package's program, with a target folder of its own: other flags would make Cargo build everything anew.
pub(super) fn cargo(cache: &Cache, package: &str, program: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(cargo_program());
    // What Cargo tells the harness about itself would make build scripts of this build think that something changed.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            cargo.env_remove(name);
        }
    }
    let target = cache.static_target();
    cargo
        .current_dir(repository()?)
        .env("RUSTFLAGS", format!("-C {STATIC}"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "--package",
            package,
            "--bin",
            program,
            "--target-dir",
        ])
        .arg(&target);
    command::run(package, &mut cargo)?;
    let built = target.join(TARGET).join("release").join(program);
    if !built.is_file() {
        bail!("{package}: Cargo left no program at {}", built.display());
    }
    Ok(built)
}

/// The program of the pod sandboxes, built once for each source and compiler flag.
pub(super) fn pause(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.images();
    let built = folder.join(format!(
        "pause-{}",
        &crate::digest::sha256(format!("{PAUSE}{STATIC}").as_bytes())[..12]
    ));
    if built.is_file() {
        return Ok(built);
    }
    std::fs::create_dir_all(&folder).context("cannot make the folder for images")?;
    let source = folder.join("pause.rs");
    std::fs::write(&source, PAUSE).with_context(|| format!("cannot write {}", source.display()))?;
    let unfinished = built.with_extension("unfinished");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(repository()?).args([
        "--edition",
        "2024",
        "-O",
        "-C",
        "panic=abort",
        "-C",
        "strip=symbols",
        "-C",
        STATIC,
        "-o",
    ]);
    command::run("pause", rustc.arg(&unfinished).arg(&source))?;
    std::fs::rename(&unfinished, &built).context("cannot put the pause program in its place")?;
    Ok(built)
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
