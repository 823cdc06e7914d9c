//! What a person wants to know first: the money, what sharing saves, and whether every SLO is kept.

use std::collections::BTreeMap;

use harmonybatch_controller::plan::money;
use harmonybatch_planner::{Billing, GroupPlan};
use maud::{Markup, html};

use super::Report;
use super::chart::{count, percent};
use super::palette::kind;

/// Cost per second of all plans in one currency.
#[derive(Default)]
struct Amount {
    planned: f64,
    alone: f64,
}

pub(super) fn render(report: &Report<'_>) -> Markup {
    let mut amounts: BTreeMap<&str, Amount> = BTreeMap::new();
    for model in &report.models {
        let amount = amounts.entry(&model.named.currency).or_default();
        amount.planned += model.named.plan.cost_per_second;
        let members = model.named.plan.groups.iter().flat_map(|group| &group.members);
        amount.alone += members
            .map(|member| member.explanation.alone.cost_per_second)
            .sum::<f64>();
    }
    let groups: Vec<&GroupPlan> = report
        .models
        .iter()
        .flat_map(|model| &model.named.plan.groups)
        .collect();
    let served: usize = groups.iter().map(|group| group.members.len()).sum();
    let refused: usize = report
        .models
        .iter()
        .map(|model| model.named.plan.infeasible.len())
        .sum();
    let first_refusing = report
        .models
        .iter()
        .position(|model| !model.named.plan.infeasible.is_empty());
    let mut kinds: Vec<&str> = groups.iter().map(|group| kind(&group.device)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let replicas: usize = groups.iter().map(|group| group.replicas as usize).sum();
    html! {
        header {
            p.eyebrow { "HarmonyBatch · plan for " (count(report.models.len(), "model", "models")) }
            h1 { @for (currency, amount) in &amounts { span.amount { (money::per_month(amount.planned)) " " (currency) span.per { " a month" } } } }
            @for (currency, amount) in &amounts { (saving(currency, amount, amounts.len() > 1)) }
            dl.facts {
                div { dt { "Applications" } dd { (served) @if refused > 0 { " of " (served + refused) } } }
                div { dt { "Groups" } dd { (groups.len()) } }
                div { dt { "Replicas" } dd { (replicas) } }
                @if !kinds.is_empty() { div { dt { "Devices" } dd { (kinds.join(", ")) } } }
                div { dt { "SLOs" } dd { (promise(report)) } }
            }
            @if let Some(index) = first_refusing {
                p.warning {
                    strong { (count(refused, "application", "applications")) " cannot be planned. " }
                    a href={ "#m" (index) } { "What would make " @if refused == 1 { "it" } @else { "them" } " feasible" }
                }
            }
        }
    }
}

fn saving(currency: &str, amount: &Amount, several: bool) -> Markup {
    if amount.alone <= 0.0 {
        return html! {};
    }
    let part = amount.planned / amount.alone;
    html! {
        p.saving {
            strong { (money::percent(1.0 - part)) " saved" }
            " by sharing batches: every application alone would cost " (money::per_month(amount.alone)) @if several { " " (currency) } "."
        }
        svg.strip role="img" width="100%" height="10" {
            title { "This plan beside every application alone" }
            desc { (money::per_month(amount.planned)) " instead of " (money::per_month(amount.alone)) " " (currency) " a month" }
            rect.part.alone x="0" y="0" width="100%" height="10" {}
            rect.part.own x="0" y="0" width=(percent(part.clamp(0.0, 1.0) * 100.0)) height="10" {}
        }
    }
}

/// How sure the promises are.
fn promise(report: &Report<'_>) -> Markup {
    let groups = |billing: Billing| {
        let plans = report.models.iter().map(|model| &model.named.plan);
        let of_billing = plans.filter(move |plan| plan.billing == billing);
        of_billing.flat_map(|plan| &plan.groups)
    };
    let unverified = groups(Billing::PerReplica)
        .filter(|group| !group.verified)
        .count();
    let simulated = groups(Billing::PerReplica).count();
    let bounded = groups(Billing::PerInvocation).count();
    html! {
        @if unverified > 0 { (count(unverified, "group", "groups")) " not confirmed" }
        @else if simulated > 0 && bounded > 0 { "verified ✓ or bounded ✓" }
        @else if simulated > 0 { "all verified ✓" }
        @else if bounded > 0 { "all within bounds ✓" }
        @else { "none" }
    }
}
