//! What a switch needs: new replicas are up before old ones go.

use std::collections::BTreeMap;

use super::PlanOutline;
use super::groups::heirs;
use crate::plan::Device;
use crate::platform::Billing;

/// Replicas of one size that run beside those of the old plan until the switch is over.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraReplicas {
    /// Device and size.
    pub device: Device,
    /// How many.
    pub replicas: u32,
}

/// What runs beside the old plan while the new one is made.
///
/// A new group takes over the pods of the old group with the same device, size and batch size that shares most members
/// with it, as the operator does; only what it needs beyond those is extra. (A new image of the model replaces all.)
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Switch {
    /// By device.
    pub extra: Vec<ExtraReplicas>,
    /// All extra CPU limits, in thousandths of a vCPU.
    pub vcpu_millis: u64,
    /// All extra GPU units, by pool.
    pub gpu_units: BTreeMap<String, u64>,
    /// What old and extra replicas cost per second together; none where a function costs only while it runs.
    pub cost_per_second: Option<f64>,
}

impl Switch {
    pub(super) fn between(old: &PlanOutline, new: &PlanOutline) -> Self {
        let kept = heirs(&old.groups, &new.groups, super::GroupOutline::same_pods);
        let mut by_device: BTreeMap<Device, u32> = BTreeMap::new();
        let mut extra_cost = 0.0;
        for (index, group) in new.groups.iter().enumerate() {
            let there = kept
                .iter()
                .find(|(_, to)| *to == index)
                .map_or(0, |&(from, _)| old.groups[from].replicas);
            let extra = group.replicas.saturating_sub(there);
            if extra > 0 {
                let count = by_device.entry(group.device.clone()).or_default();
                *count = count.saturating_add(extra);
                extra_cost += group.cost_per_second * f64::from(extra) / f64::from(group.replicas);
            }
        }
        let mut switch = Self::default();
        for (device, replicas) in by_device {
            match &device {
                Device::Cpu { vcpu } => {
                    switch.vcpu_millis += u64::from(vcpu.millis()) * u64::from(replicas);
                }
                Device::Gpu { pool, units } => {
                    *switch.gpu_units.entry(pool.clone()).or_default() +=
                        u64::from(units.get()) * u64::from(replicas);
                }
            }
            switch.extra.push(ExtraReplicas { device, replicas });
        }
        if new.billing == Billing::PerReplica && old.billing == Billing::PerReplica {
            switch.cost_per_second = Some(old.cost_per_second + extra_cost);
        }
        switch
    }
}
