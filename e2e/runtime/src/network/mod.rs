//! The networks that the server can run, and what they have in common.
//!
//! Whatever a network computes, its callers see the same two tensors: a row of `input` is a tag of [`TAG`] numbers, which the
//! graph itself hands through to the output `echo` and which touch nothing else, and the features that the network reads. A
//! caller who puts a nonce into the tag sees whether the answer is its own. A network that reads images or sequences gives
//! the features their shape inside its graph.
//!
//! Weights follow from a seed ([`perceptron`], [`convolution`], [`encoder`]) or come with a trained network ([`file`]).

mod convolution;
mod encoder;
mod file;
mod image;
mod layer;
mod perceptron;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;

use tract_onnx::pb::ModelProto;

use convolution::Convolutional;
use encoder::Encoder;
use image::Image;
pub(crate) use layer::Layer;
use perceptron::Perceptron;

/// How many leading columns of a row come back as `echo`. Two single-precision numbers carry 48 exact bits.
pub(crate) const TAG: usize = 2;

/// Name of the graph's input.
pub(crate) const INPUT: &str = "input";
/// Name of the output that the layers compute.
pub(crate) const OUTPUT: &str = "output";
/// Name of the output that repeats the row's tag.
pub(crate) const ECHO: &str = "echo";

/// What kind of network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Multilayer perceptron whose weights exceed the cache.
    Mlp,
    /// Residual convolutional network on small images.
    Conv,
    /// Transformer encoder on sequences of tokens.
    Encoder,
}

/// Which network it is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Kind of network; its weights follow from the seed.
    #[arg(long, value_enum, default_value_t = Kind::Mlp)]
    network: Kind,
    /// A trained network instead: an ONNX file with one input [N, channels, height, width]. Its first output is served. If it
    /// computes shapes from N, it is planned, and its weights are held, once for each batch size up to --max-batch.
    #[arg(long, value_name = "FILE", conflicts_with = "network")]
    onnx: Option<PathBuf>,
    /// Numbers in a row of `output`; the file of --onnx has its own.
    #[arg(long, default_value_t = 16, value_parser = within::<1, 4096>)]
    classes: usize,
    /// Seed of the weights.
    #[arg(long, default_value_t = 20_240_619)]
    pub(crate) seed: u64,
    /// Shape of the images that --network conv (3x32x32 where not given) and --onnx (what the file says) read from a row.
    #[arg(long, value_name = "CxHxW")]
    image: Option<Image>,
    #[command(flatten, next_help_heading = "Options of --network mlp")]
    perceptron: Perceptron,
    #[command(flatten, next_help_heading = "Options of --network conv")]
    convolutional: Convolutional,
    #[command(flatten, next_help_heading = "Options of --network encoder")]
    encoder: Encoder,
}

/// A network whose weights are not there yet.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Numbers in a row of the input, the tag among them.
    pub(crate) columns: usize,
    /// Numbers in a row of `output`.
    pub(crate) classes: usize,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Perceptron(Perceptron, u64),
    Convolutional(Convolutional, Image, u64),
    Encoder(Encoder, u64),
    File(Box<ModelProto>),
}

impl Options {
    /// The network of these options; reads the file of a trained one.
    pub(crate) fn network(&self) -> anyhow::Result<Network> {
        if let Some(path) = &self.onnx {
            let (model, image, classes) = file::read(path, self.image)?;
            return Ok(Network {
                columns: TAG + image.numbers(),
                classes,
                source: Source::File(Box::new(model)),
            });
        }
        let (columns, source) = match self.network {
            Kind::Mlp => (
                self.perceptron.columns,
                Source::Perceptron(self.perceptron, self.seed),
            ),
            Kind::Conv => {
                let image = self.image.unwrap_or(convolution::IMAGE);
                let columns = TAG + image.numbers();
                (
                    columns,
                    Source::Convolutional(self.convolutional, image, self.seed),
                )
            }
            Kind::Encoder => {
                self.encoder.check()?;
                (self.encoder.columns(), Source::Encoder(self.encoder, self.seed))
            }
        };
        Ok(Network {
            columns,
            classes: self.classes,
            source,
        })
    }
}

impl Network {
    /// The network with its weights as an ONNX model with the input [`INPUT`] and the outputs [`OUTPUT`] and [`ECHO`].
    pub(crate) fn model(self) -> ModelProto {
        match self.source {
            Source::Perceptron(perceptron, seed) => perceptron.model(self.classes, seed),
            Source::Convolutional(convolutional, image, seed) => {
                convolutional.model(image, self.classes, seed)
            }
            Source::Encoder(encoder, seed) => encoder.model(self.classes, seed),
            Source::File(model) => *model,
        }
    }
}

fn within<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    let value = text.parse::<usize>().map_err(|error| error.to_string())?;
    if (MIN..=MAX).contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be within {MIN}..={MAX}"))
    }
}
