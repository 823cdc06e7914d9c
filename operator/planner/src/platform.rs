//! What a platform offers and charges: devices, sizes, prices, and how it bills.

use std::num::NonZeroU16;

use crate::units::{Bytes, GpuUnits, Headroom, Price, Seconds, Vcpu};

/// When a function costs money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Billing {
    /// While its pods are up, as on one's own cluster; batches queue for a free replica.
    #[default]
    PerReplica,
    /// While a batch runs, as on Cloud Run or Function Compute; every batch finds a function of its own.
    PerInvocation,
}

/// Which algorithm groups the applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Planner {
    /// Dynamic programming over the applications in order of SLO.
    #[default]
    Optimal,
    /// The paper's two-stage merging (its Algorithms 1 and 2): the groups, and under [`Billing::PerInvocation`] their functions,
    /// are those of the paper's model, whichever law prices them.
    TwoStage,
}

/// Which law of the batch size prices a group under [`Billing::PerInvocation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArrivalModel {
    /// The exact law for Poisson arrivals, by renewal reward: a batch costs what a batch of its size costs.
    #[default]
    Exact,
    /// The paper's equivalent timeout, Eq. 5: every batch is taken to be full.
    Paper,
}

/// Prices in the platform's currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Of one vCPU for one second (K1 of the paper).
    pub vcpu_second: Price,
    /// Of one GPU unit for one second (K2 of the paper).
    pub gpu_unit_second: Price,
    /// Of one invocation, i.e. one batch (K3 of the paper); not charged under [`Billing::PerReplica`].
    pub request: Price,
}

/// A platform description that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// The grid's minimum exceeds its maximum.
    #[error("cpu.min {min} exceeds cpu.max {max}")]
    CpuGridEmpty {
        /// The smallest limit.
        min: Vcpu,
        /// The largest limit.
        max: Vcpu,
    },
    /// The grid has more sizes than a search should look at.
    #[error("cpu.step {step} gives {sizes} sizes between {min} and {max}; at most {limit} are allowed")]
    CpuGridTooFine {
        /// The smallest limit.
        min: Vcpu,
        /// The largest limit.
        max: Vcpu,
        /// The distance between two limits.
        step: Vcpu,
        /// How many sizes that gives.
        sizes: u32,
        /// How many are allowed.
        limit: u32,
    },
    /// A pool offers no share at all.
    #[error("gpu pool {pool} has no legal share")]
    NoShares {
        /// The pool.
        pool: String,
    },
    /// A share is larger than a device.
    #[error("gpu pool {pool}: a share of {share} units exceeds the {units} units of a device")]
    ShareExceedsDevice {
        /// The pool.
        pool: String,
        /// The share.
        share: GpuUnits,
        /// The units of a device.
        units: GpuUnits,
    },
    /// A time slice of zero shares nothing.
    #[error("gpu pool {pool}: the slice tau must be above 0")]
    NoSlice {
        /// The pool.
        pool: String,
    },
    /// Where a function costs only while it runs, its devices are the provider's.
    #[error(
        "gpu pool {pool}: devices limits what is planned for pods that stay up: leave it out, or set billing to PerReplica"
    )]
    DevicesPerInvocation {
        /// The pool.
        pool: String,
    },
    /// Two pools have the same name.
    #[error("gpu pool {0} is listed twice")]
    DuplicatePool(String),
}

/// The CPU limits that a function may have: `min`, `min + step`, ... up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuGrid {
    min: Vcpu,
    max: Vcpu,
    step: Vcpu,
}

impl CpuGrid {
    /// The most sizes that a grid may have.
    pub const MAX_SIZES: u32 = 10_000;

    /// Checks that the grid has at least one size and at most [`Self::MAX_SIZES`].
    pub fn new(min: Vcpu, max: Vcpu, step: Vcpu) -> Result<Self, PlatformError> {
        if min > max {
            return Err(PlatformError::CpuGridEmpty { min, max });
        }
        let sizes = (max.millis() - min.millis()) / step.millis() + 1;
        if sizes > Self::MAX_SIZES {
            return Err(PlatformError::CpuGridTooFine {
                min,
                max,
                step,
                sizes,
                limit: Self::MAX_SIZES,
            });
        }
        Ok(Self { min, max, step })
    }

    /// Whether a limit is one of them.
    pub fn offers(&self, limit: Vcpu) -> bool {
        (self.min..=self.max).contains(&limit)
            && (limit.millis() - self.min.millis()).is_multiple_of(self.step.millis())
    }

    /// All limits, smallest first.
    pub fn sizes(&self) -> impl Iterator<Item = Vcpu> + use<> {
        (self.min.millis()..=self.max.millis())
            .step_by(self.step.millis() as usize)
            .filter_map(|millis| Vcpu::from_millis(millis).ok())
    }
}

/// How functions that share a device slow each other down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Time slices in proportion to the share, Eq. 4 of the paper (cGPU, fixed-share scheduling).
    #[default]
    FixedShare,
    /// Tenants take turns whatever their share (time-slicing of the NVIDIA device plugin): the share only sets the memory.
    EqualShare {
        /// How many tenants a device admits; none means as many as fit beside a share if all others are of the smallest.
        tenants: Option<NonZeroU16>,
    },
}

/// GPUs of one kind, divided into units that functions hold as shares.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuPool {
    name: String,
    device: String,
    units_per_device: GpuUnits,
    memory_per_unit: Bytes,
    tau: Seconds,
    sharing: Sharing,
    shares: Vec<GpuUnits>,
    devices: Option<u32>,
}

impl GpuPool {
    /// Describes a pool. `tau` is the length of the time slice of one unit; `shares` are the legal shares, in
    /// any order.
    pub fn new(
        name: impl Into<String>,
        device: impl Into<String>,
        units_per_device: GpuUnits,
        memory_per_unit: Bytes,
        tau: Seconds,
        sharing: Sharing,
        mut shares: Vec<GpuUnits>,
    ) -> Result<Self, PlatformError> {
        let pool = name.into();
        shares.sort_unstable();
        shares.dedup();
        let Some(&largest) = shares.last() else {
            return Err(PlatformError::NoShares { pool });
        };
        if largest > units_per_device {
            return Err(PlatformError::ShareExceedsDevice {
                pool,
                share: largest,
                units: units_per_device,
            });
        }
        if tau.get() <= 0.0 {
            return Err(PlatformError::NoSlice { pool });
        }
        Ok(Self {
            name: pool,
            device: device.into(),
            units_per_device,
            memory_per_unit,
            tau,
            sharing,
            shares,
            devices: None,
        })
    }

    /// The same pool with so many devices and no more; without a number there are as many as are needed.
    #[must_use]
    pub fn with_devices(self, devices: Option<u32>) -> Self {
        Self { devices, ..self }
    }

    /// How many devices there are, if that is limited.
    pub fn devices(&self) -> Option<u32> {
        self.devices
    }

    /// The pool's name, unique on the platform.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of GPU, as profiles name it.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// How many units a device is divided into (M of the paper).
    pub fn units_per_device(&self) -> GpuUnits {
        self.units_per_device
    }

    /// Device memory that comes with each unit.
    pub fn memory_per_unit(&self) -> Bytes {
        self.memory_per_unit
    }

    /// The time slice of one unit.
    pub fn tau(&self) -> Seconds {
        self.tau
    }

    /// How functions that share a device slow each other down.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// The legal shares, smallest first.
    pub fn shares(&self) -> &[GpuUnits] {
        &self.shares
    }
}

/// Everything that a plan may use and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Platform {
    billing: Billing,
    prices: Prices,
    overhead: Seconds,
    headroom: Headroom,
    cpu: Option<CpuGrid>,
    gpu_pools: Vec<GpuPool>,
    planner: Planner,
    arrivals: ArrivalModel,
    simulation_effort: u32,
    /// What a unit of each pool costs in a search beyond its price, because other models want it too.
    scarcity: Vec<f64>,
}

impl Platform {
    /// Describes a platform that plans with the default algorithms. `overhead` is the time from the gateway to a
    /// replica and back, taken off every SLO; without a grid no function runs on CPU.
    pub fn new(
        billing: Billing,
        prices: Prices,
        overhead: Seconds,
        cpu: Option<CpuGrid>,
        mut gpu_pools: Vec<GpuPool>,
    ) -> Result<Self, PlatformError> {
        // By name, so that the order in which pools are listed breaks no tie.
        gpu_pools.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = gpu_pools.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(PlatformError::DuplicatePool(pair[0].name.clone()));
        }
        if billing == Billing::PerInvocation
            && let Some(pool) = gpu_pools.iter().find(|pool| pool.devices.is_some())
        {
            return Err(PlatformError::DevicesPerInvocation {
                pool: pool.name.clone(),
            });
        }
        Ok(Self {
            scarcity: vec![0.0; gpu_pools.len()],
            billing,
            prices,
            overhead,
            headroom: Headroom::NONE,
            cpu,
            gpu_pools,
            planner: Planner::default(),
            arrivals: ArrivalModel::default(),
            simulation_effort: 1,
        })
    }

    /// The same platform where batches may take so much longer than their profile says, and every promise is still kept; none without it.
    ///
    /// Whatever decides whether an application can be served, on what, and how long its requests may wait takes a profile's latencies, mean and longest, and
    /// the CPU work where a quota is played, that many times longer. What runs cost, and all that is predicted of a plan, is by the profile as it is.
    #[must_use]
    pub fn with_headroom(self, headroom: Headroom) -> Self {
        Self { headroom, ..self }
    }

    /// The same platform with another grouping algorithm.
    #[must_use]
    pub fn with_planner(self, planner: Planner) -> Self {
        Self { planner, ..self }
    }

    /// The same platform with another law of the batch size.
    #[must_use]
    pub fn with_arrivals(self, arrivals: ArrivalModel) -> Self {
        Self { arrivals, ..self }
    }

    /// The same platform with simulations that run `times` as long, at least once, for those who would rather wait.
    #[must_use]
    pub fn with_simulation_effort(self, times: u32) -> Self {
        Self {
            simulation_effort: times.clamp(1, 1000),
            ..self
        }
    }

    /// The same platform where a search takes units of the pools, in their order, for so much dearer a second.
    pub(crate) fn with_scarcity(self, scarcity: Vec<f64>) -> Self {
        Self { scarcity, ..self }
    }

    /// The same platform with another number of devices in one pool.
    pub(crate) fn with_pool_devices(mut self, pool: usize, devices: u32) -> Self {
        if let Some(pool) = self.gpu_pools.get_mut(pool) {
            pool.devices = Some(devices);
        }
        self
    }

    /// What a unit of a pool costs in a search beyond its price, per second.
    pub(crate) fn scarcity(&self, pool: usize) -> f64 {
        self.scarcity.get(pool).copied().unwrap_or(0.0)
    }

    /// How many times longer than usual simulations run.
    pub fn simulation_effort(&self) -> u32 {
        self.simulation_effort
    }

    /// When a function costs money.
    pub fn billing(&self) -> Billing {
        self.billing
    }

    /// What is charged.
    pub fn prices(&self) -> Prices {
        self.prices
    }

    /// Time from the gateway to a replica and back.
    pub fn overhead(&self) -> Seconds {
        self.overhead
    }

    /// How much longer batches may take than their profile says.
    pub fn headroom(&self) -> Headroom {
        self.headroom
    }

    /// The CPU limits on offer, if any.
    pub fn cpu(&self) -> Option<CpuGrid> {
        self.cpu
    }

    /// The GPU pools on offer, by name.
    pub fn gpu_pools(&self) -> &[GpuPool] {
        &self.gpu_pools
    }

    /// Which algorithm groups the applications.
    pub fn planner(&self) -> Planner {
        self.planner
    }

    /// Which law of the batch size prices a group under [`Billing::PerInvocation`].
    pub fn arrivals(&self) -> ArrivalModel {
        self.arrivals
    }
}
