//! A function by the definitions: the profile's curves and Eq. 3 and 4 of the paper on what platform and profile say.

use super::violation::Breach;
use crate::correction::Correction;
use crate::plan::Device;
use crate::platform::{GpuPool, Platform, Sharing};
use crate::profile::{AfterIdle, CpuCurve, CpuLatency, GpuLatency, ModelProfile, Throttled};
use crate::units::{Bytes, Headroom, Vcpu};

/// A device of a certain size and a model's latency on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Function<'a> {
    site: Site<'a>,
    /// Price of holding it for one second.
    pub(super) price: f64,
    /// The largest batch that model and profile allow.
    pub(super) largest_batch: u32,
    /// How many times the profile's latencies it takes.
    correction: Correction,
    /// How many times these, where a headroom must be left.
    times: f64,
    /// What a batch needs more that finds it idle.
    after_idle: AfterIdle,
}

#[derive(Debug, Clone, Copy)]
enum Site<'a> {
    Cpu {
        vcpu: f64,
        curves: &'a [CpuLatency],
        /// Whether a quota is played.
        is_metered: bool,
    },
    Gpu {
        pool: &'a GpuPool,
        units: u32,
        latency: &'a GpuLatency,
    },
}

impl<'a> Function<'a> {
    /// The function on a device, if the platform offers it and the profile knows it.
    pub(super) fn on(
        device: &Device,
        platform: &'a Platform,
        profile: &'a ModelProfile,
    ) -> Result<Self, Breach> {
        let not_offered = || Breach::NotOffered {
            device: device.clone(),
        };
        let no_profile = || Breach::NoProfile {
            device: device.clone(),
        };
        match device {
            Device::Cpu { vcpu } => {
                let grid = platform.cpu().ok_or_else(not_offered)?;
                if !grid.offers(*vcpu) {
                    return Err(not_offered());
                }
                Self::on_cpu(*vcpu, platform, profile).ok_or_else(no_profile)
            }
            Device::Gpu { pool, units } => {
                let pools = platform.gpu_pools();
                let found = pools.iter().find(|offered| offered.name() == pool);
                let pool = found.ok_or_else(not_offered)?;
                if !pool.shares().contains(units) {
                    return Err(not_offered());
                }
                Self::on_gpu(pool, units.get(), platform, profile).ok_or_else(no_profile)
            }
        }
    }

    /// Every function on offer that holds a batch of one row.
    pub(super) fn all(
        platform: &'a Platform,
        profile: &'a ModelProfile,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let limits = platform.cpu().into_iter().flat_map(|grid| grid.sizes());
        let cpu_functions = limits.filter_map(|vcpu| Self::on_cpu(vcpu, platform, profile));
        let shares = platform
            .gpu_pools()
            .iter()
            .flat_map(|pool| pool.shares().iter().map(move |units| (pool, units.get())));
        let pool_functions = shares.filter_map(|(pool, units)| Self::on_gpu(pool, units, platform, profile));
        cpu_functions
            .chain(pool_functions)
            .filter(|function| function.holds(1).is_ok())
    }

    fn on_cpu(vcpu: Vcpu, platform: &'a Platform, profile: &'a ModelProfile) -> Option<Self> {
        let curves = profile.cpu();
        let profiled = u32::try_from(curves.len()).unwrap_or(u32::MAX);
        let largest_batch = profiled.min(profile.max_batch_size().get());
        (profiled > 0).then_some(Self {
            site: Site::Cpu {
                vcpu: vcpu.get(),
                curves,
                is_metered: is_metered(curves) && stops_any(&curves[..largest_batch as usize], vcpu.get()),
            },
            price: vcpu.get() * platform.prices().vcpu_second.get(),
            largest_batch,
            correction: profile.corrections().cpu,
            times: 1.0,
            after_idle: profile.after_idle(),
        })
    }

    fn on_gpu(
        pool: &'a GpuPool,
        units: u32,
        platform: &'a Platform,
        profile: &'a ModelProfile,
    ) -> Option<Self> {
        let mut latencies = profile.gpu().iter();
        let latency = latencies.find(|latency| latency.device() == pool.device())?;
        Some(Self {
            site: Site::Gpu { pool, units, latency },
            price: f64::from(units) * platform.prices().gpu_unit_second.get(),
            largest_batch: profile.max_batch_size().get(),
            correction: profile.corrections().of_gpu(pool.device()),
            times: 1.0,
            after_idle: AfterIdle::NOTHING,
        })
    }

    /// The same whose batches use up a headroom, in the mean and at most.
    pub(super) fn using(self, headroom: Headroom) -> Self {
        self.times_as_long(1.0 + headroom.get())
    }

    pub(super) fn times_as_long(self, times: f64) -> Self {
        Self { times, ..self }
    }

    /// Whether it takes a batch of so many rows.
    pub(super) fn holds(&self, batch: u32) -> Result<(), Breach> {
        if batch > self.largest_batch {
            return Err(Breach::BatchTooLarge {
                found: batch,
                limit: self.largest_batch,
            });
        }
        if let Site::Gpu { pool, units, latency } = self.site {
            let memory = latency.memory();
            let needed = u128::from(memory.base.0) + u128::from(memory.per_row.0) * u128::from(batch);
            let available = u128::from(pool.memory_per_unit().0) * u128::from(units);
            if needed > available {
                let told = |bytes: u128| Bytes(u64::try_from(bytes).unwrap_or(u64::MAX));
                return Err(Breach::OutOfMemory {
                    batch,
                    needed: told(needed),
                    available: told(available),
                });
            }
        }
        Ok(())
    }

    /// Mean time of a batch of exactly so many rows, in seconds.
    pub(super) fn mean(&self, rows: u32) -> f64 {
        self.times * (self.correction.mean() * self.profiled_mean(rows))
    }

    fn profiled_mean(&self, rows: u32) -> f64 {
        match self.site {
            Site::Cpu { vcpu, curves, .. } => curves[rows as usize - 1].mean.mean(vcpu),
            Site::Gpu { pool, units, latency } => {
                let (own, round) = slices(pool, units);
                round / own * latency.whole_device(rows).get()
            }
        }
    }

    /// Mean time in seconds of a batch of exactly so many rows that has a function of its own, which was idle.
    pub(super) fn invoked_mean(&self, rows: u32) -> f64 {
        self.mean(rows) + self.idle_seconds(rows)
    }

    /// What a batch takes longer after a long idle time where no quota is played: as the mean does, in proportion to the work, or that of one core.
    fn idle_seconds(&self, rows: u32) -> f64 {
        match self.site {
            Site::Cpu { vcpu, curves, .. } => match curves[rows as usize - 1].mean {
                CpuCurve::Throttled(curve) => self.after_idle.work() * curve.mean(vcpu) / curve.work(),
                _ => self.after_idle.work() / vcpu.min(1.0),
            },
            Site::Gpu { .. } => 0.0,
        }
    }

    /// Longest time of a batch of exactly so many rows, in seconds, after idle time. Two separate fits do not promise that it is no
    /// shorter than the mean, nor than what the mean work takes where all of a quota was just spent.
    pub(super) fn longest(&self, rows: u32) -> f64 {
        let of_max = match self.site {
            Site::Cpu {
                vcpu,
                curves,
                is_metered,
            } => match curves[rows as usize - 1].max {
                CpuCurve::Throttled(curve) if is_metered => self.bound(curve, self.correction.max(), vcpu),
                curve => {
                    let longest = curve.bound(vcpu).max(self.profiled_mean(rows));
                    let busy = self.times * self.correction.max() * longest;
                    busy.max(self.mean(rows)) + self.idle_seconds(rows)
                }
            },
            Site::Gpu { pool, units, latency } => {
                let (own, round) = slices(pool, units);
                let (tau, alone) = (pool.tau().get(), latency.whole_device(rows).get());
                let longest = (alone / (own * tau)).ceil() * (round - own) * tau + alone;
                self.times * self.correction.max() * longest.max(self.profiled_mean(rows))
            }
        };
        of_max.max(self.mean(rows)).max(self.of_mean_work(rows))
    }

    /// The longest time of a batch with the mean work under a quota that is played; 0 elsewhere.
    fn of_mean_work(&self, rows: u32) -> f64 {
        let Site::Cpu {
            vcpu,
            curves,
            is_metered: true,
        } = self.site
        else {
            return 0.0;
        };
        match curves[rows as usize - 1].mean {
            CpuCurve::Throttled(curve) => self.bound(curve, self.correction.mean(), vcpu),
            _ => 0.0,
        }
    }

    /// Longest time of a batch of up to so many rows: a profile need not grow with the batch.
    pub(super) fn longest_up_to(&self, batch: u32) -> f64 {
        (1..=batch).map(|rows| self.longest(rows)).fold(0.0, f64::max)
    }

    /// The longest time of a batch with so many times the work of a curve, after idle time: in whole quotas it waits once before each, and once before what is left.
    /// What it has to do again after each wait is lost of every quota.
    fn bound(&self, curve: Throttled, factor: f64, vcpu: f64) -> f64 {
        let (after_idle, parallelism) = (self.after_idle, curve.parallelism());
        let work = self.times * (factor * curve.work()) + after_idle.work();
        let alone = work / parallelism;
        if vcpu >= parallelism {
            return alone;
        }
        let period = curve.period();
        let stands_still = period * (1.0 - vcpu / parallelism);
        let lost = after_idle.work() * (1.0 - (-stands_still / after_idle.time_constant()).exp());
        let quota = (vcpu * period - lost).max(0.1 * vcpu * period);
        alone + (work / quota).ceil() * (period - quota / parallelism)
    }
}

/// Whether all curves are of work under a quota, and of one period.
fn is_metered(curves: &[CpuLatency]) -> bool {
    let mut all = curves.iter().flat_map(|entry| [entry.mean, entry.max]);
    let period = |curve| match curve {
        CpuCurve::Throttled(curve) => Some(curve.period().to_bits()),
        _ => None,
    };
    let Some(first) = all.next().and_then(period) else {
        return false;
    };
    all.all(|curve| period(curve) == Some(first))
}

/// Whether the limit is below the CPUs that batches of some size keep busy.
fn stops_any(curves: &[CpuLatency], vcpu: f64) -> bool {
    curves.iter().any(|entry| match entry.mean {
        CpuCurve::Throttled(curve) => vcpu < curve.parallelism(),
        _ => false,
    })
}

/// Slices of a round that are a share's own, and all of them.
fn slices(pool: &GpuPool, units: u32) -> (f64, f64) {
    let all = pool.units_per_device().get();
    match pool.sharing() {
        Sharing::FixedShare => (f64::from(units), f64::from(all)),
        Sharing::EqualShare {
            tenants: Some(tenants),
        } => (1.0, f64::from(tenants.get())),
        Sharing::EqualShare { tenants: None } => {
            let smallest = pool.shares().iter().map(|share| share.get()).min().unwrap_or(1);
            (1.0, f64::from(1 + (all - units) / smallest))
        }
    }
}
