//! What a plan says: groups, their functions, and the applications that cannot be served.

use std::fmt;

use crate::explain::Explanation;
use crate::platform::Billing;
use crate::units::{BatchSize, Bytes, GpuUnits, Headroom, Percentile, Rate, Seconds, Vcpu};

/// The device of a function and its size on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// A CPU limit.
    Cpu {
        /// The limit; the request equals it.
        vcpu: Vcpu,
    },
    /// A share of a GPU.
    Gpu {
        /// The pool that the share is taken from.
        pool: String,
        /// The size of the share.
        units: GpuUnits,
    },
}

impl fmt::Display for Device {
    /// `cpu 1650m` or `6 units of a10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu { vcpu } => write!(f, "cpu {vcpu}"),
            Self::Gpu { pool, units } if units.get() == 1 => write!(f, "1 unit of {pool}"),
            Self::Gpu { pool, units } => write!(f, "{units} units of {pool}"),
        }
    }
}

/// When a batch leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dispatch {
    /// A free replica takes what waits.
    Eager,
    /// A batch waits until it is full or its earliest maximum wait has passed.
    Timed,
}

/// What a simulation of the plan showed of one application, with nothing of the platform's headroom used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulated {
    /// Mean latency, the overhead included.
    pub mean: Seconds,
    /// Share of the requests within the SLO, as a fraction; the percentile is confirmed to be below it.
    pub attainment: f64,
    /// The same if every batch took the longest time of its size: how times lie below their maximum is assumed, not
    /// measured, so this shows what rests on the assumption.
    pub attainment_if_slowest: f64,
}

/// One application in a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The application's name.
    pub app: String,
    /// Its SLO as declared, the overhead included.
    pub slo: Seconds,
    /// The share of its requests that must keep the SLO.
    pub percentile: Percentile,
    /// Its rows per second.
    pub rate: Rate,
    /// How long its requests may wait for a batch to fill; zero under [`Dispatch::Eager`].
    pub max_wait: Seconds,
    /// The latency that the plan's constraint holds below the SLO, the overhead included: where a simulation gave the
    /// verdict, the latency that `percentile` of the requests kept there; else wait and longest service.
    pub latency_bound: Seconds,
    /// What a simulation showed, where one gave the verdict.
    pub simulated: Option<Simulated>,
    /// Its part of the group's cost per second, in proportion to what each member would cost alone, so that
    /// nobody pays more than alone and all save the same share; the members' parts sum to the group's cost.
    pub cost_per_second: f64,
    /// Its part of the group's cost per row.
    pub cost_per_request: f64,
    /// Why it is here.
    pub explanation: Explanation,
}

/// What a group is expected to do where batches take what the profile says, with nothing of the platform's headroom used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// Cost per second, in the platform's currency.
    pub cost_per_second: f64,
    /// Cost per row, in the platform's currency.
    pub cost_per_request: f64,
    /// Mean rows in a batch.
    pub mean_batch: f64,
    /// Share of the replicas' time in which they run a batch.
    pub utilization: f64,
    /// Mean time that a replica takes for a full batch.
    pub mean_service: Seconds,
    /// Longest time that a replica takes for a full batch.
    pub max_service: Seconds,
}

/// Applications that share batches, and the function that serves them.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPlan {
    /// Device and size of one replica.
    pub device: Device,
    /// The most rows in a batch.
    pub batch_size: BatchSize,
    /// When a batch leaves.
    pub dispatch: Dispatch,
    /// How many replicas run.
    pub replicas: u32,
    /// The applications, tightest SLO first, equal SLOs by name.
    pub members: Vec<Member>,
    /// What the group is expected to do.
    pub predicted: Predicted,
    /// Whether a simulation confirmed that every member keeps its percentile, also where all of the platform's headroom is used.
    pub verified: bool,
}

/// Why an application cannot be served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InfeasibleReason {
    /// The model has no profile for a device that the platform offers.
    #[error("the model has no latency profile for any device of the platform")]
    NoDevice,
    /// A batch of one row does not fit on the largest share of any pool, and there is no CPU profile.
    #[error("a batch of one row needs {needed} of device memory; the largest share has {largest}")]
    OutOfMemory {
        /// What the smallest batch needs.
        needed: Bytes,
        /// What the largest share has.
        largest: Bytes,
    },
    /// No configuration is fast enough with the platform's headroom, even for one row at a time.
    #[error("slo {slo} is below the fastest known configuration ({fastest} on {device})")]
    SloTooTight {
        /// The SLO as declared.
        slo: Seconds,
        /// The smallest SLO that any configuration keeps, overhead and headroom included.
        fastest: Seconds,
        /// The configuration that keeps it.
        device: Device,
    },
    /// The load needs more replicas than a plan may have.
    #[error("rate {rate}/s needs {needed} replicas of {device}; at most {limit} are planned")]
    RateTooHigh {
        /// The declared rate in rows per second.
        rate: f64,
        /// How many replicas it needs at least.
        needed: u64,
        /// How many a group may have.
        limit: u32,
        /// The configuration that needs fewest.
        device: Device,
    },
    /// The devices of a pool do not suffice for everybody, and no other kind of device serves it.
    #[error(
        "gpu pool {pool} is full with the other applications (devices: {devices}): add a device, or lower a rate"
    )]
    PoolExhausted {
        /// The pool.
        pool: String,
        /// How many devices it has.
        devices: u32,
    },
    /// Batches that queue for a replica cannot keep an SLO for every single request, nor could it be confirmed.
    #[error("a percentile above 99.999 cannot be promised where batches queue for a replica")]
    PercentileUnattainable,
    /// Functions that are billed while they run are planned by formulas for Poisson arrivals.
    #[error(
        "bursts and traces are only planned for where replicas are billed while they are up; billing by invocation takes arrivals for Poisson"
    )]
    ArrivalsNotPoisson,
}

/// An application that no configuration serves. It disturbs no other application.
#[derive(Debug, Clone, PartialEq)]
pub struct InfeasibleApp {
    /// The application's name.
    pub app: String,
    /// Why it cannot be served.
    pub reason: InfeasibleReason,
    /// The smallest SLO, in whole milliseconds, that it could be served with; `None` where the SLO is not what
    /// stands in the way.
    pub nearest_slo: Option<Seconds>,
    /// The largest headroom, in whole tenths of a percent, with which its SLO could be kept; `None` where the headroom is not what stands in the
    /// way of the SLO.
    pub nearest_headroom: Option<Headroom>,
}

/// The plan of one model's applications.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The namespace of the model.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// How the platform bills, hence which constraint the groups keep.
    pub billing: Billing,
    /// How much longer batches may take than their profile says while the groups keep their constraint.
    pub headroom: Headroom,
    /// The groups, tightest SLO first. Names are given by whoever knows the groups that exist.
    pub groups: Vec<GroupPlan>,
    /// The applications that cannot be served, by name.
    pub infeasible: Vec<InfeasibleApp>,
    /// Cost per second of all groups, in the platform's currency.
    pub cost_per_second: f64,
    /// What any plan for the applications that are served costs at least per second, in the platform's currency, however they are grouped: a bound
    /// that needs no search, with all replicas as busy, or all batches as full, as can be. It is far below what is possible where few rows arrive.
    pub least_cost_per_second: f64,
}
