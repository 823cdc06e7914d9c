//! `harmonybatch profile`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, ValueEnum};
use harmonybatch_api::inference_model::Memory;
use harmonybatch_api::quantity::Cpu;
use harmonybatch_profiler::design::Grid;
use harmonybatch_profiler::fit::LEAST_LIMITS;
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::judge;
use harmonybatch_profiler::measure::End;
use harmonybatch_profiler::model::Identity;
use harmonybatch_profiler::samples::{self, Device, Header, Samples};

use crate::cli::process;

mod cluster;
mod conclude;
mod options;
mod plot;
mod progress;
mod session;

use options::{Percent, Shape, Spoken};

/// What a script gets where the samples must not or cannot be fitted.
const REFUSED: u8 = 2;
/// What a script gets after Ctrl-C, as from any program that the signal ends.
const INTERRUPTED: u8 = 130;
/// Of all intervals.
const CONFIDENCE: f64 = 0.95;

/// Measures how long the model behind an Open Inference Protocol v2 endpoint takes for batches of 1 to --max-batch rows, sent one after the other in
/// random order, until the mean and a high percentile of each are known well enough or --budget ends. What is sent is made of the model's metadata, or
/// given by --input. Samples are kept as they come: after Ctrl-C, or another end, --resume goes on.
///
/// Not all sizes are measured so, unless --grid full asks for it: of those whose mean is on the straight line between a smaller and a larger one, or near it, a few batches
/// are sent that say how near, and their curves lie between those of the others. With --cpu, limits that the others tell are left out, too. What was not measured in full is said, and stands in provenance.inferred.
///
/// What is measured is the latency as the caller sees it, the way to the endpoint and back included: run this next to it.
///
/// A profile on CPU needs four CPU limits or more. With --cpu, a cluster runs the model for it: a pod whose limit is changed in place, so that limits take turns, or, where that
/// cannot be done, one pod after the other, each with one of the limits; of the InferenceModel that --model names or of --image. Each pod is deleted once it is measured, and after Ctrl-C and errors too. Without,
/// somebody else runs the endpoint: measure it under each limit, with --vcpu as the limit is, and give the samples files of all to --merge. A profile
/// on GPU is measured on a whole device, once, and not by a cluster. --output writes the InferenceModel, --apply changes the one in the cluster.
///
/// Of three forms of latency against vCPU (hyperbolic, exponential, and throttled: CPU work under a quota in every period) that one is taken for all
/// batch sizes which says best the means at CPU limits that it was not fitted to; the errors of all are shown.
///
/// Samples that are noisy, that come in two clusters other than those of a CPU quota, or of which larger batches or more CPU are slower than smaller or
/// less, are named and not fitted, unless --accept names that kind.
///
/// Exit status: 0 if all is measured, and written where --output asks for it; 2 if the samples are refused; 130 after Ctrl-C; 1 if anything else is
/// wrong.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("device").args(["vcpu", "gpu"])),
    group(ArgGroup::new("target").args(["endpoint", "cpu"])),
    group(ArgGroup::new("written").args(["output", "cpu"]).multiple(true)),
    after_help = "Examples:\n  harmonybatch profile --model mlp -n shop --cpu 0.25,0.5,1,2 --apply\n  \
                  harmonybatch profile --model mlp -n shop --cpu 0.25,0.5,1,2 --apply --resume\n  \
                  harmonybatch profile --model mlp --image example.org/mlp:1 --memory 384Mi --max-batch 8 --cpu 0.25,0.5,1,2 --output model.yaml\n  \
                  harmonybatch profile --endpoint http://127.0.0.1:8080 --model mlp --max-batch 8 --vcpu 500m\n  \
                  harmonybatch profile --endpoint grpc://127.0.0.1:8001 --model mlp --max-batch 8 --vcpu 500m\n  \
                  harmonybatch profile --resume mlp-cpu-500m.samples.jsonl --budget 10m\n  \
                  harmonybatch profile --merge mlp-cpu-*.samples.jsonl --image example.org/mlp:1 --memory 384Mi --output model.yaml\n  \
                  harmonybatch profile --endpoint http://gpu-host:8000 --model vgg19 --max-batch 32 --gpu a10 --gpu-memory 2Gi --shape image=3,224,224"
)]
pub(crate) struct Arguments {
    /// Address of the server, http://HOST:PORT with a path where the protocol's /v2 lies below one, or grpc://HOST:PORT
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["resume", "merge", "cpu"], requires_all = ["model", "max_batch", "device"])]
    endpoint: Option<String>,
    /// What the server speaks; default: JSON at http://, gRPC at grpc://, of a cluster's InferenceModel what it says
    #[arg(
        long = "protocol",
        value_enum,
        value_name = "PROTOCOL",
        requires = "target",
        ignore_case = true
    )]
    spoken: Option<Spoken>,
    /// The model's name in the protocol; with --cpu, that of its InferenceModel
    #[arg(long, value_name = "NAME", requires = "target")]
    model: Option<String>,
    /// Largest batch to measure; with --cpu, default: the InferenceModel's maxBatchSize
    #[arg(long, value_name = "ROWS", requires = "target", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_batch: Option<u32>,
    #[command(flatten)]
    cluster: cluster::Options,
    /// The CPU limit under which the endpoint runs
    #[arg(long, value_name = "CPU", requires = "endpoint")]
    vcpu: Option<Cpu>,
    /// The endpoint has a whole GPU of this kind, as the platform's gpuPools name it
    #[arg(long, value_name = "DEVICE", requires_all = ["endpoint", "gpu_memory"])]
    gpu: Option<String>,
    /// Memory that the model takes on the GPU
    #[arg(long, value_name = "MEMORY", requires = "gpu", value_parser = options::memory)]
    gpu_memory: Option<String>,
    /// Memory on the GPU that each row of a batch adds
    #[arg(long, value_name = "MEMORY", requires = "gpu", default_value = "0", value_parser = options::memory)]
    gpu_memory_per_row: String,
    /// Dimensions of an input past the batch, where the model leaves some open; may be given for several inputs
    #[arg(long, value_name = "INPUT=SIZE,SIZE..", requires = "target")]
    shape: Vec<Shape>,
    /// Send the rows of this file, a request of the protocol in JSON, in place of random ones
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "shape")]
    input: Option<PathBuf>,
    /// Another number is other random rows and another order of batch sizes
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Keep the samples here instead of in <MODEL>-<DEVICE>.samples.jsonl
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    samples: Option<PathBuf>,
    /// The endpoint's machine, where that is another one than this
    #[arg(long, value_name = "TEXT", requires = "endpoint")]
    hardware: Option<String>,
    /// Go on with the measurement of a samples file; with --cpu, without a file: with all that are there
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "endpoint")]
    #[expect(
        clippy::option_option,
        reason = "clap's form of an option whose value may be left out"
    )]
    resume: Option<Option<PathBuf>>,
    /// Samples files to fit as well, of other CPU limits or of an earlier measurement
    #[arg(long, value_name = "FILE", num_args = 1..)]
    merge: Vec<PathBuf>,
    /// Send no further batch after this time, warm-up not included; with --cpu, the time of each limit
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = options::duration)]
    budget: Duration,
    /// Know the mean latency of each batch size within this part of it, with 95% confidence
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    precision: Percent,
    /// Know the high percentile of each batch size within this part of it, upwards, with 95% confidence
    #[arg(long, value_name = "PERCENT", default_value = "20%")]
    tail_precision: Percent,
    /// The high percentile, which the plan takes for the longest latency
    #[arg(long, value_name = "PERCENT", default_value = "99%")]
    quantile: Percent,
    /// What of batch sizes and CPU limits is measured in full
    #[arg(long, value_enum, value_name = "GRID", default_value_t = Chosen::Adaptive)]
    grid: Chosen,
    /// Batches of each size that are sent first and not counted
    #[arg(long, value_name = "BATCHES", default_value_t = 5)]
    warm_up: u32,
    /// Fit samples in spite of problems of this kind; may be given several times
    #[arg(long, value_name = "KIND")]
    accept: Vec<Accepted>,
    /// Write the InferenceModel to this file, - for standard output; without --cpu, --image and --memory are needed
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw what was measured and what was fitted, with the residuals, into this SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Name of the InferenceModel, where the model's own is not to be used
    #[arg(long, value_name = "NAME", requires = "output")]
    name: Option<String>,
    /// Container image of the runtime, which a measurement cannot tell; with --cpu, the image to run
    #[arg(long, value_name = "IMAGE", requires = "written")]
    image: Option<String>,
    /// Host memory that the runtime needs, which a measurement cannot tell
    #[arg(long, value_name = "MEMORY", requires = "written", value_parser = options::memory)]
    memory: Option<String>,
    /// Host memory that each row of a batch adds
    #[arg(long, value_name = "MEMORY", requires = "written", default_value = "0", value_parser = options::memory)]
    memory_per_row: String,
}

/// What of batch sizes and CPU limits is measured in full.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Chosen {
    /// What the rest does not tell: the smallest and the largest batch, those that are not on the straight line between others, and four CPU limits or more
    Adaptive,
    /// Every batch size under every CPU limit
    Full,
}

impl Chosen {
    fn grid(self) -> Grid {
        match self {
            Self::Adaptive => Grid::Adaptive,
            Self::Full => Grid::Full,
        }
    }
}

/// A kind of problem in spite of which samples are fitted.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Accepted {
    /// The mean or the high percentile is not known well enough
    Noisy,
    /// A larger batch, or one with less CPU, is faster
    NonMonotone,
    /// Latencies come in two clusters that no form explains
    Throttled,
}

impl Accepted {
    fn kind(self) -> judge::Kind {
        match self {
            Self::Noisy => judge::Kind::Noisy,
            Self::NonMonotone => judge::Kind::NonMonotone,
            Self::Throttled => judge::Kind::Throttled,
        }
    }
}

impl Arguments {
    fn goal(&self) -> anyhow::Result<Goal> {
        let goal = Goal::new(
            self.precision.part(),
            self.tail_precision.part(),
            self.quantile.part(),
            CONFIDENCE,
        );
        goal.context("--precision, --tail-precision or --quantile")
    }

    /// Dimensions that the model leaves open, by input.
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shapes = self
            .shape
            .iter()
            .map(|shape| (shape.input.clone(), shape.row.clone()));
        shapes.collect()
    }

    /// What the InferenceModel is called and how it runs, where one is wanted.
    fn identity(&self, model: &str) -> anyhow::Result<Option<Identity>> {
        if self.output.is_none() {
            return Ok(None);
        }
        let (Some(image), Some(memory)) = (&self.image, &self.memory) else {
            bail!("--output needs --image and --memory, which a measurement cannot tell");
        };
        let name = self.name.as_deref().unwrap_or(model);
        options::check_object_name(name)?;
        Ok(Some(Identity {
            name: name.to_owned(),
            image: image.clone(),
            memory: Memory {
                base: memory.clone(),
                per_row: self.memory_per_row.clone(),
            },
        }))
    }
}

/// Measures, if there is something to measure; judges, fits and writes.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let goal = arguments.goal()?;
    if !arguments.cluster.cpu.is_empty() {
        return cluster::run(arguments, goal);
    }
    let mut files: Vec<(Header, Samples)> = arguments
        .merge
        .iter()
        .map(|file| samples::read(file))
        .collect::<Result<_, _>>()?;
    let opened = session::open(arguments)?;
    let headers = opened
        .iter()
        .map(|opened| &opened.header)
        .chain(files.iter().map(|(header, _)| header));
    let headers: Vec<&Header> = headers.collect();
    let model = headers.first().context("no samples")?.model.clone();
    let identity = arguments.identity(&model)?;
    if identity.is_some() {
        // Before minutes of measuring, not after.
        enough_limits(&headers)?;
    }
    if let Some(opened) = opened {
        let measured = process::block_on(async {
            let stop = process::shutdown()?;
            let url = opened.header.endpoint.clone();
            let elsewhere = session::elsewhere(&opened.header, &files, goal);
            let is_cpu = matches!(opened.header.device, Device::Cpu { .. });
            let place = session::At {
                url: &url,
                what: String::new(),
                pauses: is_cpu,
                // Nobody knows of others to come.
                limits: 1,
                elsewhere,
                turn: session::Turn::whole(arguments),
            };
            session::measure(arguments, goal, opened, place, stop).await
        })?;
        if measured.end == End::Stopped {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        files.push(measured.file);
    }
    conclude::conclude(arguments, goal, identity.as_ref(), &files)
}

fn enough_limits(headers: &[&Header]) -> anyhow::Result<()> {
    let limits: BTreeSet<Cpu> = headers
        .iter()
        .filter_map(|header| match header.device {
            Device::Cpu { limit } => Some(limit),
            Device::Gpu { .. } => None,
        })
        .collect();
    if !limits.is_empty() && limits.len() < LEAST_LIMITS {
        bail!(
            "an InferenceModel on CPU needs samples at {LEAST_LIMITS} CPU limits or more, there are {}: leave out --output, measure the endpoint under \
             others, and give the samples files of all to --merge",
            limits.len()
        );
    }
    Ok(())
}
