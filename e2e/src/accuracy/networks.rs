//! What is served: four networks of different kinds in the demo runtime, on one thread each.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cluster::Cluster;
use crate::image::{self, NEWEST, REGISTRY};
use crate::models;
use crate::progress::Progress;
use crate::samples;

/// One network.
#[derive(Debug)]
pub(super) struct Network {
    /// Name of the model, and of the network in the report.
    pub(super) name: &'static str,
    /// What it is, for people.
    pub(super) what: &'static str,
    /// Arguments of the runtime besides `serve`.
    arguments: &'static [&'static str],
    /// Numbers of a row: the two that come back as they were sent, and those that the network reads.
    pub(super) columns: usize,
    /// Rows of the largest batch.
    max_batch: u32,
    pub(super) source: Source,
}

/// Where the time of its batches comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It computes, with weights that follow from a seed.
    Random,
    /// It computes, with weights that are a file of the image.
    Trained,
    /// It sleeps as the profile of a device says that is not here.
    Simulated,
}

/// Where the trained network lies in its image.
const FILE: &str = "/models/text-direction.onnx";

pub(super) const ALL: &[Network] = &[
    Network {
        name: "mlp",
        what: "a multilayer perceptron that streams its weights, random",
        arguments: &[],
        columns: 64,
        max_batch: 8,
        source: Source::Random,
    },
    Network {
        name: "conv",
        what: "a convolutional net with residual blocks, random",
        arguments: &["--network=conv"],
        columns: 3074,
        max_batch: 4,
        source: Source::Random,
    },
    Network {
        name: "encoder",
        what: "a transformer encoder, random",
        arguments: &["--network=encoder"],
        columns: 2050,
        max_batch: 8,
        source: Source::Random,
    },
    Network {
        name: "ocr",
        what: "PP-OCR's classifier of text lines, trained",
        arguments: &["--onnx=/models/text-direction.onnx", "--image=3x48x96"],
        columns: 13_826,
        max_batch: 4,
        source: Source::Trained,
    },
    Network {
        name: "vgg19",
        what: "shares of an A10 that is simulated, larger than this machine",
        arguments: &[],
        columns: 64,
        max_batch: 32,
        source: Source::Simulated,
    },
];

/// CPU limits under which a network is measured.
const LIMITS: [&str; 5] = ["100m", "200m", "400m", "700m", "1"];

impl Network {
    /// The InferenceModel, with no figure of its own. Its plans follow what is measured before, and not what requests take later.
    pub(super) fn model(&self, time_budget: &str) -> Result<Value> {
        if self.source == Source::Simulated {
            return sample("model.yaml", &json!({ "profile": { "correction": "Never" } }));
        }
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--model-name={}", self.name),
            format!("--max-batch={}", self.max_batch),
        ];
        arguments.extend(self.arguments.iter().map(|&argument| argument.to_owned()));
        // Two times that batches take under a quota are what the form of the profile speaks of; few samples of the rare ones are told with it.
        let measure = json!({ "cpu": LIMITS, "timeBudget": time_budget, "accept": ["Noisy", "NonMonotone", "Throttled"] });
        Ok(json!({
            "apiVersion": "harmonybatch.dev/v1alpha1",
            "kind": "InferenceModel",
            "metadata": { "name": self.name },
            "spec": {
                "platformRef": { "name": self.platform_name() },
                "runtime": {
                    "image": format!("{REGISTRY}/{}:{NEWEST}", self.image()),
                    "args": arguments,
                    "port": 8080,
                    "memory": { "base": "384Mi", "perRow": "1Mi" },
                },
                "maxBatchSize": self.max_batch,
                "profile": { "from": "Measure", "measure": measure, "correction": "Never" },
            },
        }))
    }

    fn image(&self) -> &'static str {
        if self.source == Source::Trained {
            "harmonybatch-demo-runtime-with-files"
        } else {
            "harmonybatch-demo-runtime"
        }
    }
}

/// Price of a vCPU for a second.
pub(super) const VCPU_SECOND: f64 = 0.000_013;
/// Price of a unit of a GPU for a second.
pub(super) const GPU_UNIT_SECOND: f64 = 0.000_015;
/// The resource of which a pod on a GPU has as many as units.
pub(super) const GPU_UNITS: &str = "harmonybatch.dev/gpu-slice";
/// What a request takes besides its wait and its batch: between the generator and the gateway, and in it. A profile is measured over the
/// network, so that the way to the runtime is in that.
const OVERHEAD: &str = "1ms";

impl Network {
    /// Name of the platform that it is planned for.
    pub(super) fn platform_name(&self) -> &'static str {
        match self.source {
            Source::Simulated => "simulated-gpu",
            Source::Random | Source::Trained => "accuracy",
        }
    }

    /// One vCPU at most, in steps of 50m; or the simulated GPU of the samples.
    pub(super) fn platform(&self) -> Result<Value> {
        if self.source == Source::Simulated {
            return sample("platform.yaml", &json!({ "overhead": OVERHEAD }));
        }
        Ok(json!({
            "apiVersion": "harmonybatch.dev/v1alpha1",
            "kind": "InferencePlatform",
            "metadata": { "name": self.platform_name() },
            "spec": {
                "currency": "USD",
                "billing": "PerReplica",
                "prices": { "vcpuSecond": format!("{VCPU_SECOND}"), "request": "0" },
                "overhead": OVERHEAD,
                "cpu": { "min": "100m", "max": "1", "step": "50m" },
            },
        }))
    }
}

/// An object of the samples for a simulated GPU, with changes of its spec.
fn sample(file: &str, changes: &Value) -> Result<Value> {
    let mut object = samples::object("samples-gpu", file)?;
    samples::merge(&mut object["spec"], changes);
    Ok(object)
}

/// Brings the image of a network that is not there from the start onto the local node. On a given cluster it must be there.
pub(super) fn import(network: &Network, cluster: &Cluster, cache: &Cache, progress: &Progress) -> Result<()> {
    let Some(node) = cluster.local_node().filter(|_| network.source == Source::Trained) else {
        return Ok(());
    };
    let file = models::text_direction(FILE)?;
    let archive = image::of_the_demo_runtime_with(cache, progress, &[file])?;
    node.import(&archive)
        .with_context(|| format!("cannot import the image of {}", network.name))
}
