//! `harmonybatch plan --keep`: planning with regard to a plan that runs.

use std::collections::BTreeSet;
use std::path::Path;

use harmonybatch_controller::plan::{Inputs, Patience};
use harmonybatch_planner::{
    Plan, PlanError, PlanOutline, PlanRequest, PlatformPlan, ReplanDecision, Replanned, Session,
};

use crate::cli::diff::written;

/// The plans that run, as they were written; nothing where an object among them is wrong, after it was said what.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Vec<PlanOutline>>> {
    Ok(written::read(path)?.map(|plans| plans.outlines))
}

/// What became of one model.
pub(super) struct Kept {
    /// Names of its groups as far as they go on as they are, in the plan's order.
    names: Vec<Option<String>>,
    /// What is said of it.
    said: String,
}

impl Kept {
    /// Whose model it is of, by the plan.
    fn of(found: &Replanned, old: &[PlanOutline]) -> Self {
        let plan = &found.plan;
        let before = old
            .iter()
            .find(|old| old.namespace == plan.namespace && old.model == plan.model);
        let groups = before.map_or(&[][..], |before| &before.groups);
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        let held = found.held.groups.iter().zip(&plan.groups);
        // A name stands for a device and a batch size.
        let names: Vec<Option<String>> = held
            .map(|(held, planned)| {
                let old = groups.iter().find(|old| {
                    old.name == held.name
                        && old.device == planned.device
                        && old.batch_size == planned.batch_size
                })?;
                taken.insert(&old.name).then(|| old.name.clone())
            })
            .collect();
        let stay = names.iter().flatten().count();
        Self {
            said: format!(
                "{}/{}: {}; {stay} of {} groups that run go on",
                plan.namespace,
                plan.model,
                told(&found.decision),
                groups.len()
            ),
            names,
        }
    }

    /// The names of the groups: those that run keep theirs, the others get these.
    pub(super) fn names(&self, fresh: Vec<String>) -> Vec<String> {
        let names = fresh.into_iter().zip(&self.names);
        names.map(|(fresh, kept)| kept.clone().unwrap_or(fresh)).collect()
    }

    /// What changed, and why.
    pub(super) fn said(&self) -> &str {
        &self.said
    }
}

fn told(decision: &ReplanDecision) -> String {
    match decision {
        ReplanDecision::Kept => "nothing has to change".to_owned(),
        ReplanDecision::Resized(reason) => {
            format!("{reason}: the same groups, some on other functions")
        }
        ReplanDecision::Amended(reason) => {
            format!("{reason}: placed, and everybody else left where it is")
        }
        ReplanDecision::Replanned(reason) => format!("{reason}: planned anew"),
    }
}

/// Plans all models of a platform, each with what became of it.
pub(super) fn plan(
    request: &PlanRequest,
    old: &[PlanOutline],
    patience: &Patience,
    session: &Session,
) -> Result<(PlatformPlan, Vec<Kept>), PlanError> {
    let found = session.replan(request, old, &patience.rule, true)?;
    let kept = found.iter().map(|it| Kept::of(it, old)).collect();
    let plans: Vec<Plan> = found.into_iter().map(|it| it.plan).collect();
    let planned = session.assess(&request.at_rates_of(&plans), &plans)?;
    Ok((planned, kept))
}

/// Models that run and that nobody asks for any more.
pub(super) fn gone(old: &[PlanOutline], inputs: &Inputs) -> Vec<String> {
    let there: BTreeSet<(String, String)> = inputs
        .models
        .iter()
        .map(harmonybatch_controller::plan::key)
        .collect();
    old.iter()
        .map(|plan| (plan.namespace.clone(), plan.model.clone()))
        .filter(|model| !there.contains(model))
        .map(|(namespace, model)| format!("{namespace}/{model}: the model is gone"))
        .collect()
}
