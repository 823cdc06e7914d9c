//! Pools with a limited number of devices: what the plans take of them, and what a shortage led to.

use std::fmt::Write;

use harmonybatch_controller::plan::pools::{PoolReport, ReportedPool};
use harmonybatch_controller::plan::{money, pool_report};
use harmonybatch_planner::{PlanError, PlanRequest, PlatformPlan, Session};
use serde::Serialize;

use super::table::columns;

/// A platform that has limited pools, with what its plans take of them.
pub(crate) struct Limited {
    /// The platform's name.
    pub(crate) platform: String,
    report: PoolReport,
}

impl Limited {
    /// None where no pool of the platform is limited.
    pub(crate) fn of(
        platform: &str,
        request: &PlanRequest,
        planned: &PlatformPlan,
        session: &Session,
    ) -> Result<Option<Self>, PlanError> {
        if planned.pools.iter().all(|used| used.limit.is_none()) {
            return Ok(None);
        }
        Ok(Some(Self {
            platform: platform.to_owned(),
            report: pool_report(request, planned, session)?,
        }))
    }

    /// The limited ones, in order of name.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &ReportedPool> {
        let pools = self.report.pools.iter();
        pools.filter(|pool| pool.used.limit.is_some())
    }

    /// A row for each pool.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let row = |pool: &ReportedPool| {
            vec![
                pool.used.pool.clone(),
                format!("{} of {}", pool.used.devices, pool.used.limit.unwrap_or_default()),
                pool.used.units.to_string(),
                pool.one_more_saves
                    .map_or_else(|| "-".to_owned(), money::per_month),
            ]
        };
        self.pools().map(row).collect()
    }

    /// What a shortage led to, in sentences; none where there is none.
    pub(crate) fn said(&self) -> Option<String> {
        let sentences = self.report.sentences();
        (!sentences.is_empty()).then(|| sentences.join("\n"))
    }
}

/// Of a row for each limited pool.
pub(crate) const COLUMNS: [&str; 4] = ["POOL", "DEVICES", "UNITS", "ONE MORE SAVES/MONTH"];

/// For people.
pub(crate) fn render(limited: &[Limited]) -> String {
    let mut text = String::new();
    for platform in limited {
        let _ = writeln!(text, "\nGPUs of platform {}", platform.platform);
        columns(&mut text, &COLUMNS, platform.rows());
        if let Some(said) = platform.said() {
            let _ = writeln!(text, "\n{said}");
        }
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
        let gap = platform
            .report
            .shortage
            .as_ref()
            .and_then(|shortage| shortage.gap);
        forms.extend(platform.pools().map(|pool| PoolForm {
            platform: &platform.platform,
            pool: &pool.used.pool,
            units: pool.used.units,
            devices: pool.used.devices,
            limit: pool.used.limit,
            one_more_saves_per_second: pool.one_more_saves,
            gap,
        }));
    }
    forms
}
