//! `e2e`: the local cluster from the command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::accuracy;
use e2e::cache::Cache;
use e2e::image;
use e2e::node;
use e2e::progress::Progress;
use e2e::requirements;
use e2e::up::{self, Extent};

/// A real Kubernetes cluster with HarmonyBatch on this machine.
///
/// Everything that is built and run lies in one folder: $HARMONYBATCH_CACHE, or ~/.cache/harmonybatch.
#[derive(Debug, Parser)]
#[command(name = "e2e", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the cluster up, install HarmonyBatch and its samples, and send a first request.
    Up {
        /// Stop once the node is Ready and resolves names.
        #[arg(long)]
        no_product: bool,
        /// Leave an installation from the same images, charts and samples as it is.
        #[arg(long, conflicts_with = "no_product")]
        unless_unchanged: bool,
        /// With Knative's kinds, and a stand-in for its controllers.
        #[arg(long)]
        knative: bool,
    },
    /// End the cluster and remove everything that it made. What was built is kept.
    Down,
    /// Say what runs.
    Status,
    /// Hold what plans predict against what pods do: a report over four networks on the cluster.
    ///
    /// Each network is measured, and every configuration of it is planned, deployed under real CPU limits and driven by Poisson arrivals. Takes three
    /// quarters of an hour, in which the machine should have nothing else to do; what is in the file already is not measured again.
    Accuracy(accuracy::Options),
    /// Write the product's image as an OCI archive, for a registry.
    Image {
        /// File to write.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the Debian packages that the cluster and the tests need, one a line.
    Requirements {
        /// Only those that are not installed.
        #[arg(long)]
        missing: bool,
    },
    /// The stand-in for Knative's controllers; the node runs it where Knative is wanted.
    #[command(hide = true)]
    KnativeStandIn {
        /// How the API server is reached.
        #[arg(long, value_name = "FILE")]
        kubeconfig: PathBuf,
        /// Where the API server asks about every Knative Service before it stores it.
        #[arg(long, value_name = "ADDRESS")]
        webhook: SocketAddr,
    },
    /// The first process of the node; `up` runs it.
    #[command(hide = true)]
    NodeInit {
        /// The cluster's folder.
        root: PathBuf,
    },
}

fn main() -> Result<()> {
    let progress = Progress::new();
    match Arguments::parse().command {
        Command::Up {
            no_product: true,
            knative,
            ..
        } => print(&up::up(Extent::Node, knative, &progress)?),
        Command::Up {
            unless_unchanged: true,
            knative,
            ..
        } => print(&up::up(Extent::ProductUnlessUnchanged, knative, &progress)?),
        Command::Up { knative, .. } => print(&up::up(Extent::Product, knative, &progress)?),
        Command::Down => up::down(&progress),
        Command::Status => print(&up::status()?),
        Command::Accuracy(options) => print(&runtime()?.block_on(accuracy::run(&options, &progress))?),
        Command::Image { output } => {
            let archive = image::of_the_product(&Cache::locate()?, &progress)?;
            std::fs::copy(&archive.file, &output)
                .with_context(|| format!("cannot write {}", output.display()))?;
            print(&format!("{} as {}\n", output.display(), archive.name()))
        }
        Command::Requirements { missing } => {
            let packages = if missing {
                requirements::missing_packages()
            } else {
                requirements::packages()
            };
            print(
                &packages
                    .iter()
                    .flat_map(|package| [*package, "\n"])
                    .collect::<String>(),
            )
        }
        Command::KnativeStandIn { kubeconfig, webhook } => {
            runtime()?.block_on(e2e::knative::run(&kubeconfig, webhook))
        }
        Command::NodeInit { root } => node::init::run(&root),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")
}

/// To standard output, which a reader may close early.
fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write the result")
}
