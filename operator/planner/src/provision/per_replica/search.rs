//! The cheapest configuration of a group, on a short simulation.
//!
//! Replicas are counted upwards. One large share of a GPU beats several small ones of the same total, in the mean and in
//! the worst case, so that the search of a pool ends at the first number for which some affordable size will do. A CPU's
//! latency falls ever more slowly with its limit, and where tenants of a device take turns a large share is hardly faster, so
//! that more replicas of a smaller size may be cheaper: there the search goes on below the price of the best. For each
//! number the smallest size is found upwards from what the screen allows, then by bisection: a larger size is never
//! late more often.

use super::{Choice, MAX_REPLICAS, PerReplica, Size, UTILIZATION_LIMIT, confirm};
use crate::arrival::Load;
use crate::latency::Kind;
use crate::plan::Dispatch;
use crate::session::{Fingerprint, Tested};
use crate::simulate::{Bounds, Confidence, Horizon, Look, Pace, Setup, Verdict, can_be_judged, simulate};

/// Checks of the verdict in one simulation.
const BLOCKS: u64 = 40;

/// The most arrivals of one simulation, where bursts or a trace ask for more than usual.
const MOST_ARRIVALS: u64 = 400_000;

/// Bursts of each application that one simulation sees.
const BURSTS: f64 = 40.0;

/// How sure a verdict of the search must be to end a simulation early.
const EARLY: Confidence = Confidence(1.5);

/// Late requests of a rare application that a verdict of the search rests on: few, since it would have to occur too often for more.
const LATE_REQUESTS: f64 = 5.0;

/// Batch sizes that are tried; under a percentile a larger one is not always better.
const BATCHES: [u32; 16] = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024];

/// Batch sizes that are tried of one configuration: the most promising ones.
const BATCHES_TRIED: usize = 4;

/// The seed of all simulations of the search, so that configurations are compared on the same arrivals.
const SEED: u64 = 0x4861_726d_6f6e_7942;

/// Applications that are to share batches.
struct Group<'a> {
    /// In order of SLO.
    loads: &'a [Load],
    /// Their rows per second.
    rate: f64,
    print: Fingerprint,
}

impl PerReplica {
    /// The cheapest configuration for the group that costs less than `budget`, if there is one. `floor` is a cost that
    /// is known not to suffice, or just to.
    pub(super) fn cheapest_within(&self, loads: &[Load], floor: f64, budget: f64) -> Option<Choice> {
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let slo = loads.first()?.slo;
        if !can_be_judged(loads, confirm::MOST_ARRIVALS) {
            return None;
        }
        let floor = floor.max(self.screen.bound(rate, slo)) * (1.0 - 1e-9);
        let group = Group {
            loads,
            rate,
            print: Fingerprint::of_loads(loads),
        };
        let mut kinds: Vec<(f64, Vec<Size>)> = self
            .kinds
            .iter()
            .map(|sizes| {
                let fast: Vec<Size> = sizes.iter().filter(|size| size.single <= slo).copied().collect();
                let least = |size: &Size| size.price.max(rate * size.price / size.capacity);
                (fast.iter().map(least).fold(f64::INFINITY, f64::min), fast)
            })
            .collect();
        kinds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut best: Option<Choice> = None;
        for (least, sizes) in &kinds {
            let limit = best.map_or(budget, |best| best.cost_per_second);
            if *least >= limit {
                continue;
            }
            if let Some(found) = self.cheapest_of_kind(&group, sizes, floor, limit) {
                best = Some(found);
            }
        }
        best
    }

    fn cheapest_of_kind(
        &self,
        group: &Group<'_>,
        sizes: &[Size],
        floor: f64,
        mut limit: f64,
    ) -> Option<Choice> {
        let Size {
            price: cheapest,
            by_turns,
            ..
        } = *sizes.first()?;
        let most_capable = sizes.iter().map(|size| size.capacity).fold(0.0, f64::max);
        let goes_on = by_turns || self.functions[sizes.first()?.function].site.kind() == Kind::Cpu;
        let mut replicas = replicas_for(group.rate, most_capable);
        let mut step = 1;
        let mut best: Option<Choice> = None;
        while replicas <= MAX_REPLICAS && f64::from(replicas) * cheapest < limit {
            let count = f64::from(replicas);
            let candidates: Vec<Size> = sizes
                .iter()
                .filter(|size| {
                    let cost = count * size.price;
                    (floor..limit).contains(&cost) && count * size.capacity >= group.rate
                })
                .copied()
                .collect();
            // Below the price of something found, most numbers have no size that will do.
            let worth_a_search = best.is_none()
                || candidates
                    .last()
                    .is_some_and(|largest| self.keeps(group, largest.function, replicas).is_some());
            let found = worth_a_search
                .then(|| self.smallest_that_keeps(group, &candidates, replicas))
                .flatten();
            if let Some(mut found) = found {
                if step > 1 && best.is_none() {
                    found = self.fewer_replicas(group, found, step);
                }
                if !goes_on {
                    return Some(found);
                }
                limit = found.cost_per_second;
                best = Some(found);
            }
            // Beyond a few replicas another one changes little.
            step = 1 + replicas / 8;
            replicas += step;
        }
        best
    }

    /// What lies between the last number of replicas that was tried and the one found.
    fn fewer_replicas(&self, group: &Group<'_>, found: Choice, step: u32) -> Choice {
        let (mut low, mut best) = (found.replicas + 1 - step, found);
        while low < best.replicas {
            let middle = low.midpoint(best.replicas);
            match self.keeps(group, found.function, middle) {
                Some(better) => best = better,
                None => low = middle + 1,
            }
        }
        best
    }

    /// The first of the candidates, smallest first, that keeps every promise: in growing strides, then by bisection.
    fn smallest_that_keeps(&self, group: &Group<'_>, candidates: &[Size], replicas: u32) -> Option<Choice> {
        let mut low = 0;
        let mut stride = 1;
        let mut at = 0;
        let mut best = loop {
            if at >= candidates.len() {
                if low >= candidates.len() {
                    return None;
                }
                at = candidates.len() - 1;
            }
            if let Some(found) = self.keeps(group, candidates[at].function, replicas) {
                break found;
            }
            low = at + 1;
            at += stride;
            stride *= 2;
        };
        let mut high = at;
        while low < high {
            let middle = low.midpoint(high);
            match self.keeps(group, candidates[middle].function, replicas) {
                Some(better) => {
                    best = better;
                    high = middle;
                }
                None => low = middle + 1,
            }
        }
        Some(best)
    }

    /// The batch size and policy with which the replicas keep every promise on the arrivals of the search.
    fn keeps(&self, group: &Group<'_>, function: usize, replicas: u32) -> Option<Choice> {
        let tested = Tested {
            loads: group.print,
            function,
            replicas,
            arrivals: self.arrivals,
        };
        let found = self.verdicts.tested.get_or(&self.stop, tested, || {
            let mut candidates = self.candidates(group.loads, function, replicas);
            let kept = candidates.find(|choice| self.seems_to_keep(group.loads, choice));
            kept.map(|choice| (choice.batch, choice.dispatch))
        });
        found.map(|(batch, dispatch)| Choice {
            function,
            batch,
            replicas,
            dispatch,
            cost_per_second: f64::from(replicas) * self.functions[function].price,
        })
    }

    /// Whether a choice keeps every promise on the arrivals of the search, as far as they tell.
    pub(super) fn seems_to_keep(&self, loads: &[Load], choice: &Choice) -> bool {
        if self.stop.is_requested() {
            return false;
        }
        let outcome = simulate(&self.setup(loads, choice), &self.look(loads, choice));
        match outcome.verdict {
            Verdict::Kept => true,
            Verdict::Broken => false,
            Verdict::Open => outcome.tally.as_counted(loads),
        }
    }

    /// The batch sizes and policies worth a simulation, the most promising first: light load (`rho^2`) is weighed
    /// against requests that find a full batch in service and then need another (`L(b) (1 + 1/c)` beyond the SLO).
    /// A request that has waited for its batch to fill is late behind another one, so `Timed` is only tried where
    /// two batches of one do not fit the tightest SLO anyway.
    pub(super) fn candidates<'a>(
        &'a self,
        loads: &'a [Load],
        function: usize,
        replicas: u32,
    ) -> impl Iterator<Item = Choice> + 'a {
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let slo = loads.first().map_or(0.0, |load| load.slo);
        let count = f64::from(replicas);
        let function_of = &self.functions[function];
        let mut sizes: Vec<(f64, u32)> = BATCHES
            .into_iter()
            .filter_map(|batch| {
                let mean = function_of.service.get(batch as usize - 1)?.mean;
                let busy = rate * mean / (count * f64::from(batch));
                let burden = (mean * (1.0 + 1.0 / count) - slo).max(0.0) / slo + busy * busy;
                (busy <= UTILIZATION_LIMIT).then_some((burden, batch))
            })
            .collect();
        sizes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        sizes.truncate(BATCHES_TRIED);
        let tight = slo < 2.0 * function_of.single().max;
        let cost_per_second = count * function_of.price;
        sizes.into_iter().flat_map(move |(_, batch)| {
            let fills_in_time = function_of.service[batch as usize - 1].max < slo;
            let timed = (tight && fills_in_time && batch > 1).then_some(Dispatch::Timed);
            [Some(Dispatch::Eager), timed]
                .into_iter()
                .flatten()
                .map(move |dispatch| Choice {
                    function,
                    batch,
                    replicas,
                    dispatch,
                    cost_per_second,
                })
        })
    }

    pub(super) fn setup<'a>(&'a self, loads: &'a [Load], choice: &Choice) -> Setup<'a> {
        Setup {
            loads,
            traces: &self.traces,
            service: &self.functions[choice.function].service[..choice.batch as usize],
            replicas: choice.replicas,
            dispatch: choice.dispatch,
            waits: None,
        }
    }

    pub(super) fn look(&self, loads: &[Load], choice: &Choice) -> Look {
        let bounds = Bounds {
            least: self.arrivals.max(in_flight(loads, choice)),
            most: MOST_ARRIVALS * self.effort,
            blocks: BLOCKS,
            bursts: BURSTS,
            rounds: 1,
        };
        let Horizon { arrivals, block } = Horizon::new(loads, &self.traces, &bounds);
        Look {
            seed: SEED,
            arrivals,
            block,
            early: Some(EARLY),
            last: None,
            with_latencies: false,
            pace: Pace::Drawn,
            late_requests: LATE_REQUESTS,
        }
    }
}

/// The fewest replicas with the capacity for the rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, saturates"
)]
pub(super) fn replicas_for(rate: f64, capacity: f64) -> u32 {
    ((rate / capacity).ceil() as u32).max(1)
}

/// Arrivals that fill all replicas a few times over: fewer show nothing but how a system fills.
pub(super) fn in_flight(loads: &[Load], choice: &Choice) -> u64 {
    const TIMES: u64 = 8;
    const MOST: u64 = 400_000;
    debug_assert!(!loads.is_empty());
    (TIMES * u64::from(choice.replicas) * u64::from(choice.batch)).min(MOST)
}
