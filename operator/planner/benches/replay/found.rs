//! What the three plans of a case cost and kept, as rows and in sum.

use std::sync::Arc;
use std::time::Instant;

use harmonybatch_planner::ArrivalProcess;

use crate::cases::{Case, fitted};
use crate::played::{Sure, Window, Worst, planned, play};

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// Poisson arrivals at the mean rate.
    Poisson,
    /// The bursts that are fitted to the half that is seen.
    Burst,
    /// That half itself.
    Trace,
}

impl Made {
    pub(crate) const ALL: [Self; 3] = [Self::Poisson, Self::Burst, Self::Trace];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poisson => "Poisson arrivals",
            Self::Burst => "fitted bursts",
            Self::Trace => "the seen half",
        }
    }
}

/// One plan: its cost by that of the plan for Poisson arrivals, and what came of it in each window.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) price: f64,
    pub(crate) seen: [Worst; 3],
}

/// The three plans of a case in the order of [`Made::ALL`]; none where an application was refused.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) trace: String,
    /// Whether the second half was seen.
    pub(crate) turned: bool,
    pub(crate) outcomes: [Option<Outcome>; 3],
}

/// Plans and plays a case, and prints its row.
pub(crate) fn find(case: &Case) -> Found {
    let began = Instant::now();
    let mut smooth = f64::NAN;
    let outcomes = Made::ALL.map(|made| {
        let apps = case.declared(|recorded| match made {
            Made::Poisson => ArrivalProcess::Poisson,
            Made::Burst => fitted(recorded),
            Made::Trace => ArrivalProcess::Trace(Arc::clone(&recorded.seen)),
        });
        let plan = planned(case, apps)?;
        if made == Made::Poisson {
            smooth = plan.cost_per_second;
        }
        Some(Outcome {
            price: plan.cost_per_second / smooth,
            seen: Window::ALL.map(|window| play(case, &plan, window)),
        })
    });
    let cells = outcomes.iter().map(|it| cell(it.as_ref())).collect::<String>();
    // Of the application that is worst off where the plan for Poisson arrivals is played under the whole trace.
    let requests = outcomes[0].as_ref().map_or(0, |outcome| outcome.seen[0].requests);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{:<7}{:<10}{:<11}{:<7}{requests:>8} {cells} {:>15}{seconds:>6.0}",
        case.trace,
        case.model.name,
        case.set,
        if case.turned { "second" } else { "first" },
        burst(case)
    );
    Found {
        trace: case.trace.clone(),
        turned: case.turned,
        outcomes,
    }
}

/// Above the rows.
pub(crate) fn print_head() {
    print!("{:<44}", "");
    for made in Made::ALL {
        print!("| {:<45}", format!("plan for {}", made.name()));
    }
    println!();
    print!(
        "{:<7}{:<10}{:<11}{:<7}{:>8} ",
        "trace", "model", "apps", "seen", "requests"
    );
    for _ in Made::ALL {
        print!(
            "| {:<6}{:<15}{:<15}{:<9}",
            "price", "whole", "held out", "at rate"
        );
    }
    println!(" {:>15}{:>6}", "burst of app-1", "s");
}

fn cell(outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else {
        return format!("| {:<45}", "an application is refused");
    };
    let [whole, held_out, at_rate] = &outcome.seen;
    format!(
        "| {:<6.2}{:<15}{:<15}{:<9}",
        outcome.price,
        format!("{} {:.1}x", attainment(whole), whole.p99),
        format!("{} {:.1}x", attainment(held_out), held_out.p99),
        attainment(at_rate)
    )
}

/// In percent, not rounded up; `-` where it is surely below what was promised, `~` where nobody can be sure.
fn attainment(worst: &Worst) -> String {
    let mark = match worst.sure() {
        Sure::Kept => ' ',
        Sure::Short => '-',
        Sure::No => '~',
    };
    format!("{:.2}{mark}", (worst.attainment * 1e4).floor() / 100.0)
}

fn burst(case: &Case) -> String {
    match fitted(&case.recorded[0]) {
        ArrivalProcess::Burst(burst) => format!("{:.2} x {:.1} s", burst.factor(), burst.duration().get()),
        ArrivalProcess::Poisson | ArrivalProcess::Trace(_) => "none".to_owned(),
    }
}

/// Of the cases with these traces, in sum.
pub(crate) fn print_sums(found: &[Found], kinds: &[(&str, &[&str])]) {
    println!(
        "{:<20}{:<18}{:<10}| {:<54}| {:<54}| {:<54}| by the plan for Poisson arrivals",
        "traces, seen half", "plan for", "plans", "whole", "held out", "held out, at rate"
    );
    for turned in [false, true] {
        for (what, traces) in kinds {
            let these = |found: &&Found| found.turned == turned && traces.contains(&found.trace.as_str());
            let of_these: Vec<&Found> = found.iter().filter(these).collect();
            if !of_these.is_empty() {
                let seen = if turned { "second" } else { "first" };
                print_sum(&format!("{what}, {seen}"), &of_these);
            }
        }
    }
}

/// How many of these cases keep every percentile and how sure that is, and what the plans cost.
fn print_sum(what: &str, of_these: &[&Found]) {
    for (index, made) in Made::ALL.into_iter().enumerate() {
        let outcomes: Vec<&Outcome> = of_these
            .iter()
            .filter_map(|found| found.outcomes[index].as_ref())
            .collect();
        print!(
            "{:<20}{:<18}{:>3} of {:<3}",
            what,
            made.name(),
            outcomes.len(),
            of_these.len()
        );
        for window in 0..Window::ALL.len() {
            let seen = || outcomes.iter().map(|outcome| &outcome.seen[window]);
            let surely = |sure| seen().filter(|worst| worst.sure() == sure).count();
            let worst = seen().map(|worst| worst.attainment).fold(1.0, f64::min);
            print!(
                "| {:>3} kept ({:>3} surely, {:>3} surely not), worst {:>6.2} ",
                seen().filter(|worst| worst.kept()).count(),
                surely(Sure::Kept),
                surely(Sure::Short),
                (worst * 1e4).floor() / 100.0
            );
        }
        let mut prices: Vec<f64> = outcomes.iter().map(|outcome| outcome.price).collect();
        prices.sort_by(f64::total_cmp);
        if let (Some(median), Some(most)) = (prices.get(prices.len() / 2), prices.last()) {
            #[expect(clippy::cast_precision_loss, reason = "few cases")]
            let mean = prices.iter().sum::<f64>() / prices.len() as f64;
            print!("| price mean {mean:.2}, median {median:.2}, most {most:.2}");
        }
        println!();
    }
}
