//! How far a pod is, and why it does not get further, read off the pod alone.

use std::fmt;

use harmonybatch_api::names::RUNTIME_CONTAINER;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use crate::trouble::trouble;

/// Characters of what a container said last that are told.
const TOLD: usize = 500;

/// How far a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way.
    Starting(&'static str),
    /// Held up by something that may pass.
    HeldUp(Failure),
    /// It answers, at this IP address.
    Ready(String),
    /// It will not run.
    Over(Failure),
}

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of thing it is.
    pub kind: Kind,
    /// In the words of whoever holds it up.
    pub message: String,
}

/// The kinds of failure that have remedies of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The image does not come.
    ImagePull,
    /// The scheduler finds no node.
    Unschedulable,
    /// The container cannot be made: a Secret, ConfigMap, volume or command is missing.
    NotStarted,
    /// The container took more memory than it has.
    OutOfMemory,
    /// The container ended.
    Crashed,
    /// The kubelet ended the pod: evicted, or past its time.
    Ended,
}

impl Kind {
    /// What to do.
    fn advice(self) -> &'static str {
        match self {
            Self::ImagePull => {
                "check runtime.image, and give the registry's Secret by runtime.imagePullSecrets if it asks for one"
            }
            Self::Unschedulable => {
                "leave this CPU limit out, make room on a node, or lower runtime.memory if that is what lacks"
            }
            Self::NotStarted => {
                "check what runtime.env, runtime.volumes and runtime.command name: it must be in this namespace and in this image"
            }
            Self::OutOfMemory => "raise runtime.memory.base or runtime.memory.perRow",
            Self::Crashed => {
                "the runtime must run as a non-root user on a read-only root file system and stay up; its last words are above, and kubectl logs has more while the pod is there"
            }
            Self::Ended => "see the node's conditions and the namespace's quotas, and measure again",
        }
    }

    fn headline(self) -> &'static str {
        match self {
            Self::ImagePull => "the image cannot be pulled",
            Self::Unschedulable => "no node takes the pod",
            Self::NotStarted => "the container cannot be started",
            Self::OutOfMemory => "the container ran out of memory",
            Self::Crashed => "the container ended",
            Self::Ended => "the pod was ended",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (headline, advice) = (self.kind.headline(), self.kind.advice());
        write!(out, "{headline}: {}; {advice}", self.message)
    }
}

impl std::error::Error for Failure {}

/// Reads it.
pub fn state(pod: &Pod) -> State {
    if let Some(failure) = over(pod) {
        return State::Over(failure);
    }
    if let Some(trouble) = trouble([pod]) {
        let failure = Failure {
            kind: kind(&trouble.reason),
            message: trouble.message,
        };
        // A name that is none becomes none by waiting.
        return match trouble.reason.as_str() {
            "InvalidImageName" | "ErrImageNeverPull" => State::Over(failure),
            _ => State::HeldUp(failure),
        };
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let holds = |type_: &str| {
        conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == type_ && condition.status == "True")
    };
    match status.and_then(|status| status.pod_ip.clone()) {
        Some(address) if holds("Ready") => State::Ready(address),
        _ if container(pod).is_some_and(|container| container.started == Some(true)) => {
            State::Starting("the model is being loaded (the readiness path does not answer 200 yet)")
        }
        _ if holds("PodScheduled") => State::Starting("the image is being pulled and the container made"),
        _ => State::Starting("a node is being found"),
    }
}

/// Why the pod will not run any more, if so.
fn over(pod: &Pod) -> Option<Failure> {
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    let status = pod.status.as_ref()?;
    if let Some(ended) = container(pod).and_then(|it| it.state.as_ref()?.terminated.as_ref()) {
        return Some(Failure {
            kind: match ended.reason.as_deref() {
                Some("OOMKilled") => Kind::OutOfMemory,
                _ => Kind::Crashed,
            },
            message: format!("pod {name}: {}", last_words(ended)),
        });
    }
    let phase = status.phase.as_deref()?;
    matches!(phase, "Failed" | "Succeeded").then(|| Failure {
        kind: Kind::Ended,
        message: format!(
            "pod {name} is {phase}: {}",
            [status.reason.as_deref(), status.message.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ")
        ),
    })
}

/// `exit code 1 (Error): panicked at ..`, the end of the message being what was said last.
fn last_words(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().unwrap_or("no reason given");
    let said = ended.message.as_deref().unwrap_or_default().trim();
    let skipped = said.chars().count().saturating_sub(TOLD);
    let said: String = said.chars().skip(skipped).collect();
    let colon = if said.is_empty() { "" } else { ": " };
    format!("exit code {} ({reason}){colon}{said}", ended.exit_code)
}

fn kind(reason: &str) -> Kind {
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Kind::ImagePull,
        "Unschedulable" | "SchedulingGated" | "SchedulerError" => Kind::Unschedulable,
        "CrashLoopBackOff" => Kind::Crashed,
        _ => Kind::NotStarted,
    }
}

/// The container that runs the model.
pub(super) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref()?;
    containers
        .iter()
        .find(|container| container.name == RUNTIME_CONTAINER)
}

/// Digest of the image that a pod runs, as `sha256:...`.
pub fn image_digest(pod: &Pod) -> Option<String> {
    let id = container(pod)?.image_id.as_str();
    let digest = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
    digest
        .contains(':')
        .then(|| digest.to_owned())
        .filter(|digest| !digest.contains('/'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "mlp-profile-250m"}, "status": status})).unwrap()
    }

    /// As the kubelet writes it.
    fn with_container(phase: &str, state: &Value) -> Pod {
        pod(&json!({
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": "runtime", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state}],
        }))
    }

    fn container_of(pod: &mut Pod) -> &mut ContainerStatus {
        let containers = pod.status.as_mut().unwrap().container_statuses.as_mut();
        &mut containers.unwrap()[0]
    }

    /// The kind, whether it is over, and what is told.
    fn failed(pod: &Pod) -> (Kind, bool, String) {
        match state(pod) {
            State::HeldUp(failure) => (failure.kind, false, failure.to_string()),
            State::Over(failure) => (failure.kind, true, failure.to_string()),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_pod_that_starts_says_where_it_is() {
        let told = |pod: &Pod| match state(pod) {
            State::Starting(told) => told.split(' ').take(3).collect::<Vec<_>>().join(" "),
            other => format!("{other:?}"),
        };
        assert_eq!(told(&pod(&json!({"phase": "Pending"}))), "a node is");
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(told(&with_container("Pending", &creating)), "the image is");
        let mut loading = with_container("Running", &json!({"running": {}}));
        container_of(&mut loading).started = Some(true);
        assert_eq!(told(&loading), "the model is");
    }

    #[test]
    fn a_ready_pod_has_an_address() {
        let ready = pod(&json!({
            "phase": "Running", "podIP": "10.88.0.7", "conditions": [{"type": "Ready", "status": "True"}],
        }));
        assert_eq!(state(&ready), State::Ready("10.88.0.7".to_owned()));
    }

    #[test]
    fn an_image_that_does_not_come_may_come_later_but_not_one_that_is_no_name() {
        let waiting = |reason: &str| {
            let state = json!({"waiting": {"reason": reason, "message": "not found"}});
            failed(&with_container("Pending", &state))
        };
        let (kind, over, told) = waiting("ImagePullBackOff");
        assert_eq!((kind, over), (Kind::ImagePull, false));
        assert!(
            told.starts_with("the image cannot be pulled: pod mlp-profile-250m, container runtime: ImagePullBackOff: not found; check runtime.image"),
            "{told}"
        );
        assert!(waiting("InvalidImageName").1);
        assert_eq!(waiting("CreateContainerConfigError").0, Kind::NotStarted);
    }

    #[test]
    fn the_scheduler_is_quoted() {
        let message = "0/1 nodes are available: 1 Insufficient cpu.";
        let pending = pod(&json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}));
        let (kind, over, told) = failed(&pending);
        assert_eq!((kind, over), (Kind::Unschedulable, false));
        assert!(
            told.contains(message) && told.contains("leave this CPU limit out"),
            "{told}"
        );
    }

    #[test]
    fn a_container_that_ended_is_quoted_from_its_end() {
        let said = format!("{}panicked: no weights\n", "x".repeat(1_000));
        let ended = json!({"terminated": {"exitCode": 101, "reason": "Error", "message": said}});
        let (kind, over, told) = failed(&with_container("Failed", &ended));
        assert_eq!((kind, over), (Kind::Crashed, true));
        assert!(
            told.contains("exit code 101 (Error): x") && told.contains("panicked: no weights;"),
            "{told}"
        );
        assert!(told.len() < 900, "{told}");
    }

    #[test]
    fn memory_and_evictions_have_their_own_names() {
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let (kind, over, told) = failed(&with_container("Failed", &killed));
        assert_eq!((kind, over), (Kind::OutOfMemory, true));
        assert!(told.contains("raise runtime.memory"), "{told}");
        let evicted = pod(&json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}));
        let (kind, _, told) = failed(&evicted);
        assert_eq!(kind, Kind::Ended);
        assert!(told.contains("is Failed: Evicted: low on disk"), "{told}");
    }

    #[test]
    fn a_digest_is_what_follows_the_name() {
        for (id, digest) in [
            ("example.org/mlp@sha256:ab12", Some("sha256:ab12")),
            (
                "docker-pullable://example.org:5000/mlp@sha256:ab12",
                Some("sha256:ab12"),
            ),
            ("sha256:ab12", Some("sha256:ab12")),
            ("", None),
            ("example.org:5000/mlp", None),
        ] {
            let mut running = with_container("Running", &json!({"running": {}}));
            container_of(&mut running).image_id = id.to_owned();
            assert_eq!(image_digest(&running).as_deref(), digest, "{id}");
        }
    }
}
