//! Section 3: how long planning takes against the number of applications, everything in one process and by turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

use harmonybatch_planner::{Baseline, PlanRequest, Planner, baseline};

use crate::columns::{Law, request_under};
use crate::fixture::{VGG19, plan};
use crate::random::Random;
use crate::settings::TABLE_IV;
use crate::verdicts::claim;

const COUNTS: [usize; 9] = [1, 2, 4, 6, 8, 12, 24, 48, 100];

/// Rounds of which the median is taken.
const ROUNDS: usize = 41;

/// Before each plan: a process that has just paused is given a whole slice of a busy machine.
const PAUSE: Duration = Duration::from_millis(1);

const WAYS: [&str; 5] = ["ours, exact", "ours, paper", "two-stage", "BATCH", "MBS+"];

/// Index of the ways that the paper measures as well.
const MEASURED: [usize; 3] = [3, 4, 2];

pub(crate) fn print() {
    println!(
        "3. Time to plan VGG-19, in milliseconds (median of {ROUNDS} rounds); Table IV: BATCH, MBS+, HarmonyBatch in the paper\n"
    );
    print!("  {:>6}", "apps");
    for way in WAYS {
        print!("{way:>14}");
    }
    println!("{:>20}    Table IV", "ours / two-stage");
    let mut table = Vec::new();
    for count in COUNTS {
        let medians = medians(count);
        print!("  {count:>6}");
        for median in medians {
            print!("{median:>14.3}");
        }
        print!("{:>20.2}", medians[0] / medians[2]);
        if let Some((_, printed)) = TABLE_IV.iter().find(|(apps, _)| *apps == count) {
            print!("    {printed:?}");
        }
        println!();
        table.push((count, medians));
    }
    claims(&table);
}

fn medians(count: usize) -> [f64; WAYS.len()] {
    let apps = Random::seeded(7).apps(count, (0.3, 1.0), (0.05, 50.0));
    let exact = request_under(Law::Exact, &VGG19, &apps);
    let paper = request_under(Law::Paper, &VGG19, &apps);
    let PlanRequest { platform, models } = paper.clone();
    let two_stage = PlanRequest {
        platform: platform.with_planner(Planner::TwoStage),
        models,
    };
    let ours = plan(&exact).remove(0);
    let baseline = |which| {
        black_box(baseline(&paper.platform, &paper.models[0], &ours, which));
    };
    let ways: [&dyn Fn(); WAYS.len()] = [
        &|| drop(black_box(plan(&exact))),
        &|| drop(black_box(plan(&paper))),
        &|| drop(black_box(plan(&two_stage))),
        &|| baseline(Baseline::Batch),
        &|| baseline(Baseline::Mbs),
    ];
    let mut taken = [[0.0; ROUNDS]; WAYS.len()];
    for round in 0..ROUNDS {
        for (taken, way) in taken.iter_mut().zip(ways) {
            pause();
            let start = Instant::now();
            way();
            taken[round] = start.elapsed().as_secs_f64() * 1e3;
        }
    }
    taken.map(|mut taken| {
        taken.sort_by(f64::total_cmp);
        taken[ROUNDS / 2]
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is nothing to wait for but the scheduler"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// What Table IV and the text beside it say.
fn claims(table: &[(usize, [f64; WAYS.len()])]) {
    println!();
    let at = |apps: usize| table.iter().find(|(count, _)| *count == apps).unwrap().1;
    let printed = |apps: usize| TABLE_IV.iter().find(|(count, _)| *count == apps).unwrap().1;
    let [batch, mbs, two_stage] = MEASURED.map(|way| at(12)[way]);
    let [batch_printed, mbs_printed, ours_printed] = printed(12);
    claim(
        &format!(
            "twelve applications take {:.0} times as long as one (linear would be 12)",
            ours_printed / printed(1)[2]
        ),
        two_stage / at(1)[2] < 1.5 * ours_printed / printed(1)[2],
        &format!(
            "two-stage {:.1} times, ours {:.1} times",
            two_stage / at(1)[2],
            at(12)[0] / at(1)[0]
        ),
        "merging looks at more groups than there are applications",
    );
    claim(
        &format!(
            "BATCH takes {:.0} times and MBS+ {:.0} times as long for twelve",
            batch_printed / ours_printed,
            mbs_printed / ours_printed
        ),
        batch / two_stage > 5.0 && mbs / two_stage > 50.0,
        &format!("{:.2} and {:.1} times", batch / two_stage, mbs / two_stage),
        "the paper's two look at every function for each group, or train a regression for it; here all of them look the \
         frontier of a model's functions up, which is made once",
    );
    claim(
        &format!("{ours_printed:.0} ms for twelve applications"),
        two_stage < ours_printed && at(12)[0] < ours_printed,
        &format!("two-stage {two_stage:.2} ms, ours {:.2} ms", at(12)[0]),
        "this machine is slower",
    );
    println!();
}
