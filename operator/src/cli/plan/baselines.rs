//! The plan beside other ways to serve the same applications.

use harmonybatch_controller::plan::money;
use harmonybatch_planner::{Baseline, BaselinePlan, Plan, PlanRequest, baseline};

use super::Named;

/// What each of the baselines makes of the plan's applications.
pub(super) fn compare(request: &PlanRequest, plan: &Plan, which: &[Baseline]) -> Vec<BaselinePlan> {
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
pub(super) fn name(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Alone => "alone",
        Baseline::Batch => "batch",
        Baseline::Mbs => "mbs",
        Baseline::TwoStage => "two-stage",
    }
}

/// The cost of a baseline, as a multiple of the plan's; nothing where the plan is free or the baseline serves nobody.
pub(super) fn ratio(plan: &Plan, baseline: &BaselinePlan) -> Option<f64> {
    (plan.cost_per_second > 0.0 && baseline.unserved == 0)
        .then(|| baseline.cost_per_second / plan.cost_per_second)
}

/// The rows of the table, the plan first.
pub(super) fn rows(named: &Named) -> Vec<Vec<String>> {
    let plan = &named.plan;
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
    let others = named.baselines.iter().map(|baseline| {
        let note = match (baseline.unserved, baseline.late) {
            (0, 0) => String::new(),
            (0, 1) => "1 group breaks its SLO".to_owned(),
            (0, late) => format!("{late} groups break their SLO"),
            (unserved, _) => format!("no function of its kind for {unserved} applications"),
        };
        row(
            name(baseline.baseline),
            baseline.groups,
            baseline.cost_per_second,
            ratio(plan, baseline),
            note,
        )
    });
    std::iter::once(own).chain(others).collect()
}
