//! A plan under recorded arrivals.

use std::sync::Arc;

use harmonybatch_planner::units::Rate;
use harmonybatch_planner::{
    App, AppSimulation, ArrivalProcess, Billing, Member, ModelSet, Plan, PlanRequest, Platform, Simulation,
    Trace, simulate_plan,
};

use crate::cases::Case;
use crate::fixture::{plan_one, request};
use crate::streams::Recorded;

/// Which arrivals a plan is played under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// All that were recorded.
    Whole,
    /// The half of the time that no plan has seen, as it came.
    HeldOut,
    /// The same with its time scaled to the declared rate: without what the rate has drifted.
    AtRate,
}

impl Window {
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::HeldOut, Self::AtRate];

    fn trace(self, recorded: &Recorded) -> &Arc<Trace> {
        match self {
            Self::Whole => &recorded.whole,
            Self::HeldOut | Self::AtRate => &recorded.held_out,
        }
    }
}

/// How sure it is whether a percentile was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sure {
    Kept,
    Short,
    /// The interval holds the percentile.
    No,
}

/// What the worst application saw: the one that is furthest below its percentile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Worst {
    /// Of this application.
    pub(crate) requests: u64,
    /// The share of them within the SLO, and half the width of its interval at 95 %.
    pub(crate) attainment: f64,
    pub(crate) half_width: f64,
    /// The 99th percentile of its latency, in SLOs.
    pub(crate) p99: f64,
    /// What it was promised, as a fraction.
    pub(crate) promised: f64,
}

impl Worst {
    pub(crate) fn kept(&self) -> bool {
        self.attainment >= self.promised
    }

    pub(crate) fn sure(&self) -> Sure {
        if self.attainment - self.half_width >= self.promised {
            Sure::Kept
        } else if self.attainment + self.half_width < self.promised {
            Sure::Short
        } else {
            Sure::No
        }
    }
}

/// A plan of a case, unless an application was refused.
pub(crate) fn planned(case: &Case, apps: Vec<App>) -> Option<Plan> {
    let plan = plan_one(Billing::PerReplica, case.model, apps);
    plan.infeasible.is_empty().then_some(plan)
}

/// Plays the plan under what was recorded, once.
pub(crate) fn play(case: &Case, plan: &Plan, window: Window) -> Worst {
    let arriving = case.declared(|recorded| ArrivalProcess::Trace(Arc::clone(window.trace(recorded))));
    let recorded: f64 = case.recorded.iter().map(|it| window.trace(it).rate()).sum();
    let declared: f64 = case.apps.iter().map(|app| app.rate.get()).sum();
    let clock = match window {
        Window::Whole | Window::HeldOut => 1.0,
        Window::AtRate => declared / recorded,
    };
    let PlanRequest { platform, models } = request(Billing::PerReplica, case.model, arriving);
    let seen = plan.groups.iter().flat_map(|group| {
        let mut group = group.clone();
        let mut longest = 0.0_f64;
        for member in &mut group.members {
            let place = case.apps.iter().position(|app| app.name == member.app).unwrap();
            let trace = window.trace(&case.recorded[place]);
            member.rate = Rate::new(trace.rate() * clock).unwrap();
            longest = longest.max(trace.period() / clock);
        }
        let total: f64 = group.members.iter().map(|member| member.rate.get()).sum();
        let only = Plan {
            groups: vec![group],
            ..plan.clone()
        };
        blocks(&platform, &models[0], &only, total * longest)
    });
    seen.map(|(member, blocks)| summed(&member, &blocks))
        .min_by(|a, b| (a.attainment - a.promised).total_cmp(&(b.attainment - b.promised)))
        .unwrap()
}

/// Blocks of a run by which its interval is told.
const BLOCKS: u32 = 10;

/// What each application of a plan's only group had seen at the end of each block. The same seed is the same stream: a longer run
/// begins with the shorter one.
fn blocks(
    platform: &Platform,
    set: &ModelSet,
    plan: &Plan,
    requests: f64,
) -> Vec<(Member, Vec<AppSimulation>)> {
    let members = plan.groups[0].members.iter();
    let mut seen: Vec<_> = members.map(|member| (member.clone(), Vec::new())).collect();
    for block in 1..=BLOCKS {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number of some recorded requests"
        )]
        let requests = (requests * f64::from(block) / f64::from(BLOCKS)).round() as u64;
        let simulation = Simulation { requests, seed: 11 };
        let group = simulate_plan(platform, set, plan, simulation).remove(0).unwrap();
        for (seen, app) in seen.iter_mut().zip(group.apps) {
            seen.1.push(app);
        }
    }
    seen
}

/// The application at the end of the run. The interval is Student's, of the ratio of late requests to requests in the blocks; without a late request
/// three of them could have been (the rule of three).
#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn summed(member: &Member, blocks: &[AppSimulation]) -> Worst {
    /// The 97.5 % quantile for nine degrees of freedom.
    const STUDENT: f64 = 2.262;
    let last = &blocks[blocks.len() - 1];
    let requests = last.requests as f64;
    let late_share = 1.0 - last.attainment;
    let (mut squares, mut before) = (0.0, (0.0, 0.0));
    for block in blocks {
        let so_far = (
            block.requests as f64,
            block.requests as f64 * (1.0 - block.attainment),
        );
        squares += ((so_far.1 - before.1) - late_share * (so_far.0 - before.0)).powi(2);
        before = so_far;
    }
    let count = f64::from(BLOCKS);
    let deviation = (squares * count / (count - 1.0)).sqrt() / requests;
    Worst {
        requests: last.requests,
        attainment: last.attainment,
        half_width: (STUDENT * deviation).max(3.0 / requests),
        p99: last.p99.get() / member.slo.get(),
        promised: member.percentile.fraction(),
    }
}
