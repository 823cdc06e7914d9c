//! The plan beside other ways to serve the same applications.

use harmonybatch_controller::plan::money;
use harmonybatch_planner::{Baseline, BaselinePlan, Plan, PlanRequest, baseline};

/// Of a row for each baseline.
pub(crate) const COLUMNS: [&str; 6] = ["BASELINE", "GROUPS", "COST/SECOND", "COST/MONTH", "RATIO", "NOTE"];

/// What each of the baselines makes of the plan's applications.
pub(crate) fn compare(request: &PlanRequest, plan: &Plan, which: &[Baseline]) -> Vec<BaselinePlan> {
    let of_plan = |set: &&harmonybatch_planner::ModelSet| {
        (set.namespace(), set.model()) == (plan.namespace.as_str(), plan.model.as_str())
    };
    let set = request.models.iter().find(of_plan);
    set.into_iter()
        .flat_map(|set| {
            which
                .iter()
                .map(|&which| baseline(&request.platform, set, plan, which))
        })
        .collect()
}

/// As the command line writes it.
pub(crate) fn name(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Alone => "alone",
        Baseline::Batch => "batch",
        Baseline::Mbs => "mbs",
        Baseline::TwoStage => "two-stage",
    }
}

/// The cost of a baseline, as a multiple of the plan's; nothing where the plan is free or the baseline serves nobody.
pub(crate) fn ratio(plan: &Plan, baseline: &BaselinePlan) -> Option<f64> {
    (plan.cost_per_second > 0.0 && baseline.unserved == 0)
        .then(|| baseline.cost_per_second / plan.cost_per_second)
}

/// What is to be said against it.
pub(crate) fn note(baseline: &BaselinePlan) -> String {
    match (baseline.unserved, baseline.late) {
        (0, 0) => String::new(),
        (0, 1) => "1 group breaks its SLO".to_owned(),
        (0, late) => format!("{late} groups break their SLO"),
        (unserved, _) => format!("no function of its kind for {unserved} applications"),
    }
}

/// The rows of the table, the plan first.
pub(crate) fn rows(plan: &Plan, baselines: &[BaselinePlan]) -> Vec<Vec<String>> {
    let row = |name: &str, groups: usize, cost: f64, ratio: Option<f64>, note: String| {
        vec![
            name.to_owned(),
            groups.to_string(),
            format!("{cost:.4e}"),
            money::per_month(cost),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
            note,
        ]
    };
    let own = row(
        "this plan",
        plan.groups.len(),
        plan.cost_per_second,
        (plan.cost_per_second > 0.0).then_some(1.0),
        String::new(),
    );
    let others = baselines.iter().map(|baseline| {
        row(
            name(baseline.baseline),
            baseline.groups,
            baseline.cost_per_second,
            ratio(plan, baseline),
            note(baseline),
        )
    });
    std::iter::once(own).chain(others).collect()
}
