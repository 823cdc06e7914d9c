//! The pod that runs a model, the same wherever it runs but for what Knative does not allow and what a measurement does not want.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, Lifecycle,
    LifecycleHandler, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, SleepAction,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Runtime, Share};

/// Where a runtime may write although its root file system is read-only.
const SCRATCH: &str = "/tmp";
/// Seconds between SIGTERM's cause and SIGTERM: the gateway learns meanwhile that the endpoint is gone.
const LEAVE_SECONDS: i64 = 2;

/// What is asked for differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The kubelet's full pod.
    Deployment,
    /// Knative's subset: a port name that speaks HTTP/1, and no lifecycle hook, which queue-proxy brings itself.
    Knative,
    /// One pod for a measurement: no gateway must learn that it leaves, and a runtime that ends is a result, not to be started again.
    Measured {
        /// Seconds after which the kubelet ends the pod, should nobody be left who deletes it.
        lives_at_most: i64,
    },
}

impl Mode {
    fn port_name(self) -> &'static str {
        match self {
            Self::Deployment | Self::Measured { .. } => "http",
            Self::Knative => "http1",
        }
    }

    /// How long a measured pod may live, in seconds.
    fn measured(self) -> Option<i64> {
        match self {
            Self::Measured { lives_at_most } => Some(lives_at_most),
            Self::Deployment | Self::Knative => None,
        }
    }
}

/// The pod's spec.
pub(crate) fn pod_spec(runtime: &Runtime, mode: Mode) -> PodSpec {
    let scratch = needs_scratch(runtime).then(|| Volume {
        name: "harmonybatch-scratch".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    });
    PodSpec {
        containers: vec![container(runtime, mode)],
        volumes: some(runtime.volumes.iter().cloned().chain(scratch).collect()),
        service_account_name: runtime.service_account.clone(),
        // A model needs no access to the API server; one that names a service account of its own gets its token.
        automount_service_account_token: runtime.service_account.is_none().then_some(false),
        image_pull_secrets: some(runtime.pull_secrets.clone()),
        // Hundreds of Services would become thousands of variables.
        enable_service_links: Some(false),
        restart_policy: mode.measured().map(|_| "Never".to_owned()),
        active_deadline_seconds: mode.measured(),
        // Nobody waits for its answers any more.
        termination_grace_period_seconds: mode.measured().map(|_| 1),
        ..placed(runtime)
    }
}

/// Where the pool's pods are scheduled.
fn placed(runtime: &Runtime) -> PodSpec {
    let Some(placement) = runtime.share.placement() else {
        return PodSpec::default();
    };
    PodSpec {
        node_selector: Some(placement.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: some(placement.tolerations.clone()),
        scheduler_name: placement.scheduler_name.clone(),
        runtime_class_name: placement.runtime_class_name.clone(),
        ..PodSpec::default()
    }
}

fn container(runtime: &Runtime, mode: Mode) -> Container {
    let mounts = runtime
        .mounts
        .iter()
        .cloned()
        .chain(needs_scratch(runtime).then(|| VolumeMount {
            name: "harmonybatch-scratch".to_owned(),
            mount_path: SCRATCH.to_owned(),
            ..VolumeMount::default()
        }));
    Container {
        name: harmonybatch_api::names::RUNTIME_CONTAINER.to_owned(),
        image: Some(runtime.image.clone()),
        command: some(runtime.command.clone()),
        args: some(runtime.args.clone()),
        env: some(environment(runtime)),
        ports: Some(vec![ContainerPort {
            name: Some(mode.port_name().to_owned()),
            container_port: i32::from(runtime.port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some(runtime.readiness_path.clone()),
                port: IntOrString::Int(i32::from(runtime.readiness_port)),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(1),
            timeout_seconds: Some(1),
            failure_threshold: Some(3),
            ..Probe::default()
        }),
        resources: Some(resources(runtime)),
        volume_mounts: some(mounts.collect()),
        lifecycle: (mode == Mode::Deployment).then(|| Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction {
                    seconds: LEAVE_SECONDS,
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(restricted()),
        // What a runtime that ended said last is the best explanation that there is.
        termination_message_policy: mode.measured().map(|_| "FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// The model's own variables, and what a runtime must know of its share to keep within it.
fn environment(runtime: &Runtime) -> Vec<EnvVar> {
    let own = |name: &str, value: String| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    };
    let mut variables = runtime.env.clone();
    variables.push(own("HARMONYBATCH_BATCH_SIZE", runtime.batch_size.to_string()));
    match &runtime.share {
        Share::Cpu { millis } => variables.push(own("HARMONYBATCH_CPU_MILLIS", millis.to_string())),
        Share::Gpu {
            pool,
            units,
            units_per_device,
            ..
        } => {
            variables.push(own("HARMONYBATCH_GPU_POOL", pool.clone()));
            variables.push(own("HARMONYBATCH_GPU_UNITS", units.to_string()));
            variables.push(own("HARMONYBATCH_GPU_UNITS_TOTAL", units_per_device.to_string()));
        }
    }
    variables
}

/// Requests equal limits for what the plan counts on: the CPU, the GPU share, and the memory, which could not be taken back.
fn resources(runtime: &Runtime) -> ResourceRequirements {
    let mut amounts = BTreeMap::new();
    amounts.insert("memory".to_owned(), Quantity(runtime.memory.clone()));
    match &runtime.share {
        Share::Cpu { millis } => {
            amounts.insert("cpu".to_owned(), Quantity(format!("{millis}m")));
        }
        Share::Gpu {
            resource, quantity, ..
        } => {
            amounts.insert(resource.clone(), Quantity(quantity.to_string()));
        }
    }
    ResourceRequirements {
        requests: Some(amounts.clone()),
        limits: Some(amounts),
        claims: None,
    }
}

/// What the restricted Pod Security Standard asks for, on the container, because Knative allows it only there.
fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    }
}

fn needs_scratch(runtime: &Runtime) -> bool {
    !runtime
        .mounts
        .iter()
        .any(|mount| mount.mount_path.trim_end_matches('/') == SCRATCH)
}

/// Server-side apply reads an empty list as "this list shall be empty": absent is what is meant.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
