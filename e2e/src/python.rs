//! Programs of Python that others wrote, in environments of their own that are made once and kept in the cache folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::Cache;
use crate::command;

/// The interpreter of an environment that has exactly what a file of requirements lists, and its name.
///
/// # Errors
/// Where the environment cannot be made, or a package cannot be installed.
pub fn environment(interpreter: &str, requirements: &Path) -> Result<PathBuf> {
    installed(interpreter, requirements, &[])
}

/// The same for packages whose files are read and whose code is not run: any version of Python will do.
///
/// # Errors
/// Where the environment cannot be made, or a package cannot be installed.
pub(crate) fn data(requirements: &Path) -> Result<PathBuf> {
    installed("python3", requirements, &["--ignore-requires-python"])
}

/// Where an environment has the packages among which `package` is.
///
/// # Errors
/// Where the environment has no such package.
pub(crate) fn packages(interpreter: &Path, package: &str) -> Result<PathBuf> {
    let library = interpreter.with_file_name("../lib");
    for entry in fs::read_dir(&library)? {
        let packages = entry?.path().join("site-packages");
        if packages.join(package).exists() {
            return Ok(packages);
        }
    }
    bail!("{package} is not below {}", library.display())
}

fn installed(interpreter: &str, requirements: &Path, options: &[&str]) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let name = requirements.file_stem().unwrap_or_default();
    let folder = Cache::locate()?.python().join(name);
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    let mut make = Command::new(interpreter);
    command::run("Python", make.args(["-m", "venv", "--clear"]).arg(&folder))
        .context("cannot make a virtual environment; install it with\n    apt-get install -y --no-install-recommends python3 python3-venv")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--no-deps"]);
    install.args(options).arg("--requirement");
    command::run("pip", install.arg(requirements))
        .with_context(|| format!("cannot install what {} lists", requirements.display()))?;
    fs::write(&installed, wanted)?;
    Ok(python)
}
