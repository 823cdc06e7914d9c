//! Applications that nothing serves, and what would make them feasible.

use harmonybatch_controller::plan;
use maud::{Markup, html};

use super::ModelReport;
use super::chart;

pub(super) fn render(model: &ModelReport<'_>) -> Markup {
    let infeasible = &model.named.plan.infeasible;
    if infeasible.is_empty() {
        return html! {};
    }
    let rows: Vec<Vec<String>> = infeasible
        .iter()
        .map(|one| {
            let declared = model.set.apps().iter().find(|app| app.name == one.app);
            vec![
                one.app.clone(),
                declared.map_or_else(|| "-".to_owned(), |app| plan::duration(app.slo)),
                one.nearest_slo.map_or_else(|| "-".to_owned(), plan::duration),
                plan::refusal(&model.named.plan, one),
            ]
        })
        .collect();
    html! {
        figure.refused {
            figcaption {
                h3 { "Cannot be planned" }
                p { "No configuration serves these applications. The others are planned without them." }
            }
            (chart::table(&["APP", "SLO", "NEAREST SLO", "REASON"], &rows))
        }
    }
}
