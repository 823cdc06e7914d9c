//! A trained network from an ONNX file, behind nodes of ours that give it the contract of the other networks: its input is
//! cut out of the row and shaped as an image, its first output is flattened to one row of numbers.

use std::path::{Path, PathBuf};

use prost::Message;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, type_proto};

use super::image::Image;
use super::{OUTPUT, TAG};
use crate::onnx::{FEATURES, Graph, integer, signed};
use crate::tract;

/// Slices take their bounds as tensors, as ours do, from this opset on.
const OPSET: i64 = 10;
/// In front of every name of the file, so that none is one of ours.
const PREFIX: &str = "file/";

/// A file that cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file is no ONNX model")]
    Decode(#[from] prost::DecodeError),
    #[error("the model has no graph")]
    NoGraph,
    #[error("the model is of opset {0}, and {OPSET} is the first that can be served")]
    Opset(i64),
    #[error("the model has the inputs {0:?}, and only one can be served")]
    Inputs(Vec<String>),
    #[error("the model has no output")]
    NoOutput,
    #[error("input {0} is not of the shape [N, channels, height, width]")]
    NoImage(String),
    #[error("input {0} leaves the image's size open: say it with --image")]
    Open(String),
    #[error("input {input} takes images of {expected:?} (-1 is any), not {image}")]
    OtherImage {
        input: String,
        expected: [i64; 3],
        image: Image,
    },
    #[error("the network does not run on images of {image}")]
    Run {
        image: Image,
        #[source]
        source: anyhow::Error,
    },
}

/// Reads a file: the wrapped model, what it reads, and how many numbers a row of its output has.
pub(super) fn read(path: &Path, image: Option<Image>) -> Result<(ModelProto, Image, usize), Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    wrap(ModelProto::decode(bytes.as_slice())?, image)
}

/// The model behind nodes of ours, what it reads, and how many numbers a row of its output has.
pub(super) fn wrap(mut model: ModelProto, image: Option<Image>) -> Result<(ModelProto, Image, usize), Error> {
    let opset = model.opset_import.iter().filter(|set| set.domain.is_empty());
    let opset = opset.map(|set| set.version).max().unwrap_or(0);
    if opset < OPSET {
        return Err(Error::Opset(opset));
    }
    let inner = model.graph.as_ref().ok_or(Error::NoGraph)?;
    let (input, image) = of_the_input(inner, image)?;
    let output = inner.output.first().ok_or(Error::NoOutput)?.name.clone();
    let classes = tract::row_of_the_output(&model, image.dimensions())
        .map_err(|source| Error::Run { image, source })?;
    let mut inner = model.graph.take().ok_or(Error::NoGraph)?;
    prefix_names(&mut inner);
    let mut graph = Graph::new("wrapped", TAG + image.numbers());
    let [channels, height, width] = image.dimensions();
    // What the file's nodes know as their input is the output of a node of ours.
    graph.reshape(&prefixed(&input), FEATURES, &[0, channels, height, width]);
    graph.append(inner);
    graph.node_with("Flatten", OUTPUT, &[&prefixed(&output)], vec![integer("axis", 1)]);
    model.graph = Some(graph.finish(classes));
    Ok((model, image, classes))
}

/// Name and image of the only input. Before IR version 4 initializers are listed as inputs too.
fn of_the_input(graph: &GraphProto, image: Option<Image>) -> Result<(String, Image), Error> {
    let constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs = graph.input.iter().filter(|input| !constant(&input.name));
    let inputs = inputs.collect::<Vec<_>>();
    let &[input] = inputs.as_slice() else {
        return Err(Error::Inputs(
            inputs.into_iter().map(|input| input.name.clone()).collect(),
        ));
    };
    let name = input.name.clone();
    let Some([_, expected @ ..]) = dimensions(input) else {
        return Err(Error::NoImage(name));
    };
    let Some(image) = image else {
        let [Ok(channels), Ok(height), Ok(width)] = expected.map(usize::try_from) else {
            return Err(Error::Open(name));
        };
        let image = Image {
            channels,
            height,
            width,
        };
        return Ok((name, image));
    };
    let fits = expected
        .iter()
        .zip(image.dimensions())
        .all(|(&expected, size)| expected < 0 || expected == signed(size));
    if fits {
        Ok((name, image))
    } else {
        Err(Error::OtherImage {
            input: name,
            expected,
            image,
        })
    }
}

/// The four dimensions of an input, -1 where one is open.
fn dimensions(input: &ValueInfoProto) -> Option<[i64; 4]> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let dimensions = tensor.shape.as_ref()?.dim.iter();
    let dimensions = dimensions.map(|dimension| match dimension.value {
        Some(Value::DimValue(size)) if size > 0 => size,
        _ => -1,
    });
    dimensions.collect::<Vec<_>>().try_into().ok()
}

fn prefixed(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Puts [`PREFIX`] in front of every name of a graph, and of the graphs inside its nodes, which see the names around them.
pub(super) fn prefix_names(graph: &mut GraphProto) {
    // An empty name is an input or output that is left out.
    let prefix = |name: &mut String| {
        if !name.is_empty() {
            *name = prefixed(name);
        }
    };
    graph
        .initializer
        .iter_mut()
        .for_each(|tensor| prefix(&mut tensor.name));
    graph.input.iter_mut().for_each(|value| prefix(&mut value.name));
    graph.output.iter_mut().for_each(|value| prefix(&mut value.name));
    graph
        .value_info
        .iter_mut()
        .for_each(|value| prefix(&mut value.name));
    for node in &mut graph.node {
        prefix(&mut node.name);
        node.input.iter_mut().for_each(prefix);
        node.output.iter_mut().for_each(prefix);
        for attribute in &mut node.attribute {
            attribute
                .g
                .iter_mut()
                .chain(&mut attribute.graphs)
                .for_each(prefix_names);
        }
    }
}
