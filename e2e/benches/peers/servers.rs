//! The three servers, each with its batching set to the same size and delay, each on one core with all that belongs to it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::wait;
use tempfile::TempDir;

use super::{
    BATCH_SIZE, COLUMNS, MAX_WAIT, SERVERS_CORE,
    process::{Process, on_core},
};

/// Name of the model everywhere.
pub(crate) const MODEL: &str = "net";
/// How long a server may take to be ready.
const START: Duration = Duration::from_mins(1);
/// Where a server's output goes.
const LOG: &str = "server.log";

/// What a server runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model<'a> {
    /// Gives its input back.
    Echo,
    /// The ONNX network in this file.
    Network(&'a Path),
}

/// Who serves it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    HarmonyBatch,
    MlServer,
    Triton,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::HarmonyBatch, Self::MlServer, Self::Triton];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HarmonyBatch => "HarmonyBatch",
            Self::MlServer => "MLServer 1.7.1",
            Self::Triton => "Triton (pytriton 0.7.0)",
        }
    }
}

/// A server that is ready, until it is dropped.
pub(crate) struct Server {
    pub(crate) target: String,
    /// What comes before `/v2`.
    pub(crate) prefix: &'static str,
    processes: Vec<Process>,
    folder: TempDir,
}

/// The interpreters, with what they need.
pub(crate) struct Pythons {
    mlserver: PathBuf,
    triton: PathBuf,
}

impl Pythons {
    pub(crate) fn make() -> Result<Self> {
        let requirements = |name: &str| {
            let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
            clients.join(name)
        };
        Ok(Self {
            mlserver: e2e::python::environment("python3", &requirements("mlserver.txt"))?,
            triton: e2e::triton::environment(&requirements("triton.txt"))?,
        })
    }

    /// Writes the network.
    pub(crate) fn write_network(&self, file: &Path) -> Result<()> {
        let mut write = Command::new(&self.triton);
        let status = write.arg(file_of("network.py")).arg(file).status()?;
        ensure!(status.success(), "the network cannot be written: {status}");
        Ok(())
    }

    pub(crate) async fn start(&self, kind: Kind, model: Model<'_>) -> Result<Server> {
        let folder = TempDir::new()?;
        let (target, prefix, processes) = match kind {
            Kind::HarmonyBatch => self.harmonybatch(model)?,
            Kind::MlServer => self.mlserver(model, folder.path())?,
            Kind::Triton => self.triton(model, folder.path())?,
        };
        let mut server = Server {
            target,
            prefix,
            processes,
            folder,
        };
        if let Err(error) = server.wait().await {
            let log = fs::read_to_string(server.folder.path().join(LOG)).unwrap_or_default();
            return Err(error.context(format!("{log}\n{} does not start", kind.name())));
        }
        Ok(server)
    }

    /// A gateway and its one runtime, both on the core that the others have for both.
    fn harmonybatch(&self, model: Model<'_>) -> Result<(String, &'static str, Vec<Process>)> {
        let own = std::env::current_exe()?;
        let (wire, (runtime, address)) = match model {
            Model::Echo => (
                "json",
                Process::listening(on_core(SERVERS_CORE, &own).arg("echo"))?,
            ),
            Model::Network(file) => {
                let mut command = on_core(SERVERS_CORE, &self.triton);
                (
                    "binary",
                    Process::listening(command.arg(file_of("runtime.py")).arg(file))?,
                )
            }
        };
        let mut command = on_core(SERVERS_CORE, &own);
        let (gateway, target) = Process::listening(command.args(["gateway", wire, &address]))?;
        Ok((target, "/default/app", vec![gateway, runtime]))
    }

    fn mlserver(&self, model: Model<'_>, folder: &Path) -> Result<(String, &'static str, Vec<Process>)> {
        for file in ["mlserver/models.py", "session.py"] {
            let file = file_of(file);
            fs::copy(&file, folder.join(file.file_name().unwrap_or_default()))?;
        }
        let (class, uri) = match model {
            Model::Echo => ("Echo", ""),
            Model::Network(file) => ("Network", file.to_str().context("a path that is no text")?),
        };
        let settings = serde_json::json!({
            "name": MODEL,
            "implementation": format!("models.{class}"),
            "max_batch_size": BATCH_SIZE,
            "max_batch_time": MAX_WAIT.as_secs_f64(),
            "parameters": {"uri": uri},
        });
        fs::write(folder.join("model-settings.json"), settings.to_string())?;
        let server = serde_json::json!({
            "host": "127.0.0.1",
            "debug": false,
            "metrics_endpoint": null,
            "parallel_workers": 0,
        });
        fs::write(folder.join("settings.json"), server.to_string())?;
        let (rest, grpc) = (free()?, free()?);
        let mut command = on_core(SERVERS_CORE, self.mlserver.with_file_name("mlserver"));
        command
            .arg("start")
            .arg(folder)
            .env("MLSERVER_HTTP_PORT", rest.port().to_string())
            .env("MLSERVER_GRPC_PORT", grpc.port().to_string())
            .env("OMP_NUM_THREADS", "1");
        let process = Process::start(logged(&mut command, folder)?)?;
        Ok((rest.to_string(), "", vec![process]))
    }

    fn triton(&self, model: Model<'_>, folder: &Path) -> Result<(String, &'static str, Vec<Process>)> {
        let repository = folder.join("models");
        let version = repository.join(MODEL).join("1");
        fs::create_dir_all(&version)?;
        fs::copy(file_of("session.py"), version.join("session.py"))?;
        let (program, outputs) = match model {
            Model::Echo => ("triton/echo.py", vec![("output", COLUMNS)]),
            Model::Network(file) => {
                fs::copy(file, version.join("network.onnx"))?;
                ("triton/network.py", vec![("output", 16), ("echo", 2)])
            }
        };
        fs::copy(file_of(program), version.join("model.py"))?;
        let tensor = |name: &str, columns: u16| {
            format!("{{ name: \"{name}\" data_type: TYPE_FP32 dims: [{columns}] }}")
        };
        let outputs: Vec<String> = outputs
            .into_iter()
            .map(|(name, columns)| tensor(name, columns))
            .collect();
        let config = format!(
            "backend: \"python\"\nmax_batch_size: {BATCH_SIZE}\ninput [{}]\noutput [{}]\n\
             dynamic_batching {{ preferred_batch_size: [{BATCH_SIZE}] max_queue_delay_microseconds: {} }}\n\
             instance_group [{{ count: 1 kind: KIND_CPU }}]\n",
            tensor("input", COLUMNS),
            outputs.join(","),
            MAX_WAIT.as_micros(),
        );
        fs::write(repository.join(MODEL).join("config.pbtxt"), config)?;
        let run = |program: &Path| on_core(SERVERS_CORE, program);
        let mut command = e2e::triton::command(&self.triton, folder, run)?;
        let port = free()?.port().to_string();
        command
            .args(["--http-port", &port, "--allow-grpc=false"])
            .env("OMP_NUM_THREADS", "1");
        let process = Process::start(logged(&mut command, folder)?)?;
        Ok((format!("127.0.0.1:{port}"), "", vec![process]))
    }
}

impl Server {
    pub(crate) fn path(&self) -> String {
        format!("{}/v2/models/{MODEL}/infer", self.prefix)
    }

    /// Until it answers a request.
    async fn wait(&mut self) -> Result<()> {
        let mut last = None;
        let answers = wait::found(START, async || {
            let asked = super::callers(self, 1, Duration::ZERO, Duration::from_millis(1))
                .ask()
                .await;
            let Err(error) = asked else { return Ok(Some(())) };
            if self.processes.iter_mut().any(Process::has_ended) {
                bail!("it ended by itself");
            }
            last = Some(error);
            Ok(None)
        });
        if answers.await?.is_none() {
            bail!("{}", last.map_or_else(String::new, |error| error.to_string()));
        }
        Ok(())
    }
}

fn file_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/peers/files")
        .join(name)
}

/// An address that nobody listens on.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What a server says goes to a file beside its model, for when it does not start.
fn logged<'a>(command: &'a mut Command, folder: &Path) -> Result<&'a mut Command> {
    let log = fs::File::create(folder.join(LOG))?;
    Ok(command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(log.try_clone()?)
        .stderr(log))
}
