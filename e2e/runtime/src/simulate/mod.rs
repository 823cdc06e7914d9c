//! A stand-in for a device: takes as long as a latency profile says that a batch takes on a CPU limit or a GPU share, and
//! computes nothing. `echo` is filled, `output` is zero.
//!
//! Formulas are those of HarmonyBatch (arXiv 2405.05633), Eq. 1-4; the law of single batches around the mean is an
//! assumption, and the same one under which the planner simulates.

mod profile;

use std::time::{Duration, Instant};

pub(crate) use profile::{Law, Profile, Share};

use profile::Device;

use crate::engine::{Answer, Batch, Engine};
use crate::network::TAG;
use crate::random::SplitMix64;

/// Sleeps in place of computing.
pub(crate) struct Simulation {
    device: Device,
    law: Law,
    random: SplitMix64,
    columns: usize,
    classes: usize,
}

impl Simulation {
    /// `seed` makes the sequence of latencies repeatable.
    pub(crate) fn new(device: Device, law: Law, seed: u64, columns: usize, classes: usize) -> Self {
        Self {
            device,
            law,
            random: SplitMix64::new(seed),
            columns,
            classes,
        }
    }
}

impl Engine for Simulation {
    fn infer(&mut self, batch: Batch) -> anyhow::Result<Answer> {
        let end = Instant::now() + self.device.latency(batch.rows, self.law, self.random.unit())?;
        let echo = batch
            .values
            .chunks_exact(self.columns)
            .flat_map(|row| &row[..TAG])
            .copied();
        let answer = Answer {
            output: vec![0.0; batch.rows * self.classes],
            echo: echo.collect(),
        };
        wait_until(end);
        Ok(answer)
    }
}

/// The thread belongs to the engine, and a parked thread wakes within 0.2 ms, where an asynchronous timer is 1 ms late.
fn wait_until(end: Instant) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return;
        }
        std::thread::park_timeout(left);
    }
}
