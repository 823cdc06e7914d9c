//! How a model is run: the part of a Pod that a model's owner decides, and no more. A whole PodSpec would be ten times the size of the definition.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{names, schema};

/// The container that runs the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// Container image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Entrypoint instead of the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Port on which the runtime listens.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name of the model in the runtime's paths (/v2/models/<name>/infer). Default: the InferenceModel's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    )]
    pub model_name: Option<String>,
    /// Path that answers 200 once the model is loaded.
    #[serde(default = "default_readiness_path")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/[^\\s]*$"))]
    pub readiness_path: String,
    /// Port on which readinessPath is asked, over HTTP. Default: port. For runtimes that speak gRPC, whose HTTP has a port of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub readiness_port: Option<i32>,
    /// Host memory that a replica needs: base + perRow * batch size.
    pub memory: Memory,
    /// Volumes of the container and where they are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub volumes: Vec<Volume>,
    /// ServiceAccount of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::subdomain")]
    pub service_account_name: Option<String>,
    /// Secrets with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<NameRef>,
}

fn default_port() -> i32 {
    names::DEFAULT_RUNTIME_PORT
}

fn default_readiness_path() -> String {
    names::DEFAULT_READINESS_PATH.to_owned()
}

/// Memory that grows with the batch: base + perRow * rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// What an empty batch takes, such as 1Gi.
    #[serde(deserialize_with = "crate::quantity::string_or_integer")]
    #[schemars(schema_with = "schema::memory")]
    pub base: String,
    /// What each row adds, such as 8Mi.
    #[serde(default = "zero", deserialize_with = "crate::quantity::string_or_integer")]
    #[schemars(schema_with = "schema::memory")]
    pub per_row: String,
}

fn zero() -> String {
    "0".to_owned()
}

/// An environment variable: a value, or where it is taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!(has(self.value) && has(self.valueFrom))")
        .message(Message::Expression("\"variable '\" + self.name + \"' has both value and valueFrom: give one of them\"".into())),
    validation = Rule::new("!self.name.startsWith('HARMONYBATCH_')")
        .message(Message::Expression("\"variable '\" + self.name + \"' is set by the operator: names that begin with HARMONYBATCH_ are taken\"".into()))
        .field_path(".name")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where its value is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// A key of an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)").message("valueFrom takes exactly one of configMapKeyRef and secretKeyRef")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvSource {
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(schema_with = "schema::subdomain")]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A reference by name to an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// Name of the object.
    #[schemars(schema_with = "schema::subdomain")]
    pub name: String,
}

/// A volume and where it is mounted: exactly one of its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.emptyDir) ? 1 : 0) == 1")
        .message(Message::Expression("\"volume '\" + self.name + \"' must have exactly one of configMap, secret, persistentVolumeClaim and emptyDir\"".into())),
    validation = Rule::new("!self.name.startsWith('harmonybatch-')")
        .message(Message::Expression("\"volume '\" + self.name + \"' is made by the operator: names that begin with harmonybatch- are taken\"".into()))
        .field_path(".name")
)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Name of the volume, unique in the list.
    #[schemars(schema_with = "schema::label")]
    pub name: String,
    /// Path in the container.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/[^:]*$"))]
    pub mount_path: String,
    /// Path in the volume, instead of its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub sub_path: Option<String>,
    /// Whether it is mounted read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Keys of a ConfigMap as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ObjectSource>,
    /// Keys of a Secret as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,
    /// A PersistentVolumeClaim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
    /// An empty directory that lives as long as the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirSource>,
}

/// A ConfigMap as a volume.
pub type ObjectSource = NameRef;

/// A Secret as a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// Name of the Secret.
    #[schemars(schema_with = "schema::subdomain")]
    pub secret_name: String,
}

/// A PersistentVolumeClaim as a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSource {
    /// Name of the PersistentVolumeClaim.
    #[schemars(schema_with = "schema::subdomain")]
    pub claim_name: String,
}

/// An empty directory as a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDirSource {
    /// Most that may be written to it, such as 1Gi.
    #[serde(
        default = "default_size_limit",
        deserialize_with = "crate::quantity::string_or_integer"
    )]
    #[schemars(schema_with = "schema::memory")]
    pub size_limit: String,
}

fn default_size_limit() -> String {
    "1Gi".to_owned()
}
