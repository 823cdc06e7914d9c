//! A model's latency profile: curves of latency against vCPU ([`CpuCurve`]) and lines against rows on GPUs, for one model.

use crate::correction::Corrections;
use crate::units::{BatchSize, Bytes, Seconds};

mod after_idle;
mod curve;
mod throttled;

pub use after_idle::AfterIdle;
pub use curve::{CpuCurve, Exponential, Hyperbolic};
pub use throttled::Throttled;

/// Coefficients that describe no latency.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// A coefficient of a CPU latency is out of bounds.
    #[error("{coefficient} {found} of {form} latency must be {allowed}")]
    Curve {
        /// With its article, such as `an exponential`.
        form: &'static str,
        /// As the constructor names it, or a sum of two.
        coefficient: &'static str,
        /// What was found, in the coefficient's unit.
        found: f64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// CPU latencies must be given for every batch size from 1 on.
    #[error("the cpu profile has an entry for batch {largest} but none for batch {missing}")]
    CpuBatchMissing {
        /// The first batch size without an entry.
        missing: u32,
        /// The largest batch size with one.
        largest: u32,
    },
    /// A batch size has two CPU latencies.
    #[error("the cpu profile has two entries for batch {0}")]
    CpuBatchTwice(u32),
    /// No work that idle time adds.
    #[error("afterIdle.{field} {found} must be {allowed}")]
    AfterIdle {
        /// `work` or `timeConstant`.
        field: &'static str,
        /// What was found, in seconds.
        found: f64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A GPU latency is out of bounds or does not grow with the batch.
    #[error("gpu profile of {device}: {coefficient} {found} must be {allowed}")]
    Gpu {
        /// The device of the entry.
        device: String,
        /// `perRow`, or `perRow + fixed`.
        coefficient: &'static str,
        /// What was found, in seconds.
        found: f64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A device has two GPU latencies.
    #[error("the gpu profile has two entries for device {0}")]
    GpuDeviceTwice(String),
}

/// Latency of one batch size on CPU (Eq. 1 and 2 of the paper where both curves are exponentials).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuLatency {
    /// The batch size that this entry describes.
    pub batch: BatchSize,
    /// Of which [`CpuCurve::mean`] is the mean latency.
    pub mean: CpuCurve,
    /// Of which [`CpuCurve::bound`] is the maximum latency.
    pub max: CpuCurve,
}

/// Memory of a process as a function of the batch: `base + per_row * batch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Memory that the process holds without a batch.
    pub base: Bytes,
    /// Memory that each row of a batch adds.
    pub per_row: Bytes,
}

impl Memory {
    /// Memory in use with a batch of `rows`; saturates instead of overflowing.
    pub fn with_batch(&self, rows: u32) -> Bytes {
        Bytes(
            self.base
                .0
                .saturating_add(self.per_row.0.saturating_mul(u64::from(rows))),
        )
    }
}

/// Latency on a whole GPU of one kind, Eq. 3 of the paper: `L0(b) = per_row * b + fixed`.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuLatency {
    device: String,
    per_row: f64,
    fixed: f64,
    memory: Memory,
}

impl GpuLatency {
    /// Takes the seconds per row (xi1) and per batch (xi2), and the memory on the device.
    ///
    /// `fixed` may be slightly negative, as a fit gives it, as long as a batch of one row takes time.
    pub fn new(
        device: impl Into<String>,
        per_row: f64,
        fixed: f64,
        memory: Memory,
    ) -> Result<Self, ProfileError> {
        let device = device.into();
        if !(0.0..=1e3).contains(&per_row) {
            return Err(ProfileError::Gpu {
                device,
                coefficient: "perRow",
                found: per_row,
                allowed: "between 0 and 1000 seconds",
            });
        }
        let one_row = per_row + fixed;
        if !(1e-9..=1e3).contains(&one_row) {
            return Err(ProfileError::Gpu {
                device,
                coefficient: "perRow + fixed",
                found: one_row,
                allowed: "above 0 and at most 1000 seconds",
            });
        }
        Ok(Self {
            device,
            per_row,
            fixed,
            memory,
        })
    }

    /// The kind of GPU, as pools name it.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Memory on the device.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// `L0(b)` in seconds: the time of a batch that has the device to itself.
    pub fn whole_device(&self, batch: u32) -> Seconds {
        Seconds::clamped(self.per_row * f64::from(batch) + self.fixed)
    }
}

/// How long a model takes for a batch, on every device that it was measured on.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelProfile {
    cpu: Vec<CpuLatency>,
    gpu: Vec<GpuLatency>,
    max_batch_size: BatchSize,
    after_idle: AfterIdle,
    corrections: Corrections,
}

impl ModelProfile {
    /// Takes CPU entries for every batch size from 1 on (in any order, or none) and at most one GPU entry for
    /// each kind of device. No batch is ever larger than `max_batch_size`.
    pub fn new(
        mut cpu: Vec<CpuLatency>,
        gpu: Vec<GpuLatency>,
        max_batch_size: BatchSize,
    ) -> Result<Self, ProfileError> {
        cpu.sort_by_key(|entry| entry.batch);
        let largest = cpu.last().map_or(0, |entry| entry.batch.get());
        for (expected, entry) in (1..).zip(&cpu) {
            let found = entry.batch.get();
            if found < expected {
                return Err(ProfileError::CpuBatchTwice(found));
            }
            if found > expected {
                return Err(ProfileError::CpuBatchMissing {
                    missing: expected,
                    largest,
                });
            }
        }
        for (index, entry) in gpu.iter().enumerate() {
            if gpu[..index].iter().any(|earlier| earlier.device == entry.device) {
                return Err(ProfileError::GpuDeviceTwice(entry.device.clone()));
            }
        }
        Ok(Self {
            cpu,
            gpu,
            max_batch_size,
            after_idle: AfterIdle::NOTHING,
            corrections: Corrections::default(),
        })
    }

    /// The same profile, whose batches on CPU need so much more where they find their replica idle. Latencies of the curves are those of batches that follow each
    /// other; of work under a quota, that of one which is never stopped.
    #[must_use]
    pub fn with_after_idle(mut self, after_idle: AfterIdle) -> Self {
        for entry in &mut self.cpu {
            entry.mean = entry.mean.with_after_idle(after_idle);
            entry.max = entry.max.with_after_idle(after_idle);
        }
        Self { after_idle, ..self }
    }

    /// What batches on CPU need more where they find their replica idle.
    pub fn after_idle(&self) -> AfterIdle {
        self.after_idle
    }

    /// The same profile, whose latencies plans take so many times. Its own figures stay as they are.
    #[must_use]
    pub fn corrected(self, corrections: Corrections) -> Self {
        Self { corrections, ..self }
    }

    /// How many times its latencies plans take.
    pub fn corrections(&self) -> &Corrections {
        &self.corrections
    }

    /// CPU latencies of batch sizes 1, 2, ... in this order.
    pub fn cpu(&self) -> &[CpuLatency] {
        &self.cpu
    }

    /// The curves of mean and maximum of batch sizes 1, 2, ..., where all of them say what work is done under a quota, and the period is one.
    pub(crate) fn throttled(&self) -> Option<Vec<(Throttled, Throttled)>> {
        let pair = |entry: &CpuLatency| match (entry.mean, entry.max) {
            (CpuCurve::Throttled(mean), CpuCurve::Throttled(max)) => Some((mean, max)),
            _ => None,
        };
        let pairs: Vec<(Throttled, Throttled)> = self.cpu.iter().map(pair).collect::<Option<_>>()?;
        let mut periods = pairs.iter().flat_map(|(mean, max)| [mean.period(), max.period()]);
        let first = periods.next()?.to_bits();
        periods.all(|period| period.to_bits() == first).then_some(pairs)
    }

    /// GPU latencies, one for each kind of device.
    pub fn gpu(&self) -> &[GpuLatency] {
        &self.gpu
    }

    /// The same model with a part of the memory on every GPU.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an amount of memory to 15 digits is as good as any"
    )]
    pub(crate) fn with_part_of_memory(&self, part: f64) -> Self {
        let of = |bytes: Bytes| Bytes((bytes.0 as f64 * part) as u64);
        let mut model = self.clone();
        for latency in &mut model.gpu {
            latency.memory = Memory {
                base: of(latency.memory.base),
                per_row: of(latency.memory.per_row),
            };
        }
        model
    }

    /// The largest batch that the runtime accepts.
    pub fn max_batch_size(&self) -> BatchSize {
        self.max_batch_size
    }
}
