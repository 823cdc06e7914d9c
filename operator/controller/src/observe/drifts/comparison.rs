//! The batches of one model's groups beside what its profile says of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::{InferenceGroup, InferenceModel, InferencePlatform};
use harmonybatch_planner::{Batches, Bucket, Correction, Device, Expected, Platform, Profiled, profiled};

use super::expectation::Look;
use crate::gateways::{ObservedBatches, ObservedGroup};
use crate::plan::{self, Key, key};

/// A time is at least this part of the bound of its bucket.
const BUCKET: f64 = 16.0 / 17.0;

/// A group on one device, and what gateways saw of it.
pub(super) struct Seen<'a> {
    pub(super) group: &'a InferenceGroup,
    device: Device,
    pub(super) gateways: &'a [&'a ObservedGroup],
}

/// The model's groups that had batches. A group of another image is of another model.
pub(super) fn groups_of<'a>(
    model: &InferenceModel,
    groups: &'a [Arc<InferenceGroup>],
    seen: &'a BTreeMap<Key, Vec<&ObservedGroup>>,
) -> Vec<Seen<'a>> {
    let (namespace, name) = key(model);
    let groups = groups.iter().filter_map(|group| {
        let (of, spec) = (key(&**group), &group.spec);
        let is_ours =
            of.0 == namespace && spec.model_ref.name == name && spec.image == model.spec.runtime.image;
        Some(Seen {
            group,
            device: plan::planned_device(&spec.device)?,
            gateways: seen.get(&of).filter(|_| is_ours)?,
        })
    });
    groups.collect()
}

/// Their batches beside what the profile says, by kind of device.
pub(super) fn compared(
    platforms: &[InferencePlatform],
    model: &InferenceModel,
    groups: &[Seen<'_>],
    in_force: impl Fn(&str) -> Correction,
    look: &mut Look<'_>,
) -> BTreeMap<String, Vec<Batches>> {
    let mut compared: BTreeMap<String, Vec<Batches>> = BTreeMap::new();
    if groups.is_empty() {
        return compared;
    }
    let Some((platform, profile)) = plan::profile_on(platforms, model) else {
        return compared;
    };
    for seen in groups {
        let known = kind(&platform, &seen.device).zip(profiled(&platform, &profile, &seen.device));
        let Some((kind, known)) = known else { continue };
        // A request of more rows than the profile knows goes alone, and nobody knows how long it should take.
        let sizes = seen.gateways.iter().flat_map(|group| &group.batches);
        let sizes = sizes.filter_map(|batches| {
            let rows = usize::try_from(batches.rows).ok()?.checked_sub(1)?;
            Some((batches, *known.get(rows)?))
        });
        let sizes: Vec<(&ObservedBatches, Profiled)> = sizes.collect();
        let Some(expected) = look.expected(&platform, &known, seen, &sizes, in_force(&kind)) else {
            continue;
        };
        let batches = sizes.into_iter().zip(expected);
        let batches = batches.map(|((batches, profiled), expected)| in_seconds(batches, profiled, expected));
        compared.entry(kind).or_default().extend(batches);
    }
    compared
}

/// What a device is called where corrections are told apart.
fn kind(platform: &Platform, device: &Device) -> Option<String> {
    match device {
        Device::Cpu { .. } => Some(plan::CPU.to_owned()),
        Device::Gpu { pool, .. } => {
            let mut pools = platform.gpu_pools().iter();
            let pool = pools.find(|offered| offered.name() == pool)?;
            Some(pool.device().to_owned())
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of minutes in microseconds")]
fn in_seconds(batches: &ObservedBatches, profiled: Profiled, expected: Expected) -> Batches {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let buckets = batches.buckets.iter();
    let overdue = batches.overdue.iter();
    Batches {
        expected,
        longest: profiled.longest(),
        answered: batches.count,
        mean: batches.mean / 1e6,
        variance: batches.variance / 1e12,
        spread: buckets
            .map(|(upper, count)| Bucket {
                least: seconds(*upper) * BUCKET,
                most: seconds(*upper),
                count: *count,
            })
            .collect(),
        overdue: overdue
            .map(|(upper, count)| (seconds(*upper) * BUCKET, *count))
            .collect(),
    }
}
