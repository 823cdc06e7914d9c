//! A measurement on pods that the cluster runs for it: one whose CPU limit is changed in place ([`turns`]), or one after the other, each under one limit ([`pod`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use harmonybatch_api::InferenceModel;
use harmonybatch_api::inference_model::{Memory, Profile};
use harmonybatch_api::quantity::Cpu;
use harmonybatch_profiler::design::Grid;
use harmonybatch_profiler::fit::LEAST_LIMITS;
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::limits::Wanted;
use harmonybatch_profiler::model::{Identity, profile, unmeasured};
use harmonybatch_profiler::samples::{self, Device, Header, Samples, SamplesError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::options::Spoken;
use super::{Arguments, INTERRUPTED, conclude, options};
use crate::cli::{print, process};

/// Beyond its start and its budget a pod lives for the warm-up, at most so long; then the kubelet ends it, should this process be no more.
const WARM_UP: Duration = Duration::from_mins(30);
/// Of one call to the API server.
const CALL_LIMIT: Duration = Duration::from_secs(10);

mod course;
mod kept;
mod pod;
mod publish;
mod turns;
mod way;

use course::Course;
use kept::Kept;
use pod::Pods;
use way::Way;

/// What concerns pods.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pods of a cluster")]
pub(super) struct Options {
    /// CPU limits to run the model's pod under, such as 0.25,0.5,1,2
    #[arg(long, value_name = "CPU,CPU..", value_delimiter = ',', requires = "model")]
    pub(super) cpu: Vec<Cpu>,
    /// Namespace of the InferenceModel and of the pods; default: the kubeconfig's
    #[arg(short, long, value_name = "NAMESPACE", requires = "cpu")]
    namespace: Option<String>,
    /// Port of the image's server
    #[arg(long, value_name = "PORT", requires = "image", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Port where the image's server says over HTTP that it is ready, where that is another one
    #[arg(long, value_name = "PORT", requires = "image", value_parser = clap::value_parser!(u16).range(1..))]
    readiness_port: Option<u16>,
    /// Put the profile into the InferenceModel of the cluster
    #[arg(long, requires = "cpu", conflicts_with = "image")]
    apply: bool,
    /// Keep the samples files in this folder
    #[arg(long, value_name = "FOLDER", requires = "cpu", default_value = ".")]
    folder: PathBuf,
    /// How many pods are run
    #[arg(long, value_enum, value_name = "PODS", requires = "cpu", default_value_t = Pods::Auto)]
    pods: Pods,
    /// How pods are reached
    #[arg(long, value_enum, value_name = "WAY", requires = "cpu", default_value_t = Way::Auto)]
    reach: Way,
    /// How long a pod may take until it is Ready
    #[arg(long, value_name = "TIME", requires = "cpu", default_value = "5m", value_parser = options::duration)]
    ready_within: Duration,
    /// Put the profile into the status of the InferenceModel, as the Jobs of the controller do
    #[arg(long, hide = true, requires = "cpu", conflicts_with_all = ["image", "apply"])]
    publish: bool,
    /// The pod that this runs in
    #[arg(long, hide = true, env = "HARMONYBATCH_POD_NAME")]
    own_pod: Option<String>,
    /// Its UID: the pods that are measured go with it
    #[arg(long, hide = true, env = "HARMONYBATCH_POD_UID")]
    own_uid: Option<String>,
    /// Its node: the pods that are measured had best be there, too
    #[arg(long, hide = true, env = "HARMONYBATCH_NODE")]
    own_node: Option<String>,
}

impl Options {
    fn owner(&self) -> Option<OwnerReference> {
        Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.own_pod.clone()?,
            uid: self.own_uid.clone()?,
            ..OwnerReference::default()
        })
    }

    /// The limits, smallest first, each once.
    fn limits(&self) -> anyhow::Result<Vec<Cpu>> {
        let mut limits = self.cpu.clone();
        limits.sort_unstable();
        limits.dedup();
        if limits.first().is_some_and(|limit| limit.millis() == 0) {
            bail!("--cpu 0: a model without CPU takes for ever");
        }
        Ok(limits)
    }
}

/// Measures under every limit; judges, fits and writes.
pub(super) fn run(arguments: &Arguments, goal: Goal) -> anyhow::Result<ExitCode> {
    let options = &arguments.cluster;
    let limits = options.limits()?;
    let wanted = arguments.output.is_some() || options.apply || options.publish;
    if wanted && limits.len() < LEAST_LIMITS {
        // Before minutes of measuring, not after.
        bail!(
            "--cpu: a profile needs {LEAST_LIMITS} CPU limits or more, there are {}: give more, such as 0.25,0.5,1,2",
            limits.len()
        );
    }
    if let Some(Some(file)) = &arguments.resume {
        bail!(
            "--resume {}: with --cpu it goes on with all samples files of the model in --folder; leave out the file",
            file.display()
        );
    }
    process::block_on(async {
        let client = process::client().await?;
        let session = Session {
            arguments,
            goal,
            model: model(arguments, &client).await?,
            client,
        };
        let Some(mut files) = session.measure(&limits).await? else {
            return Ok(ExitCode::from(INTERRUPTED));
        };
        for file in &arguments.merge {
            files.push(samples::read(file)?);
        }
        let is_left_out = |limit: &Cpu| {
            let mut devices = files.iter().map(|(header, _)| &header.device);
            !devices.any(|device| *device == Device::Cpu { limit: *limit })
        };
        let left_out: Vec<Cpu> = limits.into_iter().filter(is_left_out).collect();
        session.conclude(&files, &left_out, wanted).await
    })
}

/// The InferenceModel whose runtime is measured: the cluster's, or one of the options.
async fn model(arguments: &Arguments, client: &Client) -> anyhow::Result<InferenceModel> {
    let name = arguments.model.as_deref().context("--cpu needs --model")?;
    let namespace = arguments.cluster.namespace.as_deref();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let max_batch = arguments.max_batch.and_then(|rows| i32::try_from(rows).ok());
    let mut model = if let Some(image) = &arguments.image {
        let memory = arguments
            .memory
            .clone()
            .context("--image needs --memory, the pod's limit")?;
        max_batch.context("--image needs --max-batch, the largest batch to measure")?;
        let object = arguments.name.as_deref().unwrap_or(name);
        options::check_object_name(object)?;
        let identity = Identity {
            name: object.to_owned(),
            image: image.clone(),
            memory: Memory {
                base: memory,
                per_row: arguments.memory_per_row.clone(),
            },
        };
        let mut model = unmeasured(&identity, name);
        model.spec.runtime.port = i32::from(arguments.cluster.port);
        model.spec.runtime.readiness_port = arguments.cluster.readiness_port.map(i32::from);
        model.spec.protocol = arguments.spoken.map(Spoken::protocol).unwrap_or_default();
        model
    } else {
        if arguments.spoken.is_some() {
            bail!(
                "--protocol: InferenceModel {name} says by spec.protocol what its runtime speaks; it is given with --image or --endpoint only"
            );
        }
        let api: Api<InferenceModel> = Api::namespaced(client.clone(), namespace);
        let what = || format!("get InferenceModel {namespace}/{name}");
        let found = call(api.get_opt(name)).await.with_context(what)?;
        found.with_context(|| {
            format!(
                "InferenceModel {name} does not exist in namespace {namespace}: name another with --model and -n, or give --image, --memory and \
                 --max-batch"
            )
        })?
    };
    model.metadata.namespace = Some(namespace.to_owned());
    if let Some(rows) = max_batch {
        model.spec.max_batch_size = rows;
    }
    Ok(model)
}

async fn call<T>(future: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    let answer = timeout(CALL_LIMIT, future).await;
    Ok(answer.with_context(|| format!("no answer within {CALL_LIMIT:?}"))??)
}

struct Session<'a> {
    arguments: &'a Arguments,
    goal: Goal,
    model: InferenceModel,
    client: Client,
}

impl Session<'_> {
    fn namespace(&self) -> String {
        self.model.namespace().unwrap_or_default()
    }

    fn max_batch(&self) -> u32 {
        u32::try_from(self.model.spec.max_batch_size).unwrap_or(1)
    }

    /// The files of all limits that were measured; none after Ctrl-C.
    async fn measure(&self, limits: &[Cpu]) -> anyhow::Result<Option<Vec<(Header, Samples)>>> {
        // All are looked at before the first pod is started.
        let mut files: Files = BTreeMap::new();
        for &limit in limits {
            files.extend(self.kept(limit)?.begun.map(|begun| (limit, begun)));
        }
        let wanted = self.wanted(limits, &files);
        self.say_known(&wanted, &files);
        let mut course = Course::new(wanted, files, stop()?);
        let stopped = match self.arguments.cluster.pods {
            Pods::Auto => self.in_turns(&mut course).await?,
            Pods::Each => false,
        };
        if stopped || self.one_after_the_other(&mut course).await? {
            return Ok(None);
        }
        Ok(Some(course.files.into_values().collect()))
    }

    fn say_known(&self, wanted: &Wanted, files: &Files) {
        let samples = samples(files);
        let known = files.keys().filter(|limit| wanted.is_known(**limit, &samples));
        for (number, limit) in (1..).zip(known) {
            let (path, of) = (self.path(*limit), pod::of(wanted));
            let path = path.display();
            print::error(&format!(
                "cpu {limit} ({number} of {of}): known well enough already, by {path}"
            ));
        }
    }

    /// What is to be measured: as it was begun, where it was.
    fn wanted(&self, limits: &[Cpu], files: &Files) -> Wanted {
        let full = self.arguments.grid.grid() == Grid::Full
            || files.values().any(|(header, _)| header.grid == Grid::Full);
        Wanted {
            limits: limits.iter().copied().collect(),
            max_batch: self.max_batch(),
            grid: if full { Grid::Full } else { Grid::Adaptive },
            goal: self.goal,
        }
    }

    /// What there is of a limit.
    fn kept(&self, limit: Cpu) -> anyhow::Result<Kept> {
        let path = self.path(limit);
        if !path.try_exists().with_context(|| path.display().to_string())? {
            return Ok(Kept { path, begun: None });
        }
        if self.arguments.resume.is_none() {
            return Err(SamplesError::Exists(path)).context("--resume goes on with it");
        }
        let (header, samples) = samples::read(&path)?;
        let image = &self.model.spec.runtime.image;
        let same = [
            ("image", header.image.clone().unwrap_or_default(), image.clone()),
            (
                "largest batch",
                header.max_batch.to_string(),
                self.max_batch().to_string(),
            ),
            ("model", header.model.clone(), self.protocol_name()),
            (
                "protocol",
                header.protocol.to_string(),
                self.model.spec.protocol.to_string(),
            ),
        ];
        for (what, there, asked) in same {
            if there != asked {
                bail!(
                    "samples file {} has the {what} {there:?}, and {asked:?} is to be measured: move the file away, or give another --folder",
                    path.display()
                );
            }
        }
        Ok(Kept {
            path,
            begun: Some((header, samples)),
        })
    }

    fn path(&self, limit: Cpu) -> PathBuf {
        let name = format!("{}-cpu-{limit}.samples.jsonl", self.model.name_any());
        self.arguments.cluster.folder.join(name)
    }

    fn protocol_name(&self) -> String {
        let name = self.model.spec.runtime.model_name.clone();
        name.unwrap_or_else(|| self.model.name_any())
    }

    /// `left_out` are limits that were not measured.
    async fn conclude(
        &self,
        files: &[(Header, Samples)],
        left_out: &[Cpu],
        wanted: bool,
    ) -> anyhow::Result<ExitCode> {
        let judged = conclude::judge(self.arguments, self.goal, files, left_out)?;
        if !wanted {
            return Ok(judged.unwritten());
        }
        let fit = match &judged.fit {
            Ok(fit) => fit,
            Err(problem) => return Ok(conclude::refused(problem)),
        };
        let headers: Vec<&Header> = files.iter().map(|(header, _)| header).collect();
        let profile = profile(&headers, &judged.points, fit, left_out)?;
        if let Some(output) = &self.arguments.output {
            conclude::write(output, &self.written(profile.clone()))?;
        }
        if self.arguments.cluster.apply {
            publish::apply(&self.client, &self.model, &profile).await?;
        }
        if self.arguments.cluster.publish {
            publish::publish(&self.client, &self.model, profile).await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The model as a person would write it, with the profile.
    fn written(&self, profile: Profile) -> InferenceModel {
        let mut model = InferenceModel::new(&self.model.name_any(), self.model.spec.clone());
        if self.arguments.image.is_none() {
            model.metadata.namespace = self.model.namespace();
        }
        model.spec.profile.cpu = profile.cpu;
        model.spec.profile.after_idle = profile.after_idle;
        model.spec.profile.provenance = profile.provenance;
        model
    }
}

/// Samples files by their limit.
type Files = BTreeMap<Cpu, (Header, Samples)>;

fn samples(files: &Files) -> BTreeMap<Cpu, Samples> {
    let all = files.iter();
    all.map(|(&limit, (_, samples))| (limit, samples.clone()))
        .collect()
}

/// Hears a signal from now on.
fn stop() -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let signal = process::shutdown()?;
    tokio::spawn(async move {
        signal.await;
        stop.send_replace(true);
        // A channel that closes would stop them, too.
        std::future::pending::<()>().await;
    });
    Ok(stopped)
}
