//! A profile into an InferenceModel of the cluster: its spec, as a person would, or its status, as the controller's Jobs do.

use std::time::Duration;

use anyhow::Context;
use harmonybatch_api::inference_model::{MeasuredProfile, Profile};
use harmonybatch_api::{InferenceModel, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::call;
use crate::cli::print;

/// How often a profile is tried to be written into a status, and the pause between.
const PUBLISH_TRIES: u32 = 10;
const PUBLISH_AGAIN: Duration = Duration::from_secs(5);

/// Changes the CPU profile of the cluster's model, and nothing else of it.
pub(super) async fn apply(client: &Client, model: &InferenceModel, profile: &Profile) -> anyhow::Result<()> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let api: Api<InferenceModel> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({"spec": {"profile": {
        "cpu": profile.cpu,
        // Null takes away what an older measurement said.
        "afterIdle": profile.after_idle,
        "provenance": profile.provenance,
    }}});
    let params = PatchParams {
        field_manager: Some(names::PROFILE_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(api.patch(&name, &params, &Patch::Merge(&patch)))
        .await
        .with_context(|| format!("patch InferenceModel {namespace}/{name}"))?;
    print::error(&format!("InferenceModel {namespace}/{name} has the profile"));
    Ok(())
}

/// Writes the profile into the status of the cluster's model, with what it was measured of: what the model is by now, the controller compares.
pub(super) async fn publish(client: &Client, model: &InferenceModel, profile: Profile) -> anyhow::Result<()> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let api: Api<InferenceModel> = Api::namespaced(client.clone(), &namespace);
    let published = Published {
        api_version: names::API_VERSION,
        kind: "InferenceModel",
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        status: PublishedStatus {
            profile: MeasuredProfile {
                image: model.spec.runtime.image.clone(),
                subject: model.spec.subject(),
                cpu: profile.cpu,
                after_idle: profile.after_idle,
                provenance: profile.provenance,
            },
        },
    };
    let params = PatchParams::apply(names::PROFILE_MANAGER).force();
    let patch = Patch::Apply(&published);
    let mut left = PUBLISH_TRIES;
    loop {
        left -= 1;
        match call(api.patch_status(&name, &params, &patch)).await {
            Ok(_) => break,
            Err(error) if left == 0 => {
                return Err(error.context(format!("write the status of InferenceModel {namespace}/{name}")));
            }
            // Minutes of measuring are not lost to an API server that restarts.
            Err(error) => {
                print::error(&format!("the profile is not written yet: {error:#}"));
                sleep(PUBLISH_AGAIN).await;
            }
        }
    }
    print::error(&format!(
        "the status of InferenceModel {namespace}/{name} has the profile"
    ));
    Ok(())
}

/// The status of a model as far as it is written here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    status: PublishedStatus,
}

#[derive(Debug, Serialize)]
struct PublishedStatus {
    profile: MeasuredProfile,
}
