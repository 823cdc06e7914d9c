//! One InferencePlatform.

use std::num::NonZeroU16;

use harmonybatch_api::InferencePlatformSpec;
use harmonybatch_api::inference_platform as written;
use harmonybatch_api::quantity::{Cpu, Decimal, Duration, Memory};
use harmonybatch_planner as planner;
use harmonybatch_planner::units::{Bytes, GpuUnits, Headroom, Price, Seconds, Vcpu};
use harmonybatch_planner::{Platform, PlatformError};

use super::app::{checked, parse};
use super::{Patience, Problem};

/// Reads it.
pub(super) fn platform(spec: &InferencePlatformSpec) -> Result<Platform, Problem> {
    let billing = match spec.billing {
        written::Billing::PerReplica => planner::Billing::PerReplica,
        written::Billing::PerInvocation => planner::Billing::PerInvocation,
    };
    let prices = planner::Prices {
        vcpu_second: price("prices.vcpuSecond", &spec.prices.vcpu_second)?,
        gpu_unit_second: price("prices.gpuUnitSecond", &spec.prices.gpu_unit_second)?,
        request: price("prices.request", &spec.prices.request)?,
    };
    let cpu = spec.cpu.as_ref().map(cpu_grid).transpose()?;
    let pools = spec.gpu_pools.iter().map(pool).collect::<Result<_, Problem>>()?;
    let planner = match spec.planner {
        written::Planner::Optimal => planner::Planner::Optimal,
        written::Planner::TwoStage => planner::Planner::TwoStage,
    };
    let headroom = headroom(spec.headroom_in_force())?;
    Platform::new(billing, prices, seconds("overhead", &spec.overhead)?, cpu, pools)
        .map(|platform| platform.with_planner(planner).with_headroom(headroom))
        .map_err(|error| contradiction(&error))
}

fn headroom(text: &str) -> Result<Headroom, Problem> {
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<Decimal>().ok());
    percent
        .and_then(|percent| Headroom::new(percent.to_f64() / 100.0).ok())
        .ok_or_else(|| {
            Problem::invalid(format!(
                "headroom {text:?} is not a headroom: write a percentage from 0% to 100%, such as 10%"
            ))
        })
}

/// When its plan gives way to another.
pub(super) fn patience(spec: &InferencePlatformSpec) -> Result<Patience, Problem> {
    let field = "replan.minSaving";
    let part: Decimal = parse(
        field,
        spec.replan.min_saving.strip_suffix('%').unwrap_or_default(),
    )?;
    let interval: Duration = parse("replan.minInterval", &spec.replan.min_interval)?;
    let min_saving = part.to_f64() / 100.0;
    if min_saving >= 1.0 {
        return Err(Problem::invalid(format!(
            "{field} {} must be below 100%",
            spec.replan.min_saving
        )));
    }
    Ok(Patience {
        rule: planner::ReplanRule {
            min_saving,
            prefer: match spec.replan.prefer {
                written::Preference::LeastCost => planner::Preference::LeastCost,
                written::Preference::LeastChange => planner::Preference::LeastChange,
            },
            ..planner::ReplanRule::default()
        },
        min_interval: interval.into(),
    })
}

fn cpu_grid(grid: &written::CpuGrid) -> Result<planner::CpuGrid, Problem> {
    let limit = |field: &str, text: &str| {
        let cpu: Cpu = parse(field, text)?;
        checked(
            field,
            Vcpu::from_millis(u32::try_from(cpu.millis()).unwrap_or(u32::MAX)),
        )
    };
    planner::CpuGrid::new(
        limit("cpu.min", &grid.min)?,
        limit("cpu.max", &grid.max)?,
        limit("cpu.step", &grid.step)?,
    )
    .map_err(|error| contradiction(&error))
}

fn pool(pool: &written::GpuPool) -> Result<planner::GpuPool, Problem> {
    let field = |name: &str| format!("gpuPools[{}].{name}", pool.name);
    let count = u32::try_from(pool.units_per_device).unwrap_or(0);
    let units = checked(&field("unitsPerDevice"), GpuUnits::new(count))?;
    let memory: Memory = parse(&field("memoryPerUnit"), &pool.memory_per_unit)?;
    let sharing = match pool.latency_model {
        written::LatencyModel::FixedShare => planner::Sharing::FixedShare,
        written::LatencyModel::EqualShare => planner::Sharing::EqualShare {
            tenants: pool
                .tenants
                .and_then(|tenants| u16::try_from(tenants).ok())
                .and_then(NonZeroU16::new),
        },
    };
    planner::GpuPool::new(
        &pool.name,
        &pool.device,
        units,
        Bytes(memory.bytes()),
        seconds(&field("slice"), &pool.slice)?,
        sharing,
        legal_shares(pool, count)?,
    )
    .map(|made| made.with_devices(pool.devices.and_then(|devices| u32::try_from(devices).ok())))
    .map_err(|error| contradiction(&error))
}

/// The shares that the backend can ask for: where every share asks for one resource, the only share is one unit; in percent only
/// shares of whole percents, as others would be rounded up and not all of a device's units could be had.
fn legal_shares(pool: &written::GpuPool, units_per_device: u32) -> Result<Vec<GpuUnits>, Problem> {
    let written::GpuBackend::ExtendedResource(resource) = &pool.backend;
    let largest = match resource.quantity {
        written::ShareQuantity::One => 1,
        written::ShareQuantity::Units | written::ShareQuantity::MiB | written::ShareQuantity::Percent => {
            units_per_device
        }
    };
    let whole = |units: &u32| {
        resource.quantity != written::ShareQuantity::Percent || (100 * units).is_multiple_of(units_per_device)
    };
    (1..=largest)
        .filter(whole)
        .map(|units| checked("gpuPools", GpuUnits::new(units)))
        .collect()
}

fn price(field: &str, text: &str) -> Result<Price, Problem> {
    let price: Decimal = parse(field, text)?;
    checked(field, Price::new(price.to_f64()))
}

fn seconds(field: &str, text: &str) -> Result<Seconds, Problem> {
    let duration: Duration = parse(field, text)?;
    checked(field, Seconds::new(duration.as_secs_f64()))
}

fn contradiction(error: &PlatformError) -> Problem {
    Problem::invalid(error.to_string())
}
