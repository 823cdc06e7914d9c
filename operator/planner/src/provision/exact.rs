//! Functions that cost while they run, with the exact law of the batch size.
//!
//! The cost per request is the mean cost of a batch divided by the mean batch (renewal reward), with the cost of
//! the size that actually occurs. Every function of every batch size first gets a lower bound of that, from a
//! bound of the mean batch; only the few whose bound beats the best so far are computed.

use super::{Choice, Fastest, Operation, Provisioner};
use crate::arrival::{BatchLaw, Load};
use crate::latency::{Catalogue, Kind};
use crate::plan::Dispatch;
use crate::platform::Platform;

/// A share this much dearer than the cheapest, relatively, is taken if it is smaller: the cost of an invocation
/// hardly depends on the share, and what is left free serves others.
const WORTH_LESS_THAN_A_UNIT: f64 = 1e-3;

/// How many of the points kept last a new one is compared with.
const COMPARED: usize = 4;

/// A function at one batch size.
#[derive(Debug, Clone, Copy)]
struct Point {
    longest_service: f64,
    batch: u32,
    function: usize,
    /// A batch of `k` requests costs at least `fixed + per_request * k`, for all sizes up to `batch`.
    fixed: f64,
    per_request: f64,
}

impl Point {
    /// A lower bound of the cost per request with batches of `mean_batch` requests at most.
    fn bound(&self, mean_batch: f64) -> f64 {
        // A fixed cost below zero is spread over as few requests as there can be.
        let requests = if self.fixed > 0.0 { mean_batch } else { 1.0 };
        self.per_request + self.fixed / requests
    }
}

/// The provisioning of [`crate::Billing::PerInvocation`] under [`crate::ArrivalModel::Exact`].
#[derive(Debug)]
pub(crate) struct Exact {
    points: Vec<Point>,
    /// Cost of a batch of 1, 2, ... requests on each function of the catalogue, request fee included.
    costs: Vec<Vec<f64>>,
    /// For each function of the catalogue its longest service of 1, 2, ... requests, where it is a share of a GPU
    /// (with the pool's number).
    shares: Vec<Option<(Kind, Vec<f64>)>>,
}

/// A run of applications in order of SLO.
#[derive(Debug)]
pub(crate) struct Run {
    loads: Vec<Load>,
}

impl Run {
    fn rate(&self) -> f64 {
        self.loads.iter().map(|load| load.rate).sum()
    }

    fn slo(&self) -> f64 {
        self.loads.first().map_or(0.0, |load| load.slo)
    }
}

impl Exact {
    /// The smallest share of the same pool that costs hardly more with the same batch size; cost grows as the
    /// share shrinks, since less time is left to fill a batch.
    fn smallest_share(&self, best: Choice, slo: f64, mut cost_of: impl FnMut(&Point) -> f64) -> Choice {
        let Some((pool, _)) = &self.shares[best.function] else {
            return best;
        };
        let first = self
            .shares
            .iter()
            .position(|share| share.as_ref().is_some_and(|(other, _)| other == pool));
        let (mut low, mut smallest) = (first.unwrap_or(best.function), best);
        while low < smallest.function {
            let function = low.midpoint(smallest.function);
            let service = self.shares[function]
                .as_ref()
                .and_then(|(_, service)| service.get(best.batch as usize - 1));
            let cost = service
                .filter(|&&longest| longest <= slo)
                .map(|&longest_service| {
                    cost_of(&Point {
                        longest_service,
                        batch: best.batch,
                        function,
                        fixed: 0.0,
                        per_request: 0.0,
                    })
                });
            match cost.filter(|cost| *cost <= best.cost_per_second * (1.0 + WORTH_LESS_THAN_A_UNIT)) {
                Some(cost_per_second) => {
                    smallest = Choice {
                        function,
                        cost_per_second,
                        ..best
                    }
                }
                None => low = function + 1,
            }
        }
        smallest
    }

    /// Mean cost per request.
    fn cost_per_request(&self, law: &BatchLaw, slo: f64, point: &Point, scratch: &mut Vec<f64>) -> f64 {
        let costs = &self.costs[point.function];
        law.exceedance(slo - point.longest_service, point.batch, scratch);
        let mut batch = 1.0;
        let mut cost = costs[0];
        for (exceedance, pair) in scratch.iter().zip(costs.windows(2)) {
            batch += exceedance;
            cost += exceedance * (pair[1] - pair[0]);
        }
        cost / batch
    }
}

impl Provisioner for Exact {
    type Run = Run;

    fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self {
        let fee = platform.prices().request.get();
        let costs: Vec<Vec<f64>> = catalogue
            .functions
            .iter()
            .map(|function| {
                function
                    .service
                    .iter()
                    .map(|service| service.run_cost + fee)
                    .collect()
            })
            .collect();
        let wanted =
            |function: &usize| only.is_none_or(|kind| kind == catalogue.functions[*function].site.kind());
        let functions: Vec<usize> = (0..costs.len()).filter(wanted).collect();
        let largest = functions
            .iter()
            .map(|&function| costs[function].len())
            .max()
            .unwrap_or(0);
        let mut points = Vec::new();
        for (size, batch) in (1..=largest).zip(1_u32..) {
            let mut at_size: Vec<Point> = functions
                .iter()
                .filter(|&&function| costs[function].len() >= size)
                .map(|&function| {
                    let costs = &costs[function][..size];
                    let (fixed, per_request) = minorant(costs);
                    let longest_service = catalogue.functions[function].service[size - 1].max;
                    Point {
                        longest_service,
                        batch,
                        function,
                        fixed,
                        per_request,
                    }
                })
                .collect();
            keep_undominated(&mut at_size, &costs, size);
            points.append(&mut at_size);
        }
        let shares = catalogue.functions.iter().map(|function| {
            let kind = function.site.kind();
            let service = || function.service.iter().map(|service| service.max).collect();
            (kind != Kind::Cpu).then(|| (kind, service()))
        });
        Self {
            points,
            costs,
            shares: shares.collect(),
        }
    }

    fn open(load: Load) -> Run {
        Run { loads: vec![load] }
    }

    fn extend(run: &mut Run, load: Load) {
        run.loads.push(load);
    }

    fn choose(&self, run: &Run) -> Option<Choice> {
        let (rate, slo) = (run.rate(), run.slo());
        let law = BatchLaw::new(&run.loads);
        let mut candidates: Vec<(f64, &Point)> = self
            .points
            .iter()
            .filter(|point| point.longest_service <= slo)
            .map(|point| {
                let mean_batch = law.mean_batch_bound(slo - point.longest_service, point.batch);
                (point.bound(mean_batch), point)
            })
            .collect();
        let mut scratch = Vec::new();
        let mut cost_of = |point: &Point| rate * self.cost_per_request(&law, slo, point, &mut scratch);
        let mut evaluate = |point: &Point| Choice {
            function: point.function,
            batch: point.batch,
            replicas: 1,
            dispatch: Dispatch::Timed,
            cost_per_second: cost_of(point),
        };
        let (_, promising) = candidates.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut best = evaluate(promising);
        candidates.retain(|(bound, _)| bound * rate <= best.cost_per_second);
        candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (bound, point) in candidates {
            if bound * rate > best.cost_per_second {
                break;
            }
            let choice = evaluate(point);
            if choice.compare(&best).is_lt() {
                best = choice;
            }
        }
        Some(self.smallest_share(best, slo, cost_of))
    }

    fn settle(&self, catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        let service = catalogue.functions[choice.function].service[choice.batch as usize - 1];
        let slo = loads.first()?.slo;
        let mut exceedance = Vec::new();
        BatchLaw::new(loads).exceedance(slo - service.max, choice.batch, &mut exceedance);
        let mean_batch = 1.0 + exceedance.iter().sum::<f64>();
        Some((*choice, Operation::in_parallel(loads, &service, mean_batch)))
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        super::fastest(catalogue, |function| function.single().max)
    }

    fn fewest_replicas(&self, run: &Run) -> Option<(usize, f64)> {
        self.choose(run).map(|choice| (choice.function, 1.0))
    }
}

/// The line through the cost of a batch of one that no larger batch falls below, as (intercept, slope).
fn minorant(costs: &[f64]) -> (f64, f64) {
    let one = costs.first().copied().unwrap_or(0.0);
    let mut others = 0.0;
    let mut slope = f64::INFINITY;
    for cost in costs.iter().skip(1) {
        others += 1.0;
        slope = slope.min((cost - one) / others);
    }
    if slope.is_finite() {
        (one - slope, slope)
    } else {
        (0.0, one)
    }
}

/// Drops points that are no faster and at no size cheaper than one of the last few kept; fastest first. Batches of
/// one do not gain from a faster function: of equal costs all are kept there, and the smallest size wins.
fn keep_undominated(points: &mut Vec<Point>, costs: &[Vec<f64>], size: usize) {
    points.sort_by(|a, b| {
        a.longest_service
            .total_cmp(&b.longest_service)
            .then(a.function.cmp(&b.function))
    });
    let mut kept: Vec<Point> = Vec::new();
    for point in points.drain(..) {
        let beats = |other: &Point| {
            let pairs = costs[other.function]
                .iter()
                .zip(&costs[point.function])
                .take(size);
            pairs.clone().all(|(theirs, ours)| theirs <= ours)
                && (size > 1
                    || other.function < point.function
                    || pairs.clone().any(|(theirs, ours)| theirs < ours))
        };
        if !kept.iter().rev().take(COMPARED).any(beats) {
            kept.push(point);
        }
    }
    *points = kept;
}
