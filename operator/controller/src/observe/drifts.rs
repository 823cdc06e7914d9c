//! From the batches that all gateways saw to how far every model's profile is off, for each kind of device.
//!
//! Gateways remember batches for some minutes, so that a new controller has all of it at once; by what plans are corrected stands in the model's
//! status, for the time when nobody calls. The estimate and its bounds are the planner's ([`harmonybatch_planner::Estimate`]); here is what is compared with
//! what, since when a correction stands, and when something is said anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::{InferenceGroup, InferenceModel, InferencePlatform};
use harmonybatch_planner::{
    Batches, Bucket, Correction, Device, Estimate, ModelProfile, Platform, Profiled, profiled,
};

use crate::gateways::{Observed, ObservedBatches, ObservedGroup};
use crate::plan::{self, Drift, Key, key};

/// For how long a gateway remembers batches: what was measured before a correction is gone after it.
const REMEMBERED: Duration = Duration::from_mins(3);
/// How many times what was last said of the measured factor it must be to be said anew.
const SAID_ANEW: f64 = 1.05;
/// A time is at least this part of the bound of its bucket.
const BUCKET: f64 = 16.0 / 17.0;

/// How far the profiles of all models are off.
#[derive(Debug, Default)]
pub(crate) struct Drifts {
    following: BTreeMap<(Key, String), Following>,
}

/// What is known of one model on one kind of device.
#[derive(Debug)]
struct Following {
    drift: Drift,
    /// When its correction was last changed, since any fixed moment; none where nobody remembers.
    changed_at: Option<Duration>,
}

impl Drifts {
    /// Takes the answers of all gateways at `now`, since any fixed moment. Returns what is known of the models of which anything is.
    pub(crate) fn observe<'a>(
        &mut self,
        now: Duration,
        platforms: &[InferencePlatform],
        models: &[InferenceModel],
        groups: &[Arc<InferenceGroup>],
        answers: impl IntoIterator<Item = &'a Observed>,
    ) -> BTreeMap<Key, Vec<Drift>> {
        let mut seen: BTreeMap<Key, Vec<&ObservedGroup>> = BTreeMap::new();
        for group in answers.into_iter().flat_map(|answer| &answer.groups) {
            seen.entry((group.namespace.clone(), group.group.clone()))
                .or_default()
                .push(group);
        }
        let mut followed: BTreeMap<(Key, String), Following> = BTreeMap::new();
        for model in models {
            let name = key(model);
            let batches = compared(platforms, model, groups, &seen);
            let before = plan::known_before(model);
            let first = (name.clone(), String::new());
            let theirs = self.following.range(&first..);
            let theirs = theirs.map_while(|((model, kind), _)| (*model == name).then_some(kind));
            let mut kinds: BTreeSet<String> = theirs.cloned().collect();
            kinds.extend(batches.keys().cloned());
            kinds.extend(before.iter().map(|drift| drift.device.clone()));
            // Most models are idle and never were off, and cost nothing.
            if kinds.is_empty() {
                continue;
            }
            let basis = plan::basis(model);
            for kind in kinds {
                let remembered = self.following.remove(&(name.clone(), kind.clone()));
                // What holds for another profile is forgotten.
                let remembered = remembered.filter(|following| following.drift.basis == basis);
                let written = before.iter().find(|drift| drift.device == kind);
                let Some(mut following) = remembered
                    .or_else(|| written.cloned().map(Following::of))
                    .or_else(|| batches.contains_key(&kind).then(|| Following::new(&kind, &basis)))
                else {
                    continue;
                };
                if let Some(batches) = batches.get(&kind) {
                    following.take(&Estimate::of(batches), now);
                }
                followed.insert((name.clone(), kind), following);
            }
        }
        self.following = followed;
        let mut known: BTreeMap<Key, Vec<Drift>> = BTreeMap::new();
        for ((model, _), following) in &self.following {
            if following.drift.batches > 0 {
                known
                    .entry(model.clone())
                    .or_default()
                    .push(following.drift.clone());
            }
        }
        known
    }
}

impl Following {
    /// Nothing is known yet.
    fn new(device: &str, basis: &str) -> Self {
        Self::of(Drift {
            device: device.to_owned(),
            correction: Correction::default(),
            measured: 1.0,
            batches: 0,
            basis: basis.to_owned(),
        })
    }

    /// Goes on with what was written.
    fn of(drift: Drift) -> Self {
        Self {
            drift,
            changed_at: None,
        }
    }

    fn take(&mut self, estimate: &Estimate, now: Duration) {
        let held = self
            .changed_at
            .is_none_or(|at| now.saturating_sub(at) >= REMEMBERED);
        let drift = &mut self.drift;
        let found = drift.correction.after(estimate, held);
        if let Some(found) = found {
            drift.correction = found;
            self.changed_at = Some(now);
        }
        let news = (estimate.mean() / drift.measured).ln().abs() > SAID_ANEW.ln();
        if found.is_some() || (estimate.is_settled() && (news || drift.batches == 0)) {
            drift.measured = (estimate.mean() * 100.0).round().max(1.0) / 100.0;
            drift.batches = estimate.batches();
        }
    }
}

/// The batches of one model's groups beside what its profile says of them, by kind of device. A group of another image is of another model.
fn compared(
    platforms: &[InferencePlatform],
    model: &InferenceModel,
    groups: &[Arc<InferenceGroup>],
    seen: &BTreeMap<Key, Vec<&ObservedGroup>>,
) -> BTreeMap<String, Vec<Batches>> {
    let (namespace, name) = key(model);
    let groups = groups.iter().filter_map(|group| {
        let (of, spec) = (key(&**group), &group.spec);
        let is_ours =
            of.0 == namespace && spec.model_ref.name == name && spec.image == model.spec.runtime.image;
        let batches = seen.get(&of).filter(|_| is_ours)?;
        Some((plan::planned_device(&spec.device)?, batches))
    });
    let mut groups = groups.peekable();
    let mut compared: BTreeMap<String, Vec<Batches>> = BTreeMap::new();
    // Most models have no batches at any time, and are not read for that.
    if groups.peek().is_none() {
        return compared;
    }
    if let Some((platform, profile)) = plan::profile_on(platforms, model) {
        let batches = groups.filter_map(|(device, groups)| compare(&platform, &profile, &device, groups));
        for (kind, batches) in batches {
            compared.entry(kind).or_default().extend(batches);
        }
    }
    compared
}

/// The batches of groups on one device beside what the profile says of them, and the kind of that device.
fn compare(
    platform: &Platform,
    profile: &ModelProfile,
    device: &Device,
    groups: &[&ObservedGroup],
) -> Option<(String, Vec<Batches>)> {
    let kind = match device {
        Device::Cpu { .. } => plan::CPU.to_owned(),
        Device::Gpu { pool, .. } => {
            let mut pools = platform.gpu_pools().iter();
            pools.find(|offered| offered.name() == pool)?.device().to_owned()
        }
    };
    let expected = profiled(platform, profile, device)?;
    let batches = groups.iter().flat_map(|group| &group.batches);
    // A request of more rows than the profile knows goes alone, and nobody knows how long it should take.
    let batches = batches.filter_map(|batches| {
        let rows = usize::try_from(batches.rows).ok()?.checked_sub(1)?;
        Some(in_seconds(batches, *expected.get(rows)?))
    });
    Some((kind, batches.collect()))
}

/// Under a quota the mean depends on how much of the time a replica is idle. What is seen between the two ends is as the profile says, and only what is
/// beyond them tells of a drift.
#[expect(clippy::cast_precision_loss, reason = "times of minutes in microseconds")]
fn in_seconds(batches: &ObservedBatches, profiled: Profiled) -> Batches {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let expected_mean = (batches.mean / 1e6).clamp(profiled.least_mean, profiled.mean);
    let expected_max = profiled.max;
    let buckets = batches.buckets.iter();
    let overdue = batches.overdue.iter();
    Batches {
        expected_mean,
        expected_max,
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

#[cfg(test)]
mod tests;
