//! From a group, its model and its platform to the one thing that the builders need.

use harmonybatch_api::inference_group::ServingMode;
use harmonybatch_api::inference_model as model_api;
use harmonybatch_api::inference_platform::{
    GpuBackend, GpuPool, ShareQuantity, TaintEffect, TolerationOperator,
};
use harmonybatch_api::quantity::Cpu;
use harmonybatch_api::{Device, InferenceGroup, InferenceModel, InferencePlatform, names};
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use thiserror::Error;

use crate::runtime::{Invalid, Placement, Runtime, Share, memory_bytes};

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
    /// A field cannot be read, or not be had in this mode.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The object has not come from the API server.
    #[error("the group has no UID")]
    NoUid,
}

impl Error {
    /// The variant, as events and metrics have it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::PoolNotFound { .. } => "PoolNotFound",
            Self::Invalid(_) => "Invalid",
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
    pub(crate) runtime: Runtime,
    pub(crate) replicas: i32,
}

impl Workload {
    /// Name of the Deployment and of its headless Service.
    pub(crate) fn deployment_name(&self) -> String {
        names::serving_name(&self.group)
    }
}

/// Brings the three together.
pub(crate) fn validate(
    group: &InferenceGroup,
    model: &InferenceModel,
    platform: &InferencePlatform,
) -> Result<Workload, Error> {
    if model.spec.protocol == model_api::Protocol::OipV2Grpc && group.spec.serving == ServingMode::Knative {
        return Err(Error::Invalid(Invalid {
            field: "protocol".to_owned(),
            reason: "OIPv2GRPC cannot be served by Knative; set serving of the InferencePlatform to Deployment or Auto"
                .to_owned(),
        }));
    }
    Ok(Workload {
        namespace: group.namespace().unwrap_or_default(),
        group: group.name_any(),
        model: group.spec.model_ref.name.clone(),
        owner: group.controller_owner_ref(&()).ok_or(Error::NoUid)?,
        runtime: Runtime::new(
            &model.spec.runtime,
            // The group's, not the model's: the model may have moved on to an image of which other groups are.
            &group.spec.image,
            group.spec.batch_size,
            share(&group.spec.device, platform)?,
        )?,
        replicas: group.spec.replicas,
    })
}

fn share(device: &Device, platform: &InferencePlatform) -> Result<Share, Error> {
    match device {
        Device::Cpu(size) => {
            let cpu: Cpu = size
                .limit
                .parse()
                .map_err(|error| Invalid::quantity("device.cpu.limit", &error))?;
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
