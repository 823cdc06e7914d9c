//! Functions that cost while they run, with the paper's law of the batch size.
//!
//! Every batch finds a function of its own, so an application's latency is its wait plus the longest service:
//! `t_j + L_max <= s_j`. For each batch size only the Pareto frontier of (longest service, cost) matters; a
//! run needs one binary search in each.

use super::{Choice, Fastest, MAX_REPLICAS, Operation, Provisioner};
use crate::arrival::{EquivalentTimeout, Load};
use crate::group::{self, Cut, Priced};
use crate::latency::{Catalogue, Kind};
use crate::plan::Dispatch;
use crate::platform::Platform;

/// A function at one batch size.
#[derive(Debug, Clone, Copy)]
struct Point {
    longest_service: f64,
    /// Price of one invocation, request fee included.
    cost: f64,
    function: usize,
}

/// The provisioning of [`crate::Billing::PerInvocation`] under [`crate::ArrivalModel::Paper`].
#[derive(Debug)]
pub(crate) struct Paper {
    /// For batch sizes 1, 2, ...: slower and cheaper along the frontier. Of equal costs, as all shares of a GPU
    /// have, the smallest size wins as soon as it is fast enough.
    frontiers: Vec<Vec<Point>>,
    /// The least cost of a request in any full batch.
    least_per_request: f64,
}

impl Provisioner for Paper {
    fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self {
        let fee = platform.prices().request.get();
        let mut frontiers: Vec<Vec<Point>> = Vec::new();
        for (index, function) in catalogue.functions.iter().enumerate() {
            if only.is_some_and(|kind| kind != function.site.kind()) {
                continue;
            }
            if frontiers.len() < function.service.len() {
                frontiers.resize_with(function.service.len(), Vec::new);
            }
            let longest = super::longest_so_far(&function.service);
            for ((points, service), longest_service) in
                frontiers.iter_mut().zip(&function.service).zip(longest)
            {
                points.push(Point {
                    longest_service,
                    cost: service.run_cost + fee,
                    function: index,
                });
            }
        }
        frontiers.iter_mut().for_each(keep_frontier);
        let least_per_request = (1_u32..)
            .zip(&frontiers)
            .filter_map(|(batch, frontier)| Some(frontier.last()?.cost / f64::from(batch)))
            .fold(f64::INFINITY, f64::min);
        Self {
            frontiers,
            least_per_request,
        }
    }

    fn choose(&self, run: &[Load]) -> Option<Choice> {
        let run = EquivalentTimeout::of_run(run)?;
        let mut best: Option<Choice> = None;
        for (batch, frontier) in (1_u32..).zip(&self.frontiers) {
            let limit = run.longest_service(batch);
            if limit <= 0.0 {
                break;
            }
            let fast_enough = frontier.partition_point(|point| point.longest_service <= limit);
            let Some(point) = fast_enough.checked_sub(1).and_then(|last| frontier.get(last)) else {
                continue;
            };
            let choice = Choice {
                function: point.function,
                batch,
                replicas: 1,
                dispatch: Dispatch::Timed,
                cost_per_second: run.rate * point.cost / f64::from(batch),
            };
            if best.is_none_or(|best| choice.compare(&best).is_lt()) {
                best = Some(choice);
            }
        }
        best
    }

    fn groups(&self, loads: &[Load], alone: &[Choice]) -> Vec<Cut> {
        group::cheapest_groups(loads, alone, self)
    }

    fn settle(&self, catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        if choice.replicas == 0 {
            return None;
        }
        let operation = operation(catalogue, loads, choice);
        (operation.replicas <= MAX_REPLICAS).then_some((*choice, operation))
    }

    fn least_cost(&self, loads: &[Load]) -> f64 {
        loads.iter().map(|load| load.rate).sum::<f64>() * self.least_per_request
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        let longest = catalogue
            .functions
            .iter()
            .map(|function| function.single().max)
            .enumerate();
        longest
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(function, latency)| Fastest { latency, function })
    }

    fn fewest_replicas(&self, catalogue: &Catalogue, run: &[Load]) -> Option<(usize, f64)> {
        let choice = self.choose(run)?;
        let replicas = operation(catalogue, run, &choice).replicas;
        Some((choice.function, f64::from(replicas)))
    }
}

impl Priced for Paper {
    /// Batches are taken to be full, so one application less may cost more: its loss makes all batches smaller.
    const MONOTONE: bool = false;

    fn bound(&self, run: &[Load], _enough: f64) -> f64 {
        self.least_cost(run)
    }

    fn within(&self, loads: &[Load], _floor: f64, budget: f64) -> Option<Choice> {
        self.choose(loads)
            .filter(|choice| choice.cost_per_second < budget)
    }
}

/// What a choice means for the loads, however many replicas that takes.
fn operation(catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Operation {
    let function = &catalogue.functions[choice.function];
    Operation::in_parallel(loads, function, choice.batch, f64::from(choice.batch))
}

/// Leaves the points that are cheaper than every faster one (or as cheap and earlier in the catalogue),
/// fastest first.
fn keep_frontier(points: &mut Vec<Point>) {
    points.sort_by(|a, b| {
        a.longest_service
            .total_cmp(&b.longest_service)
            .then(a.cost.total_cmp(&b.cost))
            .then(a.function.cmp(&b.function))
    });
    let mut cheapest: Option<(f64, usize)> = None;
    points.retain(|point| {
        let better = cheapest.is_none_or(|(cost, function)| {
            point.cost < cost || (point.cost <= cost && point.function < function)
        });
        if better {
            cheapest = Some((point.cost, point.function));
        }
        better
    });
}
