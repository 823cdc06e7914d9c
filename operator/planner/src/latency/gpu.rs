//! GPU functions under `FixedShare`: Eq. 3 and 4 of the paper, time slices in proportion to the share.

use super::{Function, Service, Shortage, Site, Spread};
use crate::platform::{GpuPool, Platform};
use crate::profile::{GpuLatency, ModelProfile};
use crate::units::{Bytes, GpuUnits};

/// Device memory of a share.
fn memory_of(pool: &GpuPool, units: GpuUnits) -> Bytes {
    Bytes(pool.memory_per_unit().0.saturating_mul(u64::from(units.get())))
}

/// Every legal share that holds at least a batch of one row, with the batch sizes that it holds.
///
/// With `L0(b)` the time on the whole device, a share of `m` out of `M` units and slices of `tau` per unit:
/// mean `(M/m) L0`, maximum `ceil(L0/(m tau)) (M-m) tau + L0`. A run costs `(M/m) L0 * m * price = M L0 price`
/// whatever the share, computed in this form so that equal costs are equal numbers.
pub(super) fn fixed_shares(
    index: usize,
    platform: &Platform,
    latency: &GpuLatency,
    profile: &ModelProfile,
) -> Vec<Function> {
    let pool = &platform.gpu_pools()[index];
    let all_units = f64::from(pool.units_per_device().get());
    let tau = pool.tau().get();
    let scarcity = platform.scarcity(index);
    let unit_price = platform.prices().gpu_unit_second.get() + scarcity;
    let with_share = |&units: &GpuUnits| {
        let share = f64::from(units.get());
        let service: Vec<Service> = (1..=profile.max_batch_size().get())
            .take_while(|&batch| latency.memory().with_batch(batch) <= memory_of(pool, units))
            .map(|batch| {
                let alone = latency.whole_device(batch).get();
                let mean = all_units / share * alone;
                // A batch of `alone / (share tau)` slices waits for the others' after each whole one, and once more
                // or not for the rest: in the mean for just this many.
                let slices = alone / (share * tau);
                let with_waits = |waits: f64| waits * (all_units - share) * tau + alone;
                let max = with_waits(slices.ceil()).max(mean);
                let least = with_waits(slices.floor()).min(mean);
                Service {
                    mean,
                    max,
                    least,
                    spread: Spread::TwoPoints,
                    run_cost: all_units * alone * unit_price,
                }
            })
            .collect();
        let site = Site::Gpu { pool: index, units };
        (!service.is_empty()).then_some(Function {
            site,
            price: share * unit_price,
            scarcity: share * scarcity,
            service,
        })
    };
    pool.shares().iter().filter_map(with_share).collect()
}

/// What is missing where not even the largest share holds a batch of one row.
pub(super) fn shortage(pool: &GpuPool, latency: &GpuLatency) -> Shortage {
    let largest = pool
        .shares()
        .last()
        .map_or(Bytes(0), |&units| memory_of(pool, units));
    Shortage {
        needed: latency.memory().with_batch(1),
        largest,
    }
}
