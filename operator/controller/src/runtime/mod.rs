//! The container that runs a model, with every default resolved: what a group's replicas and a measured pod have in common.
//!
//! Pure: from the InferenceModel's `runtime` and a share of a device to a [`Runtime`], and from that to a pod's spec ([`pod_template`]).

use std::collections::BTreeMap;

use harmonybatch_api::inference_model as model_api;
use harmonybatch_api::quantity::{Memory, QuantityError};
use k8s_openapi::api::core::v1::{
    ConfigMapKeySelector, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, SecretKeySelector, SecretVolumeSource,
    Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use thiserror::Error;

pub(crate) mod pod_template;

/// A field of the model that cannot be read.
#[derive(Debug, Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Where it is written.
    pub field: String,
    /// What was found and what is allowed.
    pub reason: String,
}

impl Invalid {
    /// A quantity that is none.
    pub(crate) fn quantity(field: &str, error: &QuantityError) -> Self {
        Self {
            field: field.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Runtime {
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) port: u16,
    pub(crate) readiness_path: String,
    pub(crate) readiness_port: u16,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) mounts: Vec<VolumeMount>,
    pub(crate) service_account: Option<String>,
    pub(crate) pull_secrets: Vec<LocalObjectReference>,
    pub(crate) memory: String,
    pub(crate) batch_size: i32,
    pub(crate) share: Share,
}

impl Runtime {
    /// What the model's owner wrote, with this image, for batches of at most this size.
    pub(crate) fn new(
        runtime: &model_api::Runtime,
        image: &str,
        batch_size: i32,
        share: Share,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            image: image.to_owned(),
            command: runtime.command.clone(),
            args: runtime.args.clone(),
            env: runtime.env.iter().map(variable).collect(),
            port: port("runtime.port", runtime.port)?,
            readiness_path: runtime.readiness_path.clone(),
            readiness_port: port(
                "runtime.readinessPort",
                runtime.readiness_port.unwrap_or(runtime.port),
            )?,
            volumes: runtime.volumes.iter().map(volume).collect(),
            mounts: runtime.volumes.iter().map(mount).collect(),
            service_account: runtime.service_account_name.clone(),
            pull_secrets: runtime
                .image_pull_secrets
                .iter()
                .map(|secret| LocalObjectReference {
                    name: secret.name.clone(),
                })
                .collect(),
            memory: memory(&runtime.memory, batch_size)?,
            batch_size,
            share,
        })
    }
}

fn port(field: &str, port: i32) -> Result<u16, Invalid> {
    u16::try_from(port).map_err(|_| Invalid {
        field: field.to_owned(),
        reason: format!("{port} must be between 1 and 65535"),
    })
}

/// What one replica is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Share {
    /// A CPU limit in thousandths.
    Cpu { millis: u64 },
    /// A part of a GPU.
    Gpu {
        pool: String,
        units: i32,
        units_per_device: i32,
        resource: String,
        quantity: u64,
        placement: Box<Placement>,
    },
}

/// Where pods with a GPU share are scheduled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Placement {
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) scheduler_name: Option<String>,
    pub(crate) runtime_class_name: Option<String>,
}

impl Share {
    /// Where the pods are scheduled, if not anywhere.
    pub(crate) fn placement(&self) -> Option<&Placement> {
        match self {
            Self::Cpu { .. } => None,
            Self::Gpu { placement, .. } => Some(placement),
        }
    }
}

/// `base + perRow * batch`, in whole mebibytes.
fn memory(memory: &model_api::Memory, batch_size: i32) -> Result<String, Invalid> {
    let base = memory_bytes("runtime.memory.base", &memory.base)?;
    let per_row = memory_bytes("runtime.memory.perRow", &memory.per_row)?;
    let rows = u64::try_from(batch_size).unwrap_or(0);
    let bytes = base.saturating_add(per_row.saturating_mul(rows));
    Ok(format!("{}Mi", bytes.div_ceil(1 << 20)))
}

pub(crate) fn memory_bytes(field: &str, text: &str) -> Result<u64, Invalid> {
    let memory: Memory = text.parse().map_err(|error| Invalid::quantity(field, &error))?;
    Ok(memory.bytes())
}

fn variable(variable: &model_api::EnvVar) -> EnvVar {
    EnvVar {
        name: variable.name.clone(),
        value: variable.value.clone(),
        value_from: variable.value_from.as_ref().map(|source| EnvVarSource {
            config_map_key_ref: source
                .config_map_key_ref
                .as_ref()
                .map(|key| ConfigMapKeySelector {
                    name: key.name.clone(),
                    key: key.key.clone(),
                    optional: None,
                }),
            secret_key_ref: source.secret_key_ref.as_ref().map(|key| SecretKeySelector {
                name: key.name.clone(),
                key: key.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn volume(volume: &model_api::Volume) -> Volume {
    Volume {
        name: volume.name.clone(),
        config_map: volume.config_map.as_ref().map(|source| ConfigMapVolumeSource {
            name: source.name.clone(),
            ..ConfigMapVolumeSource::default()
        }),
        secret: volume.secret.as_ref().map(|source| SecretVolumeSource {
            secret_name: Some(source.secret_name.clone()),
            ..SecretVolumeSource::default()
        }),
        persistent_volume_claim: volume.persistent_volume_claim.as_ref().map(|source| {
            PersistentVolumeClaimVolumeSource {
                claim_name: source.claim_name.clone(),
                read_only: volume.read_only.then_some(true),
            }
        }),
        empty_dir: volume.empty_dir.as_ref().map(|source| EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(Quantity(source.size_limit.clone())),
        }),
        ..Volume::default()
    }
}

fn mount(volume: &model_api::Volume) -> VolumeMount {
    VolumeMount {
        name: volume.name.clone(),
        mount_path: volume.mount_path.clone(),
        sub_path: volume.sub_path.clone(),
        // Keys of ConfigMaps and Secrets cannot be written anyway, and Knative wants it said.
        read_only: (volume.read_only || volume.config_map.is_some() || volume.secret.is_some())
            .then_some(true),
        ..VolumeMount::default()
    }
}
