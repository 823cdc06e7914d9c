//! Section 2: two hours of the four traced applications, minute by minute.
//!
//! Where a function costs while it runs, waits and functions depend on the SLOs alone, so a plan that was made for other rates keeps
//! every SLO and only costs more. Pods that stay up do not: there the plan that is made once is made for the busiest minute of each
//! application.

use crate::columns::{Column, Law, columns, price_all, request_under, served};
use crate::fixture::{Coefficients, MODELS, app, plan};
use crate::settings::{TRACED, four, mean_rates, minutes};
use crate::verdicts::{Verdicts, percent};

const MINUTE: f64 = 60.0;

/// Planning for a minute prefers a smaller share of a GPU to so much of its cost, relatively; a plan for other rates may not have.
const SMALLER_SHARE: f64 = 2e-3;

/// What two hours cost, in USD.
struct Hours {
    model: &'static Coefficients,
    /// Planned again every minute, each by its own rules; ours first.
    again: Vec<(&'static str, f64)>,
    /// Ours, planned once for the mean rates.
    once: f64,
}

pub(crate) fn print(verdicts: &mut Verdicts) {
    println!(
        "2. Four traced applications over two hours, in USD (traces: the paper's; SLOs of VGG-19: its repository's)\n"
    );
    let hours: Vec<Hours> = MODELS.iter().map(|model| invoked(model, verdicts)).collect();
    println!(
        "Functions that cost while they run, exact law, planned again every minute; and ours planned once for the mean rates"
    );
    print!("  {:<10}{:>12}", "model", "ours, once");
    for (name, _) in &hours[0].again {
        print!("{name:>12}");
    }
    println!("{:>16}{:>16}", "saved on BATCH", "saved on MBS+");
    for Hours { model, again, once } in &hours {
        print!("  {:<10}{once:>12.4}", model.name);
        for (_, total) in again {
            print!("{total:>12.4}");
        }
        let total = |name| again.iter().find(|(other, _)| *other == name).unwrap().1;
        let saved = |name| percent(1.0 - total("ours") / total(name));
        println!("{:>16}{:>16}", saved("BATCH"), saved("MBS+"));
    }
    let most = hours.iter().map(|hours| hours.once / hours.again[0].1 - 1.0);
    println!(
        "  A plan for the mean rates costs at most {} more than one for every minute.\n",
        percent(most.fold(f64::MIN, f64::max))
    );
    println!(
        "Pods that stay up: ours planned again every minute, and once for the busiest minute of each application"
    );
    println!(
        "  {:<10}{:>12}{:>12}{:>16}",
        "model", "ours, once", "ours", "saved by it"
    );
    for model in &MODELS {
        let (again, once) = standing(model);
        println!(
            "  {:<10}{once:>12.4}{again:>12.4}{:>16}",
            model.name,
            percent(1.0 - again / once)
        );
    }
    println!();
}

fn invoked(model: &'static Coefficients, verdicts: &mut Verdicts) -> Hours {
    let for_the_mean = plan(&request_under(Law::Exact, model, &four(model, mean_rates()))).remove(0);
    let mut again: Vec<(&'static str, f64)> = Vec::new();
    let mut once = 0.0;
    for (minute, rates) in minutes().into_iter().enumerate() {
        let apps = four(model, rates);
        let found = columns(Law::Exact, model, &apps);
        let place = format!("{}, minute {minute}", model.name);
        verdicts.compare(&place, &found);
        add(&mut again, &found);

        let mut groups = served(&for_the_mean);
        for member in groups.iter_mut().flat_map(|group| &mut group.members) {
            let now = apps.iter().find(|app| app.name == member.name).unwrap();
            *member = app(&member.name, member.slo.get(), now.rate.get());
        }
        let (cost, late) = price_all(Law::Exact, model, &groups);
        verdicts.invariant(late == 0, || {
            format!("{place}: the plan for the mean rates is late")
        });
        let dearer = found[0].cost_per_second / cost - 1.0;
        verdicts.invariant(dearer <= SMALLER_SHARE, || {
            format!("{place}: planning again makes it {dearer:.2e} dearer")
        });
        once += MINUTE * cost;
    }
    Hours { model, again, once }
}

fn add(totals: &mut Vec<(&'static str, f64)>, columns: &[Column]) {
    totals.resize(columns.len(), ("", 0.0));
    for (total, column) in totals.iter_mut().zip(columns) {
        *total = (column.name, total.1 + MINUTE * column.cost_per_second);
    }
}

/// Ours planned every minute, and once for the busiest minute of each application.
fn standing(model: &Coefficients) -> (f64, f64) {
    let cost = |rates| {
        plan(&request_under(Law::Replicas, model, &four(model, rates)))
            .remove(0)
            .cost_per_second
    };
    let minutes = minutes();
    let busiest: [f64; TRACED] =
        std::array::from_fn(|index| minutes.iter().map(|rates| rates[index]).fold(0.0, f64::max));
    let once = cost(busiest) * MINUTE * minutes.iter().map(|_| 1.0).sum::<f64>();
    (minutes.into_iter().map(|rates| MINUTE * cost(rates)).sum(), once)
}
