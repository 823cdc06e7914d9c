//! The pod to measure: the runtime as a group's replica has it, alone, with one CPU limit.

use std::collections::BTreeMap;
use std::time::Duration;

use harmonybatch_api::quantity::Cpu;
use harmonybatch_api::{InferenceModel, names};
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, Pod, PreferredSchedulingTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use crate::runtime::pod_template::{Mode, pod_spec};
use crate::runtime::{Invalid, Runtime, Share};

/// What one pod is to be.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose runtime.
    pub model: &'a InferenceModel,
    /// Its request and its limit.
    pub cpu: Cpu,
    /// After this time the kubelet ends the pod, should nobody be left who deletes it.
    pub lives_at_most: Duration,
    /// With whom it is deleted, should nobody be left who does.
    pub owner: Option<OwnerReference>,
    /// The node that is preferred, because whoever measures is there.
    pub near: Option<String>,
}

/// Builds it.
pub fn pod(wanted: &Wanted<'_>) -> Result<Pod, Invalid> {
    let model = wanted.model;
    if wanted.cpu.millis() == 0 {
        return Err(Invalid {
            field: "cpu".to_owned(),
            reason: "0 vCPU: a model without CPU takes for ever".to_owned(),
        });
    }
    let share = Share::Cpu {
        millis: wanted.cpu.millis(),
    };
    let image = &model.spec.runtime.image;
    let runtime = Runtime::new(&model.spec.runtime, image, model.spec.max_batch_size, share)?;
    let lives_at_most = i64::try_from(wanted.lives_at_most.as_secs()).unwrap_or(i64::MAX);
    let mut spec = pod_spec(&runtime, Mode::Measured { lives_at_most });
    spec.affinity = wanted.near.as_deref().map(near);
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(names::measured_pod_name(&model.name_any(), wanted.cpu)),
            namespace: model.namespace(),
            labels: Some(BTreeMap::from([
                (names::PROFILED_MODEL_LABEL.to_owned(), model.name_any()),
                (names::MANAGED_BY_LABEL.to_owned(), names::MANAGED_BY.to_owned()),
            ])),
            owner_references: wanted.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

fn near(node: &str) -> Affinity {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![PreferredSchedulingTerm {
                preference: NodeSelectorTerm {
                    match_fields: Some(vec![field]),
                    match_expressions: None,
                },
                weight: 100,
            }]),
            required_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::fixtures;

    fn wanted(model: &InferenceModel, millis: u64) -> Wanted<'_> {
        Wanted {
            model,
            cpu: Cpu::from_millis(millis),
            lives_at_most: Duration::from_mins(15),
            owner: None,
            near: Some("node-1".to_owned()),
        }
    }

    #[test]
    fn a_measured_pod_is_a_replica_alone_under_its_limit() {
        insta::assert_yaml_snapshot!(pod(&wanted(&fixtures::model(), 250)).unwrap());
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let model = fixtures::model();
        assert!(
            pod(&wanted(&model, 0))
                .unwrap_err()
                .to_string()
                .starts_with("cpu: 0 vCPU")
        );
    }
}
