//! Latency and price of every function that a platform offers for a model.
//!
//! A [`Function`] is a device of a certain size. For every batch size that it can hold it knows how long a
//! batch takes on average and at most, and what one run costs. All later steps look only at these numbers, so
//! another way of sharing a device is another file here and nothing else.

mod cpu;
mod gpu;
mod work;

pub(crate) use work::Work;

use crate::correction::{Correction, Longest};
use crate::plan::Device;
use crate::platform::Platform;
use crate::profile::{AfterIdle, ModelProfile};
use crate::session::Fingerprint;
use crate::units::{Bytes, GpuUnits, Headroom, Vcpu};

/// The kind of device that a function runs on; the order breaks ties of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// On CPU.
    Cpu,
    /// On the pool with this index in the platform's list.
    Pool(usize),
}

/// Device and size, without the names that a plan shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// Under a CPU limit.
    Cpu(Vcpu),
    /// On a share of the pool with this index.
    Gpu { pool: usize, units: GpuUnits },
}

impl Site {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Cpu(_) => Kind::Cpu,
            Self::Gpu { pool, .. } => Kind::Pool(pool),
        }
    }

    pub(crate) fn device(self, platform: &Platform) -> Device {
        match self {
            Self::Cpu(vcpu) => Device::Cpu { vcpu },
            Self::Gpu { pool, units } => Device::Gpu {
                pool: platform
                    .gpu_pools()
                    .get(pool)
                    .map_or_else(String::new, |pool| pool.name().to_owned()),
                units,
            },
        }
    }
}

/// One batch size on one function, in seconds and in the platform's currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Service {
    /// Mean time of a batch that follows another at once.
    pub(crate) mean: f64,
    /// Longest time of a batch, after idle time too; at least the mean, which two separate fits do not promise.
    pub(crate) max: f64,
    /// What a batch takes beyond its time if it finds the replica idle, in seconds of it, which the longest time has room for. Where a quota is played, the work says it.
    pub(crate) after_idle: AfterIdle,
    /// Shortest time of a batch, as the law assumes it.
    pub(crate) least: f64,
    /// How times lie between the shortest and the longest.
    pub(crate) spread: Spread,
    /// What the time comes from where a simulation plays a quota instead of that law; then all sizes of a function have it.
    pub(crate) work: Option<Work>,
    /// Mean price of running one batch where a function costs only while it runs, without the request fee: each finds a function of its own, which was idle.
    pub(crate) run_cost: f64,
}

/// The law of the time of a batch: assumed, since a profile gives no more than mean and maximum. Its mean is the
/// profile's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Uniform between the shortest and the longest time.
    Uniform,
    /// The shortest or the longest time and nothing between.
    TwoPoints,
    /// The shortest, and an exponential part that is cut at the longest, which one in a hundred reaches: of work, whose maximum is the 99th
    /// percentile that a profile has.
    Skewed,
}

impl Spread {
    /// Where [`Spread::Skewed`] is cut, in means of its exponential part: that part exceeds ln 100 with probability 1 in 100.
    pub(crate) const CUT: f64 = 4.605_170_185_988_091;
}

impl Service {
    /// The same with its latencies corrected, whatever form they come from. What is work under a quota is corrected as work: the longest latency goes with
    /// it by the quotas that it needs.
    fn corrected(self, kind: Kind, correction: Correction) -> Self {
        let mean = self.mean * correction.mean();
        let work = self
            .work
            .map(|work| work.times(correction.mean(), correction.max()));
        let busy = (self.busy_max() * correction.max()).max(mean);
        let max = work.map_or(busy + self.after_idle.work(), |work| work.bound().max(mean));
        let (least, spread) = match kind {
            Kind::Cpu => cpu::spread(mean, busy),
            Kind::Pool(_) => ((self.least * correction.mean()).min(mean), self.spread),
        };
        Self {
            mean,
            max,
            least,
            spread,
            work,
            run_cost: self.run_cost / self.invoked_mean() * (mean + self.after_idle.work()),
            ..self
        }
    }

    /// The same with latencies that leave the headroom, as a correction makes them, at the price of those that it has: what decides whether promises are kept.
    fn with_headroom(self, kind: Kind, headroom: Headroom) -> Self {
        Self {
            run_cost: self.run_cost,
            ..self.corrected(kind, Correction::exactly(headroom.factor()))
        }
    }

    /// The same with so many times the CPU work, where it comes from work.
    pub(crate) fn with_work_times(self, factor: f64) -> Self {
        let work = self.work.map(|work| work.times(factor, factor));
        let mean = self.mean * factor;
        let busy = self.busy_max() * factor;
        let max = work.map_or(busy + self.after_idle.work(), |work| work.bound().max(mean));
        Self {
            mean,
            max,
            least: (self.least * factor).min(max),
            work,
            run_cost: self.run_cost / self.invoked_mean() * (mean + self.after_idle.work()),
            ..self
        }
    }

    /// The probability of the longest time under [`Spread::TwoPoints`].
    pub(crate) fn chance_of_max(&self) -> f64 {
        chance_of_longest(self.mean, self.least, self.busy_max())
    }

    /// Mean time where every batch finds a function of its own, which was idle.
    pub(crate) fn invoked_mean(&self) -> f64 {
        self.mean + self.after_idle.work()
    }

    /// Longest time of a batch that follows another at once, where times are drawn and no quota is played.
    pub(crate) fn busy_max(&self) -> f64 {
        self.max - self.after_idle.work()
    }

    /// Mean time of a batch that finds the replica idle.
    fn mean_after_idle(&self) -> f64 {
        self.work
            .map_or_else(|| self.invoked_mean(), Work::mean_after_idle)
    }
}

/// The probability of the largest of two values that have this mean.
fn chance_of_longest(mean: f64, least: f64, largest: f64) -> f64 {
    let width = largest - least;
    if width > 0.0 {
        ((mean - least) / width).clamp(0.0, 1.0)
    } else {
        1.0
    }
}

/// A device of a certain size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function {
    pub(crate) site: Site,
    /// Price of holding the function for one second, as a search sees it.
    pub(crate) price: f64,
    /// What is paid of it: not what its share is worth to others where the pool is short.
    pub(crate) paid: f64,
    /// Batch sizes 1, 2, ... that fit; never empty. With the platform's headroom: what decides whether promises are kept.
    pub(crate) service: Vec<Service>,
    /// The same without headroom: what is predicted.
    pub(crate) expected: Vec<Service>,
}

impl Function {
    /// The same with its latencies corrected.
    fn correct(&mut self, correction: Correction) {
        if !correction.is_none() {
            let kind = self.site.kind();
            for service in &mut self.service {
                *service = service.corrected(kind, correction);
            }
        }
    }

    /// The same that leaves a headroom.
    fn leave(&mut self, headroom: Headroom) {
        self.expected.clone_from(&self.service);
        if !headroom.is_none() {
            let kind = self.site.kind();
            for service in &mut self.service {
                *service = service.with_headroom(kind, headroom);
            }
        }
    }

    /// Batches of 1, 2, ... up to so many rows.
    pub(crate) fn up_to(&self, batch: u32) -> &[Service] {
        &self.service[..batch as usize]
    }

    /// The batch of one row, which every function can serve.
    pub(crate) fn single(&self) -> Service {
        self.service[0]
    }
}

/// What a profile says of batches of one size on a function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profiled {
    service: Service,
}

impl Profiled {
    /// Between what the mean lies in seconds, whatever part of the batches find the replica idle. These take longer, as the profile says, but under a quota they
    /// find the whole of it.
    pub fn means(&self) -> (f64, f64) {
        let (busy, idle) = (self.service.mean, self.service.mean_after_idle());
        (idle.min(busy), idle.max(busy))
    }

    /// Mean seconds; under a quota those of a replica that is never idle.
    pub fn mean(&self) -> f64 {
        self.service.mean
    }

    /// The most seconds.
    pub fn max(&self) -> f64 {
        self.service.max
    }

    /// What times are parts of.
    pub fn longest(&self) -> Longest {
        Longest::new(self.service.max, self.service.work)
    }

    /// All of it.
    pub(crate) fn service(&self) -> Service {
        self.service
    }
}

/// Latencies of batches of 1, 2, ... rows on a function, as the profile itself has them, not corrected; none where the
/// platform does not offer the function or the profile does not know it.
pub fn profiled(platform: &Platform, profile: &ModelProfile, device: &Device) -> Option<Vec<Profiled>> {
    let functions = match device {
        Device::Cpu { .. } => cpu::functions(platform, profile),
        Device::Gpu { pool, .. } => {
            let mut pools = platform.gpu_pools().iter().enumerate();
            let (index, pool) = pools.find(|(_, offered)| offered.name() == pool)?;
            let mut latencies = profile.gpu().iter();
            let latency = latencies.find(|latency| latency.device() == pool.device())?;
            gpu::shares(index, platform, latency, profile)
        }
    };
    let mut functions = functions.into_iter();
    let function = functions.find(|function| function.site.device(platform) == *device)?;
    let said = |service: &Service| Profiled { service: *service };
    Some(function.service.iter().map(said).collect())
}

/// Device memory that is missing for even the smallest batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) needed: Bytes,
    pub(crate) largest: Bytes,
}

/// All functions of a model on a platform: CPU limits first, then the pools by name; smallest size first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Catalogue {
    pub(crate) functions: Vec<Function>,
    /// The smallest shortage of the pools that have a profile but no share with enough memory.
    pub(crate) shortage: Option<Shortage>,
}

impl Catalogue {
    pub(crate) fn new(platform: &Platform, profile: &ModelProfile) -> Self {
        let mut functions = cpu::functions(platform, profile);
        let mut shortage: Option<Shortage> = None;
        for (index, pool) in platform.gpu_pools().iter().enumerate() {
            let Some(latency) = profile
                .gpu()
                .iter()
                .find(|latency| latency.device() == pool.device())
            else {
                continue;
            };
            let found = gpu::shares(index, platform, latency, profile);
            if found.is_empty() {
                let here = gpu::shortage(pool, latency);
                shortage = Some(shortage.map_or(
                    here,
                    |known| if here.needed < known.needed { here } else { known },
                ));
            }
            functions.extend(found);
        }
        let corrections = profile.corrections();
        for function in &mut functions {
            function.correct(match function.site {
                Site::Cpu(_) => corrections.cpu,
                Site::Gpu { pool, .. } => corrections.of_gpu(platform.gpu_pools()[pool].device()),
            });
            function.leave(platform.headroom());
        }
        Self { functions, shortage }
    }

    /// The largest headroom below one that is too large, in tenths of a percent, with which some function takes a row within the seconds; none where not even none is enough.
    pub(crate) fn headroom_within(&self, seconds: f64, below: Headroom) -> Option<Headroom> {
        let is_within = |tenths: u32| {
            let headroom = Headroom::from_tenths(tenths);
            let mut functions = self.functions.iter();
            functions.any(|function| {
                let single = function.expected[0].with_headroom(function.site.kind(), headroom);
                single.max <= seconds
            })
        };
        let (mut kept, mut broken) = (0, below.tenths_up());
        if broken == 0 || !is_within(kept) {
            return None;
        }
        while broken - kept > 1 {
            let middle = u32::midpoint(kept, broken);
            if is_within(middle) {
                kept = middle;
            } else {
                broken = middle;
            }
        }
        Some(Headroom::from_tenths(kept))
    }

    /// All times of all functions, with headroom and without.
    pub(crate) fn services(&self) -> Fingerprint {
        let services = self.functions.iter();
        let services = services.flat_map(|function| function.service.iter().chain(&function.expected));
        let law = |spread| f64::from(u8::from(spread == Spread::TwoPoints));
        let print = services.fold(Fingerprint::EMPTY, |print, service| {
            let print = print
                .of_numbers([service.mean, service.max, service.least, law(service.spread)])
                .of_numbers([service.after_idle.work(), service.after_idle.time_constant()]);
            match &service.work {
                Some(work) => print
                    .of_numbers([work.mean(), work.least, work.most, law(work.spread)])
                    .of_numbers([work.parallelism(), work.vcpu(), work.period()])
                    .of_numbers([work.after_idle.work(), work.after_idle.time_constant()]),
                None => print,
            }
        });
        // Where one function ends and the next begins.
        let sizes = self
            .functions
            .iter()
            .map(|function| function.service.len() as u64);
        sizes.fold(print, Fingerprint::add)
    }

    /// All prices of all functions, and on which kind of device they run.
    pub(crate) fn prices(&self) -> Fingerprint {
        self.functions.iter().fold(Fingerprint::EMPTY, |print, function| {
            let kind = match function.site.kind() {
                Kind::Cpu => 0,
                Kind::Pool(pool) => 1 + pool as u64,
            };
            let runs = function.service.iter().map(|service| service.run_cost);
            print.add(kind).of_numbers([function.price]).of_numbers(runs)
        })
    }

    /// The kinds of device on offer, in order, each once.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self
            .functions
            .iter()
            .map(|function| function.site.kind())
            .collect();
        kinds.dedup();
        kinds
    }
}
