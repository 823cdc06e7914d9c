//! Pools: what the groups take of each, and a packing that shows that it fits.

use super::violation::{Breach, Place, Violation};
use crate::inventory::{PlatformPlan, PoolUse, Shortage};
use crate::plan::{Device, InfeasibleReason};
use crate::platform::{GpuPool, Platform};

pub(super) fn check(platform: &Platform, found: &PlatformPlan) -> Result<(), Violation> {
    let on_platform = |breach| Violation {
        place: Place::Platform,
        breach: Box::new(breach),
    };
    let names = found.pools.iter().map(|used| used.pool.as_str());
    let expected = platform.gpu_pools().iter().map(GpuPool::name);
    if !names.clone().eq(expected.clone()) {
        return Err(on_platform(Breach::WrongPools {
            found: names.collect::<Vec<_>>().join(", "),
            expected: expected.collect::<Vec<_>>().join(", "),
        }));
    }
    for (pool, used) in platform.gpu_pools().iter().zip(&found.pools) {
        check_pool(pool, used, found).map_err(|breach| Violation {
            place: Place::Pool(used.pool.clone()),
            breach: Box::new(breach),
        })?;
    }
    check_shortage(platform, found).map_err(on_platform)
}

fn check_pool(pool: &GpuPool, used: &PoolUse, found: &PlatformPlan) -> Result<(), Breach> {
    let groups = found.plans.iter().flat_map(|plan| &plan.groups);
    let shares: Vec<(u32, u32)> = groups
        .filter_map(|group| match &group.device {
            Device::Gpu { pool, units } if *pool == used.pool => Some((units.get(), group.replicas)),
            Device::Gpu { .. } | Device::Cpu { .. } => None,
        })
        .collect();
    let units = shares
        .iter()
        .map(|&(units, replicas)| u64::from(units) * u64::from(replicas))
        .sum();
    let devices = packed(&shares, pool.units_per_device().get());
    let limit = |devices: Option<u32>| devices.map_or(u64::MAX, u64::from);
    for (figure, found, expected) in [
        ("units", used.units, units),
        ("devices", used.devices, devices),
        ("limit", limit(used.limit), limit(pool.devices())),
    ] {
        if found != expected {
            return Err(Breach::WrongPoolUse {
                figure,
                found,
                expected,
            });
        }
    }
    match pool.devices() {
        Some(limit) if devices > u64::from(limit) => Err(Breach::PoolFull {
            needed: devices,
            limit,
        }),
        _ => Ok(()),
    }
}

/// Devices that hold the shares, given as units and how often: best fit, largest first.
fn packed(shares: &[(u32, u32)], size: u32) -> u64 {
    let mut shares = shares.to_vec();
    shares.sort_unstable_by(|a, b| b.cmp(a));
    // How many of the devices that were begun have 0, 1, 2, ... units free.
    let mut free = vec![0_u64; size as usize + 1];
    let mut devices = 0;
    for (units, replicas) in shares {
        let (units, mut left) = (units as usize, u64::from(replicas));
        for room in units..free.len() {
            left -= fill(&mut free, room, units, left);
        }
        // What is left begins new devices.
        let whole = (free.len() - 1) / units;
        let begun = left.div_ceil(whole as u64);
        free[size as usize] += begun;
        fill(&mut free, size as usize, units, left);
        devices += begun;
    }
    devices
}

/// Puts up to `count` shares on devices with so much room, as many on each as it holds; returns how many found a place.
fn fill(free: &mut [u64], room: usize, units: usize, count: u64) -> u64 {
    let each = room / units;
    let filled = free[room].min(count / each as u64);
    free[room] -= filled;
    free[room - each * units] += filled;
    let placed = filled * each as u64;
    // The last device takes fewer.
    let rest = count - placed;
    if rest == 0 || free[room] == 0 {
        return placed;
    }
    free[room] -= 1;
    free[room - usize::try_from(rest).unwrap_or(each) * units] += 1;
    count
}

/// A shortage is told where devices limited the plan, and its figures are numbers.
fn check_shortage(platform: &Platform, found: &PlatformPlan) -> Result<(), Breach> {
    let refused = found.plans.iter().flat_map(|plan| &plan.infeasible);
    let exhausted = refused
        .filter(|app| matches!(app.reason, InfeasibleReason::PoolExhausted { .. }))
        .count();
    let Some(shortage) = &found.shortage else {
        return if exhausted == 0 {
            Ok(())
        } else {
            Err(Breach::WrongShortage)
        };
    };
    let Shortage {
        scarcity,
        gap,
        dearer,
    } = shortage;
    if platform.gpu_pools().iter().all(|pool| pool.devices().is_none())
        || scarcity.len() != platform.gpu_pools().len()
    {
        return Err(Breach::WrongShortage);
    }
    let costs = dearer.iter().flat_map(|app| [app.unlimited, app.planned]);
    let figures = scarcity.iter().copied().chain(*gap).chain(costs);
    match figures
        .into_iter()
        .find(|figure| !(0.0..=f64::MAX).contains(figure))
    {
        Some(found) => Err(Breach::OutOfBounds {
            figure: "figure of the shortage",
            found,
            least: 0.0,
            most: f64::MAX,
        }),
        None => Ok(()),
    }
}
