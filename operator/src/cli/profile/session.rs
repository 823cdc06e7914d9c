//! A measurement from its options or its samples file, to its end.

use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::{Context, bail};
use harmonybatch_profiler::design::{Grid, Known};
use harmonybatch_profiler::endpoint::{Endpoint, Server};
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::machine;
use harmonybatch_profiler::measure::{self, End, Observer, Plan, Progress};
use harmonybatch_profiler::samples::{AfterPause, Device, Header, Samples, SamplesFile};
use harmonybatch_profiler::tensors::{Metadata, Rows};

use super::Arguments;
use super::progress::Display;
use crate::cli::print;

/// What will be measured.
pub(super) struct Opened {
    pub(super) header: Header,
    pub(super) place: Place,
}

/// Where its samples are kept.
pub(super) enum Place {
    /// A file to be made once the endpoint has answered.
    New(PathBuf),
    /// One that was begun, with what is in it.
    Begun(SamplesFile, Samples),
}

/// What the options ask to be measured, if anything.
pub(super) fn open(arguments: &Arguments) -> anyhow::Result<Option<Opened>> {
    if let Some(path) = &arguments.resume {
        let path = path.as_ref().context(
            "--resume: give the samples file to go on with, or --cpu to go on with all of a cluster's",
        )?;
        let (file, header, samples) = SamplesFile::resume(path)?;
        if let Some(image) = &header.image {
            bail!(
                "samples file {} is of a pod of {image}, which runs no more: go on with it by the command that began it, --cpu included, with --resume",
                path.display()
            );
        }
        return Ok(Some(Opened {
            header,
            place: Place::Begun(file, samples),
        }));
    }
    let Some(header) = header(arguments)? else {
        return Ok(None);
    };
    let path = arguments.samples.clone().unwrap_or_else(|| {
        let device = header.device.to_string().replace(' ', "-");
        PathBuf::from(format!("{}-{device}.samples.jsonl", header.model))
    });
    Ok(Some(Opened {
        header,
        place: Place::New(path),
    }))
}

/// The day on which a measurement is begun.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is dated where it is begun"
)]
pub(super) fn today() -> String {
    machine::day(SystemTime::now())
}

fn header(arguments: &Arguments) -> anyhow::Result<Option<Header>> {
    let (Some(endpoint), Some(model), Some(max_batch)) =
        (&arguments.endpoint, &arguments.model, arguments.max_batch)
    else {
        return Ok(None);
    };
    let device = match (arguments.vcpu, &arguments.gpu) {
        (Some(limit), _) if limit.millis() == 0 => {
            bail!("--vcpu 0: a model without CPU takes for ever")
        }
        (Some(limit), _) => Device::Cpu { limit },
        (None, Some(gpu)) => Device::Gpu {
            device: gpu.clone(),
            memory: arguments.gpu_memory.clone().unwrap_or_default(),
            memory_per_row: arguments.gpu_memory_per_row.clone(),
        },
        (None, None) => return Ok(None),
    };
    let machine = machine::of_endpoint(endpoint);
    Ok(Some(Header {
        endpoint: endpoint.clone(),
        model: model.clone(),
        max_batch,
        device,
        grid: arguments.grid.grid(),
        shapes: arguments.shapes(),
        input: arguments.input.clone(),
        seed: arguments.seed,
        date: today(),
        hardware: arguments.hardware.clone().or(machine.hardware),
        kernel: machine.kernel,
        image: None,
        image_digest: None,
    }))
}

/// Ten periods of Kubernetes' quota where there is one, and less where the time is too short for eight turns of each size.
fn turn(header: &Header, budget: Duration) -> Duration {
    match header.device {
        Device::Cpu { .. } => (budget / 8 / header.max_batch.max(1)).min(Duration::from_secs(1)),
        Device::Gpu { .. } => Duration::ZERO,
    }
}

/// Where a measurement is done, and what is known beside it.
pub(super) struct At<'a> {
    /// Of the server.
    pub(super) url: &'a str,
    /// Begins every line of progress.
    pub(super) what: String,
    /// Whether batches are sent after pauses as well.
    pub(super) pauses: bool,
    /// How many CPU limits there will be at least.
    pub(super) limits: usize,
    /// What is known under other CPU limits.
    pub(super) elsewhere: Vec<Known>,
}

/// What files say of other CPU limits than that of a header; of other devices nothing is of use to it.
pub(super) fn elsewhere(header: &Header, files: &[(Header, Samples)], goal: Goal) -> Vec<Known> {
    let is_cpu = |device: &Device| matches!(device, Device::Cpu { .. });
    let others = files.iter().filter(|(other, _)| {
        is_cpu(&header.device) && is_cpu(&other.device) && other.device != header.device
    });
    others.map(|(_, samples)| goal.known(samples)).collect()
}

/// Measures until the goal, the budget or `stop`, and says how it ended.
pub(super) async fn measure(
    arguments: &Arguments,
    goal: Goal,
    opened: Opened,
    at: At<'_>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<(End, (Header, Samples))> {
    let Opened { header, place } = opened;
    let server = Server::new(at.url, &header.model)?;
    let rows = rows(&header, &server.metadata().await?)?;
    let (file, mut samples) = match place {
        Place::New(path) => (SamplesFile::create(&path, &header)?, Samples::new()),
        Place::Begun(file, samples) => (file, samples),
    };
    let plan = Plan {
        max_batch: header.max_batch,
        goal,
        budget: arguments.budget,
        warm_up: arguments.warm_up,
        turn: turn(&header, arguments.budget),
        pauses: at.pauses,
        seed: header.seed,
        // As it was begun, unless all of it is wanted now.
        grid: if arguments.grid.grid() == Grid::Full {
            Grid::Full
        } else {
            header.grid
        },
        limits: at.limits,
        elsewhere: at.elsewhere,
    };
    let mut log = Log {
        file,
        display: Display::new(at.what),
    };
    let end = measure::measure(
        &mut Endpoint::new(server, rows),
        &plan,
        &mut samples,
        &mut log,
        stop,
    )
    .await;
    log.display.end();
    let (count, path) = (
        samples.values().map(Vec::len).sum::<usize>(),
        log.file.path().display(),
    );
    let go_on = format!("{count} batches are kept in {path}: go on with --resume {path}");
    let end = end.with_context(|| go_on.clone())?;
    print::error(&match end {
        End::Known => format!("every batch size is known well enough: {count} batches, kept in {path}"),
        End::BudgetSpent => format!("the budget is spent; {go_on}"),
        End::Stopped => format!("stopped; {go_on}"),
    });
    Ok((end, (header, samples)))
}

fn rows(header: &Header, metadata: &Metadata) -> anyhow::Result<Rows> {
    let Some(file) = &header.input else {
        return Ok(Rows::random(
            metadata,
            &header.shapes,
            header.max_batch,
            header.seed,
        )?);
    };
    let request = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    Rows::given(metadata, &request, header.max_batch).with_context(|| file.display().to_string())
}

/// Keeps samples and shows how far it is.
struct Log {
    file: SamplesFile,
    display: Display,
}

impl Observer for Log {
    type Error = anyhow::Error;

    fn keep(&mut self, batch: u32, seconds: f64) -> anyhow::Result<()> {
        Ok(self.file.append(batch, seconds)?)
    }

    fn keep_after_pause(&mut self, sample: &AfterPause) -> anyhow::Result<()> {
        Ok(self.file.append_after_pause(sample)?)
    }

    fn show(&mut self, progress: &Progress) {
        self.display.show(progress);
    }
}
