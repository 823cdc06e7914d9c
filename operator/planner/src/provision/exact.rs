//! Functions that cost while they run, with the exact law of the batch size.
//!
//! The cost per request is the mean cost of a batch divided by the mean batch (renewal reward), with the cost of
//! the size that actually occurs. A function of a batch size costs at least what its mean batch, bounded from above,
//! would cost; functions are looked at in blocks of neighbours first, and the law is only asked for the few whose
//! bound beats the best so far.

use super::{Choice, Fastest, MAX_REPLICAS, Operation, Provisioner};
use crate::arrival::{BatchLaw, Load, Workspace};
use crate::group::{self, Cut, Priced};
use crate::latency::{Catalogue, Kind};
use crate::plan::Dispatch;
use crate::platform::Platform;

/// A share this much dearer than the cheapest, relatively, is taken if it is smaller: the cost of an invocation
/// hardly depends on the share, and what is left free serves others.
const WORTH_LESS_THAN_A_UNIT: f64 = 1e-3;

/// How many of the points kept last a new one is compared with.
const COMPARED: usize = 4;

/// Points that are bounded together.
const BLOCK: usize = 8;

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

/// The functions worth a look at one batch size.
#[derive(Debug)]
struct AtSize {
    batch: u32,
    /// Fastest first.
    points: Vec<Point>,
    /// For every [`BLOCK`] points one with the fastest service and the least costs.
    blocks: Vec<Point>,
    /// The least `per_request` and `fixed` of the points up to each, to bound all that are fast enough.
    least: Vec<(f64, f64)>,
}

impl AtSize {
    fn new(batch: u32, points: Vec<Point>) -> Self {
        let together = |points: &[Point]| {
            let mut all = points[0];
            for point in points {
                all.longest_service = all.longest_service.min(point.longest_service);
                all.fixed = all.fixed.min(point.fixed);
                all.per_request = all.per_request.min(point.per_request);
            }
            all
        };
        let least = points
            .iter()
            .scan((f64::INFINITY, f64::INFINITY), |least, point| {
                *least = (least.0.min(point.per_request), least.1.min(point.fixed));
                Some(*least)
            });
        Self {
            batch,
            blocks: points.chunks(BLOCK).map(together).collect(),
            least: least.collect(),
            points,
        }
    }

    /// Those that keep the SLO.
    fn fast_enough(&self, slo: f64) -> usize {
        self.points.partition_point(|point| point.longest_service <= slo)
    }
}

/// The provisioning of [`crate::Billing::PerInvocation`] under [`crate::ArrivalModel::Exact`].
#[derive(Debug)]
pub(crate) struct Exact {
    sizes: Vec<AtSize>,
    /// Cost of a batch of 1, 2, ... requests on each function of the catalogue, request fee included.
    costs: Vec<Vec<f64>>,
    /// Kind of each function of the catalogue.
    kinds: Vec<Kind>,
    /// Longest service of batches of up to 1, 2, ... requests on each function of the catalogue.
    longest: Vec<Vec<f64>>,
}

impl Exact {
    /// The smallest share of the same pool that costs hardly more with the same batch size; cost grows as the
    /// share shrinks, since less time is left to fill a batch.
    fn smallest_share(&self, best: Choice, law: &BatchLaw) -> Choice {
        let pool = self.kinds[best.function];
        if pool == Kind::Cpu {
            return best;
        }
        let first = self.kinds.iter().position(|&kind| kind == pool);
        let mut workspace = Workspace::default();
        let (mut low, mut smallest) = (first.unwrap_or(best.function), best);
        while low < smallest.function {
            let function = low.midpoint(smallest.function);
            let cost = self.price_under(law, function, best.batch, &mut workspace);
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

    /// Mean cost per second of a function.
    fn cost_per_second(
        &self,
        law: &BatchLaw,
        function: usize,
        batch: u32,
        longest_service: f64,
        workspace: &mut Workspace,
    ) -> f64 {
        let costs = &self.costs[function];
        law.exceedance(law.slo() - longest_service, batch, workspace);
        let mut mean_batch = 1.0;
        let mut cost = costs[0];
        for (exceedance, pair) in workspace.exceedance.iter().zip(costs.windows(2)) {
            mean_batch += exceedance;
            cost += exceedance * (pair[1] - pair[0]);
        }
        // Where a larger batch costs next to nothing beside a smaller one, rounding may leave less than nothing.
        law.rate() * cost.max(0.0) / mean_batch
    }

    /// The same, if the function holds such a batch and keeps the SLO.
    fn price_under(
        &self,
        law: &BatchLaw,
        function: usize,
        batch: u32,
        workspace: &mut Workspace,
    ) -> Option<f64> {
        let longest = *self.longest[function].get(batch as usize - 1)?;
        (longest <= law.slo()).then(|| self.cost_per_second(law, function, batch, longest, workspace))
    }

    /// What loads in order of SLO cost on a function of the catalogue, if that keeps their SLOs.
    pub(crate) fn price(&self, loads: &[Load], function: usize, batch: u32) -> Option<f64> {
        self.price_under(&BatchLaw::new(loads), function, batch, &mut Workspace::default())
    }

    /// A lower bound of the cost per request under a tightest SLO, given how many requests a batch has at most for a first wait and a batch size: at
    /// each batch size what its fastest function could fill, at the least costs of all that are fast enough.
    fn least_per_request(&self, slo: f64, mean_batch: impl Fn(f64, u32) -> f64) -> f64 {
        let bounds = self.sizes.iter().filter_map(|size| {
            let (per_request, fixed) = *size.least.get(size.fast_enough(slo).checked_sub(1)?)?;
            let all = Point {
                fixed,
                per_request,
                ..size.points[0]
            };
            Some(all.bound(mean_batch(slo - all.longest_service, size.batch)))
        });
        bounds.fold(f64::INFINITY, f64::min)
    }

    /// The cheapest choice below `budget`, whatever the size of a share.
    fn cheapest(&self, law: &BatchLaw, budget: f64) -> Option<Choice> {
        let (rate, slo) = (law.rate(), law.slo());
        let feasible: Vec<(&AtSize, usize)> = self
            .sizes
            .iter()
            .map(|size| (size, size.fast_enough(slo)))
            .filter(|&(_, count)| count > 0)
            .collect();
        let mut workspace = Workspace::default();
        // Nobody fills more requests into a batch than who has the longest first wait.
        let largest = feasible.iter().map(|(size, _)| size.batch).max()?;
        let fastest = feasible
            .iter()
            .map(|(size, _)| size.points[0].longest_service)
            .fold(f64::INFINITY, f64::min);
        law.exceedance(slo - fastest, largest, &mut workspace);
        let mean_batches: Vec<f64> = std::iter::once(1.0)
            .chain(workspace.exceedance.iter().scan(1.0, |mean, exceedance| {
                *mean += exceedance;
                Some(*mean)
            }))
            .collect();
        let mean_batch = |point: &Point| {
            law.mean_batch_bound(slo - point.longest_service, point.batch)
                .min(mean_batches[point.batch as usize - 1])
        };
        let mut candidates: Vec<(f64, &Point)> = Vec::new();
        for (size, count) in feasible {
            for (block, all) in size.points[..count].chunks(BLOCK).zip(&size.blocks) {
                if rate * all.bound(mean_batch(all)) < budget {
                    let bounded = block
                        .iter()
                        .map(|point| (rate * point.bound(mean_batch(point)), point));
                    candidates.extend(bounded.filter(|(bound, _)| *bound < budget));
                }
            }
        }
        // The cheapest ones decide: sorting all of them costs more than all else.
        let mut best: Option<Choice> = None;
        loop {
            let limit = best.map_or(budget, |best| best.cost_per_second);
            candidates.retain(|(bound, _)| *bound <= limit);
            let Some(next) =
                (0..candidates.len()).min_by(|&a, &b| candidates[a].0.total_cmp(&candidates[b].0))
            else {
                break;
            };
            let (_, point) = candidates.swap_remove(next);
            let choice = Choice {
                function: point.function,
                batch: point.batch,
                replicas: 1,
                dispatch: Dispatch::Timed,
                cost_per_second: self.cost_per_second(
                    law,
                    point.function,
                    point.batch,
                    point.longest_service,
                    &mut workspace,
                ),
            };
            if choice.cost_per_second < budget && best.is_none_or(|best| choice.compare(&best).is_lt()) {
                best = Some(choice);
            }
        }
        best
    }
}

impl Provisioner for Exact {
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
        let longest: Vec<Vec<f64>> = catalogue
            .functions
            .iter()
            .map(|function| super::longest_so_far(&function.service).collect())
            .collect();
        let wanted =
            |function: &usize| only.is_none_or(|kind| kind == catalogue.functions[*function].site.kind());
        let functions: Vec<usize> = (0..costs.len()).filter(wanted).collect();
        let largest = functions
            .iter()
            .map(|&function| costs[function].len())
            .max()
            .unwrap_or(0);
        let mut sizes = Vec::new();
        for (size, batch) in (1..=largest).zip(1_u32..) {
            let mut at_size: Vec<Point> = functions
                .iter()
                .filter(|&&function| costs[function].len() >= size)
                .map(|&function| {
                    let costs = &costs[function][..size];
                    let (fixed, per_request) = minorant(costs);
                    let longest_service = longest[function][size - 1];
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
            sizes.push(AtSize::new(batch, at_size));
        }
        Self {
            sizes,
            costs,
            kinds: catalogue
                .functions
                .iter()
                .map(|function| function.site.kind())
                .collect(),
            longest,
        }
    }

    fn choose(&self, run: &[Load]) -> Option<Choice> {
        let law = BatchLaw::new(run);
        let best = self.cheapest(&law, f64::INFINITY)?;
        Some(self.smallest_share(best, &law))
    }

    fn groups(&self, loads: &[Load], alone: &[Choice]) -> Vec<Cut> {
        let mut cuts = group::cheapest_groups(loads, alone, self);
        for cut in &mut cuts {
            let members: Vec<Load> = cut.members.iter().map(|&member| loads[member]).collect();
            cut.choice = self.smallest_share(cut.choice, &BatchLaw::new(&members));
        }
        cuts
    }

    fn settle(&self, catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        if choice.replicas == 0 {
            return None;
        }
        let operation = operation(catalogue, loads, choice)?;
        (operation.replicas <= MAX_REPLICAS).then_some((*choice, operation))
    }

    fn least_cost(&self, loads: &[Load]) -> f64 {
        let full = |_: f64, batch: u32| f64::from(batch);
        loads
            .iter()
            .map(|load| load.rate * self.least_per_request(load.slo, full))
            .sum()
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        super::fastest(catalogue, |function| function.single().max)
    }

    fn fewest_replicas(&self, catalogue: &Catalogue, run: &[Load]) -> Option<(usize, f64)> {
        let choice = self.choose(run)?;
        let operation = operation(catalogue, run, &choice)?;
        Some((choice.function, f64::from(operation.replicas)))
    }
}

impl Priced for Exact {
    const MONOTONE: bool = true;

    fn bound(&self, run: &[Load], enough: f64) -> f64 {
        let slo = run.first().map_or(0.0, |load| load.slo);
        let rate: f64 = run.iter().map(|load| load.rate).sum();
        let full = rate * self.least_per_request(slo, |_, batch| f64::from(batch));
        if full >= enough {
            return full;
        }
        let law = BatchLaw::new(run);
        rate * self.least_per_request(slo, |first_wait, batch| law.mean_batch_bound(first_wait, batch))
    }

    fn within(&self, loads: &[Load], _floor: f64, budget: f64) -> Option<Choice> {
        self.cheapest(&BatchLaw::new(loads), budget)
    }
}

/// What a choice means for loads in order of SLO, however many replicas that takes.
pub(super) fn operation(catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<Operation> {
    let function = &catalogue.functions[choice.function];
    let first_wait = loads.first()?.slo - super::longest_up_to(function.up_to(choice.batch));
    let mut workspace = Workspace::default();
    BatchLaw::new(loads).exceedance(first_wait, choice.batch, &mut workspace);
    let mean_batch = 1.0 + workspace.exceedance.iter().sum::<f64>();
    Some(Operation::in_parallel(loads, function, choice.batch, mean_batch))
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
