//! GPU functions on a share of a device: `FixedShare`, Eq. 3 and 4 of the paper, and `EqualShare`, where tenants take turns.
//!
//! With `L0(b)` the time on the whole device, a function that gets `m` of every `M` slices of `tau` takes `(M/m) L0` in the mean
//! and `ceil(L0/(m tau)) (M-m) tau + L0` at most. Under `FixedShare` these are the units of the share and of the device. Under
//! `EqualShare` (time-slicing without weights) a function gets one slice of every `k`, `k` being the tenants that a device
//! admits, whatever its share: the share only sets its memory.

use super::{Function, Service, Shortage, Site, Spread};
use crate::platform::{GpuPool, Platform, Sharing};
use crate::profile::{AfterIdle, GpuLatency, ModelProfile};
use crate::units::{Bytes, GpuUnits};

/// Device memory of a share.
fn memory_of(pool: &GpuPool, units: GpuUnits) -> Bytes {
    Bytes(pool.memory_per_unit().0.saturating_mul(u64::from(units.get())))
}

/// Slices that a share gets of those in a round.
fn slices(pool: &GpuPool, units: GpuUnits) -> (f64, f64) {
    let smallest = pool.shares().first().map_or(1, |share| share.get());
    match pool.sharing() {
        Sharing::FixedShare => (f64::from(units.get()), f64::from(pool.units_per_device().get())),
        Sharing::EqualShare { tenants } => {
            // What is left of the device beside this share, in tenants of the smallest one.
            let others = (pool.units_per_device().get() - units.get()) / smallest;
            (
                1.0,
                f64::from(tenants.map_or(others + 1, |tenants| u32::from(tenants.get()))),
            )
        }
    }
}

/// Every legal share that holds at least a batch of one row, with the batch sizes that it holds.
///
/// Under `FixedShare` a run costs `(M/m) L0 * m * price = M L0 price` whatever the share, computed in this form so that equal
/// costs are equal numbers.
pub(super) fn shares(
    index: usize,
    platform: &Platform,
    latency: &GpuLatency,
    profile: &ModelProfile,
) -> Vec<Function> {
    let pool = &platform.gpu_pools()[index];
    let tau = pool.tau().get();
    let unit_price = platform.prices().gpu_unit_second.get() + platform.scarcity(index);
    let with_share = |&units: &GpuUnits| {
        let share = f64::from(units.get());
        let (own, round) = slices(pool, units);
        let busy_units = round / own * share;
        let service: Vec<Service> = (1..=profile.max_batch_size().get())
            .take_while(|&batch| {
                let needed = latency.memory().with_batch(batch);
                // What is past all counting may be more than it says.
                needed <= memory_of(pool, units) && needed < Bytes(u64::MAX)
            })
            .map(|batch| {
                let alone = latency.whole_device(batch).get();
                let mean = round / own * alone;
                // A batch of `alone / (own tau)` slices waits for the others' after each whole one, and once more
                // or not for the rest: in the mean for just this many.
                let slices = alone / (own * tau);
                let with_waits = |waits: f64| waits * (round - own) * tau + alone;
                let max = with_waits(slices.ceil()).max(mean);
                let least = with_waits(slices.floor()).min(mean);
                Service {
                    mean,
                    max,
                    after_idle: AfterIdle::NOTHING,
                    least,
                    spread: Spread::TwoPoints,
                    work: None,
                    run_cost: busy_units * alone * unit_price,
                }
            })
            .collect();
        let site = Site::Gpu { pool: index, units };
        (!service.is_empty()).then_some(Function {
            site,
            price: share * unit_price,
            paid: share * platform.prices().gpu_unit_second.get(),
            service,
            expected: Vec::new(),
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
