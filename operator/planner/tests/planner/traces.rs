//! Plans against the arrival times of the Azure LLM inference traces of 2023 (`AzurePublicDataset`, CC-BY-4.0), which are
//! too large to stand beside the code: `HARMONYBATCH_TRACES` names a folder with `conv.csv` and `code.csv`.

use std::path::Path;
use std::sync::Arc;

use harmonybatch_planner::{App, ArrivalProcess, Billing, GroupPlan, Trace};

use crate::fixture::{VGG19, plan_one};
use crate::holdout::{any_member, play};
use crate::random::Random;
use crate::recorded::azure;

/// Groups that are replayed of each kind of plan.
const GROUPS: usize = 60;

/// The times at a group's rate, each arrival given to one of its members.
fn replay(times: &[f64], group: &GroupPlan, random: &mut Random) -> Vec<(f64, usize)> {
    let rate: f64 = group.members.iter().map(|member| member.rate.get()).sum();
    #[expect(clippy::cast_precision_loss, reason = "thousands of arrivals")]
    let scale = (times.len() - 1) as f64 / (times[times.len() - 1] - times[0]) / rate;
    times
        .iter()
        .map(|time| ((time - times[0]) * scale, any_member(group, rate, random)))
        .collect()
}

/// What a kind of plan came to on a window: groups in which all requests together, and every application, keep 99 %.
#[derive(Debug, Default)]
struct Score {
    groups: usize,
    together: usize,
    every: usize,
    attained: f64,
    verified: usize,
    cost: f64,
    smooth: f64,
}

/// Plans random sets for arrivals at `factor` times their rates, and replays the window at their rates.
fn score(planned: &ArrivalProcess, factor: f64, window: &[f64]) -> Score {
    let mut random = Random::seeded(0x0061_7a75_7265);
    let mut score = Score::default();
    let mut count = 0;
    while score.groups < GROUPS {
        count = count % 6 + 1;
        let apps = random.apps(count, (0.2, 1.0), (0.5, 20.0));
        let told = apps.iter().map(|app| App {
            arrivals: planned.clone(),
            rate: harmonybatch_planner::units::Rate::new(app.rate.get() * factor).unwrap(),
            ..app.clone()
        });
        let plan = plan_one(Billing::PerReplica, &VGG19, told.collect());
        assert!(plan.infeasible.is_empty(), "{:?}", plan.infeasible);
        score.cost += plan.cost_per_second;
        score.smooth += plan_one(Billing::PerReplica, &VGG19, apps).cost_per_second;
        for group in &plan.groups {
            let mut group = group.clone();
            for member in &mut group.members {
                member.rate = harmonybatch_planner::units::Rate::new(member.rate.get() / factor).unwrap();
            }
            let arrivals = replay(window, &group, &mut random);
            let counts = play(&VGG19, &group, &arrivals, &mut random);
            let (served, late) = counts
                .iter()
                .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
            let keeps = |(served, late): (u32, u32)| f64::from(late) <= 0.01 * f64::from(served);
            score.groups += 1;
            score.together += usize::from(keeps((served, late)));
            score.every += usize::from(counts.into_iter().all(keeps));
            score.verified += usize::from(group.verified);
            score.attained += 1.0 - f64::from(late) / f64::from(served);
        }
    }
    score
}

fn process(times: &[f64]) -> ArrivalProcess {
    ArrivalProcess::Trace(Arc::new(Trace::new(times).unwrap()))
}

#[test]
#[ignore = "needs the traces: HARMONYBATCH_TRACES=FOLDER cargo test --release -p harmonybatch-planner --test planner traces -- --ignored --nocapture"]
#[expect(clippy::print_stderr, reason = "the figures are what a person runs this for")]
fn plans_for_a_trace_keep_99_percent_of_it() {
    let folder = std::env::var_os("HARMONYBATCH_TRACES").unwrap();
    let tell = |trace: &str, what: &str, score: &Score| {
        #[expect(clippy::cast_precision_loss, reason = "few groups")]
        let mean = score.attained / score.groups as f64;
        eprintln!(
            "{trace}, {what}: 99 % in {} of {} groups, of every application in {}; mean attainment {:.1} %; {} verified; \
             {:.2} times the price of the Poisson plans",
            score.together,
            score.groups,
            score.every,
            mean * 100.0,
            score.verified,
            score.cost / score.smooth
        );
    };
    let mut kept = Vec::new();
    for name in ["conv.csv", "code.csv"] {
        let times = azure(&Path::new(&folder).join(name)).unwrap();
        let (first, second) = times.split_at(times.len() / 2);
        tell(
            name,
            "plans for Poisson arrivals",
            &score(&ArrivalProcess::Poisson, 1.0, &times),
        );
        let whole = score(&process(&times), 1.0, &times);
        tell(name, "plans for the trace", &whole);
        for (seen, unseen, what) in [
            (first, second, "first half to second"),
            (second, first, "second half to first"),
        ] {
            for factor in [1.0, 1.25] {
                let score = score(&process(seen), factor, unseen);
                tell(name, &format!("{what}, arrivals x{factor}"), &score);
            }
        }
        kept.push((whole.together, whole.groups));
    }
    assert!(
        kept.iter().all(|(together, groups)| together + 2 >= *groups),
        "{kept:?}"
    );
}
