//! The demo network: a multilayer perceptron whose weights exceed the cache, so that one batch streams them once for all
//! its rows and a batch of eight costs little more than a batch of one. Weights follow from a seed.
//!
//! A row has [`Architecture::columns`] numbers. The first [`TAG`] of them are handed through to the output `echo` by the
//! graph itself and touch nothing else: a caller who puts a nonce there sees whether the answer is its own. The others
//! are the features that the layers read.

use crate::random::SplitMix64;

/// How many leading columns of a row come back as `echo`. Two single-precision numbers carry 48 exact bits.
pub(crate) const TAG: usize = 2;

/// Name of the graph's input.
pub(crate) const INPUT: &str = "input";
/// Name of the output that the layers compute.
pub(crate) const OUTPUT: &str = "output";
/// Name of the output that repeats the row's tag.
pub(crate) const ECHO: &str = "echo";

/// The network's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Architecture {
    /// Numbers in a row: a tag of two that comes back as `echo`, and the features.
    #[arg(long, default_value_t = 64, value_parser = within::<3, 4096>)]
    pub(crate) columns: usize,
    /// Width of the hidden layers.
    #[arg(long, default_value_t = 2048, value_parser = within::<1, 8192>)]
    pub(crate) width: usize,
    /// Square matrices of width x width between the first hidden layer and the output.
    #[arg(long, default_value_t = 5, value_parser = within::<0, 64>)]
    pub(crate) depth: usize,
    /// Numbers in a row of `output`.
    #[arg(long, default_value_t = 16, value_parser = within::<1, 4096>)]
    pub(crate) classes: usize,
    /// Seed of the weights.
    #[arg(long, default_value_t = 20_240_619)]
    pub(crate) seed: u64,
}

fn within<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    let value = text.parse::<usize>().map_err(|error| error.to_string())?;
    if (MIN..=MAX).contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be within {MIN}..={MAX}"))
    }
}

/// One fully connected layer: `y = W x + b`, `W` row-major with one row for each output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weights: Vec<f32>,
    pub(crate) biases: Vec<f32>,
}

impl Architecture {
    /// Inputs and outputs of every layer, first to last.
    pub(crate) fn dimensions(&self) -> Vec<(usize, usize)> {
        let mut dimensions = vec![(self.columns - TAG, self.width)];
        dimensions.extend(std::iter::repeat_n((self.width, self.width), self.depth));
        dimensions.push((self.width, self.classes));
        dimensions
    }

    /// Bytes of all weights and biases.
    pub(crate) fn bytes(&self) -> usize {
        self.dimensions()
            .iter()
            .map(|(inputs, outputs)| (inputs + 1) * outputs * size_of::<f32>())
            .sum()
    }

    /// The layers one after the other, each made when it is asked for.
    ///
    /// Weights are uniform in +-sqrt(6 / inputs) (He et al., ICCV 2015): behind a rectifier that keeps the second moment
    /// of the activations from layer to layer, so they stay finite at any depth.
    pub(crate) fn layers(self) -> impl Iterator<Item = Layer> {
        self.dimensions()
            .into_iter()
            .zip(0_u64..)
            .map(move |((inputs, outputs), index)| {
                let mut random = SplitMix64::new(self.seed ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03));
                #[expect(clippy::cast_precision_loss, reason = "at most 8192")]
                let limit = (6.0 / inputs as f32).sqrt();
                let mut uniform = |count: usize, limit: f32| {
                    (0..count).map(|_| random.symmetric(limit)).collect::<Vec<_>>()
                };
                Layer {
                    inputs,
                    outputs,
                    weights: uniform(inputs * outputs, limit),
                    biases: uniform(outputs, 0.1),
                }
            })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SMALL: Architecture = Architecture {
        columns: 10,
        width: 24,
        depth: 2,
        classes: 5,
        seed: 3,
    };

    /// The network in the plainest way there is, in double precision: what tract must agree with.
    pub(crate) fn naive(architecture: Architecture, row: &[f32]) -> Vec<f64> {
        let layers = architecture.layers().collect::<Vec<_>>();
        let mut activations = row[TAG..]
            .iter()
            .map(|&value| f64::from(value))
            .collect::<Vec<_>>();
        for (index, layer) in layers.iter().enumerate() {
            activations = (0..layer.outputs)
                .map(|output| {
                    let weights = &layer.weights[output * layer.inputs..(output + 1) * layer.inputs];
                    let sum = weights
                        .iter()
                        .zip(&activations)
                        .map(|(w, x)| f64::from(*w) * x)
                        .sum::<f64>()
                        + f64::from(layer.biases[output]);
                    if index + 1 < layers.len() {
                        sum.max(0.0)
                    } else {
                        sum
                    }
                })
                .collect();
        }
        activations
    }

    #[test]
    fn the_same_seed_is_the_same_network() {
        assert_eq!(
            SMALL.layers().collect::<Vec<_>>(),
            SMALL.layers().collect::<Vec<_>>()
        );
        let other = Architecture { seed: 4, ..SMALL };
        assert_ne!(SMALL.layers().next(), other.layers().next());
    }

    #[test]
    fn activations_neither_vanish_nor_explode_with_depth() {
        let deep = Architecture {
            columns: 66,
            width: 96,
            depth: 24,
            classes: 16,
            seed: 11,
        };
        let row = (0..66_u8)
            .map(|index| f32::from(index) / 33.0 - 1.0)
            .collect::<Vec<_>>();
        let output = naive(deep, &row);
        let norm = output.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!((0.05..100.0).contains(&norm), "{norm}");
    }
}
