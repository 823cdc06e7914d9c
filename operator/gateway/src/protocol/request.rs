//! An infer request, read and checked: nothing malformed gets past here.

mod divide;
mod grpc;
mod rest;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::{
    ApiError,
    datatype::Datatype,
    meter::Meter,
    tensor::{Author, Data, Form},
    wire::Wire,
};

pub use grpc::GrpcRequest;
pub use rest::HEADER_LENGTH;

/// Most inputs, and most outputs that can be asked for. Every one costs memory beyond its bytes, and names are compared pair by pair.
const TENSORS: usize = 256;
/// Most dimensions of an input; frameworks end at 32 or 64.
const DIMENSIONS: usize = 32;
/// Most bytes of the id, all names, datatypes and parameters together: a name of 64 bytes for each of the most inputs.
const TEXT_LIMIT: usize = 16 << 10;

/// A request that can enter a batch.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) id: Option<String>,
    /// Compact JSON, with sorted names; empty if there are none. Without what the binary tensor extension has there.
    pub(super) parameters: String,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<RequestedOutput>,
    pub(super) answer: AnswerForm,
    rows: u32,
    size: usize,
}

/// How the caller wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerForm {
    Rest {
        /// Whether an output that does not say how it is wanted is wanted as raw bytes.
        binary: bool,
    },
    Grpc {
        /// Whether it has its inputs as typed contents, and so its outputs.
        typed: bool,
    },
}

/// One input tensor.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<u64>,
    pub(super) parameters: String,
    pub(super) data: Data,
}

/// One output that the caller asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestedOutput {
    pub(super) name: String,
    pub(super) parameters: String,
    /// Whether it shall come as raw bytes, where the caller says it.
    pub(super) binary: Option<bool>,
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

/// A request whose tensors are checked one by one.
struct Parts {
    id: Option<String>,
    parameters: String,
    inputs: Vec<Input>,
    outputs: Vec<RequestedOutput>,
    answer: AnswerForm,
    size: usize,
}

impl Request {
    /// Reads a JSON body.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn read(body: &Bytes) -> Result<Self, BadRequest> {
        rest::read(body, None)
    }

    /// Reads a body that begins with `header_length` bytes of JSON, behind which binary tensors follow.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn read_binary(body: &Bytes, header_length: usize) -> Result<Self, BadRequest> {
        rest::read(body, Some(header_length))
    }

    fn assemble(parts: Parts) -> Result<Self, BadRequest> {
        let Parts {
            id,
            parameters,
            inputs,
            outputs,
            answer,
            size,
        } = parts;
        let Some(first) = inputs.first() else {
            return Err(bad("inputs", "is empty, must hold at least one tensor"));
        };
        let rows = first.shape[0];
        for (index, input) in inputs.iter().enumerate() {
            if input.shape[0] != rows {
                let problem = format!("has {} rows, inputs[0] has {rows}", input.shape[0]);
                return Err(bad(format!("inputs[{index}].shape"), problem));
            }
            if inputs[..index].iter().any(|earlier| earlier.name == input.name) {
                let problem = format!("{:?} is there twice", input.name);
                return Err(bad(format!("inputs[{index}].name"), problem));
            }
        }
        for (index, output) in outputs.iter().enumerate() {
            if outputs[..index].iter().any(|earlier| earlier.name == output.name) {
                let problem = format!("{:?} is there twice", output.name);
                return Err(bad(format!("outputs[{index}].name"), problem));
            }
        }
        let rows =
            u32::try_from(rows).map_err(|_| bad("inputs[0].shape", "has more than 4294967295 rows"))?;
        Ok(Self {
            id,
            parameters,
            inputs,
            outputs,
            answer,
            rows,
            size,
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

    /// Brings the data of its inputs into the form that a runtime takes. What has it already is not touched.
    ///
    /// # Errors
    /// Names an input that the runtime's encoding cannot write; the request is of no use then.
    pub fn convert(&mut self, wire: Wire, meter: &mut Meter) -> Result<(), BadRequest> {
        for (index, input) in self.inputs.iter_mut().enumerate() {
            let data = std::mem::replace(&mut input.data, Data::Raw(Bytes::new()));
            let before = data.len();
            input.data = data
                .into_form(wire.form(), input.datatype, Author::Caller, meter)
                .map_err(|problem| {
                    bad(
                        format!("inputs[{index}].data"),
                        format!("{problem} (the runtime takes {wire})"),
                    )
                })?;
            self.size = (self.size + input.data.len()).saturating_sub(before);
        }
        Ok(())
    }

    /// How the caller wants an output.
    pub(super) fn wanted_form(&self, output: &str) -> Form {
        let AnswerForm::Rest { binary } = self.answer else {
            return Form::Raw;
        };
        let asked = self.outputs.iter().find(|asked| asked.name == output);
        if asked.and_then(|asked| asked.binary).unwrap_or(binary) {
            Form::Raw
        } else {
            Form::Text
        }
    }
}

fn check_shape(field: &str, shape: &[u64]) -> Result<(), BadRequest> {
    if shape.is_empty() {
        return Err(bad(field, "is empty, must have the batch as its first dimension"));
    }
    if shape.contains(&0) {
        return Err(bad(
            field,
            format!("is {shape:?}, every dimension must be at least 1"),
        ));
    }
    Ok(())
}

fn check_text_size(size: usize) -> Result<(), BadRequest> {
    if size <= TEXT_LIMIT {
        return Ok(());
    }
    let problem =
        format!("has {size} bytes of id, names, datatypes and parameters, at most {TEXT_LIMIT} may be");
    Err(bad("body", problem))
}

/// Parameters in one form, so that equal ones are equal text.
fn canonical(field: &str, parameters: &BTreeMap<String, Value>) -> Result<String, BadRequest> {
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
