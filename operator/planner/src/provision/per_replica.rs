//! Functions that cost while they are up: device, size, batch and replicas are searched together.
//!
//! Replicas take what waits as soon as they are free. Two screens stand in for the verdict: the replicas
//! must carry the load with a margin, `c b/L(b) * 0.7 >= R`, and a request that arrives just after a batch of one
//! left and then rides in a full batch must be in time, `L_max(1) + L_max(b) <= s_min`. A plan made so is not
//! `verified`.

use super::{Choice, Fastest, MAX_REPLICAS, Operation, Provisioner};
use crate::arrival::Load;
use crate::latency::{Catalogue, Kind};
use crate::plan::Dispatch;
use crate::platform::Platform;

/// The largest share of their time that replicas may be busy.
const UTILIZATION_LIMIT: f64 = 0.7;

/// A function at one batch size.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Price of one replica for one second.
    price: f64,
    /// Longest latency of a request that finds a replica free or about to be.
    latency: f64,
    /// Rows per second that one replica may be given.
    capacity: f64,
    function: usize,
    batch: u32,
}

/// A run of applications: total rate and tightest SLO.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    rate: f64,
    slo: f64,
}

/// The provisioning of [`crate::Billing::PerReplica`].
#[derive(Debug)]
pub(crate) struct PerReplica {
    /// Points that no other beats in price, latency and capacity at once; cheapest first.
    points: Vec<Point>,
}

impl Provisioner for PerReplica {
    type Run = Run;

    fn new(catalogue: &Catalogue, _platform: &Platform, only: Option<Kind>) -> Self {
        let mut points = Vec::new();
        for (index, function) in catalogue.functions.iter().enumerate() {
            if only.is_some_and(|kind| kind != function.site.kind()) {
                continue;
            }
            points.extend((1_u32..).zip(&function.service).map(|(batch, service)| Point {
                price: function.price,
                latency: function.single().max + service.max,
                capacity: f64::from(batch) / service.mean * UTILIZATION_LIMIT,
                function: index,
                batch,
            }));
        }
        keep_undominated(&mut points);
        Self { points }
    }

    fn open(load: Load) -> Run {
        Run {
            rate: load.rate,
            slo: load.slo,
        }
    }

    fn extend(run: &mut Run, load: Load) {
        run.rate += load.rate;
    }

    fn choose(&self, run: &Run) -> Option<Choice> {
        let mut best: Option<Choice> = None;
        for point in &self.points {
            // One replica is already dearer, and the points only grow dearer.
            if best.is_some_and(|best| point.price > best.cost_per_second) {
                break;
            }
            let replicas = (run.rate / point.capacity).ceil();
            if point.latency > run.slo || replicas > f64::from(MAX_REPLICAS) {
                continue;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to MAX_REPLICAS"
            )]
            let choice = Choice {
                function: point.function,
                batch: point.batch,
                replicas: replicas as u32,
                cost_per_second: replicas * point.price,
            };
            if best.is_none_or(|best| choice.compare(&best).is_lt()) {
                best = Some(choice);
            }
        }
        best
    }

    fn operate(catalogue: &Catalogue, run: &Run, choice: &Choice, _percentile: f64) -> Operation {
        let function = &catalogue.functions[choice.function];
        let service = function.service[choice.batch as usize - 1];
        let load = run.rate / f64::from(choice.replicas);
        Operation {
            dispatch: Dispatch::Eager,
            replicas: choice.replicas,
            mean_batch: mean_eager_batch(load, &function.service[..choice.batch as usize]),
            utilization: load * service.mean / f64::from(choice.batch),
            reserve: 0.0,
            latency: function.single().max + service.max,
        }
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        let longest = catalogue
            .functions
            .iter()
            .map(|function| 2.0 * function.single().max)
            .enumerate();
        longest
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(function, latency)| Fastest { latency, function })
    }

    fn fewest_replicas(&self, run: &Run) -> Option<(usize, f64)> {
        let fast_enough = self.points.iter().filter(|point| point.latency <= run.slo);
        fast_enough
            .map(|point| (point.function, (run.rate / point.capacity).ceil()))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

/// Leaves the points that no cheaper or equal one beats in both latency and capacity, in order of price,
/// equal prices in the order of the catalogue.
fn keep_undominated(points: &mut Vec<Point>) {
    points.sort_by(|a, b| {
        a.price
            .total_cmp(&b.price)
            .then(a.function.cmp(&b.function))
            .then(a.batch.cmp(&b.batch))
    });
    // Of the points kept so far, those that none of them beats: both latency and capacity grow along it.
    let mut staircase: Vec<(f64, f64)> = Vec::new();
    points.retain(|point| {
        let faster = staircase.partition_point(|&(latency, _)| latency <= point.latency);
        if faster > 0 && staircase[faster - 1].1 >= point.capacity {
            return false;
        }
        let first = staircase.partition_point(|&(latency, _)| latency < point.latency);
        let beaten = staircase[first..].partition_point(|&(_, capacity)| capacity <= point.capacity);
        staircase.splice(first..first + beaten, [(point.latency, point.capacity)]);
        true
    });
}

/// Rows in a batch where a replica takes what has come while it was busy: the `k` at which `k` rows come in
/// the time `L(k)` of a batch, from 1 up to the batch size.
fn mean_eager_batch(load: f64, service: &[crate::latency::Service]) -> f64 {
    let keeps_up = |(_, service): &(f64, &crate::latency::Service), rows: f64| load * service.mean <= rows;
    let mut rows = 1.0;
    let mut previous: Option<(f64, f64)> = None;
    for entry in service.iter().scan(0.0, |rows, service| {
        *rows += 1.0;
        Some((*rows, service))
    }) {
        let arriving = load * entry.1.mean;
        if keeps_up(&entry, entry.0) {
            return match previous {
                // Between two sizes both curves are taken to be straight.
                Some((before, came)) => {
                    let slope = (arriving - came) / (entry.0 - before);
                    if slope < 1.0 {
                        ((came - slope * before) / (1.0 - slope)).clamp(before, entry.0)
                    } else {
                        entry.0
                    }
                }
                None => rows,
            };
        }
        rows = entry.0;
        previous = Some((entry.0, arriving));
    }
    rows
}
