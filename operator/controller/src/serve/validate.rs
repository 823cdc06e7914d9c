//! From a group, its model and its platform to the one thing that the builders need.

use std::collections::BTreeMap;

use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::inference_model as model_api;
use harmonybatch_api::inference_platform::{
    GpuBackend, GpuPool, ShareQuantity, TaintEffect, TolerationOperator,
};
use harmonybatch_api::quantity::{Cpu, Memory, QuantityError};
use harmonybatch_api::{Device, InferenceGroup, InferenceModel, InferencePlatform, names};
use k8s_openapi::api::core::v1::{
    ConfigMapKeySelector, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, SecretKeySelector, SecretVolumeSource,
    Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use thiserror::Error;

/// Why a group cannot be run as it is.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The platform no longer has the pool.
    #[error("gpuPools of InferencePlatform {platform} has no pool {pool}; it has {}", list(.known))]
    PoolNotFound {
        /// The pool that the group's device names.
        pool: String,
        /// The platform.
        platform: String,
        /// The pools that there are.
        known: Vec<String>,
    },
    /// A quantity cannot be read.
    #[error("{field}: {reason}")]
    Invalid {
        /// Where it is written.
        field: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// The object has not come from the API server.
    #[error("the group has no UID")]
    NoUid,
}

impl Error {
    /// The variant, as events and metrics have it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::PoolNotFound { .. } => "PoolNotFound",
            Self::Invalid { .. } => "Invalid",
            Self::NoUid => "NoUid",
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// One group's function, with every default resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) group: String,
    pub(crate) model: String,
    pub(crate) owner: OwnerReference,
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
    pub(crate) replicas: i32,
    pub(crate) share: Share,
}

impl Workload {
    /// Name of the Deployment and of its headless Service.
    pub(crate) fn deployment_name(&self) -> String {
        names::serving_name(&self.group)
    }
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

/// Brings the three together.
pub(crate) fn validate(
    group: &InferenceGroup,
    model: &InferenceModel,
    platform: &InferencePlatform,
) -> Result<Workload, Error> {
    let runtime = &model.spec.runtime;
    let port = u16::try_from(runtime.port).map_err(|_| Error::Invalid {
        field: "runtime.port".to_owned(),
        reason: format!("{} must be between 1 and 65535", runtime.port),
    })?;
    let readiness_port = runtime.readiness_port.unwrap_or(runtime.port);
    let readiness_port = u16::try_from(readiness_port).map_err(|_| Error::Invalid {
        field: "runtime.readinessPort".to_owned(),
        reason: format!("{readiness_port} must be between 1 and 65535"),
    })?;
    if model.spec.protocol == model_api::Protocol::OipV2Grpc && group.spec.serving == ServingMode::Knative {
        return Err(Error::Invalid {
            field: "protocol".to_owned(),
            reason: "OIPv2GRPC cannot be served by Knative; set serving of the InferencePlatform to Deployment or Auto"
                .to_owned(),
        });
    }
    Ok(Workload {
        namespace: group.namespace().unwrap_or_default(),
        group: group.name_any(),
        model: group.spec.model_ref.name.clone(),
        owner: group.controller_owner_ref(&()).ok_or(Error::NoUid)?,
        // The group's, not the model's: the model may have moved on to an image of which other groups are.
        image: group.spec.image.clone(),
        command: runtime.command.clone(),
        args: runtime.args.clone(),
        env: runtime.env.iter().map(variable).collect(),
        port,
        readiness_path: runtime.readiness_path.clone(),
        readiness_port,
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
        memory: memory(&runtime.memory, group.spec.batch_size)?,
        batch_size: group.spec.batch_size,
        replicas: group.spec.replicas,
        share: share(&group.spec.device, platform)?,
    })
}

fn share(device: &Device, platform: &InferencePlatform) -> Result<Share, Error> {
    match device {
        Device::Cpu(size) => {
            let cpu: Cpu = size
                .limit
                .parse()
                .map_err(|error| invalid("device.cpu.limit", &error))?;
            Ok(Share::Cpu { millis: cpu.millis() })
        }
        Device::Gpu(share) => {
            let pool = platform
                .spec
                .gpu_pools
                .iter()
                .find(|pool| pool.name == share.pool);
            let pool = pool.ok_or_else(|| Error::PoolNotFound {
                pool: share.pool.clone(),
                platform: platform.name_any(),
                known: platform
                    .spec
                    .gpu_pools
                    .iter()
                    .map(|pool| pool.name.clone())
                    .collect(),
            })?;
            let GpuBackend::ExtendedResource(resource) = &pool.backend;
            Ok(Share::Gpu {
                pool: share.pool.clone(),
                units: share.units,
                units_per_device: pool.units_per_device,
                resource: resource.name.clone(),
                quantity: share_quantity(resource.quantity, share.units, pool)?,
                placement: Box::new(placement(pool)),
            })
        }
    }
}

/// How much of the extended resource a share of `units` asks for.
fn share_quantity(formula: ShareQuantity, units: i32, pool: &GpuPool) -> Result<u64, Error> {
    let units = u64::try_from(units).unwrap_or(0);
    let per_device = u64::try_from(pool.units_per_device).unwrap_or(0).max(1);
    Ok(match formula {
        ShareQuantity::One => 1,
        ShareQuantity::Units => units,
        ShareQuantity::MiB => {
            let field = format!("gpuPools[{}].memoryPerUnit", pool.name);
            let bytes = memory_bytes(&field, &pool.memory_per_unit)?;
            units.saturating_mul(bytes).div_ceil(1 << 20)
        }
        ShareQuantity::Percent => (100 * units).div_ceil(per_device),
    })
}

fn placement(pool: &GpuPool) -> Placement {
    let Some(placement) = &pool.placement else {
        return Placement::default();
    };
    Placement {
        node_selector: placement.node_selector.clone(),
        tolerations: placement
            .tolerations
            .iter()
            .map(|toleration| Toleration {
                key: toleration.key.clone(),
                operator: Some(
                    match toleration.operator {
                        TolerationOperator::Equal => "Equal",
                        TolerationOperator::Exists => "Exists",
                    }
                    .to_owned(),
                ),
                value: toleration.value.clone(),
                effect: toleration.effect.map(|effect| {
                    match effect {
                        TaintEffect::NoSchedule => "NoSchedule",
                        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
                        TaintEffect::NoExecute => "NoExecute",
                    }
                    .to_owned()
                }),
                toleration_seconds: None,
            })
            .collect(),
        scheduler_name: placement.scheduler_name.clone(),
        runtime_class_name: placement.runtime_class_name.clone(),
    }
}

/// `base + perRow * batch`, in whole mebibytes.
fn memory(memory: &model_api::Memory, batch_size: i32) -> Result<String, Error> {
    let base = memory_bytes("runtime.memory.base", &memory.base)?;
    let per_row = memory_bytes("runtime.memory.perRow", &memory.per_row)?;
    let rows = u64::try_from(batch_size).unwrap_or(0);
    let bytes = base.saturating_add(per_row.saturating_mul(rows));
    Ok(format!("{}Mi", bytes.div_ceil(1 << 20)))
}

fn memory_bytes(field: &str, text: &str) -> Result<u64, Error> {
    let memory: Memory = text.parse().map_err(|error| invalid(field, &error))?;
    Ok(memory.bytes())
}

fn invalid(field: &str, error: &QuantityError) -> Error {
    Error::Invalid {
        field: field.to_owned(),
        reason: error.to_string(),
    }
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
