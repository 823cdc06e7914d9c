//! What a measurement is made of: a Job, and the account under which it runs, which may do no more than the measurement needs.

use std::collections::BTreeMap;

use harmonybatch_api::inference_model::{Accepted, Grid, Measure};
use harmonybatch_api::quantity::{Cpu, Duration};
use harmonybatch_api::{InferenceModel, names};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccount, Volume, VolumeMount,
};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::runtime::Invalid;

/// Where the Job keeps its samples.
const SAMPLES: &str = "/samples";
/// What a limit takes beside its budget at most: the pod's start, the warm-up, the pod's end.
const BESIDE_BUDGET: i64 = 600;
/// User and group of our image's processes.
const USER: i64 = 65_532;

/// Everything that is made for one measurement, in the order in which it is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Objects {
    pub(crate) account: ServiceAccount,
    pub(crate) role: Role,
    pub(crate) binding: RoleBinding,
    pub(crate) job: Job,
}

/// Builds it. `image` is our own.
pub(crate) fn objects(model: &InferenceModel, job: &str, image: &str) -> Result<Objects, Invalid> {
    let measure = model.spec.measure();
    let limits = limits(&measure)?;
    let name = names::profiler_name(&model.name_any());
    Ok(Objects {
        account: ServiceAccount {
            metadata: metadata(model, &name),
            // The Job's pod alone mounts its token.
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        role: Role {
            metadata: metadata(model, &name),
            rules: Some(rules(&model.name_any(), &limits)),
        },
        binding: RoleBinding {
            metadata: metadata(model, &name),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "Role".to_owned(),
                name: name.clone(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: name.clone(),
                namespace: model.namespace(),
                api_group: None,
            }]),
        },
        job: self::job(model, job, &name, image, &measure, &limits)?,
    })
}

fn limits(measure: &Measure) -> Result<Vec<Cpu>, Invalid> {
    let read = measure.cpu.iter().enumerate().map(|(index, cpu)| {
        cpu.parse::<Cpu>()
            .map_err(|error| Invalid::quantity(&format!("profile.measure.cpu[{index}]"), &error))
    });
    read.collect()
}

fn metadata(model: &InferenceModel, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: model.namespace(),
        labels: Some(labels(model)),
        owner_references: model.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn labels(model: &InferenceModel) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::PROFILED_MODEL_LABEL.to_owned(), model.name_any()),
        (names::MANAGED_BY_LABEL.to_owned(), names::MANAGED_BY.to_owned()),
    ])
}

/// Pods are made under any name, because the API knows no other right to make them; all else is by name.
fn rules(model: &str, limits: &[Cpu]) -> Vec<PolicyRule> {
    let rule = |group: &str, resource: &str, verbs: &[&str], names: Option<Vec<String>>| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        resource_names: names,
        non_resource_urls: None,
    };
    let pods: Vec<String> = limits
        .iter()
        .map(|cpu| names::measured_pod_name(model, *cpu))
        .collect();
    let this = || Some(vec![model.to_owned()]);
    vec![
        rule("", "pods", &["create"], None),
        rule("", "pods", &["get", "delete"], Some(pods.clone())),
        rule("", "pods/resize", &["patch"], Some(pods)),
        rule(names::GROUP, "inferencemodels", &["get"], this()),
        rule(names::GROUP, "inferencemodels/status", &["patch"], this()),
    ]
}

fn job(
    model: &InferenceModel,
    name: &str,
    account: &str,
    image: &str,
    measure: &Measure,
    limits: &[Cpu],
) -> Result<Job, Invalid> {
    let budget: Duration = measure
        .time_budget
        .parse()
        .map_err(|error| Invalid::quantity("profile.measure.timeBudget", &error))?;
    let count = i64::try_from(limits.len()).unwrap_or(i64::MAX);
    let seconds = budget.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, reason = "at most a day")]
    let whole = seconds.ceil() as i64;
    #[expect(clippy::cast_precision_loss, reason = "at most 16")]
    let each = seconds / limits.len().max(1) as f64;
    Ok(Job {
        metadata: metadata(model, name),
        spec: Some(JobSpec {
            // What fails once fails again: the samples are as they are. A pod that was sent away failed of nothing.
            backoff_limit: Some(0),
            pod_failure_policy: Some(PodFailurePolicy {
                rules: vec![PodFailurePolicyRule {
                    action: "Ignore".to_owned(),
                    on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                        type_: "DisruptionTarget".to_owned(),
                        status: "True".to_owned(),
                    }]),
                    on_exit_codes: None,
                }],
            }),
            active_deadline_seconds: Some(whole.saturating_add(count.saturating_mul(BESIDE_BUDGET))),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(model)),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![container(image, arguments(model, measure, each))],
                    restart_policy: Some("Never".to_owned()),
                    service_account_name: Some(account.to_owned()),
                    automount_service_account_token: Some(true),
                    enable_service_links: Some(false),
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: Some(USER),
                        run_as_group: Some(USER),
                        seccomp_profile: Some(SeccompProfile {
                            type_: "RuntimeDefault".to_owned(),
                            localhost_profile: None,
                        }),
                        ..PodSecurityContext::default()
                    }),
                    volumes: Some(vec![Volume {
                        name: "samples".to_owned(),
                        empty_dir: Some(EmptyDirVolumeSource::default()),
                        ..Volume::default()
                    }]),
                    ..PodSpec::default()
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    })
}

/// `each` is the budget of a limit, in seconds.
fn arguments(model: &InferenceModel, measure: &Measure, each: f64) -> Vec<String> {
    let name = model.name_any();
    let namespace = model.namespace().unwrap_or_default();
    let cpu = measure.cpu.join(",");
    let budget = format!("{each:.3}s");
    let mut arguments: Vec<String> = [
        "profile",
        "--model",
        &name,
        "--namespace",
        &namespace,
        "--cpu",
        &cpu,
        "--budget",
        &budget,
        "--folder",
        SAMPLES,
        "--publish",
    ]
    .map(str::to_owned)
    .into();
    if measure.grid == Grid::Full {
        arguments.extend(["--grid", "full"].map(str::to_owned));
    }
    for shape in &measure.shapes {
        let sizes: Vec<String> = shape.sizes.iter().map(ToString::to_string).collect();
        // In one piece: a name may begin as an option does.
        arguments.push(format!("--shape={}={}", shape.input, sizes.join(",")));
    }
    for accepted in &measure.accept {
        let kind = match accepted {
            Accepted::Noisy => "noisy",
            Accepted::NonMonotone => "non-monotone",
            Accepted::Throttled => "throttled",
        };
        arguments.extend(["--accept".to_owned(), kind.to_owned()]);
    }
    arguments
}

fn container(image: &str, arguments: Vec<String>) -> Container {
    let of_pod = |name: &str, field: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                api_version: None,
            }),
            ..EnvVarSource::default()
        }),
    };
    let amounts = |cpu: &str, memory: &str| {
        Some(BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpu.to_owned())),
            ("memory".to_owned(), Quantity(memory.to_owned())),
        ]))
    };
    Container {
        name: "profile".to_owned(),
        image: Some(image.to_owned()),
        args: Some(arguments),
        env: Some(vec![
            of_pod("HARMONYBATCH_POD_NAME", "metadata.name"),
            of_pod("HARMONYBATCH_POD_UID", "metadata.uid"),
            of_pod("HARMONYBATCH_NODE", "spec.nodeName"),
        ]),
        // It sends a batch and waits: a whole core is never used for long, and less would be in the latencies.
        resources: Some(ResourceRequirements {
            requests: amounts("100m", "128Mi"),
            limits: amounts("1", "512Mi"),
            claims: None,
        }),
        // What it says last is why it failed.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![VolumeMount {
            name: "samples".to_owned(),
            mount_path: SAMPLES.to_owned(),
            ..VolumeMount::default()
        }]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use harmonybatch_api::inference_model::{ProfileFrom, RowShape};

    use super::*;
    use crate::fixtures;

    fn model(measure: Measure) -> InferenceModel {
        let mut model = fixtures::model();
        model.spec.profile.from = ProfileFrom::Measure;
        model.spec.profile.measure = Some(measure);
        model
    }

    #[test]
    fn a_measurement_is_a_job_with_an_account_of_its_own() {
        let measure = Measure {
            grid: Grid::Full,
            accept: vec![Accepted::Noisy, Accepted::Throttled],
            shapes: vec![RowShape {
                input: "image".to_owned(),
                sizes: vec![3, 224, 224],
            }],
            ..Measure::default()
        };
        let objects = objects(&model(measure), "mlp-profile-abcde", "example.org/harmonybatch:1").unwrap();
        insta::assert_yaml_snapshot!("role", objects.role);
        insta::assert_yaml_snapshot!("binding", objects.binding);
        insta::assert_yaml_snapshot!("account", objects.account);
        insta::assert_yaml_snapshot!("job", objects.job);
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        let mut measure = Measure::default();
        measure.cpu[2] = "fast".to_owned();
        let error = objects(&model(measure), "j", "i").unwrap_err().to_string();
        assert!(error.starts_with("profile.measure.cpu[2]: "), "{error}");
    }
}
