//! The protocol once more, slowly: elements as values, messages as `serde_json::Value` and plain bytes. Shares no code with what it is held against.

use proptest::prelude::*;
use serde_json::{Value, json};

pub(super) const DATATYPES: [&str; 14] = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32",
    "FP64", "BYTES",
];

/// A raw element, without the length before those of BYTES.
pub(super) type Element = Vec<u8>;

pub(super) fn width(datatype: &str) -> usize {
    match datatype {
        "BOOL" => 1,
        "BYTES" => 0,
        name => {
            let bits: usize = name
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .parse()
                .unwrap();
            bits / 8
        }
    }
}

/// Any element of a datatype; `in_json` leaves out what JSON cannot write.
pub(super) fn element(datatype: &'static str, in_json: bool) -> BoxedStrategy<Element> {
    match datatype {
        "BOOL" => any::<bool>().prop_map(|flag| vec![u8::from(flag)]).boxed(),
        "BYTES" if in_json => ".{0,5}".prop_map(String::into_bytes).boxed(),
        "BYTES" => prop::collection::vec(any::<u8>(), 0..6).boxed(),
        _ => {
            let bits = prop_oneof![
                8 => any::<u64>(),
                1 => Just(u64::MAX),
                1 => Just(0x7ff0_0000_7f80_0000),
                1 => Just(0x8000_0000_8000_8080),
                1 => 0_u64..300,
            ];
            let width = width(datatype);
            let element = bits.prop_map(move |bits| bits.to_le_bytes()[..width].to_vec());
            element
                .prop_filter("JSON has finite numbers only", move |element| {
                    !in_json || to_json(datatype, element).is_some()
                })
                .boxed()
        }
    }
}

/// What JSON writes; `None` where it cannot.
pub(super) fn to_json(datatype: &str, element: &[u8]) -> Option<Value> {
    let mut wide = [0_u8; 8];
    wide[..element.len().min(8)].copy_from_slice(&element[..element.len().min(8)]);
    let unsigned = u64::from_le_bytes(wide);
    let shift = 64 - 8 * element.len().min(8);
    match datatype {
        "BOOL" => Some(json!(unsigned == 1)),
        "BYTES" => String::from_utf8(element.to_vec()).ok().map(Value::from),
        "FP16" | "BF16" => None,
        "FP32" => {
            let number = f32::from_le_bytes(element.try_into().unwrap());
            // By way of text, because a value holds doubles.
            number
                .is_finite()
                .then(|| serde_json::from_str(&format!("{number:e}")).unwrap())
        }
        "FP64" => {
            let number = f64::from_le_bytes(element.try_into().unwrap());
            number.is_finite().then(|| json!(number))
        }
        name if name.starts_with('U') => Some(json!(unsigned)),
        _ => Some(json!((unsigned << shift).cast_signed() >> shift)),
    }
}

pub(super) fn from_json(datatype: &str, value: &Value) -> Element {
    match datatype {
        "BOOL" => vec![u8::from(value.as_bool().unwrap())],
        "BYTES" => value.as_str().unwrap().as_bytes().to_vec(),
        "FP32" => value.to_string().parse::<f32>().unwrap().to_le_bytes().to_vec(),
        "FP64" => value.as_f64().unwrap().to_le_bytes().to_vec(),
        name => {
            let wide = value
                .as_u64()
                .unwrap_or_else(|| value.as_i64().unwrap().cast_unsigned());
            wide.to_le_bytes()[..width(name)].to_vec()
        }
    }
}

pub(super) fn to_raw(datatype: &str, elements: &[Element]) -> Vec<u8> {
    let mut raw = Vec::new();
    for element in elements {
        if datatype == "BYTES" {
            raw.extend(u32::try_from(element.len()).unwrap().to_le_bytes());
        }
        raw.extend(element);
    }
    raw
}

pub(super) fn from_raw(datatype: &str, mut raw: &[u8]) -> Vec<Element> {
    let mut elements = Vec::new();
    while !raw.is_empty() {
        let length = if datatype == "BYTES" {
            let length = u32::from_le_bytes(raw[..4].try_into().unwrap());
            raw = &raw[4..];
            usize::try_from(length).unwrap()
        } else {
            width(datatype)
        };
        elements.push(raw[..length].to_vec());
        raw = &raw[length..];
    }
    elements
}

/// All elements of nested arrays, in order.
pub(super) fn flat(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.clone()],
    }
}

/// Elements in arrays as the shape says.
pub(super) fn nest(shape: &[usize], values: &[Value]) -> Value {
    if shape.len() <= 1 {
        return json!(values);
    }
    let parts = values.chunks(values.len() / shape[0]);
    Value::Array(parts.map(|part| nest(&shape[1..], part)).collect())
}

/// A tensor of a REST message with its elements, however they are written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<usize>,
    pub(super) elements: Vec<Element>,
    pub(super) is_binary: bool,
}

/// The tensors of a message, and its JSON.
pub(super) fn read(body: &[u8], header_length: Option<usize>, list: &str) -> (Value, Vec<Tensor>) {
    let (header, mut rest) = body.split_at(header_length.unwrap_or(body.len()));
    let header: Value = serde_json::from_slice(header).unwrap();
    let tensors = header[list].as_array().unwrap().iter().map(|tensor| {
        let datatype = tensor["datatype"].as_str().unwrap();
        let shape: Vec<u64> = serde_json::from_value(tensor["shape"].clone()).unwrap();
        let size = tensor["parameters"]["binary_data_size"].as_u64();
        let elements = if let Some(size) = size {
            let (raw, behind) = rest.split_at(usize::try_from(size).unwrap());
            rest = behind;
            from_raw(datatype, raw)
        } else {
            let values = flat(&tensor["data"]);
            values.iter().map(|value| from_json(datatype, value)).collect()
        };
        Tensor {
            name: tensor["name"].as_str().unwrap().to_owned(),
            datatype: datatype.to_owned(),
            shape: shape
                .into_iter()
                .map(|size| usize::try_from(size).unwrap())
                .collect(),
            elements,
            is_binary: size.is_some(),
        }
    });
    let tensors = tensors.collect();
    assert!(rest.is_empty());
    (header, tensors)
}

/// A message with these tensors.
pub(super) fn write(
    mut header: Value,
    list: &str,
    tensors: &[Tensor],
    nested: bool,
) -> (Vec<u8>, Option<usize>) {
    let mut rest = Vec::new();
    let written = tensors.iter().map(|tensor| {
        let mut written = json!({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape});
        if tensor.is_binary {
            let raw = to_raw(&tensor.datatype, &tensor.elements);
            written["parameters"] = json!({"binary_data_size": raw.len()});
            rest.extend(raw);
        } else {
            let values = tensor
                .elements
                .iter()
                .map(|element| to_json(&tensor.datatype, element).unwrap());
            let values: Vec<Value> = values.collect();
            written["data"] = if nested {
                nest(&tensor.shape, &values)
            } else {
                json!(values)
            };
        }
        written
    });
    header[list] = written.collect();
    let mut body = header.to_string().into_bytes();
    let header_length = tensors
        .iter()
        .any(|tensor| tensor.is_binary)
        .then_some(body.len());
    body.extend(rest);
    (body, header_length)
}
