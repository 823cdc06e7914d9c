//! Functions that cost while they are up: device, size, batch and replicas are searched together.
//!
//! Replicas take what waits as soon as they are free. Two screens stand in for the verdict: the replicas
//! must carry the load with a margin, `c b/L(b) * 0.7 >= R`, and a request that arrives just after a batch of one
//! left and then rides in a full batch must be in time, `L_max(1) + L_max(b) <= s_min`. A plan made so is not
//! `verified`.

use super::{Choice, Fastest, MAX_REPLICAS, Operation, Provisioner};
use crate::arrival::Load;
use crate::latency::{Catalogue, Kind, Service};
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
    /// Service times of every function of the catalogue, from which the batch size is settled.
    service: Vec<Vec<Service>>,
}

impl PerReplica {
    /// The batch size for a function and a number of replicas that are already decided, hence for one and the
    /// same cost: light load (`rho^2`), weighed against requests that find a full batch in service and then
    /// need another (`L(b) (1 + 1/c)` beyond the SLO).
    fn settle_batch(&self, run: &Run, choice: Choice) -> Choice {
        let Some(service) = self.service.get(choice.function) else {
            return choice;
        };
        let replicas = f64::from(choice.replicas);
        let single = service.first().map_or(0.0, |service| service.max);
        let burden = |&(batch, service): &(u32, &Service)| {
            let late = service.mean * (1.0 + 1.0 / replicas) - run.slo;
            let busy = run.rate * service.mean / (replicas * f64::from(batch));
            late.max(0.0) / run.slo + busy * busy
        };
        let keeps_constraints = |&(batch, service): &(u32, &Service)| {
            let capacity = f64::from(batch) / service.mean * UTILIZATION_LIMIT;
            single + service.max <= run.slo && replicas * capacity >= run.rate
        };
        let best = (1_u32..)
            .zip(service)
            .filter(keeps_constraints)
            .min_by(|a, b| burden(a).total_cmp(&burden(b)).then(a.0.cmp(&b.0)));
        Choice {
            batch: best.map_or(choice.batch, |(batch, _)| batch),
            ..choice
        }
    }
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
        let service = catalogue
            .functions
            .iter()
            .map(|function| function.service.clone())
            .collect();
        Self { points, service }
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
        best.map(|choice| self.settle_batch(run, choice))
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
        super::fastest(catalogue, |function| 2.0 * function.single().max)
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

/// Mean rows in a batch where a replica takes what has come while it was busy: the `k` at which `k` rows come in
/// the time `L(k)` of a batch, from 1 up to the batch size, with `L` taken to be straight between two sizes.
fn mean_eager_batch(load: f64, service: &[Service]) -> f64 {
    let mut full = 0.0;
    let mut shortfall = 0.0;
    for service in service {
        full += 1.0;
        let surplus = full - load * service.mean;
        if surplus >= 0.0 {
            return if full > 1.0 {
                full - surplus / (surplus + shortfall)
            } else {
                full
            };
        }
        shortfall = -surplus;
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eager_batch_holds_what_comes_during_a_batch() {
        // L(k) = 0.1 + 0.05 k: at 10 rows per second k = 1 + 0.5 k, hence 2.
        let service: Vec<Service> = (1..=8_u32)
            .map(|rows| 0.1 + 0.05 * f64::from(rows))
            .map(|mean| Service {
                mean,
                max: mean,
                run_cost: 0.0,
            })
            .collect();
        assert!((mean_eager_batch(10.0, &service) - 2.0).abs() < 1e-12);
        // 12.5 rows per second: k = 1.25 + 0.625 k, hence 10/3, between two sizes.
        assert!((mean_eager_batch(12.5, &service) - 10.0 / 3.0).abs() < 1e-12);
        assert!((mean_eager_batch(0.1, &service) - 1.0).abs() < 1e-12);
        assert!((mean_eager_batch(1e6, &service) - 8.0).abs() < 1e-12);
    }

    #[test]
    fn only_points_that_something_speaks_for_are_kept() {
        let point = |price, latency, capacity| Point {
            price,
            latency,
            capacity,
            function: 0,
            batch: 1,
        };
        let mut points = vec![
            point(1.0, 0.5, 10.0),
            point(2.0, 0.5, 10.0),
            point(2.0, 0.4, 5.0),
            point(3.0, 0.4, 5.0),
            point(3.0, 0.45, 20.0),
            point(4.0, 0.46, 19.0),
        ];
        keep_undominated(&mut points);
        let kept: Vec<(f64, f64)> = points.iter().map(|point| (point.price, point.latency)).collect();
        assert_eq!(kept, [(1.0, 0.5), (2.0, 0.4), (3.0, 0.45)]);
    }
}
