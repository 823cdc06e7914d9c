//! What is said on a group: a pure function of what was there, what was observed, and now.

use harmonybatch_api::conditions::{self, Observation, PROGRESSING, READY, Status, reason};
use harmonybatch_api::inference_group::{Active, ServingMode};
use harmonybatch_api::{InferenceGroup, InferenceGroupStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::serve::observed::Observed;
use crate::trouble::Trouble;

/// The next status of `group`.
pub(crate) fn status(
    group: &InferenceGroup,
    observed: &Observed,
    trouble: Option<Trouble>,
    active: Option<Active>,
    now: &Time,
) -> InferenceGroupStatus {
    let old = group.status.as_ref();
    let trouble = trouble
        .map(|it| (it.reason, it.message))
        .or_else(|| observed.complaint.clone());
    let observations = observe(group, observed, trouble);
    let apps: Vec<&str> = group
        .spec
        .members
        .iter()
        .map(|member| member.app.as_str())
        .collect();
    InferenceGroupStatus {
        observed_generation: group.metadata.generation,
        conditions: conditions::update(
            old.map(|old| old.conditions.as_slice()).unwrap_or_default(),
            &observations,
            group.metadata.generation,
            now,
        ),
        ready_replicas: Some(observed.ready_replicas),
        apps: Some(apps.join(",")),
        device: Some(group.spec.device.to_string()),
        serving_object: observed.object.clone(),
        active,
    }
}

/// The status of a group that could not even be built: what was known stays.
pub(crate) fn failed(
    group: &InferenceGroup,
    reason: &str,
    message: String,
    now: &Time,
) -> InferenceGroupStatus {
    let mut status = group.status.clone().unwrap_or_default();
    let observations = [
        Observation::new(READY, Status::False, reason, message.clone()),
        Observation::new(PROGRESSING, Status::False, reason, message),
    ];
    status.conditions = conditions::update(&status.conditions, &observations, group.metadata.generation, now);
    status.observed_generation = group.metadata.generation;
    status
}

fn observe(
    group: &InferenceGroup,
    observed: &Observed,
    trouble: Option<(String, String)>,
) -> [Observation; 2] {
    let (ready, wanted) = (observed.ready_replicas, group.spec.replicas);
    let counted = format!("{ready} of {wanted} replicas are ready");
    if observed.reached.is_some() {
        return [
            Observation::new(READY, true, reason::OK, counted),
            Observation::new(PROGRESSING, true, reason::OK, "what the plan wants is running"),
        ];
    }
    if let Some((reason, message)) = trouble {
        let message = if message.is_empty() {
            counted
        } else {
            format!("{counted}; {message}")
        };
        return [
            Observation::new(READY, false, reason.clone(), message.clone()),
            Observation::new(PROGRESSING, false, reason, message),
        ];
    }
    let what = match group.spec.serving {
        ServingMode::Deployment => "the Deployment",
        ServingMode::Knative => "the Knative Service",
    };
    let message = format!("{counted}; waiting for {what}");
    [
        Observation::new(READY, false, reason::STARTING, message.clone()),
        Observation::new(PROGRESSING, true, reason::STARTING, message),
    ]
}

/// Whether anything but a time differs.
pub(crate) fn differs(old: Option<&InferenceGroupStatus>, new: &InferenceGroupStatus) -> bool {
    // A condition keeps its time unless its status changes, so equality already leaves times out.
    old != Some(new)
}

#[cfg(test)]
mod tests;
