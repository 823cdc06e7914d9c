//! gRPC once more, slowly: typed contents as the protocol's definition has them.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::{
    super::grpc::messages::{InferParameter, ParameterChoice},
    reference::{Element, Tensor, from_raw, to_raw},
};

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
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct WireOutput {
    #[prost(string, tag = "1")]
    name: String,
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
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<WireTensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    raws: Vec<Vec<u8>>,
}

fn contents(datatype: &str, elements: &[Element]) -> Contents {
    let mut contents = Contents::default();
    for element in elements {
        let mut wide = [0_u8; 8];
        let length = element.len().min(8);
        wide[..length].copy_from_slice(&element[..length]);
        let unsigned = u64::from_le_bytes(wide);
        let shift = 64 - 8 * length;
        match datatype {
            "BOOL" => contents.bools.push(unsigned == 1),
            "INT64" => contents.longs.push(unsigned.cast_signed()),
            "UINT64" => contents.ulongs.push(unsigned),
            "FP32" => contents
                .floats
                .push(f32::from_le_bytes(element[..].try_into().unwrap())),
            "FP64" => contents.doubles.push(f64::from_bits(unsigned)),
            "BYTES" => contents.bytes.push(element.clone()),
            name if name.starts_with('U') => contents.uints.push(u32::try_from(unsigned).unwrap()),
            _ => {
                let signed = (unsigned << shift).cast_signed() >> shift;
                contents.ints.push(i32::try_from(signed).unwrap());
            }
        }
    }
    contents
}

fn elements(datatype: &str, contents: &Contents) -> Vec<Element> {
    let width = super::reference::width(datatype);
    let cut = |wide: [u8; 8]| wide[..width].to_vec();
    match datatype {
        "BOOL" => contents.bools.iter().map(|flag| vec![u8::from(*flag)]).collect(),
        "INT64" => contents
            .longs
            .iter()
            .map(|number| number.to_le_bytes().to_vec())
            .collect(),
        "UINT64" => contents
            .ulongs
            .iter()
            .map(|number| number.to_le_bytes().to_vec())
            .collect(),
        "FP32" => contents
            .floats
            .iter()
            .map(|number| number.to_le_bytes().to_vec())
            .collect(),
        "FP64" => contents
            .doubles
            .iter()
            .map(|number| number.to_le_bytes().to_vec())
            .collect(),
        "BYTES" => contents.bytes.clone(),
        name if name.starts_with('U') => contents
            .uints
            .iter()
            .map(|number| cut(u64::from(*number).to_le_bytes()))
            .collect(),
        _ => contents
            .ints
            .iter()
            .map(|number| cut(i64::from(*number).to_le_bytes()))
            .collect(),
    }
}

fn wire(tensor: &Tensor) -> WireTensor {
    WireTensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype.clone(),
        shape: tensor
            .shape
            .iter()
            .map(|size| i64::try_from(*size).unwrap())
            .collect(),
        parameters: BTreeMap::new(),
        contents: (!tensor.is_binary).then(|| contents(&tensor.datatype, &tensor.elements)),
    }
}

fn tensor(wire: &WireTensor, raw: Option<&Vec<u8>>) -> Tensor {
    Tensor {
        name: wire.name.clone(),
        datatype: wire.datatype.clone(),
        shape: wire
            .shape
            .iter()
            .map(|size| usize::try_from(*size).unwrap())
            .collect(),
        elements: match raw {
            Some(raw) => from_raw(&wire.datatype, raw),
            None => elements(&wire.datatype, wire.contents.as_ref().unwrap()),
        },
        is_binary: raw.is_some(),
    }
}

fn raws(tensors: &[Tensor]) -> Vec<Vec<u8>> {
    let raw = tensors.iter().filter(|tensor| tensor.is_binary);
    raw.map(|tensor| to_raw(&tensor.datatype, &tensor.elements))
        .collect()
}

/// A caller's message, not framed. All tensors are raw, or none is.
pub(super) fn request(id: Option<&str>, tensors: &[Tensor]) -> Bytes {
    let one = InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(1)),
    };
    let outputs = tensors.iter().map(|tensor| WireOutput {
        name: tensor.name.clone(),
    });
    let request = WireRequest {
        model: "mlp".to_owned(),
        version: String::new(),
        id: id.unwrap_or_default().to_owned(),
        parameters: [("p".to_owned(), one)].into(),
        inputs: tensors.iter().map(wire).collect(),
        outputs: outputs.collect(),
        raws: raws(tensors),
    };
    request.encode_to_vec().into()
}

/// A runtime's answer that gives the inputs of a framed request back, raw or typed.
pub(super) fn echo(body: &[u8], typed: bool) -> Bytes {
    let request = WireRequest::decode(&body[5..]).unwrap();
    assert_eq!((request.model.as_str(), request.version.as_str()), ("net", "7"));
    assert_eq!(request.parameters.len(), 1);
    assert_eq!(request.outputs.len(), request.inputs.len());
    assert!(request.inputs.iter().all(|input| input.contents.is_none()));
    let tensors = request
        .inputs
        .iter()
        .zip(&request.raws)
        .map(|(input, raw)| Tensor {
            is_binary: !typed,
            ..tensor(input, Some(raw))
        });
    let tensors: Vec<Tensor> = tensors.collect();
    let answer = WireAnswer {
        model: "net".to_owned(),
        version: "3".to_owned(),
        id: request.id,
        outputs: tensors.iter().map(wire).collect(),
        raws: raws(&tensors),
    };
    answer.encode_to_vec().into()
}

/// A runtime's answer that gives the inputs of a caller's message back as they came.
pub(super) fn echo_of(message: &[u8]) -> Bytes {
    let request = WireRequest::decode(message).unwrap();
    let answer = WireAnswer {
        id: request.id,
        outputs: request.inputs,
        raws: request.raws,
        ..WireAnswer::default()
    };
    answer.encode_to_vec().into()
}

/// A caller's framed answer: id, model and version, and its tensors.
pub(super) fn answer(body: &[u8]) -> (String, String, String, Vec<Tensor>) {
    let answer = WireAnswer::decode(&body[5..]).unwrap();
    let outputs = answer.outputs.iter().enumerate();
    let tensors = outputs.map(|(index, output)| tensor(output, answer.raws.get(index)));
    (answer.id, answer.model, answer.version, tensors.collect())
}
