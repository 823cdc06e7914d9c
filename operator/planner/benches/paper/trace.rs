//! Section 2: the traces, minute by minute.

use harmonybatch_planner::plan;

use crate::columns::{Law, columns, price_all, request_under, served};
use crate::fixture::{MODELS, app};
use crate::settings::{four, mean_rates, minutes};
use crate::verdicts::Verdicts;

const MINUTE: f64 = 60.0;

pub(crate) fn print(verdicts: &mut Verdicts) {
    println!("2. Two hours of the four traced applications\n");
    for model in &MODELS {
        let mut totals: Vec<(&'static str, f64)> = Vec::new();
        let once = plan(&request_under(Law::Exact, model, &four(model, mean_rates()))).remove(0);
        let mut once_total = 0.0;
        let mut mbs_cheaper = (0, 0.0_f64);
        for (minute, rates) in minutes().into_iter().enumerate() {
            let apps = four(model, rates);
            let found = columns(Law::Exact, model, &apps);
            verdicts.compare(&format!("{} minute {minute}", model.name), &found);
            totals.resize(found.len(), ("", 0.0));
            for (total, column) in totals.iter_mut().zip(&found) {
                *total = (column.name, total.1 + MINUTE * column.cost_per_second);
            }
            if found[4].cost_per_second < found[0].cost_per_second * (1.0 - 1e-9) {
                mbs_cheaper.0 += 1;
                mbs_cheaper.1 = mbs_cheaper.1.max(found[0].cost_per_second / found[4].cost_per_second - 1.0);
            }
            let mut groups = served(&once);
            for member in groups.iter_mut().flat_map(|group| &mut group.members) {
                let now = apps.iter().find(|app| app.name == member.name).unwrap();
                *member = app(&member.name, member.slo.get(), now.rate.get());
            }
            once_total += MINUTE * price_all(Law::Exact, model, &groups).0;
        }
        println!("  {:<10} {totals:?} once {once_total:.4} mbs cheaper {mbs_cheaper:?}", model.name);
    }
}
