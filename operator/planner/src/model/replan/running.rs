//! What runs, judged for the applications as they are now: as it is, or on other functions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::super::{Candidate, ModelPlanner, Settled, by_slo};
use super::{ReplanReason, ReplanRule, members, within_step};
use crate::app::App;
use crate::arrival::Load;
use crate::diff::{GroupOutline, MemberOutline};
use crate::plan::{InfeasibleApp, Plan};
use crate::provision::{Choice, Operation, Standing};

/// Promises that differ by less than this, relatively, are the same: they may have been written and read again.
const ROUNDING: f64 = 1e-9;

/// How loads are served, if they can be.
type Service = Option<(Choice, Operation)>;

/// A plan, and what its groups are called where they run already.
pub(super) struct Arrangement {
    pub(super) plan: Plan,
    /// In the order of the plan's groups; empty for one that is new.
    pub(super) names: Vec<String>,
}

/// A group as it will be served.
pub(super) struct Served<'p, 'a> {
    /// The group that runs and becomes this one.
    pub(super) old: Option<&'p GroupOutline>,
    /// In order of SLO.
    pub(super) members: Vec<&'p Candidate<'a>>,
    pub(super) choice: Choice,
    pub(super) operation: Option<Operation>,
}

/// Names of members, and the function and replicas that they were judged on; without those, on the cheapest.
type Question = (Vec<String>, Option<(usize, u32, u32)>);

/// What runs, and the applications as they are now.
pub(super) struct Running<'p, 'a, P> {
    pub(super) planner: &'p ModelPlanner<'a, P>,
    pub(super) candidates: BTreeMap<&'p str, &'p Candidate<'a>>,
    infeasible: &'p [InfeasibleApp],
    pub(super) old: &'p [GroupOutline],
    /// Verdicts that were given: each may be a simulation of a million arrivals.
    known: RefCell<BTreeMap<Question, Service>>,
}

impl<'p, 'a, P: Standing> Running<'p, 'a, P> {
    pub(super) fn new(
        planner: &'p ModelPlanner<'a, P>,
        candidates: &'p [Candidate<'a>],
        infeasible: &'p [InfeasibleApp],
        old: &'p [GroupOutline],
    ) -> Self {
        Self {
            planner,
            candidates: candidates.iter().map(|it| (it.app.name.as_str(), it)).collect(),
            infeasible,
            old,
            known: RefCell::default(),
        }
    }

    /// The first change of an application that what runs was not made for.
    pub(super) fn must_change(&self, rule: &ReplanRule) -> Option<ReplanReason> {
        let declared = self.declared();
        for group in self.old {
            for held in &group.members {
                let changed = change(group, held, declared.get(held.app.as_str()).copied(), rule);
                if changed.is_some() {
                    return changed;
                }
            }
        }
        self.unplaced().map(|app| ReplanReason::AppAdded(app.to_owned()))
    }

    /// All applications by name.
    pub(super) fn declared(&self) -> BTreeMap<&'p str, &'a App> {
        let apps = self.planner.set.apps().iter();
        apps.map(|app| (app.name.as_str(), app)).collect()
    }

    /// An application that could be served and is in no group.
    pub(super) fn unplaced(&self) -> Option<&'p str> {
        let held = members(self.old);
        let mut apps = self.candidates.keys().copied();
        apps.find(|app| !held.contains_key(app))
    }

    /// Everything on the function that runs; or the name of the first group that cannot be.
    pub(super) fn kept(&self) -> Result<Arrangement, &'p String> {
        self.same_members(|group, members| self.stands(group, members))
    }

    /// What runs, but for the groups that cannot go on: on their cheapest function.
    pub(super) fn mended(&self) -> Option<Arrangement> {
        self.same_members(|group, members| self.stands(group, members).or_else(|| self.cheapest(members)))
            .ok()
    }

    /// Every group on the function that is cheapest now; what runs where that is as cheap.
    pub(super) fn resized(&self) -> Option<Arrangement> {
        self.same_members(
            |group, members| match (self.stands(group, members), self.cheapest(members)) {
                (Some(kept), Some(cheapest)) if kept.0.cost_per_second > cheapest.0.cost_per_second => {
                    Some(cheapest)
                }
                (Some(kept), _) => Some(kept),
                (None, cheapest) => cheapest,
            },
        )
        .ok()
    }

    /// The groups as they are, less the applications that are gone, each served as `serve` says; or the name of the first
    /// that cannot be.
    fn same_members(
        &self,
        serve: impl Fn(&GroupOutline, &[&'p Candidate<'a>]) -> Service,
    ) -> Result<Arrangement, &'p String> {
        let declared = self.declared();
        let mut groups: Vec<Served> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for group in self.old {
            let mut members: Vec<&'p Candidate<'a>> = Vec::new();
            for held in &group.members {
                match self.candidates.get(held.app.as_str()) {
                    Some(candidate) if seen.insert(&held.app) => members.push(candidate),
                    None if !declared.contains_key(held.app.as_str()) => {}
                    // In two groups at once, or no longer feasible: that is not a plan.
                    _ => return Err(&group.name),
                }
            }
            if members.iter().any(|member| member.app.isolated) && members.len() > 1 {
                return Err(&group.name);
            }
            if members.is_empty() {
                continue;
            }
            sort(&mut members);
            let (choice, operation) = serve(group, &members).ok_or(&group.name)?;
            groups.push(Served {
                old: Some(group),
                members,
                choice,
                operation: Some(operation),
            });
        }
        Ok(self.arrange(groups))
    }

    /// The plan that these groups are.
    pub(super) fn arrange(&self, groups: Vec<Served<'p, 'a>>) -> Arrangement {
        let served: Vec<Load> = groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| member.load)
            .collect();
        let mut groups: Vec<_> = groups
            .into_iter()
            .map(|served| {
                let name = served.old.map_or_else(String::new, |old| old.name.clone());
                let alone = match served.members.as_slice() {
                    [_] => vec![served.choice],
                    members => members.iter().map(|member| member.alone).collect(),
                };
                let group = self.planner.build_group(&Settled {
                    members: served.members,
                    alone,
                    choice: served.choice,
                    operation: served.operation,
                });
                (group, name)
            })
            .collect();
        // In the order that the plan gives them.
        groups.sort_by(|(a, _), (b, _)| by_slo(&a.members[0], &b.members[0]));
        let (groups, names) = groups.into_iter().unzip();
        Arrangement {
            plan: self.planner.plan_of(groups, self.infeasible.to_vec(), &served),
            names,
        }
    }

    /// On the function that runs.
    pub(super) fn stands(&self, group: &GroupOutline, members: &[&Candidate<'a>]) -> Service {
        let planner = self.planner;
        let function = planner
            .catalogue
            .functions
            .iter()
            .position(|function| function.site.device(planner.platform) == group.device)?;
        let batch = group.batch_size.get();
        if batch as usize > planner.catalogue.functions[function].service.len() || group.replicas == 0 {
            return None;
        }
        let choice = Choice {
            function,
            batch,
            replicas: group.replicas,
            dispatch: group.dispatch,
            cost_per_second: 0.0,
        };
        self.ask(members, Some((function, batch, group.replicas)), |loads| {
            planner
                .provisioner
                .stands(planner.platform, &planner.catalogue, loads, &choice)
        })
    }

    /// On the function that is cheapest now.
    pub(super) fn cheapest(&self, members: &[&Candidate<'a>]) -> Service {
        let planner = self.planner;
        self.ask(members, None, |loads| {
            let choice = planner.provisioner.choose(loads)?;
            planner.provisioner.settle(&planner.catalogue, loads, &choice)
        })
    }

    fn ask(
        &self,
        members: &[&Candidate<'a>],
        on: Option<(usize, u32, u32)>,
        judge: impl FnOnce(&[Load]) -> Service,
    ) -> Service {
        if members.is_empty() {
            return None;
        }
        let names = members.iter().map(|member| member.app.name.clone()).collect();
        let question = (names, on);
        if let Some(verdict) = self.known.borrow().get(&question) {
            return verdict.clone();
        }
        let loads: Vec<Load> = members.iter().map(|member| member.load).collect();
        let verdict = judge(&loads);
        self.known.borrow_mut().insert(question, verdict.clone());
        verdict
    }
}

/// In order of SLO, as the planner takes them.
pub(super) fn sort(members: &mut [&Candidate<'_>]) {
    members.sort_by(|a, b| {
        a.load
            .slo
            .total_cmp(&b.load.slo)
            .then(a.app.name.cmp(&b.app.name))
    });
}

/// What has changed of an application since its group was planned.
pub(super) fn change(
    group: &GroupOutline,
    held: &MemberOutline,
    app: Option<&App>,
    rule: &ReplanRule,
) -> Option<ReplanReason> {
    let same = |old: f64, new: f64| (old - new).abs() <= ROUNDING * old.abs().max(new.abs());
    let name = held.app.clone();
    let Some(app) = app else {
        return Some(ReplanReason::AppGone(name));
    };
    let alone = group.members.len() == 1;
    if !same(held.slo.get(), app.slo.get())
        || !same(held.percentile.get(), app.percentile.get())
        || (app.isolated && !alone)
    {
        return Some(ReplanReason::PromiseChanged(name));
    }
    (!within_step(app.rate, held.rate, rule)).then_some(ReplanReason::RateChanged(name))
}
