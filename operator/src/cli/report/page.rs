//! The page: its order, its frame, and what makes it one file.

use harmonybatch_planner::Plan;
use maud::{Markup, PreEscaped, html};

use super::chart::count;
use super::file::FIRST_LINE;
use super::palette::Palette;
use super::{ModelReport, Report, baselines, costs, groups, headline, infeasible, latency, pools, prices};
use crate::cli::plan::table;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing is fetched, and what a name smuggled in could fetch nothing either.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The whole page.
pub(crate) fn render(report: &Report<'_>) -> String {
    let palette = Palette::of(report.models.iter().map(|model| &model.named.plan));
    let page = html! {
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "harmonybatch " (env!("CARGO_PKG_VERSION")) };
                title { (title(report)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (headline::render(report))
                    (contents(report))
                    (money(report, &palette))
                    (pools::render(report.limited))
                    @for (index, model) in report.models.iter().enumerate() { (section(index, model, &palette)) }
                }
                footer {
                    p { "Made by " code { (report.command) } " (version " (env!("CARGO_PKG_VERSION")) "). "
                        "The same files give the same page. Amounts are a month of 730 hours." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    FIRST_LINE.to_owned() + &page.into_string() + "\n"
}

fn title(report: &Report<'_>) -> String {
    let names: Vec<&str> = report
        .models
        .iter()
        .map(|model| model.named.plan.model.as_str())
        .collect();
    match names.as_slice() {
        [one] => format!("HarmonyBatch plan: {one}"),
        several => format!("HarmonyBatch plan: {}", count(several.len(), "model", "models")),
    }
}

/// Where the models are, where that is not seen at a glance.
fn contents(report: &Report<'_>) -> Markup {
    html! {
        @if report.models.len() > 1 {
            nav aria-label="Models" { ul {
                @for (index, model) in report.models.iter().enumerate() {
                    li { a href={ "#m" (index) } { (full_name(&model.named.plan)) } " " span.note { (amount(model)) } }
                }
            } }
        }
    }
}

fn money(report: &Report<'_>, palette: &Palette) -> Markup {
    let mut currencies: Vec<&str> = report
        .models
        .iter()
        .filter(|model| !model.named.plan.groups.is_empty())
        .map(|model| model.named.currency.as_str())
        .collect();
    currencies.sort_unstable();
    currencies.dedup();
    html! { @for currency in currencies { (costs::by_device(report, currency, palette)) } }
}

fn section(index: usize, model: &ModelReport<'_>, palette: &Palette) -> Markup {
    let plan = &model.named.plan;
    html! {
        section id={ "m" (index) } {
            h2 { (full_name(plan)) }
            p.note {
                (count(plan.groups.iter().map(|group| group.members.len()).sum(), "application", "applications"))
                " in " (count(plan.groups.len(), "group", "groups"))
                " · " (amount(model)) " a month · billing " (table::terms(plan))
            }
            (infeasible::render(model))
            @if plan.groups.is_empty() {
                @if plan.infeasible.is_empty() { p { "No InferenceApp names it." } }
            } @else {
                (groups::render(model, palette))
                (costs::by_app(model, palette))
                (latency::render(model, palette))
                (prices::render(model))
                (baselines::render(model))
            }
        }
    }
}

fn full_name(plan: &Plan) -> String {
    format!("{}/{}", plan.namespace, plan.model)
}

fn amount(model: &ModelReport<'_>) -> String {
    let cost = harmonybatch_controller::plan::money::per_month(model.named.plan.cost_per_second);
    format!("{cost} {}", model.named.currency)
}

impl ModelReport<'_> {
    /// One application on every chart of the page.
    pub(super) fn key(&self, app: &str) -> String {
        format!("{}/{app}", self.named.plan.namespace)
    }

    /// How many applications were not priced.
    pub(super) fn unpriced(&self) -> usize {
        let groups = &self.named.plan.groups;
        let members: usize = groups.iter().map(|group| group.members.len()).sum();
        members - self.priced.len()
    }
}
