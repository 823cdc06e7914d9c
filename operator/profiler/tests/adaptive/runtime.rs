//! A runtime whose latencies follow a law, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use harmonybatch_api::inference_model::Protocol;
use harmonybatch_api::quantity::Cpu;
use harmonybatch_profiler::design::{Grid, Known};
use harmonybatch_profiler::fit::after_idle::AfterIdle;
use harmonybatch_profiler::fit::{self, Fit};
use harmonybatch_profiler::goal::Goal;
use harmonybatch_profiler::limits::Wanted;
use harmonybatch_profiler::measure::{End, Observer, Plan, Progress, Timed, measure};
use harmonybatch_profiler::points::points;
use harmonybatch_profiler::samples::{AfterPause, Device, Header, Samples};

/// What a CPU limit makes of work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Slowed {
    /// `work / vcpu + fixed`.
    Shared { fixed: f64 },
    /// The kernel's bandwidth controller: quotas of `vcpu` in every 100 ms, of which a batch spends so many CPUs' time at once.
    Quota { parallelism: f64 },
    /// The paper's exponential: `work (10 exp(-vcpu / 0.5) + 1)`.
    Exponential,
}

/// How long batches take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Law {
    pub(crate) name: &'static str,
    /// CPU seconds of a batch of so many rows.
    pub(crate) work: fn(u32) -> f64,
    pub(crate) slowed: Slowed,
    /// Coefficient of variation of the work, which is log-normal.
    pub(crate) noise: f64,
}

impl Law {
    /// The mean latency: of a replica that is never idle, where there is a quota.
    pub(crate) fn mean(&self, batch: u32, vcpu: f64) -> f64 {
        let work = (self.work)(batch);
        match self.slowed {
            Slowed::Shared { fixed } => work / vcpu + fixed,
            Slowed::Exponential => work * (10.0 * (-vcpu / 0.5).exp() + 1.0),
            Slowed::Quota { parallelism } => work / vcpu.min(parallelism),
        }
    }
}

/// A law under one limit.
pub(crate) struct Runtime {
    law: Law,
    vcpu: f64,
    random: fastrand::Rng,
    /// Time, and what is spent of the quota in the period that it is in.
    now: f64,
    spent: f64,
    pub(crate) asked: usize,
}

const PERIOD: f64 = 0.1;

impl Runtime {
    pub(crate) fn new(law: Law, vcpu: f64, seed: u64) -> Self {
        Self {
            law,
            vcpu,
            random: fastrand::Rng::with_seed(seed ^ vcpu.to_bits()),
            now: 0.0,
            spent: 0.0,
            asked: 0,
        }
    }

    /// Log-normal with mean 1.
    fn noise(&mut self) -> f64 {
        let variance = (1.0 + self.law.noise.powi(2)).ln();
        // Box and Muller.
        let (radius, angle) = (1.0 - self.random.f64(), std::f64::consts::TAU * self.random.f64());
        let normal = (-2.0 * radius.ln()).sqrt() * angle.cos();
        (variance.sqrt() * normal - variance / 2.0).exp()
    }

    pub(crate) fn seconds(&mut self, batch: u32) -> f64 {
        let work = (self.law.work)(batch) * self.noise();
        match self.law.slowed {
            Slowed::Shared { fixed } => work / self.vcpu + fixed,
            Slowed::Exponential => work * (10.0 * (-self.vcpu / 0.5).exp() + 1.0),
            Slowed::Quota { parallelism } => self.under_quota(work, parallelism),
        }
    }

    /// Step by step: until the work is done, the quota is spent, or the period ends.
    fn under_quota(&mut self, mut work: f64, parallelism: f64) -> f64 {
        const NOTHING: f64 = 1e-12;
        let (begun, quota) = (self.now, self.vcpu * PERIOD);
        while work > NOTHING {
            let ends = ((self.now / PERIOD + 1e-9).floor() + 1.0) * PERIOD;
            let left = quota - self.spent;
            if left > NOTHING {
                let runs = (work / parallelism).min(left / parallelism).min(ends - self.now);
                work -= runs * parallelism;
                self.spent += runs * parallelism;
                self.now += runs;
            } else {
                self.now = ends;
            }
            if self.now >= ends - NOTHING {
                self.now = ends;
                self.spent = 0.0;
            }
        }
        self.now - begun
    }
}

impl Timed for Runtime {
    type Error = std::convert::Infallible;

    async fn time(&mut self, batch: u32) -> Result<Duration, Self::Error> {
        self.asked += 1;
        let took = Duration::from_secs_f64(self.seconds(batch));
        tokio::time::sleep(took).await;
        Ok(took)
    }
}

pub(crate) struct Quiet;

impl Observer for Quiet {
    type Error = std::convert::Infallible;

    fn keep(&mut self, _: u32, _: f64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn keep_after_pause(&mut self, _: &AfterPause) -> Result<(), Self::Error> {
        Ok(())
    }

    fn show(&mut self, _: &Progress) {}
}

pub(crate) fn goal() -> Goal {
    // The command's own.
    Goal::new(0.05, 0.2, 0.99, 0.95).unwrap()
}

/// What a measurement of all that was asked for came to.
pub(crate) struct Measured {
    pub(crate) samples: BTreeMap<Cpu, Samples>,
    /// Batches that were sent, those of the warm-up included.
    pub(crate) batches: usize,
    /// What all of them took.
    pub(crate) seconds: f64,
    /// Pods that ran.
    pub(crate) pods: usize,
    pub(crate) fit: Fit,
}

/// Runs the measurement as the command does: one limit after the other, each until it is known.
pub(crate) async fn measured(law: Law, limits: &[u64], max_batch: u32, grid: Grid, seed: u64) -> Measured {
    let wanted = Wanted {
        limits: limits.iter().map(|&millis| Cpu::from_millis(millis)).collect(),
        max_batch,
        grid,
        goal: goal(),
    };
    let mut samples: BTreeMap<Cpu, Samples> = BTreeMap::new();
    let (mut batches, mut pods, begun) = (0, 0, tokio::time::Instant::now());
    while let Some(limit) = wanted.next(&samples, &BTreeSet::new()) {
        let mut here = samples.remove(&limit).unwrap_or_default();
        let elsewhere: Vec<Known> = samples.values().map(|samples| goal().known(samples)).collect();
        let plan = Plan {
            max_batch,
            goal: goal(),
            budget: Duration::MAX,
            warm_up: 5,
            turn: Duration::ZERO,
            pauses: false,
            seed,
            grid,
            limits: wanted.at_least(),
            elsewhere,
        };
        let mut runtime = Runtime::new(law, limit.vcpu(), seed.wrapping_add(pods << 32));
        let end = measure(&mut runtime, &plan, &mut here, &mut Quiet, pending()).await;
        assert_eq!(end, Ok(End::Known));
        assert!(plan.is_known(&here));
        samples.insert(limit, here);
        batches += runtime.asked;
        pods += 1;
    }
    let files: Vec<(Header, Samples)> = samples
        .iter()
        .map(|(&limit, samples)| (header(limit, max_batch, grid), samples.clone()))
        .collect();
    let points = points(&files, goal()).unwrap();
    let fit = fit::fit(&points, AfterIdle::NOTHING, goal()).unwrap();
    Measured {
        samples,
        batches,
        seconds: begun.elapsed().as_secs_f64(),
        pods: usize::try_from(pods).unwrap(),
        fit,
    }
}

fn header(limit: Cpu, max_batch: u32, grid: Grid) -> Header {
    Header {
        endpoint: "http://a".to_owned(),
        model: "law".to_owned(),
        protocol: Protocol::OipV2Json,
        max_batch,
        device: Device::Cpu { limit },
        grid,
        shapes: BTreeMap::new(),
        input: None,
        seed: 1,
        date: "2026-03-31".to_owned(),
        hardware: None,
        kernel: None,
        image: None,
        image_digest: None,
    }
}
