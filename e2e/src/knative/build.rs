//! The objects that a Service and its Revisions become. Pure: what is there goes in, what should be there comes out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, Lifecycle, LifecycleHandler, PodSpec, PodTemplateSpec, Service as PlainService,
    ServicePort, ServiceSpec, SleepAction,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt as _};

use super::objects::{Revision, RevisionTemplate, Service};
use super::{SAYS_SO, SERVICE_LABEL};
use crate::digest;

/// Annotation of a Revision: the template that it was made from, as a digest.
pub(super) const TEMPLATE: &str = "harmonybatch.dev/stand-in-template";
const REVISION_LABEL: &str = "serving.knative.dev/revision";
const REVISION_UID_LABEL: &str = "serving.knative.dev/revisionUID";
const TYPE_LABEL: &str = "networking.internal.knative.dev/serviceType";
const SCALING: &str = "autoscaling.knative.dev/";
const DEFAULT_PORT: i32 = 8080;
/// In the place of queue-proxy, which goes on answering until nodes have learnt that the Pod ends.
const LAME_DUCK_SECONDS: i64 = 2;
/// A Pod that ends may take as long as a request, as Knative has it; more than this no test wants to wait.
const LONGEST_GRACE_SECONDS: i64 = 30;
const PROGRESS_DEADLINE_SECONDS: i32 = 600;

/// Changes whenever a new Revision is due.
pub(super) fn template_digest(template: &RevisionTemplate) -> String {
    // A template that was read from JSON can be written to it.
    let text = serde_json::to_string(template).unwrap_or_default();
    digest::sha256(text.as_bytes())
}

/// The Revision of this number (`updateRevisionLabels` and `MakeRevision` of Knative).
pub(super) fn revision(service: &Service, number: u32) -> Revision {
    let name = service.name_any();
    let template = &service.spec.template;
    let mut labels = template.metadata.labels.clone().unwrap_or_default();
    let generation = service.metadata.generation.unwrap_or_default().to_string();
    for (label, value) in [
        (SERVICE_LABEL, name.clone()),
        (
            "serving.knative.dev/serviceUID",
            service.uid().unwrap_or_default(),
        ),
        ("serving.knative.dev/configuration", name.clone()),
        ("serving.knative.dev/configurationGeneration", generation),
    ] {
        labels.insert(label.to_owned(), value);
    }
    let mut annotations = template.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(TEMPLATE.to_owned(), template_digest(template));
    annotations.insert(SAYS_SO.0.to_owned(), SAYS_SO.1.to_owned());
    let mut revision = Revision::new(&format!("{name}-{number:05}"), template.spec.clone());
    revision.metadata = ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..owned(&format!("{name}-{number:05}"), service)
    };
    revision
}

/// How many replicas a Revision starts with and keeps: `min-scale`, and at least the initial one.
pub(super) fn replicas(revision: &Revision) -> i32 {
    let least = revision
        .annotations()
        .get(&format!("{SCALING}min-scale"))
        .and_then(|text| text.parse().ok());
    least.unwrap_or(1).max(1)
}

/// Runs the replicas of a Revision.
pub(super) fn deployment(revision: &Revision) -> Deployment {
    let name = revision.name_any();
    let labels = labels(revision);
    let annotations = revision
        .annotations()
        .iter()
        .filter(|(name, _)| !name.starts_with(SCALING));
    let annotations: BTreeMap<String, String> = annotations
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Deployment {
        metadata: ObjectMeta {
            labels: Some(labels.clone()),
            annotations: Some(says_so()),
            ..owned(&format!("{name}-deployment"), revision)
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas(revision)),
            selector: LabelSelector {
                match_labels: Some(selector(revision)),
                ..LabelSelector::default()
            },
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    ..RollingUpdateDeployment::default()
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(revision)),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn pod(revision: &Revision) -> PodSpec {
    let mut pod = revision.spec.pod.clone();
    let grace = revision
        .spec
        .timeout_seconds
        .unwrap_or(LONGEST_GRACE_SECONDS)
        .min(LONGEST_GRACE_SECONDS);
    pod.termination_grace_period_seconds = Some(grace + LAME_DUCK_SECONDS);
    let port = user_port(revision);
    let alone = pod.containers.len() == 1;
    for container in &mut pod.containers {
        let serves = alone || container.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        user_container(container, revision, serves.then_some(port));
    }
    pod
}

fn user_container(container: &mut Container, revision: &Revision, port: Option<i32>) {
    let service = revision.labels().get(SERVICE_LABEL).cloned().unwrap_or_default();
    let mut variables = vec![
        ("K_REVISION", revision.name_any()),
        ("K_CONFIGURATION", service.clone()),
        ("K_SERVICE", service),
    ];
    variables.extend(port.map(|port| ("PORT", port.to_string())));
    let known = variables.into_iter().map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        ..EnvVar::default()
    });
    container.env.get_or_insert_default().extend(known);
    for port in container.ports.iter_mut().flatten() {
        port.name = Some("user-port".to_owned());
    }
    if let (Some(probe), Some(port)) = (&mut container.readiness_probe, port) {
        // Port 0 is Knative's way to say "the user's port"; its queue-proxy asks many times a second.
        let meant = |given: &IntOrString| {
            if *given == IntOrString::Int(0) {
                IntOrString::Int(port)
            } else {
                given.clone()
            }
        };
        if let Some(tcp) = &mut probe.tcp_socket {
            tcp.port = meant(&tcp.port);
        }
        if let Some(http) = &mut probe.http_get {
            http.port = meant(&http.port);
        }
        probe.period_seconds.get_or_insert(1);
    }
    let pause = LifecycleHandler {
        sleep: Some(SleepAction {
            seconds: LAME_DUCK_SECONDS,
        }),
        ..LifecycleHandler::default()
    };
    container.lifecycle = Some(Lifecycle {
        pre_stop: Some(pause),
        ..Lifecycle::default()
    });
}

/// The port that the user's container listens on.
fn user_port(revision: &Revision) -> i32 {
    let ports = revision
        .spec
        .pod
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .map(|port| port.container_port)
        .next()
        .unwrap_or(DEFAULT_PORT)
}

/// The Service whose EndpointSlices list a Revision's Pods (`MakePrivateService` of Knative). There it leads to queue-proxy's port 8012.
pub(super) fn private_service(revision: &Revision) -> PlainService {
    service_of(revision, &format!("{}-private", revision.name_any()), "Private")
}

/// In Knative this one leads to the activator while a Revision is at zero; its labels are those of the private one.
pub(super) fn public_service(revision: &Revision) -> PlainService {
    service_of(revision, &revision.name_any(), "Public")
}

fn service_of(revision: &Revision, name: &str, type_: &str) -> PlainService {
    let mut labels = labels(revision);
    labels.insert(
        "networking.internal.knative.dev/serverlessservice".to_owned(),
        revision.name_any(),
    );
    labels.insert(TYPE_LABEL.to_owned(), type_.to_owned());
    PlainService {
        metadata: ObjectMeta {
            labels: Some(labels),
            annotations: Some(says_so()),
            ..owned(name, revision)
        },
        spec: Some(leads_to(revision)),
        ..PlainService::default()
    }
}

/// The Service that a Knative Service's address names. In Knative it leads to the ingress, which knows the latest ready Revision.
pub(super) fn route_service(service: &Service, latest_ready: &Revision) -> PlainService {
    let labels = BTreeMap::from([
        ("serving.knative.dev/route".to_owned(), service.name_any()),
        (SERVICE_LABEL.to_owned(), service.name_any()),
    ]);
    PlainService {
        metadata: ObjectMeta {
            labels: Some(labels),
            annotations: Some(says_so()),
            ..owned(&service.name_any(), service)
        },
        spec: Some(leads_to(latest_ready)),
        ..PlainService::default()
    }
}

fn leads_to(revision: &Revision) -> ServiceSpec {
    let http = ServicePort {
        name: Some("http".to_owned()),
        protocol: Some("TCP".to_owned()),
        port: 80,
        target_port: Some(IntOrString::Int(user_port(revision))),
        ..ServicePort::default()
    };
    ServiceSpec {
        selector: Some(selector(revision)),
        ports: Some(vec![http]),
        ..ServiceSpec::default()
    }
}

fn selector(revision: &Revision) -> BTreeMap<String, String> {
    BTreeMap::from([(REVISION_UID_LABEL.to_owned(), revision.uid().unwrap_or_default())])
}

/// Those of the Revision, and with them those of the template (`makeLabels` of Knative).
fn labels(revision: &Revision) -> BTreeMap<String, String> {
    let mut labels = revision.labels().clone();
    labels.insert(REVISION_LABEL.to_owned(), revision.name_any());
    labels.insert(REVISION_UID_LABEL.to_owned(), revision.uid().unwrap_or_default());
    labels
        .entry("app".to_owned())
        .or_insert_with(|| revision.name_any());
    labels
}

fn says_so() -> BTreeMap<String, String> {
    BTreeMap::from([(SAYS_SO.0.to_owned(), SAYS_SO.1.to_owned())])
}

fn owned<K: Resource<DynamicType = ()>>(name: &str, owner: &K) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: owner.meta().namespace.clone(),
        owner_references: owner.controller_owner_ref(&()).map(|reference| vec![reference]),
        ..ObjectMeta::default()
    }
}
