//! Functions that cost while they are up, whose batches queue for a free replica.
//!
//! No formula says how often a request is late then: the verdict comes from a simulation (`crate::simulate`). `screen`
//! bounds from below what a group can cost, `search` tries the sizes that are cheap enough on a short simulation,
//! and `confirm` plays what was chosen on arrivals that the search has never seen, until the verdict is sure; where
//! it fails, the next dearer configuration is tried.

mod confirm;
mod keep_up;
mod screen;
mod search;

use std::sync::Arc;

use super::{Choice, Fastest, MAX_REPLICAS, Operation, Provisioner};
use crate::arrival::{Load, Traces};
use crate::group::{self, Cut};
use crate::latency::{Catalogue, Function, Kind};
use crate::platform::{Platform, Sharing};
use crate::session::{Memory, Stop, Verdicts};
use crate::units::Headroom;
use screen::Screen;

/// The largest share of their time that replicas may be busy in the mean, were every batch full. Near one, queues
/// form too slowly for a short simulation to see them.
const UTILIZATION_LIMIT: f64 = 0.95;

/// One size of a kind of device.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Index in the catalogue.
    function: usize,
    /// Price of one replica for one second.
    price: f64,
    /// Longest time of a batch of one row.
    single: f64,
    /// Rows per second that one replica may be given.
    capacity: f64,
    /// Whether a larger size is no faster, or not in proportion, so that several small replicas may beat a large one.
    by_turns: bool,
}

/// The provisioning of [`crate::Billing::PerReplica`].
#[derive(Debug)]
pub(crate) struct PerReplica {
    functions: Vec<Function>,
    /// The sizes of each kind of device, cheapest first.
    kinds: Vec<Vec<Size>>,
    screen: Screen,
    /// What loads with traces refer to.
    traces: Traces,
    /// What earlier simulations said.
    verdicts: Arc<Verdicts>,
    /// What ends the search: no further simulation is begun, and nothing keeps any promise.
    stop: Stop,
    /// Arrivals of one simulation of the search, where the verdict is not clear earlier.
    arrivals: u64,
    /// How many times longer than usual simulations run.
    effort: u64,
    headroom: Headroom,
}

/// Arrivals of one simulation that a plan rests on.
const ARRIVALS: u64 = 20_000;

/// Arrivals of one simulation that only tells how another kind of device compares.
const ARRIVALS_TO_COMPARE: u64 = 5_000;

impl PerReplica {
    fn sizes(catalogue: &Catalogue, platform: &Platform, kind: Kind) -> Vec<Size> {
        let by_turns = match kind {
            Kind::Cpu => false,
            Kind::Pool(pool) => matches!(platform.gpu_pools()[pool].sharing(), Sharing::EqualShare { .. }),
        };
        let mut sizes: Vec<Size> = catalogue
            .functions
            .iter()
            .enumerate()
            .filter(|(_, function)| function.site.kind() == kind)
            .map(|(index, function)| {
                let capacity = (1_u32..)
                    .zip(&function.service)
                    .map(|(rows, service)| f64::from(rows) / service.mean * UTILIZATION_LIMIT)
                    .fold(0.0, f64::max);
                Size {
                    function: index,
                    price: function.price,
                    single: function.single().max,
                    capacity,
                    by_turns,
                }
            })
            .collect();
        sizes.sort_by(|a, b| a.price.total_cmp(&b.price).then(a.function.cmp(&b.function)));
        sizes
    }
}

impl Provisioner for PerReplica {
    fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self {
        let kinds: Vec<Vec<Size>> = catalogue
            .kinds()
            .into_iter()
            .filter(|&kind| only.is_none_or(|only| only == kind))
            .map(|kind| Self::sizes(catalogue, platform, kind))
            .collect();
        let effort = u64::from(platform.simulation_effort());
        let arrivals = if only.is_some() {
            ARRIVALS_TO_COMPARE
        } else {
            ARRIVALS
        };
        Self {
            functions: catalogue.functions.clone(),
            screen: Screen::new(kinds.iter().flatten()),
            kinds,
            traces: Traces::default(),
            verdicts: Arc::default(),
            stop: Stop::default(),
            arrivals: arrivals * effort,
            effort,
            headroom: platform.headroom(),
        }
    }

    fn simulating(self, traces: &Traces, memory: &Memory, stop: &Stop) -> Self {
        Self {
            traces: traces.clone(),
            verdicts: Arc::clone(&memory.verdicts),
            stop: stop.clone(),
            ..self
        }
    }

    fn choose(&self, run: &[Load]) -> Option<Choice> {
        self.cheapest_within(run, 0.0, f64::INFINITY)
    }

    fn choose_above(&self, run: &[Load], floor: f64) -> Option<Choice> {
        self.cheapest_within(run, floor, f64::INFINITY)
    }

    fn groups(&self, loads: &[Load], alone: &[Choice]) -> Vec<Cut> {
        group::pruned_cut(loads, alone, self)
    }

    fn settle(&self, _: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        self.confirmed(loads, choice)
    }

    fn least_cost(&self, loads: &[Load]) -> f64 {
        self.screen.bound_of_all(loads)
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        super::fastest(catalogue, |function| function.single().max)
    }

    fn fewest_replicas(&self, _: &Catalogue, run: &[Load]) -> Option<(usize, f64)> {
        let rate: f64 = run.iter().map(|load| load.rate).sum();
        let slo = run.first().map_or(0.0, |load| load.slo);
        let sizes = self.kinds.iter().flatten().filter(|size| size.single <= slo);
        sizes
            .map(|size| {
                (
                    size.function,
                    (rate / size.capacity).ceil().max(f64::from(MAX_REPLICAS) + 1.0),
                )
            })
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

impl group::Priced for PerReplica {
    const MONOTONE: bool = true;

    fn bound(&self, run: &[Load], _enough: f64) -> f64 {
        let rate = run.iter().map(|load| load.rate).sum();
        self.screen.bound(rate, run.first().map_or(0.0, |load| load.slo))
    }

    fn within(&self, loads: &[Load], floor: f64, budget: f64) -> Option<Choice> {
        self.cheapest_within(loads, floor, budget)
    }
}
