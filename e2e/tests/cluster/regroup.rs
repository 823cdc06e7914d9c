//! What an application asks may change under load, and no request fails.

use std::time::Duration;

use harmonybatch_api::InferenceApp;
use kube::api::DeleteParams;
use serde_json::json;

use crate::scenario::{Contract, PATIENCE, SAMPLES, Scenario, condition_of, holds, until};

/// Long enough for every change; the load ends as soon as the test has seen them all.
const LOAD: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rate_and_a_changed_slo_regroup_without_a_failed_request() {
    let (scenario, before) = Scenario::begin_served("regroup").await;
    let first = scenario.group_of(&before[0]).await;
    let load = scenario.load(&SAMPLES, LOAD);

    // A rate that the present function cannot carry: another group, and all three move.
    scenario.change("feed", &json!({ "rate": "120/s" })).await;
    let moved = |app: &InferenceApp| {
        holds(app, "Ready", "True")
            && app.status.as_ref().unwrap().group != before[0].status.as_ref().unwrap().group
    };
    for contract in SAMPLES {
        scenario
            .app(contract.name, "to move to a group that carries 120/s", moved)
            .await;
    }
    let name = first.metadata.name.clone().unwrap();
    until("the old group to be gone", PATIENCE, || async {
        scenario
            .groups()
            .await
            .iter()
            .all(|group| group.metadata.name.as_ref() != Some(&name))
            .then_some(())
    })
    .await;

    // An SLO step back and forth between groups.
    scenario
        .change("feed", &json!({ "rate": "20/s", "slo": { "latency": "600ms" } }))
        .await;
    let feed = scenario
        .app("feed", "to be Ready under 600ms", |app| {
            holds(app, "Ready", "True")
        })
        .await;
    let group = scenario.group_of(&feed).await;
    let member = group
        .spec
        .members
        .iter()
        .find(|member| member.app == "feed")
        .unwrap();
    assert_eq!(member.slo, "600ms");

    // The load goes on for a little after the last change, so that a late loss would be seen.
    let settled = load.elapsed() + Duration::from_secs(5);
    until("five more seconds of load", PATIENCE, || async {
        (load.elapsed() > settled).then_some(())
    })
    .await;
    load.stop();
    let report = load.finish().await;
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(
        report
            .apps
            .iter()
            .all(|app| app.wrong == 0 && app.right == app.requests),
        "{report}"
    );
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_application_leaves_its_group_and_disturbs_no_other() {
    let (scenario, _) = Scenario::begin_served("leave").await;
    let others = [SAMPLES[0], SAMPLES[1]];
    let load = scenario.load(&others, LOAD);
    scenario
        .api::<InferenceApp>()
        .delete("feed", &DeleteParams::default())
        .await
        .unwrap();
    until("feed to be in no group", PATIENCE, || async {
        let groups = scenario.groups().await;
        let mut listed = groups.iter().flat_map(|group| {
            let active = group.status.as_ref().and_then(|status| status.active.as_ref());
            group
                .spec
                .members
                .iter()
                .chain(active.into_iter().flat_map(|active| &active.members))
        });
        (!listed.any(|member| member.app == "feed")).then_some(())
    })
    .await;
    scenario.ready(&others).await;
    until("the service of feed to be gone", PATIENCE, || async {
        scenario
            .api::<k8s_openapi::api::core::v1::Service>()
            .get_opt("feed-infer")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    load.stop();
    let report = load.finish().await;
    assert!(report.failures.is_empty(), "{report}");
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infeasible_application_is_told_and_disturbs_no_one() {
    let (scenario, before) = Scenario::begin_served("infeasible").await;
    let load = scenario.load(&SAMPLES, LOAD);
    let hasty = Contract {
        name: "hasty",
        slo: "6ms",
        rate: "1/s",
    };
    scenario.apps(&[hasty]).await;
    let app = scenario
        .app("hasty", "to be told that nothing is fast enough", |app| {
            holds(app, "Planned", "False")
        })
        .await;
    let (_, reason, message) = condition_of(&app, "Planned").unwrap();
    assert_eq!(reason, "Infeasible", "{message}");
    for part in ["6ms", "mlp"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    // It names an SLO that can be kept; the user takes it, and it can.
    let nearest = message
        .rsplit("nearest SLO that can be kept is ")
        .next()
        .unwrap()
        .trim_end_matches('.')
        .to_owned();
    let after = scenario.ready(&SAMPLES).await;
    let groups = |apps: &[InferenceApp]| {
        apps.iter()
            .map(|app| app.status.as_ref().unwrap().group.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(groups(&before), groups(&after));
    load.stop();
    let report = load.finish().await;
    assert!(report.failures.is_empty(), "{report}");
    scenario
        .change("hasty", &json!({ "slo": { "latency": nearest } }))
        .await;
    scenario
        .app("hasty", &format!("to be planned under {nearest}"), |app| {
            holds(app, "Planned", "True")
        })
        .await;
    scenario.end().await;
}
