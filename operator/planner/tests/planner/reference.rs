//! Our plans beside those of the paper's authors, on the applications that their program was run on.
//!
//! Their program has other rules than their paper (GPU time in whole seconds, other prices), so its groups and functions are priced
//! here by one evaluator: the exact law by quadrature, which shares no code with the planner. CPU sizes between two of the
//! platform's are rounded up.

use harmonybatch_planner::units::{GpuUnits, Rate, Vcpu};
use harmonybatch_planner::{App, ArrivalModel, Baseline, Device, PlanRequest, Planner, baseline};

use crate::evaluator::{ROUNDING, assert_close, cheapest_device, exact_cost};
use crate::fixture::{
    Coefficients, MODELS, VGG19, app, membership, plan, plan_as_the_paper, plan_exactly, request,
};

const PLANS: &str = include_str!("../data/reference-plans.txt");

/// A group of the authors' program.
struct Group {
    members: std::ops::RangeInclusive<usize>,
    device: Device,
    batch: u32,
}

struct Set {
    model: &'static Coefficients,
    apps: Vec<App>,
    groups: Vec<Group>,
}

fn group(text: &str) -> Group {
    let fields: Vec<&str> = text.split(',').collect();
    let (first, last) = fields[0].split_once('-').unwrap();
    let device = if fields[1] == "gpu" {
        Device::Gpu {
            pool: "a10".to_owned(),
            units: GpuUnits::new(fields[2].parse().unwrap()).unwrap(),
        }
    } else {
        let vcpu: f64 = fields[2].parse().unwrap();
        let steps = (1_u32..=320)
            .find(|&step| f64::from(step) * 0.05 >= vcpu - 1e-9)
            .unwrap();
        Device::Cpu {
            vcpu: Vcpu::from_millis(steps * 50).unwrap(),
        }
    };
    Group {
        members: first.parse().unwrap()..=last.parse().unwrap(),
        device,
        batch: fields[3].parse().unwrap(),
    }
}

fn sets() -> Vec<Set> {
    let lines = PLANS.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &'static str| {
        let mut parts = line.split("; ");
        let name = parts.next().unwrap();
        let apps = parts.next().unwrap().split(' ').enumerate().map(|(index, pair)| {
            let (slo, rate) = pair.split_once(',').unwrap();
            // Names in order of SLO, so that ties keep their places.
            app(
                &format!("app-{index:02}"),
                slo.parse().unwrap(),
                rate.parse().unwrap(),
            )
        });
        Set {
            model: MODELS.iter().find(|model| model.name == name).unwrap(),
            apps: apps.collect(),
            groups: parts.next().unwrap().split(' ').map(group).collect(),
        }
    };
    lines.map(parse).collect()
}

/// What the authors' groups cost together.
fn price(set: &Set) -> Option<f64> {
    let of_group = |group: &Group| {
        let members: Vec<&App> = set.apps[group.members.clone()].iter().collect();
        exact_cost(set.model, &members, &group.device, group.batch)
    };
    set.groups.iter().map(of_group).sum()
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "the table is what a person runs this for: --nocapture"
)]
fn no_plan_of_ours_is_dearer_than_that_of_the_authors_program() {
    let sets = sets();
    assert_eq!(sets.len(), 200);
    eprintln!("model      sets   theirs keep the SLO   theirs/ours: mean   median   least   most");
    for model in &MODELS {
        let mut ratios = Vec::new();
        let of_model: Vec<&Set> = sets.iter().filter(|set| set.model.name == model.name).collect();
        for set in &of_model {
            let plan = plan_exactly(set.model, set.apps.clone());
            // Where an application cannot be served, or a group of theirs is late, costs say nothing.
            let Some(theirs) = price(set).filter(|_| plan.infeasible.is_empty()) else {
                continue;
            };
            assert!(
                plan.cost_per_second <= theirs * (1.0 + ROUNDING),
                "{}: {:e} is dearer than {theirs:e}: {:?}",
                model.name,
                plan.cost_per_second,
                membership(&plan)
            );
            ratios.push(theirs / plan.cost_per_second);
        }
        ratios.sort_by(f64::total_cmp);
        let mean = ratios.iter().sum::<f64>() / f64::from(u32::try_from(ratios.len()).unwrap());
        eprintln!(
            "{:<10}{:>5}{:>22}{:>20.3}{:>9.3}{:>8.3}{:>7.3}",
            model.name,
            of_model.len(),
            ratios.len(),
            mean,
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        );
        assert!(ratios.len() >= 45, "only {} sets can be compared", ratios.len());
    }
}

fn two_stage(model: &Coefficients, apps: Vec<App>, arrivals: ArrivalModel) -> harmonybatch_planner::Plan {
    let PlanRequest { platform, models } = request(harmonybatch_planner::Billing::PerInvocation, model, apps);
    let platform = platform.with_planner(Planner::TwoStage).with_arrivals(arrivals);
    plan(&PlanRequest { platform, models }).remove(0)
}

#[test]
fn two_stage_merging_reproduces_the_worked_example() {
    let apps = vec![
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
    ];
    let plan = two_stage(&VGG19, apps.clone(), ArrivalModel::Paper);
    assert_eq!(membership(&plan), [["search", "cart", "feed"]]);
    assert_eq!(plan.groups[0].batch_size.get(), 22);
    assert!(
        (plan.cost_per_second / 2.2583e-5 - 1.0).abs() < 5e-5,
        "{:e}",
        plan.cost_per_second
    );
    // The same group on the same function, at what its batches cost.
    let exact = two_stage(&VGG19, apps.clone(), ArrivalModel::Exact);
    assert_eq!(exact.groups[0].device, plan.groups[0].device);
    let members: Vec<&App> = apps.iter().collect();
    let expected = exact_cost(&VGG19, &members, &plan.groups[0].device, 22).unwrap();
    assert_close(exact.cost_per_second, expected);
}

/// The paper merges all three, as our own planner does: pods that stay up then cost the same.
#[test]
fn groups_merged_in_two_stages_get_the_sizes_that_their_billing_needs() {
    let apps = vec![
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
    ];
    let PlanRequest { platform, models } = request(harmonybatch_planner::Billing::PerReplica, &VGG19, apps);
    let platform = platform.with_planner(Planner::TwoStage);
    let plan = plan(&PlanRequest { platform, models }).remove(0);
    assert_eq!(membership(&plan), [["search", "cart", "feed"]]);
    assert!(plan.groups[0].verified);
    assert_close(plan.cost_per_second, 3.0e-5);
}

#[test]
fn two_stage_merging_lies_between_dynamic_programming_and_no_merging_at_all() {
    for set in sets().iter().step_by(4) {
        let greedy = two_stage(set.model, set.apps.clone(), ArrivalModel::Paper);
        let optimal = plan_as_the_paper(set.model, set.apps.clone());
        let alone: f64 = optimal
            .groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| member.explanation.alone.cost_per_second)
            .sum();
        assert!(greedy.cost_per_second >= optimal.cost_per_second * (1.0 - ROUNDING));
        assert!(greedy.cost_per_second <= alone * (1.0 + ROUNDING));
    }
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "the table is what a person runs this for: --nocapture"
)]
fn no_baseline_that_keeps_its_slos_is_cheaper_than_the_plan() {
    let mut sums = [(0.0, 0.0_f64); Baseline::ALL.len()];
    let mut counted = 0.0;
    for set in sets().iter().step_by(2) {
        let request = request(
            harmonybatch_planner::Billing::PerInvocation,
            set.model,
            set.apps.clone(),
        );
        let plan = plan_exactly(set.model, set.apps.clone());
        if !plan.infeasible.is_empty() {
            continue;
        }
        counted += 1.0;
        for (sum, which) in sums.iter_mut().zip(Baseline::ALL) {
            let other = baseline(&request.platform, &request.models[0], &plan, which);
            let ratio = other.cost_per_second / plan.cost_per_second;
            // MBS+ may cut an application in two, which our plans do not; a late group has no fair price.
            let comparable = which != Baseline::Mbs && other.late == 0;
            assert!(
                ratio >= 1.0 - ROUNDING || !comparable,
                "{which:?} costs {ratio} of ours"
            );
            *sum = (sum.0 + ratio, sum.1.max(ratio));
        }
    }
    for ((sum, most), which) in sums.iter().zip(Baseline::ALL) {
        eprintln!(
            "{which:?}: mean {:.3}, most {most:.3} times the plan's cost",
            sum / counted
        );
    }
    assert!(counted > 90.0);
    let mean_of = |index: usize| sums[index].0 / counted;
    assert!(mean_of(0) > 1.05 && mean_of(3) > 1.0, "sharing saves");
}

/// Algorithm 1 once more, as plainly as it is printed, on the evaluator that looks at every function.
fn merged_plainly<'a>(model: &Coefficients, apps: &'a [App]) -> Vec<Vec<&'a App>> {
    let cost = |group: &[&App]| cheapest_device(model, group).unwrap().0;
    let on_cpu = |group: &[&App]| matches!(cheapest_device(model, group).unwrap().1, Device::Cpu { .. });
    let rate = |group: &[&App]| group.iter().map(|app| app.rate.get()).sum::<f64>();
    let is_gpu_at = |app: &App, rate: f64| {
        let rate = Rate::new(rate).unwrap();
        !on_cpu(&[&App { rate, ..app.clone() }])
    };
    let mut groups: Vec<Vec<&App>> = apps.iter().map(|app| vec![app]).collect();

    // Stage 1: neighbours on CPU, until a GPU would be cheaper for their rate.
    let mut start = 0;
    while start < groups.len() {
        if !on_cpu(&groups[start]) {
            start += 1;
            continue;
        }
        let mut end = start;
        let mut together: Vec<&App> = Vec::new();
        while end < groups.len()
            && on_cpu(&groups[end])
            && (together.is_empty() || !is_gpu_at(groups[start][0], rate(&together)))
        {
            together.extend(&groups[end]);
            end += 1;
        }
        let apart: f64 = groups[start..end].iter().map(|group| cost(group)).sum();
        if end - start > 1 && cost(&together) < apart * (1.0 - ROUNDING) {
            groups.splice(start..end, [together]);
            start += 1;
        } else {
            start = end;
        }
    }

    // Stage 2: neighbours of which one is on a GPU.
    let mut start = 0;
    while start + 1 < groups.len() {
        let together: Vec<&App> = groups[start].iter().chain(&groups[start + 1]).copied().collect();
        let apart = cost(&groups[start]) + cost(&groups[start + 1]);
        let with_gpu = !on_cpu(&groups[start]) || !on_cpu(&groups[start + 1]);
        if with_gpu && cost(&together) < apart * (1.0 - ROUNDING) {
            groups.splice(start..start + 2, [together]);
        } else {
            start += 1;
        }
    }
    groups
}

#[test]
fn two_stage_merging_is_what_algorithm_1_says() {
    let mut merged = 0;
    for set in sets().iter().step_by(12).filter(|set| set.apps.len() <= 8) {
        let plan = two_stage(set.model, set.apps.clone(), ArrivalModel::Paper);
        if !plan.infeasible.is_empty() {
            continue;
        }
        let plainly = merged_plainly(set.model, &set.apps);
        let names: Vec<Vec<&str>> = plainly
            .iter()
            .map(|group| group.iter().map(|app| app.name.as_str()).collect())
            .collect();
        assert_eq!(membership(&plan), names, "{}", set.model.name);
        merged += usize::from(names.len() < set.apps.len());
    }
    assert!(merged >= 3, "only {merged} sets have anything to merge");
}
