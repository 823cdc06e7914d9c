//! A measurement from its options or its samples file, to its end.

use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::{Context, bail};
use harmonybatch_profiler::design::{Grid, Known};
use harmonybatch_profiler::endpoint::{Endpoint, Server, protocol_of};
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::machine;
use harmonybatch_profiler::measure::{self, End, Observer, Plan, Progress};
use harmonybatch_profiler::samples::{AfterPause, Device, Header, Samples, SamplesFile};
use harmonybatch_profiler::tensors::{Metadata, Rows};
use tokio::time::Instant;

use super::Arguments;
use super::options::Spoken;
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
    /// Nowhere: they are looked at, and forgotten.
    Aside,
}

/// How much of a measurement is done at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// No batch is sent after this time; the warm-up is not in it.
    pub(super) length: Duration,
    /// Batches of each size that are sent first and not counted.
    pub(super) warm_up: u32,
    /// Whether others follow: an end of its time is not the end.
    pub(super) is_one_of_several: bool,
}

impl Turn {
    /// All of it.
    pub(super) fn whole(arguments: &Arguments) -> Self {
        Self {
            length: arguments.budget,
            warm_up: arguments.warm_up,
            is_one_of_several: false,
        }
    }
}

/// What a turn came to.
pub(super) struct Measured {
    pub(super) end: End,
    pub(super) file: (Header, Samples),
    /// Of its time.
    pub(super) used: Duration,
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
    let protocol = arguments
        .spoken
        .map_or_else(|| protocol_of(endpoint), Spoken::protocol);
    // Said before anything is waited for.
    Server::new(endpoint, model, protocol)?;
    let machine = machine::of_endpoint(endpoint);
    Ok(Some(Header {
        endpoint: endpoint.clone(),
        model: model.clone(),
        protocol,
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
fn turn_of_size(header: &Header, budget: Duration) -> Duration {
    match header.device {
        Device::Cpu { .. } => on_cpu(header.max_batch, budget),
        Device::Gpu { .. } => Duration::ZERO,
    }
}

fn on_cpu(max_batch: u32, budget: Duration) -> Duration {
    (budget / 8 / max_batch.max(1)).min(Duration::from_secs(1))
}

/// How long a CPU limit has its turn where limits take turns: two turns of every size, of which there are at least four in its time.
pub(super) fn turn_of_limit(max_batch: u32, budget: Duration) -> Duration {
    2 * max_batch.max(1) * on_cpu(max_batch, budget)
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
    /// For how long.
    pub(super) turn: Turn,
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
) -> anyhow::Result<Measured> {
    let Opened { header, place } = opened;
    let server = Server::new(at.url, &header.model, header.protocol)?;
    let rows = rows(&header, &server.metadata().await?)?;
    let (file, mut samples) = match place {
        Place::New(path) => (Some(SamplesFile::create(&path, &header)?), Samples::new()),
        Place::Begun(file, samples) => (Some(file), samples),
        Place::Aside => (None, Samples::new()),
    };
    let plan = Plan {
        max_batch: header.max_batch,
        goal,
        budget: at.turn.length,
        warm_up: at.turn.warm_up,
        turn: turn_of_size(&header, arguments.budget),
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
        since: None,
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
    let used = log.since.map_or(Duration::ZERO, |since| since.elapsed());
    let count = samples.values().map(Vec::len).sum::<usize>();
    let Some(file) = &log.file else {
        return Ok(Measured {
            end: end?,
            file: (header, samples),
            used,
        });
    };
    let path = file.path().display();
    let go_on = format!("{count} batches are kept in {path}: go on with --resume {path}");
    let end = end.with_context(|| go_on.clone())?;
    match end {
        End::Known => print::error(&format!(
            "every batch size is known well enough: {count} batches, kept in {path}"
        )),
        End::BudgetSpent if at.turn.is_one_of_several => {}
        End::BudgetSpent => print::error(&format!("the budget is spent; {go_on}")),
        End::Stopped => print::error(&format!("stopped; {go_on}")),
    }
    Ok(Measured {
        end,
        file: (header, samples),
        used,
    })
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
    file: Option<SamplesFile>,
    display: Display,
    /// When the first batch that counts was sent.
    since: Option<Instant>,
}

impl Observer for Log {
    type Error = anyhow::Error;

    fn keep(&mut self, batch: u32, seconds: f64) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.append(batch, seconds)?;
        }
        Ok(())
    }

    fn keep_after_pause(&mut self, sample: &AfterPause) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.append_after_pause(sample)?;
        }
        Ok(())
    }

    fn show(&mut self, progress: &Progress) {
        if !matches!(progress, Progress::WarmUp { .. }) {
            self.since.get_or_insert_with(Instant::now);
        }
        self.display.show(progress);
    }
}
