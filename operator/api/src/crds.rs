//! The definitions of all kinds, as `crds/*.yaml` hold them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::{InferenceApp, InferenceGroup, InferenceModel, InferencePlatform, yaml};

/// The definitions of all kinds, in the order in which a newcomer meets them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        InferenceApp::crd(),
        InferenceModel::crd(),
        InferencePlatform::crd(),
        InferenceGroup::crd(),
    ]
}

/// Every file of the folder `crds`: its name (`<plural>.yaml`) and its text.
pub fn crd_yaml() -> Result<Vec<(String, String)>, yaml::WriteError> {
    crds()
        .iter()
        .map(|crd| Ok((format!("{}.yaml", crd.spec.names.plural), yaml::write(crd)?)))
        .collect()
}
