//! A residual convolutional network for small images (He et al., CVPR 2016, section 4.2: the form for 32 x 32 images): a
//! 3 x 3 convolution, stages of residual blocks of two 3 x 3 convolutions each, global average pooling, and one dense layer.
//! Every stage but the first halves both sides of the image and doubles the channels. Batch normalisation is folded into
//! the convolutions, as in any network that is exported for inference.

use tract_onnx::pb::ModelProto;

use super::image::Image;
use super::layer::Layer;
use super::{OUTPUT, TAG, within};
use crate::onnx::{FEATURES, Graph, integers, signed};
use crate::random::SplitMix64;

/// What a row holds where nobody says otherwise.
pub(super) const IMAGE: Image = Image {
    channels: 3,
    height: 32,
    width: 32,
};

/// The network's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Convolutional {
    /// Channels of the first stage; every later stage has twice those of the one before.
    #[arg(long, default_value_t = 32, value_parser = within::<1, 256>)]
    pub(crate) channels: usize,
    /// Stages, each at half the resolution of the one before.
    #[arg(long, default_value_t = 3, value_parser = within::<1, 4>)]
    pub(crate) stages: usize,
    /// Residual blocks of a stage.
    #[arg(long, default_value_t = 3, value_parser = within::<1, 16>)]
    pub(crate) blocks: usize,
}

/// A square convolution with as much padding as keeps the image's size at stride 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Convolution {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Inputs are channels x kernel x kernel.
    pub(crate) layer: Layer,
}

/// `relu(shortcut(x) + second(relu(first(x))))`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) first: Convolution,
    pub(crate) second: Convolution,
    /// The identity where there is none.
    pub(crate) shortcut: Option<Convolution>,
}

/// All weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub(crate) stem: Convolution,
    pub(crate) blocks: Vec<Block>,
    pub(crate) dense: Layer,
}

impl Convolutional {
    /// The weights that follow from the seed.
    pub(crate) fn weights(self, image: Image, classes: usize, seed: u64) -> Weights {
        let mut streams = (0..).map(|index| SplitMix64::stream(seed, index));
        let mut layer = |inputs, outputs| {
            // The streams do not end.
            let mut random = streams.next().unwrap_or_else(|| SplitMix64::new(seed));
            Layer::random(&mut random, inputs, outputs)
        };
        let mut convolution = |kernel: usize, stride, inputs, outputs| Convolution {
            kernel,
            stride,
            layer: layer(inputs * kernel * kernel, outputs),
        };
        let stem = convolution(3, 1, image.channels, self.channels);
        // Keeps the sum over all shortcuts as large as its terms, as batch normalisation would (Zhang et al., ICLR 2019).
        #[expect(clippy::cast_precision_loss, reason = "at most 64")]
        let damping = 1.0 / ((self.stages * self.blocks) as f32).sqrt();
        let mut width = self.channels;
        let mut blocks = Vec::new();
        for stage in 0..self.stages {
            for block in 0..self.blocks {
                let narrows = stage > 0 && block == 0;
                let (stride, outputs) = if narrows { (2, 2 * width) } else { (1, width) };
                let first = convolution(3, stride, width, outputs);
                let second = convolution(3, 1, outputs, outputs);
                blocks.push(Block {
                    first,
                    second: Convolution {
                        layer: second.layer.scaled(damping),
                        ..second
                    },
                    shortcut: narrows.then(|| convolution(1, stride, width, outputs)),
                });
                width = outputs;
            }
        }
        let dense = layer(width, classes);
        Weights { stem, blocks, dense }
    }

    /// The network with its weights.
    pub(crate) fn model(self, image: Image, classes: usize, seed: u64) -> ModelProto {
        let weights = self.weights(image, classes, seed);
        let mut graph = Graph::new("residual_convolutional_network", TAG + image.numbers());
        let [channels, height, width] = image.dimensions();
        let pixels = graph.reshape("image", FEATURES, &[0, channels, height, width]);
        let stem = weights.stem.node(&mut graph, "stem", &pixels);
        let mut previous = graph.node("Relu", "stem_relu", &[&stem]);
        for (index, block) in weights.blocks.iter().enumerate() {
            previous = block.nodes(&mut graph, &format!("block{index}"), &previous);
        }
        let pooled = graph.node("GlobalAveragePool", "pool", &[&previous]);
        let flat = graph.reshape("pool_flat", &pooled, &[0, weights.dense.inputs]);
        graph.dense(OUTPUT, &flat, &weights.dense);
        graph.model(classes)
    }
}

impl Block {
    fn nodes(&self, graph: &mut Graph, name: &str, input: &str) -> String {
        let first = self.first.node(graph, &format!("{name}_first"), input);
        let first = graph.node("Relu", &format!("{name}_first_relu"), &[&first]);
        let second = self.second.node(graph, &format!("{name}_second"), &first);
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.node(graph, &format!("{name}_shortcut"), input),
            None => input.to_owned(),
        };
        let sum = graph.node("Add", &format!("{name}_sum"), &[&shortcut, &second]);
        graph.node("Relu", &format!("{name}_relu"), &[&sum])
    }
}

impl Convolution {
    /// Channels of the input.
    pub(crate) fn channels(&self) -> usize {
        self.layer.inputs / (self.kernel * self.kernel)
    }

    /// Zeros around the image.
    pub(crate) fn padding(&self) -> usize {
        self.kernel / 2
    }

    fn node(&self, graph: &mut Graph, name: &str, input: &str) -> String {
        let dimensions = [self.layer.outputs, self.channels(), self.kernel, self.kernel];
        let weights = graph.floats(&format!("{name}_weights"), &dimensions, &self.layer.weights);
        let biases = graph.floats(
            &format!("{name}_biases"),
            &[self.layer.outputs],
            &self.layer.biases,
        );
        let (kernel, stride, padding) = (signed(self.kernel), signed(self.stride), signed(self.padding()));
        let attributes = vec![
            integers("kernel_shape", &[kernel; 2]),
            integers("strides", &[stride; 2]),
            integers("pads", &[padding; 4]),
        ];
        graph.node_with("Conv", name, &[input, &weights, &biases], attributes)
    }
}
