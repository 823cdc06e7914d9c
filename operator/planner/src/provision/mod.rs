//! The cheapest function for a run of applications, under the constraint of the platform's billing.
//!
//! A [`Provisioner`] prepares the catalogue once for each model, so that a run is priced in far less than a
//! look at every function: grouping asks for the price of every run of applications.

mod exact;
mod paper;
mod parallel;
mod per_replica;
mod standing;
mod two_stage;

pub(crate) use exact::Exact;
pub(crate) use paper::Paper;
pub(crate) use per_replica::PerReplica;
pub(crate) use standing::Standing;
pub(crate) use two_stage::{Repriced, TwoStage};

use std::cmp::Ordering;

use crate::arrival::{Load, Traces};
use crate::group::Cut;
use crate::latency::{Catalogue, Function, Kind, Service};
use crate::plan::Dispatch;
use crate::platform::Platform;
use crate::session::{Memory, Stop};

/// The most replicas that a group may have.
pub(crate) const MAX_REPLICAS: u32 = 10_000;

/// A function, batch size and number of replicas for a run of applications.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// Index of the function in the catalogue.
    pub(crate) function: usize,
    pub(crate) batch: u32,
    pub(crate) replicas: u32,
    pub(crate) dispatch: Dispatch,
    pub(crate) cost_per_second: f64,
}

impl Choice {
    /// Cheapest first; equal costs by fewer replicas, then by the catalogue's order (smallest size of a kind
    /// first), then by the smaller batch, so that the choice never depends on the order of a search.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.cost_per_second
            .total_cmp(&other.cost_per_second)
            .then(self.replicas.cmp(&other.replicas))
            .then(self.function.cmp(&other.function))
            .then(self.batch.cmp(&other.batch))
    }
}

/// What a choice means for the applications that it serves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    pub(crate) dispatch: Dispatch,
    pub(crate) replicas: u32,
    pub(crate) mean_batch: f64,
    pub(crate) utilization: f64,
    /// In order of SLO.
    pub(crate) members: Vec<MemberOperation>,
}

/// What a choice means for one application; durations in seconds, without the overhead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MemberOperation {
    pub(crate) max_wait: f64,
    /// The latency that the constraint holds below the SLO.
    pub(crate) bound: f64,
    /// What a simulation showed, where one gave the verdict.
    pub(crate) simulated: Option<SimulatedLatency>,
}

/// What a simulation showed of one application.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SimulatedLatency {
    pub(crate) mean: f64,
    pub(crate) attainment: f64,
    pub(crate) attainment_if_slowest: f64,
}

impl Operation {
    /// Where every batch finds a function of its own: each application waits for as long as the longest service of
    /// batches up to the full one leaves. Taking every batch to last as long as a full one is on the safe side.
    ///
    /// Waits and replicas leave the platform's headroom; what is predicted does not use it.
    fn in_parallel(loads: &[Load], function: &Function, batch: u32, mean_batch: f64) -> Self {
        let (services, expected) = (function.up_to(batch), &function.expected[..batch as usize]);
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let busy = |services: &[Service]| {
            let full_mean = services.last().map_or(0.0, Service::invoked_mean);
            rate / mean_batch * full_mean
        };
        let longest = longest_up_to(services);
        // Nothing but zero where there is no headroom.
        let spare = longest - longest_up_to(expected);
        let strictest = loads.iter().map(|load| load.miss).fold(1.0, f64::min);
        let replicas = parallel::replicas_for_parallel_batches(busy(services), 1.0 - strictest);
        let member = |load: &Load| MemberOperation {
            max_wait: load.slo - longest,
            bound: load.slo - spare,
            simulated: None,
        };
        Self {
            dispatch: Dispatch::Timed,
            replicas,
            mean_batch,
            utilization: busy(expected) / f64::from(replicas),
            members: loads.iter().map(member).collect(),
        }
    }
}

/// The smallest latency that an application can be promised, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fastest {
    pub(crate) latency: f64,
    pub(crate) function: usize,
}

/// Prices runs of applications for one model on one platform.
pub(crate) trait Provisioner: Sized {
    /// Prepares the functions of the catalogue that run on `only`, or all of them.
    fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self;

    /// Takes what simulations need: what loads with traces refer to, what is remembered, and what stops them; nothing where formulas decide.
    fn simulating(self, _: &Traces, _: &Memory, _: &Stop) -> Self {
        self
    }

    /// The cheapest choice for a run of applications in order of SLO, if any keeps its constraint.
    fn choose(&self, run: &[Load]) -> Option<Choice>;

    /// The same, given that nothing cheaper than `floor` keeps it.
    fn choose_above(&self, run: &[Load], _floor: f64) -> Option<Choice> {
        self.choose(run)
    }

    /// The cheapest groups of loads that are sorted by SLO and feasible one by one, as `alone`.
    fn groups(&self, loads: &[Load], alone: &[Choice]) -> Vec<Cut>;

    /// The choice, or a dearer one where a closer look refuses it, and how it serves the loads; none where nothing
    /// that is tried stands up.
    fn settle(&self, catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)>;

    /// What any plan for these loads costs at least per second, however they are grouped: with replicas or batches as full as can be, on the
    /// functions that are fast enough for each.
    fn least_cost(&self, loads: &[Load]) -> f64;

    /// The smallest latency that can be promised to one row at a time.
    fn fastest(catalogue: &Catalogue) -> Option<Fastest>;

    /// The function with which the run needs fewest replicas, and how many, even if they are more than a group may have.
    fn fewest_replicas(&self, catalogue: &Catalogue, run: &[Load]) -> Option<(usize, f64)>;
}

/// The longest service of a batch of any of the sizes: a fitted profile need not grow with the batch.
fn longest_up_to(services: &[Service]) -> f64 {
    services.iter().map(|service| service.max).fold(0.0, f64::max)
}

/// The longest services of batches of up to 1, 2, ... rows.
fn longest_so_far(services: &[Service]) -> impl Iterator<Item = f64> {
    services.iter().scan(0.0, |longest: &mut f64, service| {
        *longest = longest.max(service.max);
        Some(*longest)
    })
}

/// The function with the smallest latency, of equal ones the first of the catalogue.
fn fastest(catalogue: &Catalogue, latency: impl Fn(&Function) -> f64) -> Option<Fastest> {
    let latencies = catalogue.functions.iter().map(latency).enumerate();
    latencies
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(function, latency)| Fastest { latency, function })
}
