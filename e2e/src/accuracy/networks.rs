//! What is served: four networks of different kinds in the demo runtime, on one thread each.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cluster::Cluster;
use crate::image::{self, NEWEST, REGISTRY};
use crate::models;
use crate::progress::Progress;

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
    /// Whether its weights are a file of the image.
    is_trained: bool,
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
        is_trained: false,
    },
    Network {
        name: "conv",
        what: "a convolutional net with residual blocks, random",
        arguments: &["--network=conv"],
        columns: 3074,
        max_batch: 4,
        is_trained: false,
    },
    Network {
        name: "encoder",
        what: "a transformer encoder, random",
        arguments: &["--network=encoder"],
        columns: 2050,
        max_batch: 8,
        is_trained: false,
    },
    Network {
        name: "ocr",
        what: "PP-OCR's classifier of text lines, trained",
        arguments: &["--onnx=/models/text-direction.onnx", "--image=3x48x96"],
        columns: 13_826,
        max_batch: 4,
        is_trained: true,
    },
];

/// CPU limits under which a network is measured.
const LIMITS: [&str; 5] = ["100m", "200m", "400m", "700m", "1"];

impl Network {
    /// The InferenceModel, with no figure of its own. Its plans follow what is measured before, and not what requests take later.
    pub(super) fn model(&self, time_budget: &str) -> Value {
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--model-name={}", self.name),
            format!("--max-batch={}", self.max_batch),
        ];
        arguments.extend(self.arguments.iter().map(|&argument| argument.to_owned()));
        // Two times that batches take under a quota are what the form of the profile speaks of; few samples of the rare ones are told with it.
        let measure = json!({ "cpu": LIMITS, "timeBudget": time_budget, "accept": ["Noisy", "NonMonotone", "Throttled"] });
        json!({
            "apiVersion": "harmonybatch.dev/v1alpha1",
            "kind": "InferenceModel",
            "metadata": { "name": self.name },
            "spec": {
                "platformRef": { "name": PLATFORM },
                "runtime": {
                    "image": format!("{REGISTRY}/{}:{NEWEST}", self.image()),
                    "args": arguments,
                    "port": 8080,
                    "memory": { "base": "384Mi", "perRow": "1Mi" },
                },
                "maxBatchSize": self.max_batch,
                "profile": { "from": "Measure", "measure": measure, "correction": "Never" },
            },
        })
    }

    fn image(&self) -> &'static str {
        if self.is_trained {
            "harmonybatch-demo-runtime-with-files"
        } else {
            "harmonybatch-demo-runtime"
        }
    }
}

/// Name of the platform of all networks.
pub(super) const PLATFORM: &str = "accuracy";
/// Price of a vCPU for a second.
pub(super) const VCPU_SECOND: f64 = 0.000_013;

/// One vCPU at most, in steps of 50m. Its overhead is what a request takes besides its wait and its batch: between the generator and the
/// gateway, and in it. A profile is measured over the network, so that the way to the runtime is in that.
pub(super) fn platform() -> Value {
    json!({
        "apiVersion": "harmonybatch.dev/v1alpha1",
        "kind": "InferencePlatform",
        "metadata": { "name": PLATFORM },
        "spec": {
            "currency": "USD",
            "billing": "PerReplica",
            "prices": { "vcpuSecond": format!("{VCPU_SECOND}"), "request": "0" },
            "overhead": "1ms",
            "cpu": { "min": "100m", "max": "1", "step": "50m" },
        },
    })
}

/// Brings the image of a network that is not there from the start onto the local node. On a given cluster it must be there.
pub(super) fn import(network: &Network, cluster: &Cluster, cache: &Cache, progress: &Progress) -> Result<()> {
    let Some(node) = cluster.local_node().filter(|_| network.is_trained) else {
        return Ok(());
    };
    let file = models::text_direction(FILE)?;
    let archive = image::of_the_demo_runtime_with(cache, progress, &[file])?;
    node.import(&archive)
        .with_context(|| format!("cannot import the image of {}", network.name))
}
