//! Other ways to serve the same applications, for comparison: each decides as its paper does, and all are priced by the evaluator
//! of our own plans.
//!
//! Where a function costs while it runs, that is the exact law of the batch size. Where pods stay up, one group for each application
//! is what our own search finds for it; the others were made for functions that cost while they run, and each of their groups is
//! given the fewest replicas of its own function with which a simulation says that every member keeps its percentile. The verdict is
//! that of the search, without the confirmation that our own plans stand.

mod mbs;
mod two_stage;

pub(crate) use two_stage::Merger;

use std::collections::HashSet;

use crate::app::{App, ModelSet};
use crate::arrival::{Load, Process};
use crate::latency::{Catalogue, Kind};
use crate::plan::Plan;
use crate::platform::{Billing, Platform};
use crate::provision::{Choice, Exact, PerReplica, Provisioner};

/// A way to serve applications that ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// One group for each application, on its best device.
    Alone,
    /// BATCH (SC 2020): one group for each application, on CPU only.
    Batch,
    /// MBS+ (INFOCOM 2021), merged as the HarmonyBatch paper extends it.
    Mbs,
    /// The HarmonyBatch paper's two-stage merging.
    TwoStage,
}

impl Baseline {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Alone, Self::Batch, Self::Mbs, Self::TwoStage];
}

/// What a baseline makes of the applications of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselinePlan {
    /// Which it is.
    pub baseline: Baseline,
    /// How many groups it forms.
    pub groups: usize,
    /// Cost per second of all of them, in the platform's currency.
    pub cost_per_second: f64,
    /// How many groups break the SLO of a member: what they cost is no fair price.
    pub late: usize,
    /// How many applications it serves nowhere, as BATCH does where a platform has no CPU functions.
    pub unserved: usize,
}

/// A group as a baseline forms it.
struct Group {
    /// In order of SLO.
    loads: Vec<Load>,
    choice: Choice,
    /// No function of its kind is fast enough.
    late: bool,
}

/// What a baseline makes of the applications that `plan`, ours of the same set on the same platform, serves. An isolated
/// application is alone in all of them.
pub fn baseline(platform: &Platform, set: &ModelSet, plan: &Plan, which: Baseline) -> BaselinePlan {
    let catalogue = Catalogue::new(platform, set.profile());
    let refused: HashSet<&str> = plan.infeasible.iter().map(|one| one.app.as_str()).collect();
    let mut apps: Vec<&App> = set
        .apps()
        .iter()
        .filter(|app| !refused.contains(app.name.as_str()))
        .collect();
    apps.sort_by(|a, b| a.slo.get().total_cmp(&b.slo.get()).then(a.name.cmp(&b.name)));
    let load = |app: &&App| Load {
        slo: app.slo.get() - platform.overhead().get(),
        rate: app.rate.get(),
        miss: 1.0 - app.percentile.fraction(),
        // The baselines know no other arrivals.
        process: Process::Poisson,
    };
    let served = apps.len();
    let (isolated, shared): (Vec<&App>, Vec<&App>) = apps.into_iter().partition(|app| app.isolated);
    let isolated: Vec<Load> = isolated.iter().map(load).collect();
    let shared: Vec<Load> = shared.iter().map(load).collect();

    let mut groups: Vec<Group> = Vec::new();
    let exact = Exact::new(&catalogue, platform, None);
    match which {
        Baseline::Alone => {
            let both = isolated.iter().chain(&shared);
            groups.extend(both.filter_map(|&load| one(&exact, load)));
        }
        Baseline::Batch => {
            let on_cpu = Exact::new(&catalogue, platform, Some(Kind::Cpu));
            let both = isolated.iter().chain(&shared);
            groups.extend(
                both.filter_map(|&load| one(&on_cpu, load).or_else(|| too_late(&catalogue, &exact, load))),
            );
        }
        Baseline::Mbs => {
            groups.extend(isolated.iter().filter_map(|&load| one(&exact, load)));
            groups.extend(
                mbs::groups(&exact, &shared)
                    .into_iter()
                    .map(|(loads, choice)| Group {
                        loads,
                        choice,
                        late: false,
                    }),
            );
        }
        Baseline::TwoStage => {
            let paper = Merger::new(&catalogue, platform, None);
            let merged = paper
                .groups(&shared)
                .into_iter()
                .map(|group| shared[group].to_vec());
            let runs = isolated.iter().map(|&load| vec![load]).chain(merged);
            groups.extend(runs.filter_map(|loads| {
                let choice = paper.choose(&loads)?;
                let cost_per_second = exact.price(&loads, choice.function, choice.batch)?;
                Some(Group {
                    loads,
                    choice: Choice {
                        cost_per_second,
                        ..choice
                    },
                    late: false,
                })
            }));
        }
    }
    if platform.billing() == Billing::PerReplica {
        let replicas = PerReplica::new(&catalogue, platform, None);
        for group in &mut groups {
            let own = (which == Baseline::Alone)
                .then(|| replicas.choose(&group.loads))
                .flatten()
                .map(|choice| (choice, true));
            let (choice, kept) = own.unwrap_or_else(|| replicas.kept_up(&group.loads, &group.choice));
            group.choice = choice;
            group.late |= !kept;
        }
    }
    BaselinePlan {
        baseline: which,
        groups: groups.len(),
        // The sum of nothing is minus zero.
        cost_per_second: groups
            .iter()
            .map(|group| group.choice.cost_per_second)
            .sum::<f64>()
            + 0.0,
        late: groups.iter().filter(|group| group.late).count(),
        unserved: if groups.is_empty() { served } else { 0 },
    }
}

/// A group of one application on the cheapest function.
fn one(exact: &Exact, load: Load) -> Option<Group> {
    let loads = vec![load];
    let choice = exact.choose(&loads)?;
    Some(Group {
        loads,
        choice,
        late: false,
    })
}

/// One row at a time on the fastest CPU function, as the program of the paper's authors has it where BATCH cannot keep an SLO.
fn too_late(catalogue: &Catalogue, exact: &Exact, load: Load) -> Option<Group> {
    let (function, longest) = catalogue
        .functions
        .iter()
        .enumerate()
        .filter(|(_, function)| function.site.kind() == Kind::Cpu)
        .map(|(index, function)| (index, function.single().max))
        .min_by(|a, b| a.1.total_cmp(&b.1))?;
    let cost_per_second = exact.price(
        &[Load {
            slo: load.slo.max(longest),
            ..load
        }],
        function,
        1,
    )?;
    Some(Group {
        loads: vec![load],
        choice: Choice {
            function,
            batch: 1,
            replicas: 1,
            dispatch: crate::plan::Dispatch::Timed,
            cost_per_second,
        },
        late: true,
    })
}
