//! What it takes to keep a given function up: for plans that were made for functions that cost while they run.

use super::search::{in_flight, replicas_for};
use super::{Choice, MAX_REPLICAS, PerReplica, UTILIZATION_LIMIT};
use crate::arrival::Load;
use crate::plan::Dispatch;

/// Waiting room of a simulation grows with the replicas; plans that need more are not worth knowing exactly.
const MOST_ARRIVALS: u64 = 400_000;

impl PerReplica {
    /// The fewest replicas of the choice's function with its batch size that keep every promise on the arrivals of the search,
    /// under the better of both dispatch policies, and whether any number does; without, what the rate alone asks for.
    pub(crate) fn kept_up(&self, loads: &[Load], choice: &Choice) -> (Choice, bool) {
        let function = &self.functions[choice.function];
        let mean = function.service[choice.batch as usize - 1].mean;
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let with = |replicas: u32, dispatch: Dispatch| Choice {
            replicas,
            dispatch,
            cost_per_second: f64::from(replicas) * function.price,
            ..*choice
        };
        let least = replicas_for(rate * mean, f64::from(choice.batch) * UTILIZATION_LIMIT).min(MAX_REPLICAS);
        let keeps = |replicas: u32| {
            [Dispatch::Eager, Dispatch::Timed]
                .into_iter()
                .map(|dispatch| with(replicas, dispatch))
                .find(|choice| self.is_kept(loads, choice))
        };
        // In growing strides, then by bisection.
        let (mut low, mut high, mut stride) = (least, least, 1);
        let mut best = loop {
            if let Some(found) = keeps(high) {
                break found;
            }
            low = high + 1;
            high += stride;
            stride *= 2;
            let arrivals = in_flight(loads, &with(high, Dispatch::Eager));
            if high > MAX_REPLICAS || arrivals >= MOST_ARRIVALS {
                return (with(least, Dispatch::Eager), false);
            }
        };
        while low < best.replicas {
            let middle = low.midpoint(best.replicas);
            match keeps(middle) {
                Some(better) => best = better,
                None => low = middle + 1,
            }
        }
        (best, true)
    }

    fn is_kept(&self, loads: &[Load], choice: &Choice) -> bool {
        let fills_in_time = loads.first().is_some_and(|load| {
            self.functions[choice.function].service[choice.batch as usize - 1].max <= load.slo
        });
        if choice.dispatch == Dispatch::Timed && !fills_in_time {
            return false;
        }
        self.seems_to_keep(loads, choice)
    }
}
