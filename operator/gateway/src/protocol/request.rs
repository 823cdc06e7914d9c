//! An infer request, read and checked: nothing malformed gets past here.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    ApiError,
    tensor::{self, Data},
};

/// Parameters as the protocol has them: names with a string, a number or a boolean.
type Parameters = BTreeMap<String, Value>;

/// A request that can enter a batch.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) id: Option<String>,
    /// Compact JSON, with sorted names; empty if there are none.
    pub(super) parameters: String,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<RequestedOutput>,
    rows: u32,
    size: usize,
}

/// One input tensor.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<u64>,
    pub(super) parameters: String,
    pub(super) data: Data,
}

/// One output that the caller asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestedOutput {
    pub(super) name: String,
    pub(super) parameters: String,
}

/// What is wrong with a request: the field, and what must be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadRequest {
    field: String,
    problem: String,
}

impl From<BadRequest> for ApiError {
    fn from(error: BadRequest) -> Self {
        Self::bad_request(error)
    }
}

fn bad(field: impl Into<String>, problem: impl Into<String>) -> BadRequest {
    BadRequest {
        field: field.into(),
        problem: problem.into(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<WireInput<'a>>,
    #[serde(default)]
    outputs: Vec<WireOutput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireInput<'a> {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Parameters by which the binary tensor extension announces itself.
const BINARY_PARAMETERS: [&str; 3] = ["binary_data_size", "binary_data", "binary_data_output"];

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn read(body: &Bytes) -> Result<Self, BadRequest> {
        let wire: WireRequest =
            serde_json::from_slice(body).map_err(|error| bad("body", error.to_string()))?;
        if wire.inputs.is_empty() {
            return Err(bad("inputs", "is empty, must hold at least one tensor"));
        }
        let inputs = wire
            .inputs
            .into_iter()
            .enumerate()
            .map(|(index, input)| Input::read(body, index, input));
        let inputs: Vec<Input> = inputs.collect::<Result<_, _>>()?;
        let rows = inputs[0].shape[0];
        for (index, input) in inputs.iter().enumerate() {
            if input.shape[0] != rows {
                let problem = format!("has {} rows, inputs[0] has {rows}", input.shape[0]);
                return Err(bad(format!("inputs[{index}].shape"), problem));
            }
            if inputs[..index].iter().any(|earlier| earlier.name == input.name) {
                return Err(bad(
                    format!("inputs[{index}].name"),
                    format!("{:?} is there twice", input.name),
                ));
            }
        }
        let outputs = wire.outputs.into_iter().enumerate().map(|(index, output)| {
            let field = format!("outputs[{index}].parameters");
            Ok(RequestedOutput {
                name: output.name,
                parameters: parameters(field, &output.parameters)?,
            })
        });
        let outputs: Vec<RequestedOutput> = outputs.collect::<Result<_, _>>()?;
        for (index, output) in outputs.iter().enumerate() {
            if outputs[..index].iter().any(|earlier| earlier.name == output.name) {
                return Err(bad(
                    format!("outputs[{index}].name"),
                    format!("{:?} is there twice", output.name),
                ));
            }
        }
        let rows =
            u32::try_from(rows).map_err(|_| bad("inputs[0].shape", "has more than 4294967295 rows"))?;
        let parameters = parameters("parameters".to_owned(), &wire.parameters)?;
        Ok(Self {
            id: wire.id,
            parameters,
            inputs,
            outputs,
            rows,
            size: body.len(),
        })
    }

    /// Rows of the request: dimension 0 of its inputs, at least 1.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes that it keeps in memory.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The caller's id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

impl Input {
    fn read(body: &Bytes, index: usize, wire: WireInput<'_>) -> Result<Self, BadRequest> {
        let field = |name: &str| format!("inputs[{index}].{name}");
        let parameters = parameters(field("parameters"), &wire.parameters)?;
        tensor::check_datatype(&wire.datatype).map_err(|problem| bad(field("datatype"), problem))?;
        if wire.shape.is_empty() {
            return Err(bad(
                field("shape"),
                "is empty, must have the batch as its first dimension",
            ));
        }
        if wire.shape.contains(&0) {
            return Err(bad(
                field("shape"),
                format!("is {:?}, every dimension must be at least 1", wire.shape),
            ));
        }
        let data = wire.data.ok_or_else(|| bad(field("data"), "is missing"))?;
        let data = body.slice_ref(data.get().as_bytes());
        let data = tensor::check(&data, &wire.shape, &wire.datatype)
            .map_err(|problem| bad(field("data"), problem))?;
        Ok(Self {
            name: wire.name,
            datatype: wire.datatype,
            shape: wire.shape,
            parameters,
            data,
        })
    }
}

/// Parameters in one form, so that equal ones are equal text.
fn parameters(field: String, parameters: &Parameters) -> Result<String, BadRequest> {
    if let Some(name) = BINARY_PARAMETERS
        .iter()
        .find(|name| parameters.contains_key(**name))
    {
        // `false` asks for JSON, which is what there is.
        if parameters[*name] != Value::Bool(false) {
            return Err(bad(
                field,
                format!("{name}: binary tensors are not supported, send and ask for JSON"),
            ));
        }
    }
    if let Some((name, _)) = parameters
        .iter()
        .find(|(_, value)| !(value.is_string() || value.is_number() || value.is_boolean()))
    {
        return Err(bad(
            field,
            format!("{name} must be a string, a number or a boolean"),
        ));
    }
    if parameters.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(parameters).map_err(|error| bad(field, error.to_string()))
}

#[cfg(test)]
mod tests;
