//! Places what is new or changed among the groups that run, one application after the other, and leaves the others where they are.

use std::collections::BTreeSet;

use super::super::Candidate;
use super::ReplanRule;
use super::running::{Arrangement, Running, Served, change, sort};
use crate::diff::GroupOutline;
use crate::group::MOST_MEMBERS;
use crate::provision::Standing;

/// The groups that are tried for an application, those of the nearest SLOs first: sharing pays among like SLOs, and every try may be
/// a simulation.
const NEIGHBOURS: usize = 8;

/// Where room may be made: beyond so many applications to place, the new plan is as quickly found and better.
const PLACED_AT_MOST: usize = 16;

impl<'p, 'a, P: Standing> Running<'p, 'a, P> {
    /// The groups that run less whatever is gone or has changed, and everything that is in no group placed where it costs least: in a
    /// group that goes on as it is, in one of its own, or, where `make_room`, in one that is resized for it. None where there
    /// is nothing to place, nothing that stays, or too much to place.
    pub(super) fn amended(&self, rule: &ReplanRule, make_room: bool) -> Option<Arrangement> {
        let (mut groups, left) = self.staying(rule);
        let placed: BTreeSet<&str> = groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| member.app.name.as_str())
            .collect();
        let mut to_place: Vec<&'p Candidate<'a>> = self.candidates.values().copied().collect();
        to_place.retain(|candidate| !placed.contains(candidate.app.name.as_str()));
        if groups.is_empty() || !left && to_place.is_empty() || make_room && to_place.len() > PLACED_AT_MOST {
            return None;
        }
        sort(&mut to_place);
        for candidate in to_place {
            self.place(&mut groups, candidate, make_room);
        }
        Some(self.arrange(groups))
    }

    /// The groups with the members that they keep, on the functions that they have where those go on; and whether anybody left. Who has
    /// changed leaves a group that does not go on as it is with them; of a group that nothing serves any more all leave.
    fn staying(&self, rule: &ReplanRule) -> (Vec<Served<'p, 'a>>, bool) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut groups = Vec::new();
        let mut left = false;
        for group in self.old {
            let held = group.members.iter().filter(|held| seen.insert(&held.app));
            let (mut all, mut unchanged): (Vec<&'p Candidate<'a>>, Vec<_>) = (Vec::new(), Vec::new());
            for held in held {
                let Some(candidate) = self.candidates.get(held.app.as_str()) else {
                    continue;
                };
                all.push(candidate);
                if change(group, held, Some(candidate.app), rule).is_none() {
                    unchanged.push(*candidate);
                }
            }
            sort(&mut all);
            sort(&mut unchanged);
            let together = all.len() == 1 || all.iter().all(|member| !member.app.isolated);
            let as_it_is = together.then(|| self.stands(group, &all)).flatten();
            let members = if as_it_is.is_some() { all } else { unchanged };
            let served = as_it_is
                .or_else(|| self.stands(group, &members))
                .or_else(|| self.cheapest(&members));
            left |= served.is_none() || members.len() < group.members.len();
            groups.extend(served.map(|(choice, operation)| Served {
                old: Some(group),
                members,
                choice,
                operation: Some(operation),
            }));
        }
        (groups, left)
    }

    /// Where it adds least to the cost; of equals in the group of the nearest SLO.
    fn place(&self, groups: &mut Vec<Served<'p, 'a>>, candidate: &'p Candidate<'a>, make_room: bool) {
        let own = self.planner.settle_alone(candidate);
        let mut best: Option<(f64, usize, Served)> = None;
        for index in neighbours(groups, candidate) {
            let group = &groups[index];
            let mut members = group.members.clone();
            members.push(candidate);
            sort(&mut members);
            let as_it_is = group.old.and_then(|old| self.stands(old, &members));
            // A group that is new itself, or that is resized already, loses nothing by another size.
            let may_resize = make_room || group.old.is_none_or(|old| self.is_resized(old, group));
            let found = as_it_is.or_else(|| may_resize.then(|| self.cheapest(&members)).flatten());
            let Some((choice, operation)) = found else {
                continue;
            };
            let more = choice.cost_per_second - group.choice.cost_per_second;
            if more <= own.choice.cost_per_second && best.as_ref().is_none_or(|(least, ..)| more < *least) {
                let served = Served {
                    old: group.old,
                    members,
                    choice,
                    operation: Some(operation),
                };
                best = Some((more, index, served));
            }
            if more <= 0.0 {
                break;
            }
        }
        match best {
            Some((_, index, served)) => groups[index] = served,
            None => groups.push(Served {
                old: None,
                members: own.members,
                choice: own.choice,
                operation: own.operation,
            }),
        }
    }

    /// Whether the group could not go on as it was.
    fn is_resized(&self, old: &GroupOutline, group: &Served<'p, 'a>) -> bool {
        let function = &self.planner.catalogue.functions[group.choice.function];
        function.site.device(self.planner.platform) != old.device
            || group.choice.batch != old.batch_size.get()
            || group.choice.replicas != old.replicas
    }
}

/// Indices of the groups that the application may join, those with the nearest SLO first.
fn neighbours(groups: &[Served<'_, '_>], candidate: &Candidate<'_>) -> Vec<usize> {
    if candidate.app.isolated {
        return Vec::new();
    }
    let distance = |group: &Served| {
        let apart = group
            .members
            .iter()
            .map(|member| (member.load.slo / candidate.load.slo).ln().abs());
        apart.fold(f64::INFINITY, f64::min)
    };
    let open = |group: &Served| {
        group.members.len() < MOST_MEMBERS && !group.members.iter().any(|member| member.app.isolated)
    };
    let mut indices: Vec<usize> = (0..groups.len()).filter(|&index| open(&groups[index])).collect();
    indices.sort_by(|&a, &b| {
        distance(&groups[a])
            .total_cmp(&distance(&groups[b]))
            .then(a.cmp(&b))
    });
    indices.truncate(NEIGHBOURS);
    indices
}
