//! What is said of the GPU pools on their platform.

use harmonybatch_api::InferencePlatform;
use harmonybatch_api::conditions::{DEVICES_SUFFICE, Observation, Status, reason};
use harmonybatch_api::inference_platform::{DearerApp, PoolStatus, ShortageStatus};
use harmonybatch_planner::PoolUse;

use super::Problem;
use crate::plan::money;
use crate::plan::pools::{PoolReport, gap, more_per_month};

/// Applications that a status lists of those that are dearer; the schema takes no more.
const LISTED: usize = 10;

/// The pools of a platform on which something is planned.
pub(crate) struct PoolsNow<'a> {
    /// What the plans take of them.
    pub(crate) used: Vec<PoolUse>,
    /// The newest report on them, if there is one yet.
    pub(crate) report: Option<&'a PoolReport>,
}

/// Whether there are devices enough, and what to do where there are not.
pub(super) fn devices_suffice(
    platform: &InferencePlatform,
    problem: Option<&Problem>,
    pools: Option<&PoolsNow<'_>>,
) -> Observation {
    let unknown =
        |reason: &str, message: &str| Observation::new(DEVICES_SUFFICE, Status::Unknown, reason, message);
    if let Some(problem) = problem {
        return unknown(problem.reason, "the platform is not accepted");
    }
    if platform.spec.gpu_pools.iter().all(|pool| pool.devices.is_none()) {
        return unknown(
            reason::NOT_LIMITED,
            "no pool has gpuPools[].devices: the plans take as many as they want, and pods wait where the nodes have fewer; write how many there are",
        );
    }
    let Some(pools) = pools else {
        return unknown(reason::NOTHING_PLANNED, "no model is planned on the platform");
    };
    let Some(report) = pools.report else {
        return unknown(
            reason::BEING_ASSESSED,
            "the plans are being compared with those for more devices",
        );
    };
    let sentences = report.sentences();
    if sentences.is_empty() {
        return Observation::new(
            DEVICES_SUFFICE,
            true,
            reason::OK,
            "the devices suffice for the cheapest plans",
        );
    }
    let reason = if report.not_placed.is_empty() {
        reason::PLANS_DEARER
    } else {
        reason::APPS_NOT_PLACED
    };
    Observation::new(DEVICES_SUFFICE, false, reason, sentences.join(" "))
}

/// Each pool, as the plans use it now.
pub(super) fn gpu_pools(pools: &PoolsNow<'_>) -> Vec<PoolStatus> {
    let saving = |name: &str| {
        let reported = pools.report?.pools.iter().find(|pool| pool.used.pool == name)?;
        reported.one_more_saves.map(money::per_month)
    };
    let status = |used: &PoolUse| PoolStatus {
        name: used.pool.clone(),
        units: i64::try_from(used.units).unwrap_or(i64::MAX),
        devices: i64::try_from(used.devices).unwrap_or(i64::MAX),
        limit: used.limit.map(i64::from),
        one_more_saves_per_month: saving(&used.pool),
    };
    pools.used.iter().map(status).collect()
}

/// What a shortage leads to, if there is one.
pub(super) fn shortage(pools: &PoolsNow<'_>) -> Option<ShortageStatus> {
    let shortage = pools.report?.shortage.as_ref()?;
    let dearer = shortage.dearer.iter().take(LISTED).map(|app| DearerApp {
        namespace: app.namespace.clone(),
        name: app.app.clone(),
        more_per_month: more_per_month(app),
    });
    Some(ShortageStatus {
        gap: gap(shortage),
        dearer: super::count(shortage.dearer.len()),
        dearer_apps: dearer.collect(),
    })
}
