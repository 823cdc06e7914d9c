//! Answers over REST, of runtimes and to callers: JSON, with binary tensors behind it where they are wanted.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    super::{
        bounded::Object,
        json::{push_list, push_parameters, push_shape, push_text},
        tensor::Data,
    },
    Answer, AnswerError, Outcome, Output, OutputData, Part, Request,
};
use crate::body::Chunks;

const DATA_SIZE: &str = "binary_data_size";

#[derive(Deserialize)]
struct WireAnswer<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model_version: Option<Box<RawValue>>,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    outputs: Vec<Object<WireOutput<'a>>>,
}

#[derive(Deserialize)]
struct WireOutput<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a runtime's answer.
pub(super) fn read(body: &Bytes, header_length: Option<usize>) -> Result<Outcome, AnswerError> {
    let length = header_length.unwrap_or(body.len());
    if length > body.len() {
        let problem = format!("its JSON has {length} bytes, its body has {}", body.len());
        return Err(AnswerError::Invalid(problem));
    }
    let (header, mut rest) = (body.slice(..length), body.slice(length..));
    let Object(wire): Object<WireAnswer> =
        serde_json::from_slice(&header).map_err(|error| AnswerError::Invalid(error.to_string()))?;
    let outputs = wire.outputs.into_iter().map(|Object(output)| {
        let problem = |problem: String| AnswerError::BadOutput {
            output: output.name.clone(),
            problem,
        };
        let (parameters, size) = parameters(output.parameters).map_err(problem)?;
        let data = match (size, output.data) {
            (None, None) => return Err(problem("has no data".to_owned())),
            (None, Some(text)) => OutputData::Text(header.slice_ref(text.get().as_bytes())),
            (Some(size), _) if size > rest.len() as u64 => {
                let left = rest.len();
                return Err(problem(format!(
                    "has {DATA_SIZE} {size}, {left} bytes of the body are left"
                )));
            }
            (Some(size), _) => OutputData::Raw(rest.split_to(usize::try_from(size).unwrap_or(rest.len()))),
        };
        Ok(Output {
            name: output.name,
            shape: output.shape,
            datatype: output.datatype,
            parameters,
            data,
        })
    });
    let outputs = outputs.collect::<Result<_, _>>()?;
    if !rest.is_empty() {
        let problem = format!("its body has {} bytes behind its last tensor", rest.len());
        return Err(AnswerError::Invalid(problem));
    }
    Ok(Outcome {
        id: wire.id,
        model_version: wire.model_version,
        parameters: wire
            .parameters
            .map(|text| text.get().to_owned())
            .unwrap_or_default(),
        outputs,
    })
}

/// An output's parameters without the extension's own, and what that says.
fn parameters(parameters: Option<&RawValue>) -> Result<(String, Option<u64>), String> {
    let Some(parameters) = parameters else {
        return Ok((String::new(), None));
    };
    let text = parameters.get();
    // A name may be written with escapes.
    if !text.contains(DATA_SIZE) && !text.contains('\\') {
        return Ok((text.to_owned(), None));
    }
    let mut values: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("has parameters that are no object: {error}"))?;
    let Some(size) = values.remove(DATA_SIZE) else {
        return Ok((text.to_owned(), None));
    };
    let size = size
        .as_u64()
        .ok_or_else(|| format!("has {DATA_SIZE} {size}, which is no number of bytes"))?;
    let rest = if values.is_empty() {
        String::new()
    } else {
        Value::Object(values).to_string()
    };
    Ok((rest, Some(size)))
}

/// The answer to one caller.
pub(super) fn write(outcome: &Outcome, parts: &[Part<'_>], request: &Request, model: &str) -> Answer {
    let size = parts.iter().map(|part| match &part.data {
        Data::Text(text) => text.elements.len() + 128,
        Data::Raw(_) => 128,
    });
    let mut body = Vec::with_capacity(size.sum::<usize>() + 128);
    body.extend_from_slice(b"{\"model_name\":");
    push_text(&mut body, model);
    if let Some(version) = &outcome.model_version {
        body.extend_from_slice(b",\"model_version\":");
        body.extend_from_slice(version.get().as_bytes());
    }
    if let Some(id) = &request.id {
        body.extend_from_slice(b",\"id\":");
        push_text(&mut body, id);
    }
    push_parameters(&mut body, &outcome.parameters, None);
    body.extend_from_slice(b",\"outputs\":[");
    let mut tensors = Chunks::default();
    let mut is_binary = false;
    push_list(&mut body, parts, |body, Part { output, data, .. }| {
        body.extend_from_slice(b"{\"name\":");
        push_text(body, &output.name);
        push_shape(body, u64::from(request.rows()), &output.shape);
        body.extend_from_slice(b",\"datatype\":");
        push_text(body, &output.datatype);
        match data {
            Data::Text(text) => {
                push_parameters(body, &output.parameters, None);
                body.extend_from_slice(b",\"data\":[");
                body.extend_from_slice(&text.elements);
                body.push(b']');
            }
            Data::Raw(raw) => {
                is_binary = true;
                let size = raw.len().to_string();
                push_parameters(body, &output.parameters, Some((DATA_SIZE, &size)));
                tensors.push(raw.clone());
            }
        }
        body.push(b'}');
    });
    body.extend_from_slice(b"]}");
    let header_length = is_binary.then_some(body.len());
    let mut body = Chunks::from(body);
    body.append(tensors);
    Answer { body, header_length }
}
