//! What is said on a group.

use harmonybatch_api::inference_group::Endpoints;

use super::*;
use crate::fixtures;
use crate::serve::active::Reached;

fn observed(ready_replicas: i32, reached: bool) -> Observed {
    let endpoints = Endpoints {
        service: "g-serve".to_owned(),
        port: "http".to_owned(),
    };
    Observed {
        reached: reached.then_some(Reached {
            endpoints,
            wake_url: None,
        }),
        ready_replicas,
        object: None,
        complaint: None,
    }
}

fn check(observed: &Observed, trouble: Option<(&str, &str)>, expected: [(&str, &str, &str); 2]) {
    let group = fixtures::group("g", 1, &["cart", "search"]);
    let trouble = trouble.map(|(reason, message)| Trouble {
        reason: reason.to_owned(),
        message: message.to_owned(),
    });
    let status = status(&group, observed, trouble, None, &fixtures::at(0));
    let said: Vec<_> = status
        .conditions
        .iter()
        .map(|it| (it.status.as_str(), it.reason.as_str(), it.message.as_str()))
        .collect();
    assert_eq!(said, expected);
    assert_eq!(status.apps.as_deref(), Some("cart,search"));
    assert_eq!(status.observed_generation, Some(3));
}

#[test]
fn a_group_is_ready_with_all_its_replicas() {
    let fine = "what the plan wants is running";
    check(
        &observed(2, true),
        None,
        [("True", "OK", "2 of 2 replicas are ready"), ("True", "OK", fine)],
    );
}

#[test]
fn a_group_that_starts_progresses() {
    let text = "1 of 2 replicas are ready; waiting for the Deployment";
    check(
        &observed(1, false),
        None,
        [("False", "Starting", text), ("True", "Starting", text)],
    );
}

#[test]
fn the_schedulers_words_are_on_the_group() {
    let message = "pod g is Pending: 0/1 nodes are available: 1 Insufficient harmonybatch.dev/gpu-slice.";
    let text = format!("1 of 2 replicas are ready; {message}");
    let expected = ("False", "Unschedulable", text.as_str());
    check(
        &observed(1, false),
        Some(("Unschedulable", message)),
        [expected, expected],
    );
}

#[test]
fn a_complaint_that_has_passed_is_not_said() {
    let fine = "what the plan wants is running";
    let expected = [("True", "OK", "2 of 2 replicas are ready"), ("True", "OK", fine)];
    check(
        &observed(2, true),
        Some(("Unschedulable", "a surplus pod waits")),
        expected,
    );
}

#[test]
fn the_same_again_is_no_difference_whatever_the_time() {
    let mut group = fixtures::group("g", 1, &["cart"]);
    let first = status(&group, &observed(1, false), None, None, &fixtures::at(0));
    assert!(differs(group.status.as_ref(), &first));
    group.status = Some(first);
    let again = status(&group, &observed(1, false), None, None, &fixtures::at(100));
    assert!(!differs(group.status.as_ref(), &again));
}
