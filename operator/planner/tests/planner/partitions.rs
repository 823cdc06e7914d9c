//! Brute force over all partitions of a few applications under the paper's law, with the independent evaluator.

use std::collections::HashMap;

use harmonybatch_planner::App;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::evaluator::{ROUNDING, cheapest};
use crate::fixture::{Coefficients, MODELS, app, plan_as_the_paper};

/// Applications as the issue draws them: SLO 0.2 to 2 s, rates 0.05 to 50 rows per second, log-uniform.
fn applications(sizes: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<App>> {
    let one = (0.2_f64.ln()..2.0_f64.ln(), 0.05_f64.ln()..50.0_f64.ln());
    proptest::collection::vec(one, sizes).prop_map(|apps| {
        let named = apps.into_iter().enumerate();
        named
            .map(|(index, (slo, rate))| app(&format!("app-{index}"), slo.exp(), rate.exp()))
            .collect()
    })
}

/// The least cost of any partition of the applications, and of partitions into runs in order of SLO.
///
/// Subsets are bit masks: the best partition of a set is the best subset that holds its first member, plus the
/// best partition of the rest.
fn brute_force(model: &Coefficients, apps: &[App]) -> (f64, f64) {
    let mut sorted: Vec<&App> = apps.iter().collect();
    sorted.sort_by(|a, b| a.slo.get().total_cmp(&b.slo.get()));
    let everything = (1_usize << sorted.len()) - 1;
    let cost: HashMap<usize, f64> = (1..=everything)
        .filter_map(|set| {
            let members: Vec<&App> = (0..sorted.len())
                .filter(|index| set >> index & 1 == 1)
                .map(|index| sorted[index])
                .collect();
            cheapest(model, &members).map(|cost| (set, cost))
        })
        .collect();
    let is_run = |set: usize| {
        (set >> set.trailing_zeros()).count_zeros() == (set >> set.trailing_zeros()).leading_zeros()
    };
    let least = |allowed: &dyn Fn(usize) -> bool| {
        let mut best = vec![f64::INFINITY; everything + 1];
        best[0] = 0.0;
        for set in 1..=everything {
            let first = set & set.wrapping_neg();
            let mut part = set;
            while part > 0 {
                if part & first != 0
                    && allowed(part)
                    && let Some(cost) = cost.get(&part)
                {
                    best[set] = best[set].min(cost + best[set ^ part]);
                }
                part = (part - 1) & set;
            }
        }
        best[everything]
    };
    (least(&|_| true), least(&is_run))
}

/// Compares plans with brute force over `sets` random sets for each model.
fn compare(sets: u32, sizes: std::ops::RangeInclusive<usize>, worst_gap: f64) {
    let mut dearer = 0;
    for model in &MODELS {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        for _ in 0..sets {
            let apps = applications(sizes.clone())
                .new_tree(&mut runner)
                .unwrap()
                .current();
            let servable: Vec<App> = apps
                .into_iter()
                .filter(|app| cheapest(model, &[app]).is_some())
                .collect();
            if servable.is_empty() {
                continue;
            }
            let (any, runs) = brute_force(model, &servable);
            let plan = plan_as_the_paper(model, servable.clone());
            assert!(plan.infeasible.is_empty(), "{:?}", plan.infeasible);
            let found = plan.cost_per_second;
            assert!(
                (found / runs - 1.0).abs() < ROUNDING,
                "{}: {found:e}, best runs {runs:e}",
                model.name
            );
            assert!(
                found <= any * (1.0 + worst_gap),
                "{}: {found:e}, best {any:e}",
                model.name
            );
            dearer += u32::from(found > any * (1.0 + ROUNDING));
        }
    }
    assert!(
        dearer * 20 <= sets * 4,
        "{dearer} of {} sets have a better partition",
        sets * 4
    );
}

#[test]
fn under_the_papers_law_no_partition_is_much_cheaper() {
    compare(12, 1..=6, 0.005);
}

#[test]
fn eight_applications_are_compared_with_all_4140_partitions() {
    compare(1, 8..=8, 0.005);
}
