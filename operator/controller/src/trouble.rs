//! Why a group's pods are not ready, in the words of whoever holds them up: the scheduler, the kubelet, the container.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What keeps a pod from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The reason as Kubernetes names it: `Unschedulable`, `ImagePullBackOff`, `CrashLoopBackOff`.
    pub(crate) reason: String,
    /// The whole sentence for people, with the pod's name.
    pub(crate) message: String,
}

/// Waiting reasons that pass by themselves.
const ORDINARY: &[&str] = &["ContainerCreating", "PodInitializing"];

/// The worst trouble among the pods: a container that cannot run comes before a pod without a node, and of equals the pod
/// whose name sorts first. Pods that are being deleted say nothing.
pub(crate) fn trouble<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<Trouble> {
    let mut pods: Vec<&Pod> = pods
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    pods.iter()
        .find_map(|pod| broken_container(pod))
        .or_else(|| pods.iter().find_map(|pod| unscheduled(pod)))
}

fn broken_container(pod: &Pod) -> Option<Trouble> {
    let statuses = pod
        .status
        .as_ref()?
        .container_statuses
        .as_deref()
        .unwrap_or_default();
    statuses.iter().find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting
            .reason
            .clone()
            .filter(|reason| !ORDINARY.contains(&reason.as_str()))?;
        let mut message = format!("pod {}, container {}: {reason}", name(pod), status.name);
        if let Some(detail) = waiting.message.as_deref().filter(|detail| !detail.is_empty()) {
            message = format!("{message}: {detail}");
        }
        if let Some(last) = last_end(status) {
            message = format!("{message}; {last}");
        }
        Some(Trouble { reason, message })
    })
}

/// How the container's last run ended: `last exit code 1 (Error), 4 restarts`.
fn last_end(status: &ContainerStatus) -> Option<String> {
    let ended = status.last_state.as_ref()?.terminated.as_ref()?;
    let reason = ended
        .reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    Some(format!(
        "last exit code {}{reason}, {} restarts",
        ended.exit_code, status.restart_count
    ))
}

fn unscheduled(pod: &Pod) -> Option<Trouble> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let reason = condition
        .reason
        .clone()
        .unwrap_or_else(|| "Unschedulable".to_owned());
    let detail = condition.message.as_deref().unwrap_or("no node takes it");
    Some(Trouble {
        message: format!("pod {} is Pending: {detail}", name(pod)),
        reason,
    })
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use serde_json::json;

    fn pod(name: &str, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    fn check(pods: &[Pod], expected: Option<(&str, &str)>) {
        let found = trouble(pods);
        let found = found.as_ref().map(|it| (it.reason.as_str(), it.message.as_str()));
        assert_eq!(found, expected);
    }

    fn pending() -> Pod {
        let message = "0/1 nodes are available: 1 Insufficient harmonybatch.dev/gpu-slice.";
        pod(
            "a",
            &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}),
        )
    }

    #[test]
    fn the_schedulers_message_is_passed_on() {
        let text = "pod a is Pending: 0/1 nodes are available: 1 Insufficient harmonybatch.dev/gpu-slice.";
        check(&[pending()], Some(("Unschedulable", text)));
    }

    #[test]
    fn a_crash_comes_before_a_missing_node_and_says_how_it_ended() {
        let crashed = pod(
            "b",
            &json!({"containerStatuses": [{"name": "runtime", "ready": false, "restartCount": 4, "image": "", "imageID": "",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
        );
        let text =
            "pod b, container runtime: CrashLoopBackOff: back-off 40s; last exit code 1 (Error), 4 restarts";
        check(&[pending(), crashed], Some(("CrashLoopBackOff", text)));
    }

    #[test]
    fn a_pod_that_starts_or_leaves_is_no_trouble() {
        let starting = pod(
            "a",
            &json!({"containerStatuses": [{"name": "runtime", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
        );
        let mut leaving = pending();
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        check(&[starting, leaving], None);
    }
}
