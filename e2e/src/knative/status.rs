//! What Knative would say of a Revision and of a Service. Pure: observations go in, a status comes out.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::SAYS_SO;
use super::build;
use super::objects::{
    Address, Condition, Revision, RevisionStatus, Service, ServiceStatus, Traffic, condition,
};

/// A status of a condition, with reason and message where it is not True.
enum Verdict {
    True,
    Unknown(&'static str, String),
    False(String, String),
}

impl Verdict {
    fn condition(&self, type_: &str, old: &[Condition], now: &Time) -> Condition {
        let (status, reason, message) = match self {
            Self::True => ("True", None, None),
            Self::Unknown(reason, message) => ("Unknown", Some((*reason).to_owned()), Some(message.clone())),
            Self::False(reason, message) => ("False", Some(reason.clone()), Some(message.clone())),
        };
        let since = condition(old, type_)
            .filter(|old| old.status == status)
            .and_then(|old| old.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.filter(|reason| !reason.is_empty()),
            message: message.filter(|message| !message.is_empty()),
            last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
        }
    }

    /// The happy condition of two: the first that is False, else the first that is Unknown.
    fn of_both<'a>(one: &'a Self, other: &'a Self) -> &'a Self {
        match (one, other) {
            (Self::True, other) | (Self::Unknown(..), other @ Self::False(..)) => other,
            (one, _) => one,
        }
    }
}

/// The status of a Revision whose Deployment and Pods these are (`reconcile_resources.go` of Knative). A Revision that was ready stays so.
pub(super) fn of_revision(
    revision: &Revision,
    deployment: &Deployment,
    pods: &[Pod],
    now: &Time,
) -> RevisionStatus {
    let old = revision
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let (resources, container) = if revision.is_ready() || has_its_replicas(revision, deployment) {
        (Verdict::True, Verdict::True)
    } else {
        let nobody = deployment
            .status
            .as_ref()
            .and_then(|status| status.available_replicas)
            .unwrap_or_default()
            == 0;
        let deploying = || Verdict::Unknown("Deploying", String::new());
        // As in Knative, one replica that is available keeps quiet about the others.
        let unschedulable = pods.iter().find_map(unschedulable).filter(|_| nobody);
        let resources =
            unschedulable.map_or_else(deploying, |(reason, message)| Verdict::False(reason, message));
        let exited = pods.iter().find_map(exited).filter(|_| nobody);
        (
            resources,
            exited.map_or_else(deploying, |(reason, message)| Verdict::False(reason, message)),
        )
    };
    let ready = Verdict::of_both(&resources, &container).condition("Ready", old, now);
    RevisionStatus {
        observed_generation: revision.metadata.generation,
        conditions: vec![
            container.condition("ContainerHealthy", old, now),
            ready,
            resources.condition("ResourcesAvailable", old, now),
        ],
        actual_replicas: deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .or(Some(0)),
        desired_replicas: Some(build::replicas(revision)),
    }
}

fn has_its_replicas(revision: &Revision, deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation >= deployment.metadata.generation
        && status.ready_replicas.unwrap_or_default() >= build::replicas(revision)
}

fn unschedulable(pod: &Pod) -> Option<(String, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some((
        refused.reason.clone().unwrap_or_default(),
        refused.message.clone().unwrap_or_default(),
    ))
}

fn exited(pod: &Pod) -> Option<(String, String)> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let terminated = statuses
        .iter()
        .find_map(|status| status.last_state.as_ref()?.terminated.as_ref())?;
    let said = terminated
        .message
        .clone()
        .unwrap_or_else(|| "container exited with no error".to_owned());
    Some((
        format!("ExitCode{}", terminated.exit_code),
        format!("Container failed with: {said}"),
    ))
}

/// The status of a Service of which `created` is the latest Revision and `ready` the latest that is ready.
pub(super) fn of_service(
    service: &Service,
    created: &Revision,
    ready: Option<&Revision>,
    now: &Time,
) -> ServiceStatus {
    let old = service
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let name = service.name_any();
    let refused = created
        .status
        .as_ref()
        .and_then(|status| condition(&status.conditions, "Ready"))
        .filter(|ready| ready.status == "False");
    let (configurations, without_any) = if created.is_ready() {
        (Verdict::True, None)
    } else if let Some(refused) = refused {
        let why = refused.message.clone().unwrap_or_default();
        let message = format!("Revision \"{}\" failed with message: {why}.", created.name_any());
        let none = Verdict::False(
            "RevisionMissing".to_owned(),
            format!("Configuration \"{name}\" does not have any ready Revision."),
        );
        (Verdict::False("RevisionFailed".to_owned(), message), Some(none))
    } else {
        let none = Verdict::Unknown(
            "RevisionMissing",
            format!("Configuration \"{name}\" is waiting for a Revision to become ready."),
        );
        (Verdict::Unknown("", String::new()), Some(none))
    };
    let routes = if ready.is_some() {
        Verdict::True
    } else {
        without_any.unwrap_or(Verdict::True)
    };
    let ready_condition = Verdict::of_both(&configurations, &routes).condition("Ready", old, now);
    let namespace = service.namespace().unwrap_or_default();
    ServiceStatus {
        observed_generation: service.metadata.generation,
        conditions: vec![
            configurations.condition("ConfigurationsReady", old, now),
            ready_condition,
            routes.condition("RoutesReady", old, now),
        ],
        latest_created_revision_name: created.metadata.name.clone(),
        latest_ready_revision_name: ready.and_then(|revision| revision.metadata.name.clone()),
        url: Some(format!("http://{name}.{namespace}.example.com")),
        address: Some(Address {
            url: format!("http://{name}.{namespace}.svc.cluster.local"),
        }),
        traffic: ready
            .map(|revision| Traffic {
                latest_revision: true,
                percent: 100,
                revision_name: revision.name_any(),
            })
            .into_iter()
            .collect(),
        annotations: [(SAYS_SO.0.to_owned(), SAYS_SO.1.to_owned())].into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(ready: bool) -> Revision {
        let status = if ready { "True" } else { "Unknown" };
        serde_json::from_value(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
            "metadata": { "name": "g-00001", "namespace": "shop", "annotations": { "autoscaling.knative.dev/min-scale": "2" } },
            "spec": { "containers": [{ "name": "runtime", "image": "i" }] },
            "status": { "conditions": [{ "type": "Ready", "status": status }] },
        }))
        .expect("a Revision")
    }

    fn deployment(ready: i32) -> Deployment {
        let status = json!({ "observedGeneration": 1, "readyReplicas": ready, "availableReplicas": ready });
        serde_json::from_value(json!({ "metadata": { "generation": 1 }, "status": status }))
            .expect("a Deployment")
    }

    fn pending() -> Pod {
        let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient x" });
        serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": [condition] } }))
            .expect("a Pod")
    }

    fn check(
        was_ready: bool,
        replicas: i32,
        pods: &[Pod],
        status: &str,
        message: Option<&str>,
    ) -> RevisionStatus {
        let now = now();
        let found = of_revision(&revision(was_ready), &deployment(replicas), pods, &now);
        let ready = condition(&found.conditions, "Ready").expect("Ready");
        assert_eq!(
            (ready.status.as_str(), ready.message.as_deref()),
            (status, message)
        );
        found
    }

    fn now() -> Time {
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time")
    }

    #[test]
    fn a_revision_is_ready_once_all_its_replicas_are_and_stays_so() {
        check(false, 0, &[], "Unknown", None);
        check(false, 1, &[], "Unknown", None);
        check(false, 2, &[], "True", None);
        check(true, 0, &[], "True", None);
    }

    #[test]
    fn the_scheduler_is_quoted_only_while_no_replica_is_available() {
        check(
            false,
            0,
            &[pending()],
            "False",
            Some("0/1 nodes are available: 1 Insufficient x"),
        );
        check(false, 1, &[pending()], "Unknown", None);
    }

    #[test]
    fn a_service_follows_its_revisions() {
        let service = Service::new("g", super::super::objects::ServiceSpec::default());
        let check = |created: &Revision, ready: Option<&Revision>, expected: [&str; 3]| {
            let status = of_service(&service, created, ready, &now());
            let found: Vec<&str> = ["Ready", "ConfigurationsReady", "RoutesReady"]
                .iter()
                .map(|type_| {
                    condition(&status.conditions, type_)
                        .expect("a condition")
                        .status
                        .as_str()
                })
                .collect();
            assert_eq!(found, expected);
            status
        };
        let (ready, waiting) = (revision(true), revision(false));
        check(&waiting, None, ["Unknown", "Unknown", "Unknown"]);
        check(&waiting, Some(&ready), ["Unknown", "Unknown", "True"]);
        check(&ready, Some(&ready), ["True", "True", "True"]);
        let mut failed = revision(false);
        failed.status = Some(of_revision(&failed, &deployment(0), &[pending()], &now()));
        let status = check(&failed, None, ["False", "False", "False"]);
        let message = condition(&status.conditions, "Ready")
            .and_then(|ready| ready.message.clone())
            .expect("a message");
        assert_eq!(
            message,
            "Revision \"g-00001\" failed with message: 0/1 nodes are available: 1 Insufficient x."
        );
        check(&failed, Some(&ready), ["False", "False", "True"]);
    }
}
