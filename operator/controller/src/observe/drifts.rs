//! From the batches that all gateways saw to how far every model's profile is off, for each kind of device.
//!
//! Gateways remember batches for some minutes, so that a new controller has all of it at once; by what plans are corrected stands in the model's
//! status, for the time when nobody calls. The estimate and its bounds are the planner's ([`harmonybatch_planner::Estimate`]); here is what is compared with
//! what ([`comparison`], and [`expectation`] for what a quota stops), since when a correction stands, and when something is said anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use harmonybatch_api::{InferenceGroup, InferenceModel, InferencePlatform};
use harmonybatch_planner::{Correction, Estimate};

use crate::gateways::{Observed, ObservedGroup};
use crate::plan::{self, Drift, Key, key};

mod comparison;
mod expectation;

use comparison::{compared, groups_of};
use expectation::Expectations;
pub(crate) use expectation::not_as_played;

/// For how long a gateway remembers batches: what was measured before a correction is gone after it.
const REMEMBERED: Duration = Duration::from_mins(3);
/// How many times what was last said of the measured factor it must be to be said anew.
const SAID_ANEW: f64 = 1.05;

/// How far the profiles of all models are off.
#[derive(Debug, Default)]
pub(crate) struct Drifts {
    following: BTreeMap<(Key, String), Following>,
    expectations: Expectations,
}

/// What is known of one model on one kind of device.
#[derive(Debug)]
struct Following {
    drift: Drift,
    /// When its correction was last changed, since any fixed moment; none where nobody remembers.
    changed_at: Option<Duration>,
}

impl Drifts {
    /// Takes the answers of all gateways at `now`, since any fixed moment; requests of the applications that are [`not_as_played`] come otherwise than a
    /// simulation has them come. Returns what is known of the models of which anything is.
    pub(crate) fn observe<'a>(
        &mut self,
        now: Duration,
        platforms: &[InferencePlatform],
        models: &[InferenceModel],
        groups: &[Arc<InferenceGroup>],
        not_as_played: &BTreeSet<Key>,
        answers: impl IntoIterator<Item = &'a Observed>,
    ) -> BTreeMap<Key, Vec<Drift>> {
        let mut seen: BTreeMap<Key, Vec<&ObservedGroup>> = BTreeMap::new();
        for group in answers.into_iter().flat_map(|answer| &answer.groups) {
            seen.entry((group.namespace.clone(), group.group.clone()))
                .or_default()
                .push(group);
        }
        let mut looking = self.expectations.look(groups, not_as_played);
        let mut followed: BTreeMap<(Key, String), Following> = BTreeMap::new();
        for model in models {
            let name = key(model);
            let theirs = groups_of(model, groups, &seen);
            let before = plan::known_before(model);
            let first = (name.clone(), String::new());
            let remembered = self.following.range(&first..);
            let remembered = remembered.map_while(|((of, kind), _)| (*of == name).then_some(kind));
            let remembered: Vec<String> = remembered.cloned().collect();
            // Most models are idle and never were off, and cost nothing.
            if theirs.is_empty() && before.is_empty() && remembered.is_empty() {
                continue;
            }
            let basis = plan::basis(model);
            let written = before
                .into_iter()
                .map(|drift| (drift.device.clone(), Following::of(drift)));
            let mut known: BTreeMap<String, Following> = written.collect();
            for kind in remembered {
                let following = self.following.remove(&(name.clone(), kind.clone()));
                // What holds for another profile is forgotten.
                let following = following.filter(|following| following.drift.basis == basis);
                known.extend(following.map(|following| (kind, following)));
            }
            let in_force = |kind: &str| {
                let following = known.get(kind);
                following.map_or_else(Correction::default, |following| following.drift.correction)
            };
            for (kind, batches) in compared(platforms, model, &theirs, in_force, &mut looking) {
                let following = known
                    .entry(kind)
                    .or_insert_with_key(|kind| Following::new(kind, &basis));
                following.take(&Estimate::of(&batches), now);
            }
            followed.extend(
                known
                    .into_iter()
                    .map(|(kind, following)| ((name.clone(), kind), following)),
            );
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

#[cfg(test)]
mod tests;
