//! The observed rates that a plan is made for: what the observer says now, or what was planned for before it had seen anything.

use std::collections::BTreeMap;

use harmonybatch_api::InferenceApp;
use harmonybatch_api::inference_app::{AppPlan, RateSource};
use harmonybatch_api::quantity::Rate;

use super::validate::{Key, key};

/// The rate that an application whose rate is observed was planned for, where that was an observed one: a new controller goes on with it.
pub(crate) fn planned_before(app: &InferenceApp) -> Option<Rate> {
    let plan = app.status.as_ref()?.plan.as_ref()?;
    let observed = app.spec.rate_source == RateSource::Observed && plan.rate_source == RateSource::Observed;
    plan.rate.as_ref().filter(|_| observed)?.parse().ok()
}

/// The rates of all applications whose rate is observed, without those that are still the declared ones.
pub(super) fn rates(apps: &[InferenceApp], told: &BTreeMap<Key, Rate>) -> BTreeMap<Key, Rate> {
    apps.iter()
        .filter(|app| app.spec.rate_source == RateSource::Observed)
        .filter_map(|app| {
            let rate = told.get(&key(app)).copied().or_else(|| planned_before(app));
            Some((key(app), rate?))
        })
        .collect()
}

/// What an event says of another planned rate, where one of the two is observed.
pub(super) fn change(old: Option<&AppPlan>, new: Option<&AppPlan>) -> Option<String> {
    let (old, new) = (old?, new?);
    let (before, now) = (old.rate.as_ref()?, new.rate.as_ref()?);
    let seen = |plan: &AppPlan| plan.rate_source == RateSource::Observed;
    if before == now || !(seen(old) || seen(new)) {
        return None;
    }
    let source = if seen(new) {
        "which the gateways saw"
    } else {
        "as declared"
    };
    Some(format!("planned for {now}, {source}, instead of {before}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn plan(rate: &str, rate_source: &str) -> AppPlan {
        serde_json::from_value(serde_json::json!({
            "device": { "cpu": { "limit": "150m" } }, "batchSize": 8, "dispatch": "Eager", "verified": true,
            "costPerMillion": "1", "costPerMonth": "1", "rate": rate, "rateSource": rate_source,
        }))
        .expect("a plan")
    }

    #[test]
    fn an_event_tells_an_observed_rate_that_is_another() {
        let (declared, seen) = (plan("1/s", "Declared"), plan("9.4/s", "Observed"));
        assert_eq!(
            change(Some(&declared), Some(&seen)).as_deref(),
            Some("planned for 9.4/s, which the gateways saw, instead of 1/s")
        );
        assert_eq!(
            change(Some(&seen), Some(&declared)).as_deref(),
            Some("planned for 1/s, as declared, instead of 9.4/s")
        );
        assert_eq!(change(Some(&seen), Some(&seen)), None);
        assert_eq!(change(None, Some(&seen)), None);
        assert_eq!(change(Some(&declared), Some(&plan("2/s", "Declared"))), None);
    }

    #[test]
    fn what_the_observer_says_goes_before_what_was_planned() {
        let mut app = fixtures::app("search", "500ms", "1/s");
        app.spec.rate_source = RateSource::Observed;
        app.status = Some(harmonybatch_api::InferenceAppStatus {
            plan: Some(plan("9.4/s", "Observed")),
            ..Default::default()
        });
        let search = key(&app);
        let told = |rate: &str| BTreeMap::from([(search.clone(), rate.parse::<Rate>().expect("a rate"))]);
        let apps = [app.clone()];
        assert_eq!(rates(&apps, &BTreeMap::new()), told("9.4/s"));
        assert_eq!(rates(&apps, &told("12/s")), told("12/s"));
        app.spec.rate_source = RateSource::Declared;
        assert_eq!(rates(&[app], &told("12/s")), BTreeMap::new());
    }
}
