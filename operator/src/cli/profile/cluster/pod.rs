//! The pod that is measured, and the measurement of limits that have a pod each.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use harmonybatch_api::quantity::Cpu;
use harmonybatch_controller::measured_pod::{self, Host, Reach, Running};
use harmonybatch_profiler::design::Grid;
use harmonybatch_profiler::fit::LEAST_LIMITS;
use harmonybatch_profiler::limits::Wanted;
use harmonybatch_profiler::machine;
use harmonybatch_profiler::measure::End;
use harmonybatch_profiler::samples::{Device, Header};
use kube::ResourceExt;

use super::super::session::{self, Measured, Opened, Place, Turn};
use super::{Course, Files, Kept, Session, WARM_UP, way};
use crate::cli::print;

/// How many pods are run.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Pods {
    /// One, whose limit is changed in place, where the cluster can do that and the runtime computes so as if it had started under each limit; else one for each limit
    Auto,
    /// One for each limit, one after the other
    Each,
}

impl Session<'_> {
    /// Measures limits under which something is missing, each on a pod of its own. True if stopped.
    pub(super) async fn one_after_the_other(&self, course: &mut Course) -> anyhow::Result<bool> {
        while let Some(limit) = course.next() {
            let what = format!("cpu {limit} ({}): ", number(limit, &course.wanted, &course.files));
            let turn = self.rest(course, limit);
            let say = |line: &str| print::error(&format!("{what}{line}"));
            let pod = self.pod(limit, 1);
            let stop = course.stop();
            let measure = async |pod: &Running| -> anyhow::Result<End> {
                say(&self.round_trip(pod).await?);
                self.turn(course, pod, limit, turn, what.clone()).await
            };
            let end = Box::pin(self.host().run(&pod, stop, &mut &say, measure)).await?;
            if matches!(end, None | Some(End::Stopped)) {
                print::error("stopped; the pod is deleted; go on with the same command and --resume");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is left of a limit's time, at once.
    pub(super) fn rest(&self, course: &Course, limit: Cpu) -> Turn {
        Turn {
            length: course.left(limit, self.arguments.budget),
            ..Turn::whole(self.arguments)
        }
    }

    /// Measures under a limit, which the pod has.
    pub(super) async fn turn(
        &self,
        course: &mut Course,
        pod: &Running,
        limit: Cpu,
        turn: Turn,
        what: String,
    ) -> anyhow::Result<End> {
        let kept = Kept {
            path: self.path(limit),
            begun: course.files.remove(&limit),
        };
        let earlier = course
            .files
            .values()
            .find_map(|(header, _)| header.image_digest.clone());
        let opened = kept.open(self.header(limit, course.wanted.grid, pod), earlier.as_deref())?;
        let measured = self.measured(course, pod, opened, turn, what).await;
        let measured = measured.with_context(|| format!("cpu {limit}"))?;
        Ok(course.took(limit, measured, turn))
    }

    /// The same without keeping anything.
    pub(super) async fn aside(
        &self,
        course: &Course,
        pod: &Running,
        limit: Cpu,
        turn: Turn,
        what: String,
    ) -> anyhow::Result<Measured> {
        let opened = Opened {
            header: self.header(limit, course.wanted.grid, pod),
            place: Place::Aside,
        };
        let measured = self.measured(course, pod, opened, turn, what).await;
        measured.with_context(|| format!("cpu {limit}"))
    }

    async fn measured(
        &self,
        course: &Course,
        pod: &Running,
        opened: Opened,
        turn: Turn,
        what: String,
    ) -> anyhow::Result<Measured> {
        let (others, is_largest) = match opened.header.device {
            Device::Cpu { limit } => (course.others(limit), course.wanted.limits.last() == Some(&limit)),
            Device::Gpu { .. } => (Vec::new(), false),
        };
        let at = session::At {
            url: pod.url(),
            what,
            // Under a limit that may stop batches idle time is not all that a pause changes.
            pauses: is_largest && !matches!(opened.place, Place::Aside),
            limits: course.wanted.at_least(),
            elsewhere: session::elsewhere(&opened.header, &others, self.goal),
            turn,
        };
        session::measure(self.arguments, self.goal, opened, at, course.stop()).await
    }

    pub(super) async fn round_trip(&self, pod: &Running) -> anyhow::Result<String> {
        let (model, protocol) = (self.protocol_name(), self.model.spec.protocol);
        way::round_trip(pod.url(), &model, protocol, self.reach()).await
    }

    fn reach(&self) -> Reach {
        let inside = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        self.arguments.cluster.reach.reach(inside)
    }

    pub(super) fn host(&self) -> Host {
        Host {
            client: self.client.clone(),
            namespace: self.namespace(),
            reach: self.reach(),
            ready_within: self.arguments.cluster.ready_within,
        }
    }

    /// A pod that starts under a limit, and stays for the time of so many.
    pub(super) fn pod(&self, cpu: Cpu, limits: usize) -> measured_pod::Wanted<'_> {
        let options = &self.arguments.cluster;
        let limits = u32::try_from(limits).unwrap_or(u32::MAX);
        let measuring: Duration = self
            .arguments
            .budget
            .saturating_add(WARM_UP)
            .saturating_mul(limits);
        measured_pod::Wanted {
            model: &self.model,
            cpu,
            lives_at_most: options.ready_within.saturating_add(measuring),
            owner: options.owner(),
            near: options.own_node.clone(),
        }
    }

    fn header(&self, limit: Cpu, grid: Grid, pod: &Running) -> Header {
        let options = &self.arguments.cluster;
        // A pod on the same node: what this process sees of the machine is true of it, and may be all that it may see.
        let here = match (&pod.node, &options.own_node) {
            (Some(node), Some(own)) if node == own => machine::here(),
            _ => machine::Machine::default(),
        };
        let said = pod.machine.clone();
        Header {
            endpoint: format!(
                "pods of InferenceModel {}/{}",
                self.namespace(),
                self.model.name_any()
            ),
            model: self.protocol_name(),
            protocol: self.model.spec.protocol,
            max_batch: self.max_batch(),
            device: Device::Cpu { limit },
            grid,
            shapes: self.arguments.shapes(),
            input: self.arguments.input.clone(),
            seed: self.arguments.seed,
            date: session::today(),
            hardware: here
                .hardware
                .or(said.as_ref().map(|machine| machine.hardware.clone())),
            kernel: said.and_then(|machine| machine.kernel).or(here.kernel),
            image: Some(self.model.spec.runtime.image.clone()),
            image_digest: pod.image_digest.clone(),
        }
    }
}

/// Which of the limits this is.
fn number(limit: Cpu, wanted: &Wanted, files: &Files) -> String {
    if files.contains_key(&limit) {
        return "again".to_owned();
    }
    format!("{} of {}", files.len() + 1, of(wanted))
}

/// How many limits there are.
pub(super) fn of(wanted: &Wanted) -> String {
    let all = wanted.limits.len();
    if wanted.grid == Grid::Full || all <= LEAST_LIMITS {
        all.to_string()
    } else {
        format!("{LEAST_LIMITS} to {all}")
    }
}
