//! Pools with a limited number of devices: what the plans take of them, and what a shortage led to.

use std::fmt::Write;

use harmonybatch_controller::plan::money;
use harmonybatch_planner::{
    DearerApp, InfeasibleReason, PlanError, PlanRequest, PlatformPlan, PoolUse, Session, Shortage,
};
use serde::Serialize;

use super::table::columns;

/// How many of the applications that a shortage makes dearer are listed.
const LISTED: usize = 5;

/// A platform that has limited pools, with what its plans take of them.
pub(crate) struct Limited {
    /// The platform's name.
    pub(crate) platform: String,
    /// Its limited pools, in order of name.
    pub(crate) pools: Vec<Pool>,
    shortage: Option<Shortage>,
    /// Applications for which there is no device.
    left_out: Vec<String>,
}

/// A limited pool.
pub(crate) struct Pool {
    /// What the plans take of it.
    pub(crate) used: PoolUse,
    /// What one more device would save, per second, where devices are short and everybody is served.
    one_more: Option<f64>,
}

impl Limited {
    /// None where no pool of the platform is limited.
    pub(crate) fn of(
        platform: &str,
        request: &PlanRequest,
        planned: &PlatformPlan,
        session: &Session,
    ) -> Result<Option<Self>, PlanError> {
        let infeasible = planned.plans.iter().flat_map(|plan| &plan.infeasible);
        let left_out: Vec<String> = infeasible
            .filter(|app| matches!(app.reason, InfeasibleReason::PoolExhausted { .. }))
            .map(|app| app.app.clone())
            .collect();
        let limited = planned.pools.iter().filter(|used| used.limit.is_some());
        let short = planned.shortage.is_some() && left_out.is_empty();
        let pools = limited
            .map(|used| {
                let one_more = if short {
                    session.saving_of_one_more_device(request, &used.pool)?
                } else {
                    None
                };
                Ok(Pool {
                    used: used.clone(),
                    one_more,
                })
            })
            .collect::<Result<Vec<Pool>, PlanError>>()?;
        Ok((!pools.is_empty()).then(|| Self {
            platform: platform.to_owned(),
            pools,
            shortage: planned.shortage.clone(),
            left_out,
        }))
    }
}

/// Of a row for each limited pool.
pub(crate) const COLUMNS: [&str; 4] = ["POOL", "DEVICES", "UNITS", "ONE MORE SAVES/MONTH"];

impl Limited {
    /// A row for each pool.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let row = |pool: &Pool| {
            vec![
                pool.used.pool.clone(),
                format!("{} of {}", pool.used.devices, pool.used.limit.unwrap_or_default()),
                pool.used.units.to_string(),
                pool.one_more.map_or_else(|| "-".to_owned(), money::per_month),
            ]
        };
        self.pools.iter().map(row).collect()
    }

    /// What a shortage led to, in sentences; none where there is none.
    pub(crate) fn said(&self) -> Option<String> {
        self.shortage
            .as_ref()
            .map(|shortage| said(shortage, &self.left_out))
    }
}

/// For people.
pub(crate) fn render(limited: &[Limited]) -> String {
    let mut text = String::new();
    for platform in limited {
        let _ = writeln!(text, "\nGPUs of platform {}", platform.platform);
        columns(&mut text, &COLUMNS, platform.rows());
        if let Some(said) = platform.said() {
            let _ = write!(text, "\n{said}");
        }
    }
    text
}

fn said(shortage: &Shortage, left_out: &[String]) -> String {
    if !left_out.is_empty() {
        return format!(
            "The devices do not suffice for everybody: {} cannot be placed.\n",
            left_out.join(", ")
        );
    }
    let gap = shortage.gap.map_or_else(String::new, |gap| {
        format!(
            ": the plans are at most {:.1}% dearer than the cheapest that fit",
            (gap * 1000.0).ceil() / 10.0
        )
    });
    let mut text = format!("The devices do not suffice for the cheapest plans{gap}.\n");
    let dearer = |app: &DearerApp| {
        let more = money::difference_per_month(app.planned - app.unlimited);
        format!("{}/{} ({more})", app.namespace, app.app)
    };
    let listed: Vec<String> = shortage.dearer.iter().take(LISTED).map(dearer).collect();
    let unlisted = shortage.dearer.len().saturating_sub(LISTED);
    if !listed.is_empty() {
        let others = if unlisted > 0 {
            format!(" and {unlisted} others")
        } else {
            String::new()
        };
        let _ = writeln!(text, "Dearer a month for it: {}{others}.", listed.join(", "));
    }
    text
}

/// For machines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolForm<'a> {
    platform: &'a str,
    pool: &'a str,
    units: u64,
    devices: u64,
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_more_saves_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<f64>,
}

/// All limited pools.
pub(crate) fn forms(limited: &[Limited]) -> Vec<PoolForm<'_>> {
    let mut forms = Vec::new();
    for platform in limited {
        forms.extend(platform.pools.iter().map(|pool| PoolForm {
            platform: &platform.platform,
            pool: &pool.used.pool,
            units: pool.used.units,
            devices: pool.used.devices,
            limit: pool.used.limit,
            one_more_saves_per_second: pool.one_more,
            gap: platform.shortage.as_ref().and_then(|shortage| shortage.gap),
        }));
    }
    forms
}
