//! A profile that the controller has measured.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{AfterIdle, CpuProfile, GpuProfile, InferenceModel, InferenceModelSpec, Protocol, Provenance};
use crate::{names, schema};

/// CPU limits under which a model is measured unless it says otherwise.
const DEFAULT_CPU: [&str; 4] = ["250m", "500m", "1", "2"];

/// Where a model's profile comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProfileFrom {
    /// It stands in the spec.
    #[default]
    Given,
    /// The controller measures it, into the status.
    Measure,
}

/// How a profile is measured: a Job of the controller runs the model's pod under each of the CPU limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measure {
    /// CPU limits to measure under: four or more, spread over those that groups may have. A node must have room for the largest.
    #[serde(default = "default_cpu", deserialize_with = "strings_or_integers")]
    #[schemars(schema_with = "schema::cpus")]
    pub cpu: Vec<String>,
    /// Time for all limits together; starts of pods and warm-ups are not in it. What is not known well enough then is refused as noisy.
    #[serde(default = "default_time_budget")]
    #[schemars(schema_with = "schema::time_budget")]
    pub time_budget: String,
    /// Whether all batch sizes are measured in full under all limits. Default: Adaptive.
    #[serde(default, skip_serializing_if = "Grid::is_adaptive")]
    pub grid: Grid,
    /// Kinds of problem in spite of which measurements become a profile; each is refused otherwise, and the condition Profiled says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub accept: Vec<Accepted>,
    /// Dimensions of inputs past the batch, where the model leaves some open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["input".into()]))]
    pub shapes: Vec<RowShape>,
}

/// The dimensions of an input past the first, which is the batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowShape {
    /// Name of the input, as the model's metadata have it.
    #[schemars(length(min = 1, max = 256))]
    pub input: String,
    /// Its dimensions past the first, such as [3, 224, 224]: those that the model fixes as they are.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 67_108_864)))]
    pub sizes: Vec<i32>,
}

/// What of batch sizes and CPU limits is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Grid {
    /// What the rest does not tell: at least four limits, and under each the smallest and the largest batch and those that are not on the straight line between others. Of
    /// the others a few batches only.
    #[default]
    Adaptive,
    /// Everything.
    Full,
}

impl Grid {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_adaptive(&self) -> bool {
        *self == Self::Adaptive
    }
}

/// A kind of problem that a measurement may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Accepted {
    /// The mean or the high percentile is not known well enough.
    Noisy,
    /// A larger batch, or one with less CPU, is faster.
    NonMonotone,
    /// Latencies come in two clusters, as under a CPU quota that stops batches in their middle.
    Throttled,
}

fn default_cpu() -> Vec<String> {
    DEFAULT_CPU.map(str::to_owned).to_vec()
}

fn default_time_budget() -> String {
    "1200s".to_owned()
}

fn strings_or_integers<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct One(#[serde(deserialize_with = "crate::quantity::string_or_integer")] String);
    let list = Vec::<One>::deserialize(input)?;
    Ok(list.into_iter().map(|One(quantity)| quantity).collect())
}

impl Default for Measure {
    fn default() -> Self {
        Self {
            cpu: default_cpu(),
            time_budget: default_time_budget(),
            grid: Grid::default(),
            accept: Vec::new(),
            shapes: Vec::new(),
        }
    }
}

/// What was measured: written by the controller's Jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredProfile {
    /// The image that was measured.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Stands for the image and everything else of the spec that a measurement depends on: another one is measured anew.
    #[schemars(length(max = 32))]
    pub subject: String,
    /// Latency on CPU, one entry per batch size.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["batch".into()]))]
    pub cpu: Vec<CpuProfile>,
    /// What a batch needs beyond that if it finds the replica idle; left out where that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_idle: Option<AfterIdle>,
    /// Where the figures come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// What latencies depend on. Memory, ports and credentials are not in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subject<'a> {
    image: &'a str,
    command: &'a [String],
    args: &'a [String],
    env: &'a [super::EnvVar],
    volumes: &'a [super::Volume],
    model_name: Option<&'a str>,
    max_batch_size: i32,
    cpu: &'a [String],
    /// Left out by default, so that what was measured before there was a choice is not measured again.
    #[serde(skip_serializing_if = "Grid::is_adaptive")]
    grid: Grid,
    /// Left out where it is JSON, the only one that was measured once.
    #[serde(skip_serializing_if = "is_json")]
    protocol: Protocol,
    /// Left out where there are none.
    #[serde(skip_serializing_if = "<[RowShape]>::is_empty")]
    shapes: &'a [RowShape],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_json(protocol: &Protocol) -> bool {
    *protocol == Protocol::OipV2Json
}

impl InferenceModelSpec {
    /// How the profile is measured, with every default.
    pub fn measure(&self) -> Measure {
        self.profile.measure.clone().unwrap_or_default()
    }

    /// Stands for what a measurement depends on, as [`MeasuredProfile::subject`].
    pub fn subject(&self) -> String {
        let measure = self.measure();
        let subject = Subject {
            image: &self.runtime.image,
            command: &self.runtime.command,
            args: &self.runtime.args,
            env: &self.runtime.env,
            volumes: &self.runtime.volumes,
            model_name: self.runtime.model_name.as_deref(),
            max_batch_size: self.max_batch_size,
            cpu: &measure.cpu,
            grid: measure.grid,
            protocol: self.protocol,
            shapes: &measure.shapes,
        };
        // Text and integers only: it cannot fail to be written.
        names::hash(&serde_json::to_string(&subject).unwrap_or_default())
    }
}

/// What groups are planned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileInForce<'a> {
    /// On CPU, by batch size.
    pub cpu: &'a [CpuProfile],
    /// What idle time costs there.
    pub after_idle: Option<&'a AfterIdle>,
    /// On GPU, by device.
    pub gpu: &'a [GpuProfile],
}

impl InferenceModel {
    /// The entries from which groups are planned: those of the spec, or, with from: Measure, the measured ones where there are some.
    pub fn profile_in_force(&self) -> ProfileInForce<'_> {
        let given = &self.spec.profile;
        let measured = self.status.as_ref().and_then(|status| status.profile.as_ref());
        let (cpu, after_idle) = match (given.from, measured) {
            (ProfileFrom::Measure, Some(measured)) => (&measured.cpu, &measured.after_idle),
            _ => (&given.cpu, &given.after_idle),
        };
        ProfileInForce {
            cpu,
            after_idle: after_idle.as_ref(),
            gpu: &given.gpu,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn model(profile: &Value) -> InferenceModel {
        serde_json::from_value(json!({
            "apiVersion": "harmonybatch.dev/v1alpha1", "kind": "InferenceModel", "metadata": {"name": "mlp"},
            "spec": {"runtime": {"image": "i:1", "memory": {"base": "1Gi"}}, "maxBatchSize": 8, "profile": profile},
        }))
        .unwrap()
    }

    fn entry(batch: i32) -> Value {
        let curve = json!({"exponential": {"alpha": "1s", "beta": "1", "gamma": "1s"}});
        json!({"batch": batch, "mean": curve, "max": curve})
    }

    #[test]
    fn limits_may_be_integers_and_have_defaults() {
        let measure = |profile: Value| model(&profile).spec.measure();
        assert_eq!(measure(json!({"from": "Measure"})), Measure::default());
        let written = measure(json!({"from": "Measure", "measure": {"cpu": ["250m", 1]}}));
        assert_eq!(
            (written.cpu, written.time_budget.as_str()),
            (vec!["250m".to_owned(), "1".to_owned()], "1200s")
        );
    }

    #[test]
    fn a_subject_is_what_latencies_depend_on() {
        let base = model(&json!({"from": "Measure"})).spec;
        let subject = |change: fn(&mut InferenceModelSpec)| {
            let mut changed = base.clone();
            change(&mut changed);
            changed.subject()
        };
        assert_eq!(base.subject().len(), 16);
        for same in [
            subject(|spec| spec.runtime.memory.base = "2Gi".to_owned()),
            subject(|spec| {
                spec.profile.measure = Some(Measure {
                    time_budget: "60s".to_owned(),
                    ..Measure::default()
                });
            }),
            subject(|spec| spec.idempotent = false),
        ] {
            assert_eq!(same, base.subject());
        }
        for other in [
            subject(|spec| spec.runtime.image = "i:2".to_owned()),
            subject(|spec| spec.runtime.args = vec!["--threads=2".to_owned()]),
            subject(|spec| spec.max_batch_size = 16),
            subject(|spec| spec.protocol = Protocol::OipV2Grpc),
            subject(|spec| {
                spec.profile.measure = Some(Measure {
                    shapes: vec![RowShape {
                        input: "image".to_owned(),
                        sizes: vec![3, 224, 224],
                    }],
                    ..Measure::default()
                });
            }),
            subject(|spec| {
                spec.profile.measure = Some(Measure {
                    cpu: vec!["1".to_owned()],
                    ..Measure::default()
                });
            }),
            subject(|spec| {
                spec.profile.measure = Some(Measure {
                    grid: Grid::Full,
                    ..Measure::default()
                });
            }),
        ] {
            assert_ne!(other, base.subject());
        }
    }

    #[test]
    fn a_measured_profile_is_in_force_where_it_is_asked_for() {
        let batches = |model: &InferenceModel| {
            model
                .profile_in_force()
                .cpu
                .iter()
                .map(|entry| entry.batch)
                .collect::<Vec<_>>()
        };
        let mut measuring = model(&json!({"from": "Measure", "cpu": [entry(1)]}));
        assert_eq!(batches(&measuring), [1], "until there is a measurement");
        let measured = json!({"profile": {"image": "i:1", "subject": "s", "cpu": [entry(2)]}});
        measuring.status = Some(serde_json::from_value(measured).unwrap());
        assert_eq!(batches(&measuring), [2]);
        measuring.spec.profile.from = ProfileFrom::Given;
        assert_eq!(batches(&measuring), [1]);
    }
}
