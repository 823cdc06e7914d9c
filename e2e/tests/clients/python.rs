//! Programs of Python that the tests run.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use e2e::{python, triton, wait};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a script beside this file prints, run with the packages that `<environment>.txt` lists.
///
/// # Errors
/// Where it fails, with what it said; or where the environment cannot be made.
pub fn run(environment: &str, script: &str, arguments: &[&str]) -> Result<String> {
    let python = self::environment(environment)?;
    let script = folder().join(script);
    output(
        Command::new("timeout")
            .arg("120")
            .arg(python)
            .arg(script)
            .args(arguments),
    )
}

/// MLServer with a model `net` that gives its inputs back. Ends when it is dropped.
pub struct MlServer {
    /// Where it speaks REST.
    pub rest: SocketAddr,
    /// Where it speaks gRPC.
    pub grpc: SocketAddr,
    process: Child,
}

impl MlServer {
    /// Starts one; it is ready some seconds later.
    ///
    /// # Errors
    /// Where its environment cannot be made, or it cannot be started.
    pub fn start() -> Result<Self> {
        let python = environment("mlserver")?;
        let (rest, grpc) = (free()?, free()?);
        let mut command = Command::new(python.with_file_name("mlserver"));
        command
            .arg("start")
            .arg(folder().join("mlserver"))
            .env("MLSERVER_HTTP_PORT", rest.port().to_string())
            .env("MLSERVER_GRPC_PORT", grpc.port().to_string())
            // The folder is the repository's.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::null());
        let process = command.spawn().context("cannot start MLServer")?;
        Ok(Self { rest, grpc, process })
    }
}

impl Drop for MlServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Triton with a model `net` that gives its two inputs back. Ends when it is dropped.
pub struct Triton {
    /// Where it speaks REST.
    pub rest: SocketAddr,
    /// Where it speaks gRPC.
    pub grpc: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Triton {
    /// Starts one; it is ready a moment later.
    ///
    /// # Errors
    /// Where its environment cannot be made, or it cannot be started.
    pub fn start() -> Result<Self> {
        let interpreter = triton::environment(&folder().join("triton.txt"))?;
        let own = TempDir::new()?;
        let model = own.path().join("models/net");
        fs::create_dir_all(model.join("1"))?;
        let files = folder().join("triton");
        fs::copy(files.join("config.pbtxt"), model.join("config.pbtxt"))?;
        fs::copy(files.join("model.py"), model.join("1/model.py"))?;
        let (rest, grpc) = (free()?, free()?);
        let mut command = triton::command(&interpreter, own.path(), |program| Command::new(program))?;
        command
            .args(["--http-port", &rest.port().to_string()])
            .args(["--grpc-port", &grpc.port().to_string()])
            .stdout(Stdio::null());
        let process = command.spawn().context("cannot start Triton")?;
        Ok(Self {
            rest,
            grpc,
            process,
            _folder: own,
        })
    }
}

impl Drop for Triton {
    fn drop(&mut self) {
        // Told to end, it ends the process of its backend too.
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = || Ok(self.process.try_wait()?.map(|_| ()));
        if wait::until("Triton's end", Duration::from_secs(10), ended).is_err() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// An address that nobody listens on.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The interpreter of the environment that `<name>.txt` describes.
fn environment(name: &str) -> Result<PathBuf> {
    python::environment("python3", &folder().join(name).with_extension("txt"))
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
