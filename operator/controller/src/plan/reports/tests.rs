//! When a report is made, and when it is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use harmonybatch_api::{InferenceApp, InferencePlatform};

use super::*;
use crate::fixtures;
use crate::plan::decide::decide_again;
use crate::plan::{Inputs, validate};

/// What is decided for one application on a platform with so many devices.
fn decided(devices: Option<i32>, rate: &str) -> BTreeMap<String, Decided> {
    let mut platform: InferencePlatform = fixtures::platform();
    platform.spec.gpu_pools[0].devices = devices;
    let app: InferenceApp = fixtures::app("search", "500ms", rate);
    let inputs = Inputs {
        platforms: vec![platform],
        models: vec![fixtures::model()],
        apps: vec![app],
        ..Inputs::default()
    };
    let validated = validate(&inputs, &BTreeSet::new());
    let (request, patience) = (&validated.requests["default"], &validated.patience["default"]);
    let decided = decide_again(
        request,
        None,
        &[],
        patience,
        std::time::Duration::ZERO,
        &Session::new(),
    )
    .unwrap();
    BTreeMap::from([("default".to_owned(), decided)])
}

fn limit(reports: &Reports) -> Option<u32> {
    reports
        .newest("default")
        .and_then(|report| report.pools[0].used.limit)
}

#[tokio::test]
async fn a_report_is_made_when_plans_or_pools_change_and_told_when_it_is_there() {
    let changed = Arc::new(Notify::new());
    let mut reports = Reports::new(Arc::default());
    let one = decided(Some(1), "5/s");
    reports.follow(&one, &changed);
    assert_eq!(limit(&reports), None);
    changed.notified().await;
    reports.follow(&one, &changed);
    assert_eq!(limit(&reports), Some(1));
    assert!(
        reports.platforms["default"].awaited.is_none(),
        "nothing has changed"
    );

    // The old one stays until the new one is there.
    let two = decided(Some(2), "5/s");
    reports.follow(&two, &changed);
    assert_eq!(limit(&reports), Some(1));
    changed.notified().await;
    reports.follow(&two, &changed);
    assert_eq!(limit(&reports), Some(2));

    reports.follow(&decided(Some(2), "50/s"), &changed);
    assert!(reports.platforms["default"].awaited.is_some(), "another plan");
    reports.follow(&BTreeMap::new(), &changed);
    assert!(reports.platforms.is_empty());
}

#[tokio::test]
async fn pools_without_a_limit_need_no_report() {
    let mut reports = Reports::new(Arc::default());
    reports.follow(&decided(None, "5/s"), &Arc::new(Notify::new()));
    assert!(reports.platforms.is_empty());
}

#[tokio::test]
async fn a_report_that_failed_is_not_tried_again_until_something_changes() {
    let changed = Arc::new(Notify::new());
    let one = decided(Some(1), "5/s");
    let (_, lost) = oneshot::channel();
    let mut reports = Reports::new(Arc::default());
    let reported = Reported {
        about: one["default"].clone(),
        awaited: Some(lost),
        newest: None,
    };
    reports.platforms.insert("default".to_owned(), reported);
    reports.follow(&one, &changed);
    assert!(reports.platforms["default"].awaited.is_none());
    reports.follow(&decided(Some(2), "5/s"), &changed);
    changed.notified().await;
}
