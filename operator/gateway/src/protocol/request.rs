//! An infer request, read and checked: nothing malformed gets past here.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    ApiError,
    bounded::{AtMost, Counted, Parameters},
    tensor::{self, Data},
};

/// Most inputs, and most outputs that can be asked for. Every one costs memory beyond its bytes, and names are compared pair by pair.
const TENSORS: usize = 256;
/// Most dimensions of an input; frameworks end at 32 or 64.
const DIMENSIONS: usize = 32;
/// Most bytes of the id, all names, datatypes and parameters together: a name of 64 bytes for each of the most inputs.
const TEXT_LIMIT: usize = 16 << 10;
/// Most characters of what the JSON reader says: it repeats names that it does not know.
const LONGEST_PROBLEM: usize = 512;

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
    inputs: AtMost<WireInput<'a>, TENSORS>,
    #[serde(default)]
    outputs: AtMost<WireOutput, TENSORS>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireInput<'a> {
    name: String,
    shape: AtMost<u64, DIMENSIONS>,
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

impl Counted for WireInput<'_> {
    const NAME: &'static str = "inputs";
}

impl Counted for WireOutput {
    const NAME: &'static str = "outputs";
}

impl Counted for u64 {
    const NAME: &'static str = "dimensions";
}

impl WireRequest<'_> {
    /// Bytes of all texts that are kept beside the data.
    fn text_size(&self) -> usize {
        let inputs = self.inputs.0.iter();
        let inputs = inputs.map(|input| input.name.len() + input.datatype.len() + input.parameters.size());
        let outputs = self.outputs.0.iter();
        let outputs = outputs.map(|output| output.name.len() + output.parameters.size());
        let own = self.id.as_ref().map_or(0, String::len) + self.parameters.size();
        own + inputs.chain(outputs).sum::<usize>()
    }
}

/// Parameters by which the binary tensor extension announces itself.
const BINARY_PARAMETERS: [&str; 3] = ["binary_data_size", "binary_data", "binary_data_output"];

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn read(body: &Bytes) -> Result<Self, BadRequest> {
        let wire: WireRequest = serde_json::from_slice(body).map_err(|error| {
            let problem: String = error.to_string().chars().take(LONGEST_PROBLEM).collect();
            bad("body", problem)
        })?;
        let text_size = wire.text_size();
        if text_size > TEXT_LIMIT {
            let problem = format!(
                "has {text_size} bytes of id, names, datatypes and parameters, at most {TEXT_LIMIT} may be"
            );
            return Err(bad("body", problem));
        }
        if wire.inputs.0.is_empty() {
            return Err(bad("inputs", "is empty, must hold at least one tensor"));
        }
        let inputs = wire
            .inputs
            .0
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
        let outputs = wire.outputs.0.into_iter().enumerate().map(|(index, output)| {
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
}

impl Input {
    fn read(body: &Bytes, index: usize, wire: WireInput<'_>) -> Result<Self, BadRequest> {
        let field = |name: &str| format!("inputs[{index}].{name}");
        let parameters = parameters(field("parameters"), &wire.parameters)?;
        tensor::check_datatype(&wire.datatype).map_err(|problem| bad(field("datatype"), problem))?;
        let shape = wire.shape.0;
        if shape.is_empty() {
            return Err(bad(
                field("shape"),
                "is empty, must have the batch as its first dimension",
            ));
        }
        if shape.contains(&0) {
            return Err(bad(
                field("shape"),
                format!("is {shape:?}, every dimension must be at least 1"),
            ));
        }
        let data = wire.data.ok_or_else(|| bad(field("data"), "is missing"))?;
        let data = body.slice_ref(data.get().as_bytes());
        let data =
            tensor::check(&data, &shape, &wire.datatype).map_err(|problem| bad(field("data"), problem))?;
        Ok(Self {
            name: wire.name,
            datatype: wire.datatype,
            shape,
            parameters,
            data,
        })
    }
}

/// Parameters in one form, so that equal ones are equal text.
fn parameters(field: String, parameters: &Parameters) -> Result<String, BadRequest> {
    // `false` asks for JSON, which is what there is.
    let asks_for_binary = |name: &&&str| {
        parameters
            .0
            .get(**name)
            .is_some_and(|value| *value != Value::Bool(false))
    };
    if let Some(name) = BINARY_PARAMETERS.iter().find(asks_for_binary) {
        return Err(bad(
            field,
            format!("{name}: binary tensors are not supported, send and ask for JSON"),
        ));
    }
    if let Some((name, _)) = parameters
        .0
        .iter()
        .find(|(_, value)| !(value.is_string() || value.is_number() || value.is_boolean()))
    {
        return Err(bad(
            field,
            format!("{name} must be a string, a number or a boolean"),
        ));
    }
    if parameters.0.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&parameters.0).map_err(|error| bad(field, error.to_string()))
}

#[cfg(test)]
mod tests;
