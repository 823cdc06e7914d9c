//! Messages over gRPC, with typed contents as the protocol's definition has them.

use std::collections::BTreeMap;

use harmonybatch_gateway::protocol::grpc::messages::{InferParameter, ParameterChoice};
use prost::Message;
use serde_json::{Number, Value};

use super::{
    element::{Author, Datatype},
    message::{Answer, Parameters, Request, RequestedOutput, Tensor},
    rest,
};

/// Most inputs, and most outputs.
const TENSORS: usize = 256;
/// Most dimensions.
const DIMENSIONS: usize = 32;

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(bool, repeated, tag = "1")]
    bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    longs: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    ulongs: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    floats: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    doubles: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    bytes: Vec<Vec<u8>>,
}

/// An input and an output alike.
#[derive(Clone, PartialEq, Message)]
struct WireTensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(btree_map = "string, message", tag = "4")]
    parameters: BTreeMap<String, InferParameter>,
    /// [`Contents`], in one part mostly. Read where there are no raw contents.
    #[prost(bytes = "vec", repeated, tag = "5")]
    contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct WireOutput {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, message", tag = "2")]
    parameters: BTreeMap<String, InferParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct WireRequest {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    parameters: BTreeMap<String, InferParameter>,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<WireTensor>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<WireOutput>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raws: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct WireAnswer {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    parameters: BTreeMap<String, InferParameter>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<WireTensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    raws: Vec<Vec<u8>>,
}

/// Whether bytes are a request as a library would write it: no unknown fields, nothing twice, everything in its order.
pub fn is_canonical(message: &[u8]) -> bool {
    let of_contents = |contents: &Vec<u8>| {
        Contents::decode(&**contents).is_ok_and(|read| read.encode_to_vec() == *contents)
    };
    WireRequest::decode(message).is_ok_and(|read| {
        let mut inputs = read.inputs.iter();
        read.encode_to_vec() == message
            && inputs.all(|input| input.contents.len() <= 1 && input.contents.iter().all(of_contents))
    })
}

/// The message of a body of one.
pub fn unframed(body: &[u8]) -> Option<&[u8]> {
    let ([flag, length @ ..], message) = body.split_first_chunk::<5>()?;
    (*flag == 0 && u32::from_be_bytes(*length) as usize == message.len()).then_some(message)
}

/// A request.
pub fn request(message: &[u8]) -> Option<Request> {
    let wire = WireRequest::decode(message).ok()?;
    let others = [&wire.model, &wire.version, &wire.id];
    let others = others.iter().filter(|text| !text.is_empty()).count() + wire.parameters.len();
    let within = wire.inputs.len().max(wire.outputs.len()) <= TENSORS
        && others + wire.outputs.len() <= 2 * TENSORS
        && wire.inputs.iter().all(|input| input.shape.len() <= DIMENSIONS);
    let is_named = is_name(&wire.model) && (wire.version.is_empty() || is_name(&wire.version));
    let is_raw = !wire.raws.is_empty();
    let is_paired = !is_raw || wire.raws.len() == wire.inputs.len();
    if !(within && is_named && is_paired) {
        return None;
    }
    let mut raws = wire.raws.iter();
    let inputs = wire.inputs.into_iter().map(|input| {
        let raw = raws.next();
        if raw.is_some() != input.contents.is_empty() {
            return None;
        }
        let tensor = tensor(input, raw, Author::Caller)?;
        Some(Tensor {
            parameters: rest::own(tensor.parameters)?,
            ..tensor
        })
    });
    let inputs = inputs.collect::<Option<_>>()?;
    let outputs = wire.outputs.into_iter().map(|output| {
        Some(RequestedOutput {
            name: output.name,
            parameters: rest::own(parameters(output.parameters)?)?,
        })
    });
    let request = Request {
        id: Some(wire.id).filter(|id| !id.is_empty()),
        parameters: rest::own(parameters(wire.parameters)?)?,
        inputs,
        outputs: outputs.collect::<Option<_>>()?,
    };
    request.checked()
}

/// An answer.
pub fn answer(message: &[u8]) -> Option<Answer> {
    let wire = WireAnswer::decode(message).ok()?;
    if !wire.raws.is_empty() && wire.raws.len() != wire.outputs.len() {
        return None;
    }
    let mut raws = wire.raws.iter();
    let outputs = wire.outputs.into_iter();
    let outputs = outputs.map(|output| tensor(output, raws.next(), Author::Runtime));
    Some(Answer {
        outputs: outputs.collect::<Option<_>>()?,
        model: Some(wire.model),
        id: Some(wire.id).filter(|id| !id.is_empty()),
    })
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.~:+@".contains(c);
    !["", ".", ".."].contains(&text) && text.chars().all(is_part)
}

fn parameters(parameters: BTreeMap<String, InferParameter>) -> Option<Parameters> {
    let values = parameters.into_iter().map(|(name, parameter)| {
        let value = match parameter.parameter_choice? {
            ParameterChoice::BoolParam(flag) => Value::from(flag),
            ParameterChoice::Int64Param(number) => Value::from(number),
            ParameterChoice::Uint64Param(number) => Value::from(number),
            ParameterChoice::StringParam(text) => Value::from(text),
            ParameterChoice::DoubleParam(number) => Value::Number(Number::from_f64(number)?),
        };
        Some((name, value))
    });
    values.collect()
}

fn tensor(wire: WireTensor, raw: Option<&Vec<u8>>, author: Author) -> Option<Tensor> {
    let datatype = Datatype::parse(&wire.datatype)?;
    let sizes = wire.shape.iter().map(|size| u64::try_from(*size).ok());
    let elements = match raw {
        Some(raw) => datatype.of_raw(raw, author)?,
        None if wire.contents.is_empty() => Vec::new(),
        // Parts of a message are one message when they are put together.
        None => elements(datatype, Contents::decode(&*wire.contents.concat()).ok()?)?,
    };
    let tensor = Tensor {
        name: wire.name,
        datatype: wire.datatype,
        shape: sizes.collect::<Option<_>>()?,
        parameters: parameters(wire.parameters)?,
        elements,
        is_text: false,
    };
    tensor.is_whole().then_some(tensor)
}

/// The elements of typed contents, which must be in the list of their datatype and fit it.
fn elements(datatype: Datatype, mut contents: Contents) -> Option<Vec<Vec<u8>>> {
    let whole = |number: i128| match datatype {
        Datatype::Unsigned(width) if number >> (8 * width) == 0 => {
            Some(number.to_le_bytes()[..width].to_vec())
        }
        Datatype::Signed(width) if matches!(number >> (8 * width - 1), 0 | -1) => {
            Some(number.to_le_bytes()[..width].to_vec())
        }
        _ => None,
    };
    let elements = match datatype {
        Datatype::Bool => each(&mut contents.bools, |flag| Some(vec![u8::from(flag)])),
        Datatype::Unsigned(8) => each(&mut contents.ulongs, |number| whole(number.into())),
        Datatype::Unsigned(_) => each(&mut contents.uints, |number| whole(number.into())),
        Datatype::Signed(8) => each(&mut contents.longs, |number| whole(number.into())),
        Datatype::Signed(_) => each(&mut contents.ints, |number| whole(number.into())),
        Datatype::Single => each(&mut contents.floats, |number| Some(number.to_le_bytes().to_vec())),
        Datatype::Double => each(&mut contents.doubles, |number| {
            Some(number.to_le_bytes().to_vec())
        }),
        Datatype::Bytes => each(&mut contents.bytes, Some),
        Datatype::Half(_) => None,
    };
    elements.filter(|_| contents == Contents::default())
}

/// Takes all values of a list, as elements.
fn each<T>(list: &mut Vec<T>, element: impl Fn(T) -> Option<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    list.drain(..).map(element).collect()
}
