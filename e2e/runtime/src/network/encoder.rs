//! A transformer encoder (Vaswani et al., NeurIPS 2017) that classifies a sequence: every token is projected to the
//! embedding's width and gets its position's vector; then come blocks of multi-head attention and a feed-forward layer with
//! GELU, each behind its own layer normalisation (Xiong et al., ICML 2020); then a last normalisation, the mean over the
//! tokens, and one dense layer. Written in primitives of opset 13, as exporters of the time wrote it.

use tract_onnx::pb::ModelProto;

use super::layer::Layer;
use super::{OUTPUT, TAG, within};
use crate::onnx::{FEATURES, Graph, integer, integers};
use crate::random::SplitMix64;

/// Keeps the root of a variance away from zero.
pub(crate) const EPSILON: f32 = 1e-5;
/// Width of the feed-forward layer in widths of the embedding.
const EXPANSION: usize = 4;

/// The network's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Encoder {
    /// Tokens of a sequence.
    #[arg(long, default_value_t = 32, value_parser = within::<1, 512>)]
    pub(crate) tokens: usize,
    /// Numbers of a token in the row.
    #[arg(long, default_value_t = 64, value_parser = within::<1, 1024>)]
    pub(crate) token_width: usize,
    /// Numbers of a token inside the network.
    #[arg(long, default_value_t = 256, value_parser = within::<1, 1024>)]
    pub(crate) embedding: usize,
    /// Heads of the attention; they share the embedding evenly.
    #[arg(long, default_value_t = 4, value_parser = within::<1, 64>)]
    pub(crate) heads: usize,
    /// Blocks of attention and feed-forward layer.
    #[arg(long, default_value_t = 4, value_parser = within::<1, 48>)]
    pub(crate) layers: usize,
}

/// Options that name no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("{heads} heads do not share an embedding of {embedding} numbers evenly")]
    Heads { heads: usize, embedding: usize },
}

/// `gains * (x - mean) / sqrt(variance + epsilon) + shifts` over the numbers of one token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normalisation {
    pub(crate) gains: Vec<f32>,
    pub(crate) shifts: Vec<f32>,
}

/// One block; each half is added to what it reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) before_attention: Normalisation,
    pub(crate) query: Layer,
    pub(crate) key: Layer,
    pub(crate) value: Layer,
    pub(crate) projection: Layer,
    pub(crate) before_feed_forward: Normalisation,
    pub(crate) expansion: Layer,
    pub(crate) contraction: Layer,
}

/// All weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub(crate) embedding: Layer,
    /// One vector for each token.
    pub(crate) positions: Vec<f32>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) last: Normalisation,
    pub(crate) dense: Layer,
}

impl Encoder {
    /// Whether the options name a network.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let (heads, embedding) = (self.heads, self.embedding);
        if embedding.is_multiple_of(heads) {
            Ok(())
        } else {
            Err(Error::Heads { heads, embedding })
        }
    }

    /// Numbers in a row, the tag among them.
    pub(crate) fn columns(&self) -> usize {
        TAG + self.tokens * self.token_width
    }

    /// The weights that follow from the seed.
    pub(crate) fn weights(self, classes: usize, seed: u64) -> Weights {
        let width = self.embedding;
        let mut first = SplitMix64::stream(seed, 0);
        let embedding = Layer::random(&mut first, self.token_width, width);
        let positions = first.uniform(self.tokens * width, 1.0);
        let block = |index| {
            let mut random = SplitMix64::stream(seed, index);
            Block {
                before_attention: Normalisation::random(&mut random, width),
                query: Layer::random(&mut random, width, width),
                key: Layer::random(&mut random, width, width),
                value: Layer::random(&mut random, width, width),
                projection: Layer::random(&mut random, width, width),
                before_feed_forward: Normalisation::random(&mut random, width),
                expansion: Layer::random(&mut random, width, EXPANSION * width),
                contraction: Layer::random(&mut random, EXPANSION * width, width),
            }
        };
        let blocks = (1..).take(self.layers).map(block).collect();
        let mut last = SplitMix64::stream(seed, u64::MAX);
        Weights {
            embedding,
            positions,
            blocks,
            last: Normalisation::random(&mut last, width),
            dense: Layer::random(&mut last, width, classes),
        }
    }

    /// The network with its weights.
    pub(crate) fn model(self, classes: usize, seed: u64) -> ModelProto {
        let weights = self.weights(classes, seed);
        let mut graph = Graph::new("transformer_encoder", self.columns());
        graph.floats("epsilon", &[1], &[EPSILON]);
        graph.floats("half", &[1], &[0.5]);
        graph.floats("one", &[1], &[1.0]);
        graph.floats("root_of_half", &[1], &[std::f32::consts::FRAC_1_SQRT_2]);
        #[expect(clippy::cast_precision_loss, reason = "at most 1024")]
        let scale = 1.0 / ((self.embedding / self.heads) as f32).sqrt();
        graph.floats("score_scale", &[1], &[scale]);
        let tokens = graph.reshape("tokens", FEATURES, &[0, self.tokens, self.token_width]);
        let embedded = weights.embedding.node(&mut graph, "embedding", &tokens);
        let positions = graph.floats("positions", &[self.tokens, self.embedding], &weights.positions);
        let mut previous = graph.node("Add", "positioned", &[&embedded, &positions]);
        for (index, block) in weights.blocks.iter().enumerate() {
            let name = format!("block{index}");
            let attention = block.attention(&mut graph, &name, &previous, self);
            let attended = graph.node("Add", &format!("{name}_attended"), &[&previous, &attention]);
            let fed = block.feed_forward(&mut graph, &name, &attended);
            previous = graph.node("Add", &format!("{name}_output"), &[&attended, &fed]);
        }
        let last = weights.last.nodes(&mut graph, "last", &previous);
        let over_tokens = vec![integers("axes", &[1]), integer("keepdims", 0)];
        let mean = graph.node_with("ReduceMean", "mean_token", &[&last], over_tokens);
        graph.dense(OUTPUT, &mean, &weights.dense);
        std::mem::replace(&mut graph, Graph::new("", TAG)).model(classes)
    }
}

impl Block {
    /// `softmax(Q K' / sqrt(width of a head)) V` of every head, put side by side and projected.
    fn attention(&self, graph: &mut Graph, name: &str, input: &str, shape: Encoder) -> String {
        let normal = self
            .before_attention
            .nodes(graph, &format!("{name}_before_attention"), input);
        let split = [0, shape.tokens, shape.heads, shape.embedding / shape.heads];
        let mut heads = |part: &str, layer: &Layer, order: &[i64]| {
            let name = format!("{name}_{part}");
            let numbers = layer.node(graph, &name, &normal);
            let parts = graph.reshape(&format!("{name}_split"), &numbers, &split);
            graph.node_with(
                "Transpose",
                &format!("{name}_heads"),
                &[&parts],
                vec![integers("perm", order)],
            )
        };
        let query = heads("query", &self.query, &[0, 2, 1, 3]);
        let key = heads("key", &self.key, &[0, 2, 3, 1]);
        let value = heads("value", &self.value, &[0, 2, 1, 3]);
        let mut step =
            |operator, part: &str, inputs: &[&str]| graph.node(operator, &format!("{name}_{part}"), inputs);
        let products = step("MatMul", "products", &[&query, &key]);
        let scores = step("Mul", "scores", &[&products, "score_scale"]);
        let shares = graph.node_with(
            "Softmax",
            &format!("{name}_shares"),
            &[&scores],
            vec![integer("axis", -1)],
        );
        let mixed = graph.node("MatMul", &format!("{name}_mixed"), &[&shares, &value]);
        let back = vec![integers("perm", &[0, 2, 1, 3])];
        let parts = graph.node_with("Transpose", &format!("{name}_mixed_parts"), &[&mixed], back);
        let joined = graph.reshape(
            &format!("{name}_joined"),
            &parts,
            &[0, shape.tokens, shape.embedding],
        );
        self.projection
            .node(graph, &format!("{name}_projection"), &joined)
    }

    /// `contraction(gelu(expansion(x)))` with `gelu(x) = x (1 + erf(x / sqrt 2)) / 2`.
    fn feed_forward(&self, graph: &mut Graph, name: &str, input: &str) -> String {
        let normal = self
            .before_feed_forward
            .nodes(graph, &format!("{name}_before_feed_forward"), input);
        let wide = self.expansion.node(graph, &format!("{name}_expansion"), &normal);
        let mut step =
            |operator, part: &str, inputs: &[&str]| graph.node(operator, &format!("{name}_{part}"), inputs);
        let scaled = step("Mul", "gelu_scaled", &[&wide, "root_of_half"]);
        let erf = step("Erf", "gelu_erf", &[&scaled]);
        let twice = step("Add", "gelu_twice", &[&erf, "one"]);
        let share = step("Mul", "gelu_share", &[&twice, "half"]);
        let gelu = step("Mul", "gelu", &[&wide, &share]);
        self.contraction
            .node(graph, &format!("{name}_contraction"), &gelu)
    }
}

impl Normalisation {
    /// Gains around one, shifts around zero.
    fn random(random: &mut SplitMix64, width: usize) -> Self {
        let gains = random.uniform(width, 0.1);
        Self {
            gains: gains.into_iter().map(|gain| 1.0 + gain).collect(),
            shifts: random.uniform(width, 0.1),
        }
    }

    fn nodes(&self, graph: &mut Graph, name: &str, input: &str) -> String {
        let gains = graph.floats(&format!("{name}_gains"), &[self.gains.len()], &self.gains);
        let shifts = graph.floats(&format!("{name}_shifts"), &[self.shifts.len()], &self.shifts);
        let over_numbers = || vec![integers("axes", &[-1]), integer("keepdims", 1)];
        let mean = graph.node_with("ReduceMean", &format!("{name}_mean"), &[input], over_numbers());
        let centred = graph.node("Sub", &format!("{name}_centred"), &[input, &mean]);
        let squares = graph.node("Mul", &format!("{name}_squares"), &[&centred, &centred]);
        let variance = graph.node_with(
            "ReduceMean",
            &format!("{name}_variance"),
            &[&squares],
            over_numbers(),
        );
        let mut step =
            |operator, part: &str, inputs: &[&str]| graph.node(operator, &format!("{name}_{part}"), inputs);
        let padded = step("Add", "padded", &[&variance, "epsilon"]);
        let deviation = step("Sqrt", "deviation", &[&padded]);
        let unit = step("Div", "unit", &[&centred, &deviation]);
        let scaled = step("Mul", "scaled", &[&unit, &gains]);
        step("Add", "normal", &[&scaled, &shifts])
    }
}

impl Layer {
    /// The layer applied to every token of [rows, tokens, inputs].
    fn node(&self, graph: &mut Graph, name: &str, input: &str) -> String {
        let weights = graph.floats(
            &format!("{name}_weights"),
            &[self.inputs, self.outputs],
            &self.transposed(),
        );
        let biases = graph.floats(&format!("{name}_biases"), &[self.outputs], &self.biases);
        let product = graph.node("MatMul", &format!("{name}_product"), &[input, &weights]);
        graph.node("Add", name, &[&product, &biases])
    }
}
