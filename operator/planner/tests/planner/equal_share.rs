//! Pools whose tenants take turns: latency depends on their number, the size only on memory.

use std::num::NonZeroU16;

use harmonybatch_planner::units::{BatchSize, Bytes, Seconds};
use harmonybatch_planner::{
    App, Billing, Device, GpuLatency, GroupPlan, Memory, ModelProfile, ModelSet, PlanRequest, Platform,
    Sharing,
};

use crate::fixture::{GPU_UNIT_SECOND, MAX_BATCH, REQUEST, TAU, VGG19, a10_shared, app, plan, prices};

const GIB: u64 = 1 << 30;

/// Plans VGG-19 on a pool without CPU functions.
fn planned(billing: Billing, tenants: Option<u16>, memory: Memory, apps: Vec<App>) -> Vec<GroupPlan> {
    let sharing = Sharing::EqualShare {
        tenants: tenants.and_then(NonZeroU16::new),
    };
    let platform = Platform::new(billing, prices(), Seconds::ZERO, None, vec![a10_shared(sharing)]).unwrap();
    let gpu = GpuLatency::new("a10", VGG19.per_row, VGG19.fixed, memory).unwrap();
    let profile = ModelProfile::new(vec![], vec![gpu], BatchSize::new(MAX_BATCH).unwrap()).unwrap();
    let set = ModelSet::new("shop", "vgg19", profile, apps).unwrap();
    let plan = plan(&PlanRequest {
        platform,
        models: vec![set],
    })
    .remove(0);
    assert!(plan.infeasible.is_empty(), "{:?}", plan.infeasible);
    plan.groups
}

fn units(group: &GroupPlan) -> u32 {
    match group.device {
        Device::Gpu { units, .. } => units.get(),
        Device::Cpu { .. } => panic!("the platform has no CPU functions"),
    }
}

fn alone(batch: u32) -> f64 {
    VGG19.per_row * f64::from(batch) + VGG19.fixed
}

fn assert_near(found: f64, expected: f64) {
    assert!(
        (found / expected - 1.0).abs() < 1e-6,
        "{found:e} is not {expected:e}"
    );
}

/// With k tenants: mean k L0, most ceil(L0/tau) (k-1) tau + L0, and a run costs mean * units * price.
#[test]
fn four_tenants_take_four_times_as_long_whatever_their_share() {
    let groups = planned(
        Billing::PerInvocation,
        Some(4),
        Memory::default(),
        vec![app("busy", 2.0, 10_000.0)],
    );
    let [group] = groups.as_slice() else {
        panic!("one application, {} groups", groups.len())
    };
    assert_eq!((group.batch_size.get(), units(group)), (32, 1));
    let longest = (alone(32) / TAU).ceil() * 3.0 * TAU + alone(32);
    assert_near(group.predicted.mean_service.get(), 4.0 * alone(32));
    assert_near(group.predicted.max_service.get(), longest);
    // So many requests fill every batch.
    let batch = 4.0 * alone(32) * GPU_UNIT_SECOND + REQUEST;
    assert_near(group.predicted.cost_per_request, batch / 32.0);
}

#[test]
fn the_share_is_as_large_as_its_memory_must_be() {
    let memory = Memory {
        base: Bytes(5 * GIB / 2),
        per_row: Bytes(GIB / 16),
    };
    for billing in [Billing::PerInvocation, Billing::PerReplica] {
        let groups = planned(billing, Some(4), memory, vec![app("cart", 1.0, 20.0)]);
        let rows = u64::from(groups[0].batch_size.get());
        let needed = memory.base.0 + rows * memory.per_row.0;
        let smallest = u32::try_from(needed.div_ceil(GIB)).unwrap();
        assert_eq!(units(&groups[0]), smallest, "{billing:?}: {rows} rows");
    }
}

/// Without a number of tenants a share of m of 24 units meets 24 - m others of one unit.
#[test]
fn a_tight_slo_takes_the_whole_device_to_itself() {
    let tight = vec![app("tight", 0.005, 1.0)];
    let groups = planned(Billing::PerInvocation, None, Memory::default(), tight);
    assert_eq!(units(&groups[0]), 24);
    assert_near(
        groups[0].predicted.max_service.get(),
        alone(groups[0].batch_size.get()),
    );
}

/// One unit serves (1/24) 32/L0(32) rows a second, and the next size twice the price for hardly more: several of one unit
/// are the cheapest way to hold a load that needs more.
#[test]
fn pods_that_stay_up_are_several_small_ones_where_a_large_one_is_no_faster() {
    let groups = planned(
        Billing::PerReplica,
        Some(24),
        Memory::default(),
        vec![app("feed", 5.0, 60.0)],
    );
    assert_eq!(units(&groups[0]), 1);
    // Capacity alone asks for 60 rows/s * 24 * L0(32)/32 = 2.5 replicas.
    assert!(
        (3..=5).contains(&groups[0].replicas),
        "{} replicas",
        groups[0].replicas
    );
}
