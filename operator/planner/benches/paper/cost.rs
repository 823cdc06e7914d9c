//! Section 1: cost against BATCH, MBS+, the paper's own merging and one group for each application.

use crate::columns::{Column, Law, batch_by_mean, columns, price_all, request_under, served};
use crate::fixture::{Coefficients, MODELS, VGG19};
use crate::program::{self, Setting};
use crate::settings::{
    self, CHEAPER_AT_MOST, CHEAPER_THAN_MBS, MERGING_SAVES, TABLE_I, eight,
};
use crate::verdicts::Verdicts;

/// How far a share may be from the printed one.
const NEAR: f64 = 0.02;

/// Factors on the rates of the traces, since the paper does not give its own.
const FACTORS: [f64; 5] = [0.01, 0.03, 0.1, 0.3, 1.0];

pub(crate) fn print(verdicts: &mut Verdicts) {
    println!("1. Cost, in USD per million requests (prices and functions of the paper, one evaluator)\n");
    print_table_i(verdicts);
    for law in Law::ALL {
        print_eight(law, verdicts);
    }
    print_program(verdicts);
    print_factors(verdicts);
}

fn rate(apps: &[harmonybatch_planner::App]) -> f64 {
    apps.iter().map(|app| app.rate.get()).sum()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// How much cheaper `ours` is than another.
fn cheaper(ours: &Column, other: &Column) -> f64 {
    1.0 - ours.cost_per_second / other.cost_per_second
}

fn print_header(columns: &[Column]) {
    print!("  {:<10}", "model");
    for column in columns {
        print!("{:>16}", column.name);
    }
    println!();
}

fn print_row(model: &Coefficients, columns: &[Column], rate: f64) {
    print!("  {:<10}", model.name);
    for column in columns {
        let late = if column.late > 0 {
            format!(" ({} late)", column.late)
        } else {
            String::new()
        };
        print!("{:>16}", format!("{:.3}{late}", 1e6 * column.cost_per_second / rate));
    }
    println!();
}

/// The rows of all models, and for each column the most and the mean that ours is cheaper.
fn print_models(law: Law, factor: f64, verdicts: &mut Verdicts) -> Vec<(&'static Coefficients, Vec<Column>)> {
    let rows: Vec<(&Coefficients, Vec<Column>)> = MODELS
        .iter()
        .map(|model| {
            let apps = eight(model, factor);
            let mut found = columns(law, model, &apps);
            if law != Law::Replicas {
                found.push(batch_by_mean(law, model, &apps));
            }
            verdicts.compare(&format!("{}, {}, rates x{factor}", law.name(), model.name), &found);
            (model, found)
        })
        .collect();
    print_header(&rows[0].1);
    for (model, columns) in &rows {
        print_row(model, columns, rate(&eight(model, factor)));
    }
    for (name, of) in [
        ("mean", (|shares: &[f64]| shares.iter().sum::<f64>() / 4.0) as fn(&[f64]) -> f64),
        ("most", |shares| shares.iter().copied().fold(f64::MIN, f64::max)),
    ] {
        print!("  {:<10}{:>16}", format!("{name} saved"), "");
        for index in 1..rows[0].1.len() {
            let shares: Vec<f64> = rows
                .iter()
                .map(|(_, columns)| cheaper(&columns[0], &columns[index]))
                .collect();
            print!("{:>16}", percent(of(&shares)));
        }
        println!();
    }
    rows
}

fn print_table_i(verdicts: &mut Verdicts) {
    let apps = settings::table_i();
    println!("Table I: VGG-19, three applications (all of it is the paper's)");
    let mut rows = Vec::new();
    for law in Law::ALL {
        let mut found = columns(law, &VGG19, &apps);
        if law != Law::Replicas {
            found.push(batch_by_mean(law, &VGG19, &apps));
        }
        verdicts.compare(&format!("Table I, {}", law.name()), &found);
        rows.push((law, found));
    }
    print_header(&rows[0].1);
    for (law, found) in &rows {
        println!("  {}", law.name());
        print_row(&VGG19, found, rate(&apps));
    }
    println!();
}

fn print_eight(law: Law, verdicts: &mut Verdicts) {
    println!("Eight applications (section V-C; SLOs: the paper's, rates: ours), {}", law.name());
    let rows = print_models(law, 1.0, verdicts);
    let _ = rows;
    println!();
}

fn print_program(verdicts: &mut Verdicts) {
    println!("The authors' program: as it bills (CNY per million) and by our evaluator");
    for plan in program::plans() {
        let total: f64 = plan.groups.iter().flat_map(|g| &g.members).map(|m| m.rate.get()).sum();
        let (cost, late) = price_all(Law::Exact, plan.model, &plan.groups);
        println!("  {:?} {:<10}{:<14}{:>10.3}{:>10.3} late {late} groups {}", plan.setting, plan.model.name, plan.algorithm, 1e6*plan.stated, 1e6*cost/total, plan.groups.len());
    }
    println!();
}

fn print_factors(verdicts: &mut Verdicts) {
    for factor in FACTORS {
        println!("rates x{factor}");
        print_models(Law::Exact, factor, verdicts);
    }
}
