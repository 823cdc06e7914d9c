//! Other ways to serve the same applications, for comparison: each decides as its paper does, and all are priced by the evaluator
//! of our own plans.
//!
//! Where a function costs while it runs, that is the platform's law of the batch size. Where pods stay up, one group for each
//! application is what our own search finds for it; the others were made for functions that cost while they run, and each of their
//! groups is given the fewest replicas of its own function with which a simulation says that every member keeps its percentile. The
//! verdict is that of the search, without the confirmation that our own plans stand.
//!
//! BATCH and MBS+ are given more than their authors gave them: a promise that holds in the worst case (BATCH took the time of a batch
//! for its mean, and was late), and the best function of the grid (MBS+ looked at fifteen). What is cheaper than they are here is
//! cheaper than they are in print, too.

mod law;
mod mbs;
mod two_stage;

pub(crate) use two_stage::Merger;

use std::collections::HashSet;

use crate::app::{App, ModelSet};
use crate::arrival::{Load, Process};
use crate::latency::{Catalogue, Kind};
use crate::plan::{Device, Plan};
use crate::platform::{ArrivalModel, Billing, Platform};
use crate::provision::{Choice, Exact, Paper, PerReplica, Provisioner};
use crate::units::BatchSize;

use law::Law;

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
    /// What serves them.
    pub functions: Vec<BaselineFunction>,
    /// Cost per second of all of them, in the platform's currency.
    pub cost_per_second: f64,
    /// How many groups break the SLO of a member: what they cost is no fair price.
    pub late: usize,
    /// How many applications it serves nowhere, as BATCH does where a platform has no CPU functions.
    pub unserved: usize,
}

/// What a baseline gives to one of its groups.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineFunction {
    /// SLO without the overhead, in seconds, and rows per second of each member, tightest first. MBS+ may cut an application in two.
    pub members: Vec<(f64, f64)>,
    /// Device and size of one replica.
    pub device: Device,
    /// The most rows in a batch.
    pub batch_size: BatchSize,
    /// How many replicas are paid for where pods stay up.
    pub replicas: u32,
    /// Whether it breaks the SLO of a member.
    pub late: bool,
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

    let mut groups = match platform.arrivals() {
        ArrivalModel::Exact => form::<Exact>(&catalogue, platform, which, &isolated, &shared),
        ArrivalModel::Paper => form::<Paper>(&catalogue, platform, which, &isolated, &shared),
    };
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
        functions: groups
            .iter()
            .map(|group| group.shown(&catalogue, platform))
            .collect(),
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

impl Group {
    fn shown(&self, catalogue: &Catalogue, platform: &Platform) -> BaselineFunction {
        BaselineFunction {
            members: self.loads.iter().map(|load| (load.slo, load.rate)).collect(),
            device: catalogue.functions[self.choice.function].site.device(platform),
            batch_size: BatchSize::new(self.choice.batch).unwrap_or(BatchSize::ONE),
            replicas: self.choice.replicas,
            late: self.late,
        }
    }
}

/// The groups that a baseline forms where a function costs while it runs, under a law of the batch size.
fn form<L: Law>(
    catalogue: &Catalogue,
    platform: &Platform,
    which: Baseline,
    isolated: &[Load],
    shared: &[Load],
) -> Vec<Group> {
    let law = L::new(catalogue, platform, None);
    let price = |loads: &[Load], function, batch| law.price(catalogue, platform, loads, function, batch);
    let in_time = |(loads, choice)| Group {
        loads,
        choice,
        late: false,
    };
    let alone = |law: &L, load: Load| law.choose(&[load]).map(|choice| in_time((vec![load], choice)));
    match which {
        Baseline::Alone => {
            let both = isolated.iter().chain(shared);
            both.filter_map(|&load| alone(&law, load)).collect()
        }
        Baseline::Batch => {
            let on_cpu = L::new(catalogue, platform, Some(Kind::Cpu));
            let both = isolated.iter().chain(shared);
            both.filter_map(|&load| alone(&on_cpu, load).or_else(|| too_late(catalogue, load, &price)))
                .collect()
        }
        Baseline::Mbs => {
            let isolated = isolated.iter().filter_map(|&load| alone(&law, load));
            isolated
                .chain(mbs::groups(&law, shared).into_iter().map(in_time))
                .collect()
        }
        Baseline::TwoStage => {
            let paper = Merger::new(catalogue, platform, None);
            let merged = paper
                .groups(shared)
                .into_iter()
                .map(|group| shared[group].to_vec());
            let runs = isolated.iter().map(|&load| vec![load]).chain(merged);
            runs.filter_map(|loads| {
                let choice = paper.choose(&loads)?;
                let cost_per_second = price(&loads, choice.function, choice.batch)?;
                let choice = Choice {
                    cost_per_second,
                    ..choice
                };
                Some(in_time((loads, choice)))
            })
            .collect()
        }
    }
}

/// One row at a time on the fastest CPU function, as the program of the paper's authors has it where BATCH cannot keep an SLO.
fn too_late(
    catalogue: &Catalogue,
    load: Load,
    price: &impl Fn(&[Load], usize, u32) -> Option<f64>,
) -> Option<Group> {
    let (function, longest) = catalogue
        .functions
        .iter()
        .enumerate()
        .filter(|(_, function)| function.site.kind() == Kind::Cpu)
        .map(|(index, function)| (index, function.single().max))
        .min_by(|a, b| a.1.total_cmp(&b.1))?;
    let in_time = Load {
        slo: load.slo.max(longest),
        ..load
    };
    let cost_per_second = price(&[in_time], function, 1)?;
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
