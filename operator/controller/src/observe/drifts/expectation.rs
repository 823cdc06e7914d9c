//! What batches of a group are expected to take as its profile has them.
//!
//! Mostly that is the profile's mean. Under a quota it depends on how often a replica is idle, and the planner plays the group that was seen
//! ([`UnderQuota`]): its size, batches, dispatch and members as its spec has them, the replicas that are ready, and requests at the rate at which rows were
//! in batches. Where nobody knows how requests came (they come in bursts, or several rows at a time; functions are billed while they run; an
//! older gateway does not say when) there is an interval: from the mean after idle time to that of a replica that is never idle, both times the correction
//! in force. What is seen between these tells nothing new, and only what is beyond them is a drift.
//!
//! What is played is kept with its group and played again only for another rate or another factor. How much is played at one look is bounded: a group that comes
//! too late has its turn at the next one, and says nothing until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::{InferenceApp, InferenceGroup};
use harmonybatch_planner::{Correction, Expected, Platform, Profiled, Rows, UnderQuota};

use super::comparison::Seen;
use crate::gateways::{Observed, ObservedBatches, ObservedGroup};
use crate::observe::figures;
use crate::plan::{self, Key, key};

/// What is played at one look at most: each takes a millisecond or two.
const PLAYED_AT_ONCE: u32 = 100;
/// Rows of a request in the mean, above which they do not come one by one.
const ONE_BY_ONE: f64 = 1.05;

/// What was played, by group.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    groups: BTreeMap<Key, UnderQuota>,
}

/// One look at what gateways saw.
pub(super) struct Look<'a> {
    groups: &'a mut BTreeMap<Key, UnderQuota>,
    not_as_played: &'a BTreeSet<Key>,
    budget: u32,
}

impl Expectations {
    /// Begins to look; nothing is kept of groups that are gone.
    pub(super) fn look<'a>(
        &'a mut self,
        groups: &[Arc<InferenceGroup>],
        not_as_played: &'a BTreeSet<Key>,
    ) -> Look<'a> {
        if !self.groups.is_empty() {
            let there: BTreeSet<Key> = groups.iter().map(|group| key(&**group)).collect();
            self.groups.retain(|group, _| there.contains(group));
        }
        Look {
            groups: &mut self.groups,
            not_as_played,
            budget: PLAYED_AT_ONCE,
        }
    }

    /// Groups of which something was played.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.groups.len()
    }
}

impl Look<'_> {
    /// What is expected of the batches of a group, in their order, where `in_force` is what it is corrected by. None where it has to wait for the next look.
    pub(super) fn expected(
        &mut self,
        platform: &Platform,
        known: &[Profiled],
        seen: &Seen<'_>,
        sizes: &[(&ObservedBatches, Profiled)],
        in_force: Correction,
    ) -> Option<Vec<Expected>> {
        if let Some(rate) = rate(seen.gateways).filter(|_| self.comes_as_played(seen.group))
            && let Some(now) = running(seen.group).and_then(|group| UnderQuota::new(platform, known, &group))
        {
            let name = key(seen.group);
            let kept = self.groups.remove(&name).filter(|kept| kept.is_like(&now));
            let under = self.groups.entry(name).or_insert(kept.unwrap_or(now));
            let sizes = sizes.iter().map(|(batches, _)| Rows {
                rows: batches.rows,
                count: batches.count,
                mean: batches.mean / 1e6,
            });
            let explained = under.explain(rate, &sizes.collect::<Vec<Rows>>(), &mut self.budget);
            if explained.is_some() || self.budget == 0 {
                return explained;
            }
        }
        let between = |(batches, profiled): &(&ObservedBatches, Profiled)| {
            let explained = batches.mean / 1e6 / in_force.mean();
            let (least, most) = profiled.means();
            Expected::new(explained.clamp(least, most))
        };
        Some(sizes.iter().map(between).collect())
    }

    fn comes_as_played(&self, group: &InferenceGroup) -> bool {
        let (namespace, _) = key(group);
        let mut members = group.spec.members.iter();
        members.all(|member| {
            let app = (namespace.clone(), member.app.clone());
            !self.not_as_played.contains(&app)
        })
    }
}

/// What runs of a group, where its replicas are always there.
fn running(group: &InferenceGroup) -> Option<harmonybatch_planner::GroupOutline> {
    if group.spec.serving != ServingMode::Deployment {
        return None;
    }
    let mut outline = plan::outline(group, |_| true)?;
    let ready = group.status.as_ref().and_then(|status| status.ready_replicas);
    let ready = ready
        .and_then(|ready| u32::try_from(ready).ok())
        .filter(|ready| *ready > 0);
    outline.replicas = ready.map_or(outline.replicas, |ready| ready.min(outline.replicas));
    Some(outline)
}

/// Rows a second, from the first of the batches that gateways remember to the last one. At most times one gateway has all batches of a group; when another one
/// takes it over, each has those of its time.
fn rate(gateways: &[&ObservedGroup]) -> Option<f64> {
    let mut spans = Vec::new();
    let mut rows = 0.0;
    for seen in gateways {
        spans.push((seen.began_seconds_ago?, seen.ended_seconds_ago?));
        let number = |batches: &ObservedBatches| {
            let overdue = batches.overdue.iter().map(|(_, count)| count);
            count(batches.count.saturating_add(overdue.sum()))
        };
        let batches: f64 = seen.batches.iter().map(number).sum();
        let all: f64 = seen
            .batches
            .iter()
            .map(|batches| f64::from(batches.rows) * number(batches))
            .sum();
        // What began the span came in no part of it.
        rows += all * (batches - 1.0).max(0.0) / batches.max(1.0);
    }
    // The latest first.
    spans.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let (mut seconds, mut until) = (0.0, 0.0_f64);
    for (began, ended) in spans {
        seconds += (began - ended.max(until)).max(0.0);
        until = until.max(began);
    }
    (rows > 0.0 && seconds > 0.0).then(|| rows / seconds)
}

/// The applications whose requests do not come as a simulation of their group has them come: one by one, each for itself, at one rate.
pub(crate) fn not_as_played<'a>(
    apps: &[InferenceApp],
    answers: impl IntoIterator<Item = &'a Observed> + Clone,
) -> BTreeSet<Key> {
    let declared = apps
        .iter()
        .filter(|app| app.spec.burst.is_some() || app.spec.trace.is_some());
    let mut found: BTreeSet<Key> = declared.map(key).collect();
    let counts = figures::merge(answers.clone());
    let bursty = counts
        .into_iter()
        .filter(|(_, counts)| counts.spread.burst().is_some());
    found.extend(bursty.map(|(app, _)| app));
    let seen = answers.into_iter().flat_map(|answer| &answer.apps);
    let several = seen.filter(|app| {
        let arrived = app.arrived.unwrap_or_default();
        count(arrived.rows) > ONE_BY_ONE * count(arrived.requests)
    });
    found.extend(several.map(|app| (app.namespace.clone(), app.app.clone())));
    found
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}
