//! One colour for each kind of device, on every chart the same.

use std::collections::BTreeSet;

use harmonybatch_planner::{Device, Plan};

/// Colours that the style sheet has (Okabe and Ito's, told apart by the colour-blind); further kinds begin again.
const COLOURS: usize = 6;

/// Kinds of devices in the order of their colours.
pub(super) struct Palette {
    pools: Vec<String>,
}

impl Palette {
    pub(super) fn of<'a>(plans: impl Iterator<Item = &'a Plan>) -> Self {
        let groups = plans.flat_map(|plan| &plan.groups);
        let pools: BTreeSet<&str> = groups
            .filter_map(|group| match &group.device {
                Device::Cpu { .. } => None,
                Device::Gpu { pool, .. } => Some(pool.as_str()),
            })
            .collect();
        Self {
            pools: pools.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The class that colours what runs on a device.
    pub(super) fn class(&self, device: &Device) -> String {
        let place = match device {
            Device::Cpu { .. } => 0,
            Device::Gpu { pool, .. } => {
                1 + self
                    .pools
                    .iter()
                    .position(|known| known == pool)
                    .unwrap_or_default()
            }
        };
        format!("k{}", place % COLOURS)
    }
}

/// `cpu`, or the pool.
pub(super) fn kind(device: &Device) -> &str {
    match device {
        Device::Cpu { .. } => "cpu",
        Device::Gpu { pool, .. } => pool,
    }
}
