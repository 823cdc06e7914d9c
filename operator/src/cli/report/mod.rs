//! `harmonybatch plan --report FILE`: the plan as one page that a browser opens without fetching anything.
//!
//! [`gather`] asks the planner for what the table does not show (what callers would see, what other SLOs would cost, what other planners make
//! of the same applications); [`page`] turns that into HTML, one file a chart, as a pure function; [`file`] puts it where it belongs.
//! Charts are rows of a grid with a small SVG in each: positions are percentages, so a chart is as wide as the page lets it be and its text
//! is never scaled. Under every chart stands the table that it was drawn from.

use harmonybatch_planner::units::Seconds;
use harmonybatch_planner::{BaselinePlan, GroupSimulation, ModelSet, WhatIf};

use super::plan::Named;
use super::plan::pools::Limited;

mod axis;
mod baselines;
mod chart;
mod costs;
mod file;
mod gather;
mod groups;
mod headline;
mod infeasible;
mod latency;
mod page;
mod palette;
mod pools;
mod prices;

pub(crate) use axis::Axis;
pub(crate) use file::Target;
pub(crate) use gather::{Wishes, gather};
pub(crate) use page::render;

/// Everything that is on the page.
pub(crate) struct Report<'a> {
    /// The command that makes the same page again.
    command: String,
    models: Vec<ModelReport<'a>>,
    limited: &'a [Limited],
}

/// What the page says of one model.
struct ModelReport<'a> {
    named: &'a Named,
    /// The applications as they were declared.
    set: &'a ModelSet,
    /// What callers would see, group by group; empty where functions are billed while they run, since each batch finds a free one.
    simulated: Vec<Option<GroupSimulation>>,
    /// Applications whose other SLOs were priced, dearest first.
    priced: Vec<Priced<'a>>,
    /// None where the plans cannot be priced by one law.
    baselines: Option<Vec<BaselinePlan>>,
}

/// What other SLOs of one application would cost.
struct Priced<'a> {
    app: &'a str,
    slo: Seconds,
    /// Tightest first.
    prices: Vec<WhatIf<Seconds>>,
}

#[cfg(test)]
mod tests;
