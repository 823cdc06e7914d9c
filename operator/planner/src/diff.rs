//! What changes from one plan to another: groups, applications, money, and what the switch itself needs.
//!
//! Groups are compared by their members, since names are given by whoever runs them. Old and new groups that share
//! members, directly or through others, make one [`GroupChange`]: one old and several new groups are a split, several
//! old and one new a merger, and so on.

mod groups;
mod switch;

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Device, Dispatch, Plan};
use crate::platform::Billing;
use crate::units::{BatchSize, Percentile, Rate, Seconds};

pub use groups::{GroupChange, GroupChangeKind, Move};
pub use switch::{ExtraReplicas, Switch};

/// Amounts that differ by less than this, relatively, are the same.
const ROUNDING: f64 = 1e-9;

/// What of a plan is compared: all that is written where a plan is printed.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOutline {
    /// The namespace of the model.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// How the platform bills.
    pub billing: Billing,
    /// The groups.
    pub groups: Vec<GroupOutline>,
    /// Names of the applications that cannot be served.
    pub infeasible: Vec<String>,
    /// Cost of all groups per second.
    pub cost_per_second: f64,
}

/// One group of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupOutline {
    /// Its name.
    pub name: String,
    /// Device and size of one replica.
    pub device: Device,
    /// The most rows in a batch.
    pub batch_size: BatchSize,
    /// When a batch leaves.
    pub dispatch: Dispatch,
    /// How many replicas run.
    pub replicas: u32,
    /// The applications.
    pub members: Vec<MemberOutline>,
    /// Cost of the group per second.
    pub cost_per_second: f64,
}

/// One application in a group.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberOutline {
    /// The application's name.
    pub app: String,
    /// Its SLO as declared.
    pub slo: Seconds,
    /// The share of its requests that must keep the SLO.
    pub percentile: Percentile,
    /// Its rows per second.
    pub rate: Rate,
    /// How long its requests may wait for a batch to fill.
    pub max_wait: Seconds,
    /// The latency that the plan holds below the SLO, where it is written.
    pub latency_bound: Option<Seconds>,
    /// Its fair share of the group's cost per second, where it is written.
    pub cost_per_second: Option<f64>,
}

impl PlanOutline {
    /// A plan and the names of its groups, in their order.
    pub fn new(plan: &Plan, names: &[String]) -> Self {
        let groups = plan.groups.iter().enumerate().map(|(index, group)| GroupOutline {
            name: names.get(index).cloned().unwrap_or_default(),
            device: group.device.clone(),
            batch_size: group.batch_size,
            dispatch: group.dispatch,
            replicas: group.replicas,
            members: group
                .members
                .iter()
                .map(|member| MemberOutline {
                    app: member.app.clone(),
                    slo: member.slo,
                    percentile: member.percentile,
                    rate: member.rate,
                    max_wait: member.max_wait,
                    latency_bound: Some(member.latency_bound),
                    cost_per_second: Some(member.cost_per_second),
                })
                .collect(),
            cost_per_second: group.predicted.cost_per_second,
        });
        Self {
            namespace: plan.namespace.clone(),
            model: plan.model.clone(),
            billing: plan.billing,
            groups: groups.collect(),
            infeasible: plan.infeasible.iter().map(|app| app.app.clone()).collect(),
            cost_per_second: plan.cost_per_second,
        }
    }

    fn empty_like(other: &Self) -> Self {
        Self {
            groups: Vec::new(),
            infeasible: Vec::new(),
            cost_per_second: 0.0,
            ..other.clone()
        }
    }

    /// Every application, and where it is.
    fn apps(&self) -> BTreeMap<&str, AppState> {
        let served = self.groups.iter().flat_map(|group| {
            group.members.iter().map(|member| {
                let state = AppState::Served {
                    group: group.name.clone(),
                    member: member.clone(),
                };
                (member.app.as_str(), state)
            })
        });
        let infeasible = self
            .infeasible
            .iter()
            .map(|app| (app.as_str(), AppState::Infeasible));
        infeasible.chain(served).collect()
    }
}

/// Where an application is in a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum AppState {
    /// In a group.
    Served {
        /// The group's name.
        group: String,
        /// The application in it.
        member: MemberOutline,
    },
    /// Nothing serves it.
    Infeasible,
}

/// An application that is not in both plans, or whose promise or price differs.
#[derive(Debug, Clone, PartialEq)]
pub struct AppChange {
    /// The application's name.
    pub app: String,
    /// Where it was; none if it is new.
    pub old: Option<AppState>,
    /// Where it is; none if it is gone.
    pub new: Option<AppState>,
}

/// What changes in the plan of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanDiff {
    /// The namespace of the model.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// Groups that are not as they were, the tightest SLO of the old ones first, then the new ones.
    pub groups: Vec<GroupChange>,
    /// Applications that are not as they were, by name.
    pub apps: Vec<AppChange>,
    /// Cost per second before.
    pub old_cost_per_second: f64,
    /// Cost per second after.
    pub new_cost_per_second: f64,
    /// What the switch needs while old and new groups run side by side.
    pub switch: Switch,
}

impl PlanDiff {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.apps.is_empty()
            && same_amount(self.old_cost_per_second, self.new_cost_per_second)
    }

    /// How much dearer the new plan is, per second.
    pub fn difference_per_second(&self) -> f64 {
        self.new_cost_per_second - self.old_cost_per_second
    }
}

/// Compares plans model by model, in order of namespace and model; a model that only one side has is compared with no
/// groups at all.
pub fn diff(old: &[PlanOutline], new: &[PlanOutline]) -> Vec<PlanDiff> {
    let key = |plan: &PlanOutline| (plan.namespace.clone(), plan.model.clone());
    let keys: BTreeSet<(String, String)> = old.iter().chain(new).map(key).collect();
    keys.iter()
        .filter_map(|wanted| {
            let find = |plans: &[PlanOutline]| plans.iter().find(|plan| key(plan) == *wanted).cloned();
            let (old, new) = match (find(old), find(new)) {
                (Some(old), Some(new)) => (old, new),
                (Some(old), None) => (old.clone(), PlanOutline::empty_like(&old)),
                (None, Some(new)) => (PlanOutline::empty_like(&new), new),
                (None, None) => return None,
            };
            Some(diff_model(&old, &new))
        })
        .collect()
}

fn diff_model(old: &PlanOutline, new: &PlanOutline) -> PlanDiff {
    PlanDiff {
        namespace: new.namespace.clone(),
        model: new.model.clone(),
        groups: groups::changes(&old.groups, &new.groups),
        apps: app_changes(old, new),
        old_cost_per_second: old.cost_per_second,
        new_cost_per_second: new.cost_per_second,
        switch: Switch::between(old, new),
    }
}

fn app_changes(old: &PlanOutline, new: &PlanOutline) -> Vec<AppChange> {
    let (old, new) = (old.apps(), new.apps());
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    names
        .into_iter()
        .filter(|name| match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => !same_state(old, new),
            _ => true,
        })
        .map(|name| AppChange {
            app: name.to_owned(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// Whether promise and price of an application stay; its group's name is a matter of the groups.
fn same_state(old: &AppState, new: &AppState) -> bool {
    match (old, new) {
        (AppState::Infeasible, AppState::Infeasible) => true,
        (AppState::Served { member: old, .. }, AppState::Served { member: new, .. }) => {
            // Written and read again, a number may differ in its last digit.
            let same_time = |old: Seconds, new: Seconds| same_amount(old.get(), new.get());
            same_time(old.slo, new.slo)
                && same_amount(old.percentile.get(), new.percentile.get())
                && same_amount(old.rate.get(), new.rate.get())
                && same_time(old.max_wait, new.max_wait)
                && both_or_equal(old.latency_bound, new.latency_bound, same_time)
                && both_or_equal(old.cost_per_second, new.cost_per_second, same_amount)
        }
        _ => false,
    }
}

/// What one side does not tell is no difference.
fn both_or_equal<T>(old: Option<T>, new: Option<T>, equal: impl Fn(T, T) -> bool) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => equal(old, new),
        _ => true,
    }
}

fn same_amount(old: f64, new: f64) -> bool {
    (old - new).abs() <= ROUNDING * old.abs().max(new.abs())
}
