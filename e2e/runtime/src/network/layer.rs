//! What every network is made of: affine maps whose numbers follow from a seed.

use crate::random::SplitMix64;

/// One affine map: `y = W x + b`, `W` row-major with one row for each output. A convolution applies it at every place of an
/// image, to the channels x kernel x kernel numbers around it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weights: Vec<f32>,
    pub(crate) biases: Vec<f32>,
}

impl Layer {
    /// Weights uniform in +-sqrt(6 / inputs) (He et al., ICCV 2015): behind a rectifier that keeps the second moment of the
    /// activations from layer to layer, so they stay finite at any depth. Biases uniform in +-0.1.
    pub(crate) fn random(random: &mut SplitMix64, inputs: usize, outputs: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most 2^17")]
        let limit = (6.0 / inputs as f32).sqrt();
        Self {
            inputs,
            outputs,
            weights: random.uniform(inputs * outputs, limit),
            biases: random.uniform(outputs, 0.1),
        }
    }

    /// The same with weights `factor` times as large.
    pub(crate) fn scaled(mut self, factor: f32) -> Self {
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
        self
    }

    /// The weights with one row for each input, as a product from the right needs them.
    pub(crate) fn transposed(&self) -> Vec<f32> {
        (0..self.inputs)
            .flat_map(|input| self.weights.iter().skip(input).step_by(self.inputs).copied())
            .collect()
    }
}
