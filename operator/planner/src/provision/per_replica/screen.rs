//! What a group costs at least: without a simulation, and too little rather than too much.

use super::Size;
use crate::arrival::Load;

/// For each longest time of a batch of one row, the cheapest function among those that are as fast.
#[derive(Debug)]
pub(super) struct Screen {
    /// Fastest first; prices only fall along it.
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    single: f64,
    /// Price of the cheapest replica.
    replica: f64,
    /// Least price of one row per second.
    capacity: f64,
}

impl Screen {
    pub(super) fn new<'a>(sizes: impl Iterator<Item = &'a Size>) -> Self {
        let mut steps: Vec<Step> = sizes
            .map(|size| Step {
                single: size.single,
                replica: size.price,
                capacity: size.price / size.capacity,
            })
            .collect();
        steps.sort_by(|a, b| a.single.total_cmp(&b.single));
        let (mut replica, mut capacity) = (f64::INFINITY, f64::INFINITY);
        for step in &mut steps {
            replica = replica.min(step.replica);
            capacity = capacity.min(step.capacity);
            (step.replica, step.capacity) = (replica, capacity);
        }
        Self { steps }
    }

    /// A lower bound of the cost of a group with this rate and tightest SLO: one replica that is fast enough for it,
    /// and enough of them for the rate.
    pub(super) fn bound(&self, rate: f64, slo: f64) -> f64 {
        self.fast_enough(slo)
            .map_or(f64::INFINITY, |step| step.replica.max(rate * step.capacity))
    }

    /// A lower bound of the cost of all groups of these loads: every row on a function that is fast enough for its own SLO, and one replica that is
    /// fast enough for the load that needs the dearest.
    pub(super) fn bound_of_all(&self, loads: &[Load]) -> f64 {
        let (mut rows, mut replica) = (0.0, 0.0_f64);
        for load in loads {
            let Some(step) = self.fast_enough(load.slo) else {
                return f64::INFINITY;
            };
            rows += load.rate * step.capacity;
            replica = replica.max(step.replica);
        }
        f64::max(rows, replica)
    }

    fn fast_enough(&self, slo: f64) -> Option<&Step> {
        let count = self.steps.partition_point(|step| step.single <= slo);
        self.steps.get(count.checked_sub(1)?)
    }
}
