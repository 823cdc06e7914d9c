//! Demo inference server of the local cluster: the Open Inference Protocol v2 over REST, on tract.
//!
//! `serve` runs a real ONNX network, whose weights follow from a seed or come with a trained one ([`network`], [`onnx`]), on
//! one thread ([`worker`], [`tract`]); with `--simulate` it takes as long as a latency profile says, and computes nothing ([`simulate`]). `export`
//! writes the network for any other ONNX reader.

mod engine;
mod listener;
mod network;
mod onnx;
mod protocol;
mod random;
mod service;
mod simulate;
mod statistics;
mod tract;
mod worker;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};
use prost::Message;
use tokio::net::TcpListener;

use listener::{Drain, Signals};
use network::{Network, Options};
use protocol::Signature;
use service::Service;
use simulate::{Law, Profile, Share, Simulation};
use statistics::Statistics;
use worker::Worker;

/// A batch of images needs megabytes for every layer. glibc gives them back to the kernel after each and takes them anew, page
/// by page: a quarter of the time of a batch of eight.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Demo inference server: the Open Inference Protocol v2 on a perceptron, a convolutional network, a transformer encoder or a
/// trained network from a file.
///
/// A row of the input is two numbers that come back as `echo` and the numbers that the network reads: --columns for the mlp,
/// 2 + C*H*W for images, 2 + tokens * token width for sequences. `serve` and `export` take the same options of the network.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the network, or the latency of a device.
    Serve(Serve),
    /// Write the network as an ONNX file.
    Export {
        /// Where to.
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Name of the model in paths and answers.
    #[arg(long, default_value = "mlp")]
    model_name: String,
    /// Most rows of a batch.
    #[arg(long, default_value_t = 32)]
    max_batch: usize,
    /// Most batches that may wait; one more is answered with 503.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// After SIGTERM, milliseconds for which requests are still taken, readiness off.
    #[arg(long, default_value_t = 1000)]
    linger: u64,
    /// After that, milliseconds for the answers in flight.
    #[arg(long, default_value_t = 25_000)]
    drain: u64,
    #[command(flatten)]
    options: Options,
    /// Sleep as long as this latency profile says, and compute nothing: `spec.profile` of an InferenceModel as JSON, or a
    /// file that holds it. `gpu` is one object here and may carry the pool's `slice`, as in
    /// {"gpu":{"perRow":"1.68ms","fixed":"2.11ms","slice":"2ms"}}.
    #[arg(long, value_name = "PROFILE")]
    simulate: Option<String>,
    /// How single batches vary around the profile's mean.
    #[arg(long, value_enum, default_value_t = Law::Spread)]
    law: Law,
    #[command(flatten)]
    share: Share,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,tract=warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
    match work(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(options) => {
            // One thread for the protocol: the engine's thread is the one that needs the CPU limit.
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(serve(options))
        }
        Command::Export { file, options } => {
            let bytes = options.network()?.model().encode_to_vec();
            std::fs::write(&file, bytes).with_context(|| format!("write {}", file.display()))
        }
    }
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    let signals = Signals::install()?;
    let statistics = Arc::new(Statistics::new(options.max_batch));
    let network = options.options.network()?;
    let (columns, classes) = (network.columns, network.classes);
    let worker = start(&options, network, Arc::clone(&statistics))?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listen on {}", options.listen))?;
    tracing::info!(address = %listener.local_addr()?, model = options.model_name, "listening");
    let signature = Signature {
        model: options.model_name,
        columns,
        classes,
        max_batch: options.max_batch,
    };
    let drain = Drain {
        linger: Duration::from_millis(options.linger),
        limit: Duration::from_millis(options.drain),
    };
    let service = Arc::new(Service::new(signature, worker, statistics));
    listener::serve(listener, service, signals, drain).await
}

fn start(options: &Serve, network: Network, statistics: Arc<Statistics>) -> anyhow::Result<Worker> {
    let (columns, max_batch) = (network.columns, options.max_batch);
    let queue = usize::from(options.queue);
    let worker = if let Some(profile) = &options.simulate {
        let json = if profile.trim_start().starts_with('{') {
            profile.clone()
        } else {
            std::fs::read_to_string(profile).with_context(|| format!("read the profile {profile}"))?
        };
        let device = Profile::parse(&json)?.at(&options.share)?;
        tracing::info!(?device, law = ?options.law, "simulating");
        let simulation = Simulation::new(
            device,
            options.law,
            options.options.seed,
            columns,
            network.classes,
        );
        Worker::start(move || Ok(simulation), queue, statistics)
    } else {
        let load = move || {
            let started = Instant::now();
            let model = network.model();
            let bytes = model.encoded_len();
            let plan = tract::Plan::new(&model, columns, max_batch)?;
            tracing::info!(bytes, elapsed = ?started.elapsed(), "the network is ready");
            Ok(plan)
        };
        Worker::start(load, queue, statistics)
    };
    worker.context("start the engine's thread")
}
