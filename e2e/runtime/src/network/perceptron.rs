//! A multilayer perceptron whose weights exceed the cache, so that one batch streams them once for all its rows and a batch
//! of eight costs little more than a batch of one.

use tract_onnx::pb::ModelProto;

use super::layer::Layer;
use super::{OUTPUT, TAG, within};
use crate::onnx::{FEATURES, Graph};
use crate::random::SplitMix64;

/// The network's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Perceptron {
    /// Numbers in a row: a tag of two that comes back as `echo`, and the features.
    #[arg(long, default_value_t = 64, value_parser = within::<3, 4096>)]
    pub(crate) columns: usize,
    /// Width of the hidden layers.
    #[arg(long, default_value_t = 2048, value_parser = within::<1, 8192>)]
    pub(crate) width: usize,
    /// Square matrices of width x width between the first hidden layer and the output.
    #[arg(long, default_value_t = 5, value_parser = within::<0, 64>)]
    pub(crate) depth: usize,
}

impl Perceptron {
    /// Inputs and outputs of every layer, first to last.
    fn dimensions(&self, classes: usize) -> Vec<(usize, usize)> {
        let mut dimensions = vec![(self.columns - TAG, self.width)];
        dimensions.extend(std::iter::repeat_n((self.width, self.width), self.depth));
        dimensions.push((self.width, classes));
        dimensions
    }

    /// The layers one after the other, each made when it is asked for.
    pub(crate) fn layers(self, classes: usize, seed: u64) -> impl Iterator<Item = Layer> {
        self.dimensions(classes)
            .into_iter()
            .zip(0_u64..)
            .map(move |((inputs, outputs), index)| {
                Layer::random(&mut SplitMix64::stream(seed, index), inputs, outputs)
            })
    }

    /// The network with its weights.
    pub(crate) fn model(self, classes: usize, seed: u64) -> ModelProto {
        let mut graph = Graph::new("weight_streaming_mlp", self.columns);
        let last = self.depth + 1;
        let mut previous = FEATURES.to_owned();
        for (index, layer) in self.layers(classes, seed).enumerate() {
            if index == last {
                graph.dense(OUTPUT, &previous, &layer);
            } else {
                let sum = graph.dense(&format!("layer{index}"), &previous, &layer);
                previous = graph.node("Relu", &format!("layer{index}_relu"), &[&sum]);
            }
        }
        graph.model(classes)
    }
}
