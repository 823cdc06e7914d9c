//! Pools with a limited number of devices: how many are taken, and what a shortage leads to.

use harmonybatch_controller::plan::pools::ReportedPool;
use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{self, Row};
use crate::cli::plan::pools::{self, Limited};

pub(super) fn render(limited: &[Limited]) -> Markup {
    html! { @for platform in limited { (one(platform)) } }
}

fn one(platform: &Limited) -> Markup {
    let story = html! {
        "Devices that the plans take, packed with their shares, of those that there are."
        @if let Some(said) = platform.said() { " " (said.trim_end()) }
    };
    let limits = platform
        .pools()
        .map(|pool| f64::from(pool.used.limit.unwrap_or_default()));
    let axis = Axis::from_zero(limits);
    let chart = html! {
        div.chart { (chart::heading("devices")) @for pool in platform.pools() { (chart::row(&row(pool, &axis), &axis)) } }
    };
    let numbers = chart::table(&pools::COLUMNS, &platform.rows());
    chart::figure(
        &format!("GPUs of platform {}", platform.platform),
        &story,
        &chart,
        &numbers,
    )
}

fn row(pool: &ReportedPool, axis: &Axis) -> Row {
    let limit = pool.used.limit.unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a number of devices")]
    let taken = pool.used.devices as f64;
    Row {
        label: html! { span.name { (pool.used.pool) } },
        note: html! { (pool.used.units) " units" },
        title: format!("{}: {} of {limit} devices", pool.used.pool, pool.used.devices),
        plot: html! {
            (chart::bar("alone", 0.0, axis.at(f64::from(limit))))
            (chart::bar("own", 0.0, axis.at(taken)))
        },
        height: 26,
        value: html! { (pool.used.devices) " of " (limit) },
        app: None,
    }
}
