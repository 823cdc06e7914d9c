//! The Triton server inside PyPI's nvidia-pytriton, with models in its Python backend.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::python;

/// What the backend starts for every model.
const STUB: &str = "triton_python_backend_stub";

/// The interpreter of the environment that a file of requirements describes, nvidia-pytriton among them.
///
/// # Errors
/// Where the environment cannot be made.
pub fn environment(requirements: &Path) -> Result<PathBuf> {
    // The backend is linked to Debian's own Python; others of the same version may lack what it looks for.
    let debian = "/usr/bin/python3";
    let interpreter = if Path::new(debian).exists() {
        debian
    } else {
        "python3"
    };
    python::environment(interpreter, requirements)
}

/// The command that serves the models below `models` in `folder`, but for its ports; `run` makes a command of the program. What the server needs beside
/// them is put into the folder.
///
/// # Errors
/// Where the interpreter's environment has no Triton, or the folder cannot be written.
pub fn command(interpreter: &Path, folder: &Path, run: impl FnOnce(&Path) -> Command) -> Result<Command> {
    let packages = python::packages(interpreter, "pytriton")?;
    let server = packages.join("pytriton/tritonserver");
    let backend = folder.join("backends/python");
    fs::create_dir_all(&backend)?;
    for file in ["libtriton_python.so", "triton_python_backend_utils.py"] {
        fs::copy(server.join("backends/python").join(file), backend.join(file))?;
    }
    // The backend starts the program beside it: the one for this version of Python.
    let stubs = server.join("python_backend_stubs").join(version_in(&packages)?);
    fs::copy(stubs.join(STUB), backend.join(STUB))?;
    let mut command = run(&server.join("bin/tritonserver"));
    command
        .arg("--model-repository")
        .arg(folder.join("models"))
        .arg("--backend-directory")
        .arg(folder.join("backends"))
        .args(["--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1"])
        .args(["--allow-metrics=false", "--log-info=false"])
        // The backend's Python takes its packages from the environment of the first interpreter on the path.
        .env("PATH", path(interpreter)?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LD_LIBRARY_PATH", packages.join("nvidia_pytriton.libs"));
    Ok(command)
}

/// With an interpreter's folder before all others.
fn path(interpreter: &Path) -> Result<OsString> {
    let own = interpreter.parent().map(Path::to_owned);
    let others = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        own.into_iter().chain(std::env::split_paths(&others)),
    )?)
}

/// `3.11` of `.../python3.11/site-packages`.
fn version_in(packages: &Path) -> Result<String> {
    let folder = packages.parent().and_then(Path::file_name).unwrap_or_default();
    let name = folder.to_string_lossy();
    let version = name.strip_prefix("python").context("no version of Python")?;
    Ok(version.to_owned())
}
