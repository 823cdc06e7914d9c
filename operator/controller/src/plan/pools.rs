//! The GPU pools of a platform in words: what the plans take of them, and what it leads to where the devices are short. The platform's status and the
//! command line say the same.

use harmonybatch_planner::{DearerApp, InfeasibleReason, Plan, PlatformPlan, PoolUse, Shortage};

use super::money;

/// How many applications are named of those that a shortage concerns.
const NAMED: usize = 5;

/// What the plans of a platform take of its pools, and what a shortage of devices leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolReport {
    /// Every pool, in order of name.
    pub pools: Vec<ReportedPool>,
    /// Where the devices do not suffice for the cheapest plans.
    pub shortage: Option<Shortage>,
    /// Applications for which there is no device, as `namespace/name`.
    pub not_placed: Vec<String>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedPool {
    /// What the plans take of it.
    pub used: PoolUse,
    /// What one more device would save, per second, where its devices are short and everybody is served.
    pub one_more_saves: Option<f64>,
}

impl PoolReport {
    /// The report on plans. `one_more_saves` says of a pool what one more device would save per second; it is asked only of pools that are short.
    pub fn new<E>(
        planned: &PlatformPlan,
        one_more_saves: impl Fn(&str) -> Result<Option<f64>, E>,
    ) -> Result<Self, E> {
        let not_placed = not_placed(&planned.plans);
        let scarcity = planned
            .shortage
            .as_ref()
            .map(|shortage| shortage.scarcity.as_slice());
        let pools = planned.pools.iter().enumerate().map(|(index, used)| {
            let short = scarcity
                .and_then(|scarcity| scarcity.get(index))
                .is_some_and(|it| *it > 0.0);
            Ok(ReportedPool {
                used: used.clone(),
                one_more_saves: if short && not_placed.is_empty() {
                    one_more_saves(&used.pool)?
                } else {
                    None
                },
            })
        });
        Ok(Self {
            pools: pools.collect::<Result<_, E>>()?,
            shortage: planned.shortage.clone(),
            not_placed,
        })
    }

    /// What the shortage leads to, in sentences; none where the devices suffice.
    pub fn sentences(&self) -> Vec<String> {
        if !self.not_placed.is_empty() {
            let apps = listed(self.not_placed.iter().cloned());
            return vec![
                format!("The devices do not suffice for everybody: {apps} cannot be placed."),
                "Add devices (and raise gpuPools[].devices), or lower rates.".to_owned(),
            ];
        }
        let Some(shortage) = &self.shortage else {
            return Vec::new();
        };
        let at_most = gap(shortage).map_or_else(String::new, |gap| {
            format!(": the plans are at most {gap} dearer than the cheapest that fit")
        });
        let mut sentences = vec![format!(
            "The devices do not suffice for the cheapest plans{at_most}."
        )];
        if !shortage.dearer.is_empty() {
            let dearer = |app: &DearerApp| format!("{}/{} ({})", app.namespace, app.app, more_per_month(app));
            let apps = listed(shortage.dearer.iter().map(dearer));
            sentences.push(format!("Dearer a month for it: {apps}."));
        }
        for pool in &self.pools {
            if let Some(saves) = pool.one_more_saves.filter(|saves| *saves > 0.0) {
                let saves = money::per_month(saves);
                sentences.push(format!(
                    "One more device of pool {} would save {saves} a month.",
                    pool.used.pool
                ));
            }
        }
        sentences
    }
}

/// The applications for which there is no device, as `namespace/name`.
fn not_placed(plans: &[Plan]) -> Vec<String> {
    let mut apps = Vec::new();
    for plan in plans {
        let without_device =
            |reason: &InfeasibleReason| matches!(reason, InfeasibleReason::PoolExhausted { .. });
        let of_plan = plan.infeasible.iter().filter(|app| without_device(&app.reason));
        apps.extend(of_plan.map(|app| format!("{}/{}", plan.namespace, app.app)));
    }
    apps
}

/// The certificate: how much dearer than the cheapest the plans are at most, rounded up.
pub fn gap(shortage: &Shortage) -> Option<String> {
    let gap = shortage.gap?;
    Some(format!("{:.1}%", (gap * 1000.0).ceil() / 10.0))
}

/// What a shortage costs an application in a month.
pub fn more_per_month(app: &DearerApp) -> String {
    money::difference_per_month(app.planned - app.unlimited)
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let unlisted = names.len().saturating_sub(NAMED);
    let names: Vec<String> = names.take(NAMED).collect();
    match unlisted {
        0 => names.join(", "),
        1 => format!("{} and 1 other", names.join(", ")),
        _ => format!("{} and {unlisted} others", names.join(", ")),
    }
}

#[cfg(test)]
mod tests;
