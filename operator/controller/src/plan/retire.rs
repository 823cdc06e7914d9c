//! When a group that no plan wants may go: every application that it served is routed elsewhere by every gateway, and no
//! gateway holds a row or a batch of it.

use crate::gateways::{Acknowledged, AcknowledgedGroup};

/// The verdict on a group that no plan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody uses it.
    Delete,
    /// It is still needed, and by whom.
    Wait(String),
}

/// Judges group `namespace/name`, whose `apps` still want to be served, by the word of every gateway.
pub(crate) fn verdict(namespace: &str, name: &str, apps: &[&str], gateways: &[Acknowledged]) -> Verdict {
    for gateway in gateways {
        let (own, others): (Vec<&AcknowledgedGroup>, Vec<_>) = gateway
            .groups
            .iter()
            .filter(|group| group.namespace == namespace)
            .partition(|group| group.name == name);
        let held_rows: u64 = own.iter().map(|group| group.queued_rows).sum();
        let held_batches: u64 = own.iter().map(|group| group.in_flight_batches).sum();
        if held_rows > 0 || held_batches > 0 {
            return Verdict::Wait(format!(
                "a gateway still holds {held_rows} rows and {held_batches} batches of it"
            ));
        }
        let elsewhere = |app: &str| {
            others
                .iter()
                .any(|group| group.apps.iter().any(|routed| routed == app))
        };
        if let Some(app) = apps.iter().find(|app| !elsewhere(app)) {
            return Verdict::Wait(format!("a gateway does not route app {app} to another group yet"));
        }
    }
    Verdict::Delete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, apps: &[&str], queued_rows: u64, in_flight_batches: u64) -> AcknowledgedGroup {
        AcknowledgedGroup {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            plan_generation: 1,
            apps: apps.iter().map(|&app| app.to_owned()).collect(),
            queued_rows,
            in_flight_batches,
        }
    }

    fn check(apps: &[&str], gateways: &[&[AcknowledgedGroup]], expected: &Verdict) {
        let gateways: Vec<_> = gateways
            .iter()
            .map(|groups| Acknowledged {
                groups: groups.to_vec(),
            })
            .collect();
        assert_eq!(&verdict("shop", "old", apps, &gateways), expected);
    }

    fn wait(text: &str) -> Verdict {
        Verdict::Wait(text.to_owned())
    }

    #[test]
    fn a_group_goes_when_every_gateway_routes_its_apps_elsewhere_and_holds_nothing() {
        let moved: &[_] = &[group("new", &["search"], 3, 1), group("old", &[], 0, 0)];
        let gone: &[_] = &[group("new", &["search"], 0, 0)];
        check(&["search"], &[moved, gone], &Verdict::Delete);
        check(&[], &[&[]], &Verdict::Delete);
    }

    #[test]
    fn one_gateway_that_lags_keeps_it() {
        let moved: &[_] = &[group("new", &["search"], 0, 0)];
        let lags: &[_] = &[group("old", &["search"], 0, 0)];
        let text = "a gateway does not route app search to another group yet";
        check(&["search"], &[moved, lags], &wait(text));
        check(&["search"], &[moved, &[]], &wait(text));
    }

    #[test]
    fn rows_and_batches_that_are_held_keep_it() {
        let rows: &[_] = &[group("new", &["search"], 0, 0), group("old", &[], 2, 0)];
        let batch: &[_] = &[group("new", &["search"], 0, 0), group("old", &[], 0, 1)];
        check(
            &["search"],
            &[rows],
            &wait("a gateway still holds 2 rows and 0 batches of it"),
        );
        check(
            &["search"],
            &[batch],
            &wait("a gateway still holds 0 rows and 1 batches of it"),
        );
    }

    #[test]
    fn a_group_of_the_same_name_in_another_namespace_does_not_count() {
        let mut other = group("old", &[], 5, 0);
        other.namespace = "elsewhere".to_owned();
        check(&[], &[&[other]], &Verdict::Delete);
    }
}
