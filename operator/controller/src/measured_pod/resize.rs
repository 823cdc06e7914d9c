//! Another CPU limit for a pod that runs, in place (`pods/resize`, Kubernetes 1.33 and later).
//!
//! The API server takes the wish; the kubelet allots it, has the container runtime write the quota, and says in the container's status what is in force. Until that is
//! so, batches would be measured under the limit before.

use std::time::Duration;

use harmonybatch_api::names::RUNTIME_CONTAINER;
use harmonybatch_api::quantity::Cpu;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::state::container;
use super::{Error, State, state};
use crate::cluster::call;

/// Between two looks at a pod whose limit is being changed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long the kubelet may put a change off, or be at it.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// What came of a wish for another limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resized {
    /// It is in force.
    InForce,
    /// It will not be: the API server or the node does not do this. Says why.
    Refused(String),
}

/// How far a change is, as the pod tells.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    InForce,
    /// The node will never do it.
    Infeasible(String),
    /// Not yet, and why as far as it is said.
    Waiting(String),
}

/// Changes request and limit of the runtime's container, and waits until they are in force: so long at most.
pub(super) async fn resize(pods: &Api<Pod>, pod: &Pod, cpu: Cpu, within: Duration) -> Result<Resized, Error> {
    let name = pod.name_any();
    let wish = json!({"cpu": format!("{}m", cpu.millis())});
    let patch = json!({"spec": {"containers": [
        {"name": RUNTIME_CONTAINER, "resources": {"requests": wish, "limits": wish}},
    ]}});
    let params = PatchParams::default();
    let patch = Patch::Strategic(&patch);
    let asked = call(
        || format!("resize pod {name}"),
        pods.patch_subresource("resize", &name, &params, &patch),
    );
    match asked.await {
        Ok(_) => {}
        // A pod that is gone is no answer to whether this can be done; the look below says it.
        Err(error) if error.code() == Some(404) => {
            look(pods, pod).await?;
            return Ok(Resized::Refused(
                "the API server does not know pods/resize, which Kubernetes has from 1.33 on".to_owned(),
            ));
        }
        Err(error) if matches!(error.code(), Some(400 | 403 | 405 | 422)) => {
            return Ok(Resized::Refused(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    let begun = Instant::now();
    loop {
        let stage = match look(pods, pod).await {
            Ok(seen) => stage(&seen, cpu),
            // The API server may be busy: `within` is the bound.
            Err(Error::Cluster(error)) if !error.is_refusal() => Stage::Waiting(error.to_string()),
            Err(error) => return Err(error),
        };
        match stage {
            Stage::InForce => return Ok(Resized::InForce),
            Stage::Infeasible(why) => return Ok(Resized::Refused(why)),
            Stage::Waiting(why) if begun.elapsed() >= within => {
                let within = within.as_secs();
                return Ok(Resized::Refused(format!(
                    "the limit {cpu} is not in force after {within} s: {why}"
                )));
            }
            // Without a watch nothing tells of a change: it is looked at, for `within` at most.
            Stage::Waiting(_) => sleep(LOOK_AGAIN).await,
        }
    }
}

/// The pod as it is, if it still runs.
async fn look(pods: &Api<Pod>, pod: &Pod) -> Result<Pod, Error> {
    let name = pod.name_any();
    let seen = call(|| format!("get pod {name}"), pods.get_opt(&name)).await?;
    let seen = seen.filter(|seen| seen.uid() == pod.uid());
    let seen = seen.ok_or(Error::Gone(name))?;
    match state(&seen) {
        State::Over(failure) => Err(failure.into()),
        _ => Ok(seen),
    }
}

/// Reads it off the conditions and what the container's status says of its resources.
fn stage(pod: &Pod, cpu: Cpu) -> Stage {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let held = conditions.unwrap_or_default().iter().find(|condition| {
        matches!(
            condition.type_.as_str(),
            "PodResizePending" | "PodResizeInProgress"
        ) && condition.status == "True"
    });
    if let Some(condition) = held {
        let reason = condition.reason.as_deref().unwrap_or_default();
        let message = condition.message.as_deref().unwrap_or_default();
        let said = [condition.type_.as_str(), reason, message];
        let said: Vec<&str> = said.into_iter().filter(|part| !part.is_empty()).collect();
        let said = said.join(": ");
        return if reason == "Infeasible" {
            Stage::Infeasible(said)
        } else {
            Stage::Waiting(said)
        };
    }
    let resources = container(pod).and_then(|container| container.resources.as_ref());
    match resources {
        Some(resources) if is_in_force(resources, cpu) => Stage::InForce,
        Some(_) => Stage::Waiting("the container still has another limit".to_owned()),
        None => Stage::Waiting("the container's status says nothing of its resources".to_owned()),
    }
}

/// Whether the kernel holds the limit. Requests are told by the weight that they became, which is not always as many CPUs again; the conditions say whether they are done.
fn is_in_force(resources: &ResourceRequirements, cpu: Cpu) -> bool {
    let limit = resources.limits.as_ref().and_then(|limits| limits.get("cpu"));
    limit.and_then(|limit| limit.0.parse().ok()) == Some(cpu)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::Value;

    use super::*;

    fn pod(conditions: &Value, resources: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {
            "phase": "Running", "podIP": "10.88.0.7", "conditions": conditions,
            "containerStatuses": [{"name": "runtime", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "state": {"running": {}}, "resources": resources}],
        }}))
        .unwrap()
    }

    #[test]
    fn a_limit_is_in_force_when_the_container_has_it_and_nothing_is_pending() {
        let of = |limit: &str| json!({"requests": {"cpu": limit, "memory": "1Gi"}, "limits": {"cpu": limit, "memory": "1Gi"}});
        let cpu = Cpu::from_millis(2000);
        let none = json!([]);
        // Kubernetes writes 2000m as 2.
        assert_eq!(stage(&pod(&none, &of("2")), cpu), Stage::InForce);
        assert!(matches!(stage(&pod(&none, &of("500m")), cpu), Stage::Waiting(_)));
        assert!(matches!(stage(&pod(&none, &Value::Null), cpu), Stage::Waiting(_)));
        // By way of a weight.
        let near = json!({"requests": {"cpu": "1996m"}, "limits": {"cpu": "2"}});
        assert_eq!(stage(&pod(&none, &near), cpu), Stage::InForce);
        let unlimited = json!({"requests": {"cpu": "2"}});
        assert!(matches!(stage(&pod(&none, &unlimited), cpu), Stage::Waiting(_)));
        let condition = |kind: &str, status: &str, reason: &str| json!([{"type": kind, "status": status, "reason": reason, "message": "m"}]);
        let infeasible = condition("PodResizePending", "True", "Infeasible");
        assert_eq!(
            stage(&pod(&infeasible, &of("2")), cpu),
            Stage::Infeasible("PodResizePending: Infeasible: m".to_owned())
        );
        let deferred = condition("PodResizePending", "True", "Deferred");
        assert_eq!(
            stage(&pod(&deferred, &of("2")), cpu),
            Stage::Waiting("PodResizePending: Deferred: m".to_owned())
        );
        let busy = json!([{"type": "PodResizeInProgress", "status": "True"}]);
        assert!(matches!(stage(&pod(&busy, &of("2")), cpu), Stage::Waiting(_)));
        let over = condition("PodResizeInProgress", "False", "");
        assert_eq!(stage(&pod(&over, &of("2")), cpu), Stage::InForce);
    }
}
