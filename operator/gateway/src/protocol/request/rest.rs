//! Requests over REST: a JSON body, with the binary tensor extension behind it where the caller says so.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    super::{
        bounded::{AtMost, Counted, Object, Parameters},
        datatype::Datatype,
        raw,
        tensor::{Author, Data},
        text,
    },
    AnswerForm, BadRequest, DIMENSIONS, Input, Parts, Request, RequestedOutput, TENSORS, bad, canonical,
    check_shape, check_text_size,
};

pub use harmonybatch_protocol::HEADER_LENGTH;

/// Most characters of what the JSON reader says: it repeats names that it does not know.
const LONGEST_PROBLEM: usize = 512;
/// Of an input: bytes of its data behind the JSON.
const DATA_SIZE: &str = "binary_data_size";
/// Of an output that is asked for: whether it shall come as raw bytes.
const DATA: &str = "binary_data";
/// Of a request: the same for outputs that do not say it.
const DATA_OUTPUT: &str = "binary_data_output";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: AtMost<Object<WireInput<'a>>, TENSORS>,
    #[serde(default)]
    outputs: AtMost<Object<WireOutput>, TENSORS>,
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
        let inputs =
            inputs.map(|Object(input)| input.name.len() + input.datatype.len() + input.parameters.size());
        let outputs = self.outputs.0.iter();
        let outputs = outputs.map(|Object(output)| output.name.len() + output.parameters.size());
        let own = self.id.as_ref().map_or(0, String::len) + self.parameters.size();
        own + inputs.chain(outputs).sum::<usize>()
    }
}

/// Reads a body. `header_length` is what its [`HEADER_LENGTH`] says.
pub(super) fn read(body: &Bytes, header_length: Option<usize>) -> Result<Request, BadRequest> {
    let header = match header_length {
        Some(length) if length > body.len() => {
            return Err(bad(
                HEADER_LENGTH,
                format!("is {length}, the body has {} bytes", body.len()),
            ));
        }
        Some(length) => body.slice(..length),
        None => body.clone(),
    };
    let Object(wire): Object<WireRequest> = serde_json::from_slice(&header).map_err(|error| {
        let problem: String = error.to_string().chars().take(LONGEST_PROBLEM).collect();
        bad("body", problem)
    })?;
    check_text_size(wire.text_size())?;
    let mut tensors = Tensors {
        header: &header,
        rest: header_length.map(|length| body.slice(length..)),
    };
    let inputs = wire.inputs.0.into_iter().enumerate();
    let inputs: Vec<Input> = inputs
        .map(|(index, Object(input))| tensors.input(index, input))
        .collect::<Result<_, _>>()?;
    if let Some(rest) = tensors.rest.filter(|rest| !rest.is_empty()) {
        return Err(bad(
            "body",
            format!("has {} bytes behind its last binary tensor", rest.len()),
        ));
    }
    let outputs = wire
        .outputs
        .0
        .into_iter()
        .enumerate()
        .map(|(index, Object(output))| {
            let field = format!("outputs[{index}].parameters");
            let mut parameters = output.parameters;
            let binary = take_flag(&mut parameters, DATA, &field)?;
            Ok(RequestedOutput {
                name: output.name,
                parameters: own(parameters, &field)?,
                binary,
            })
        });
    let outputs = outputs.collect::<Result<_, _>>()?;
    let mut parameters = wire.parameters;
    let binary = take_flag(&mut parameters, DATA_OUTPUT, "parameters")?;
    Request::assemble(Parts {
        id: wire.id,
        parameters: own(parameters, "parameters")?,
        inputs,
        outputs,
        answer: AnswerForm::Rest {
            binary: binary.unwrap_or(false),
        },
        size: body.len(),
    })
}

/// The bytes that inputs have their data in.
struct Tensors<'a> {
    header: &'a Bytes,
    /// Binary tensors that no input has had yet; `None` where the caller announces none.
    rest: Option<Bytes>,
}

impl Tensors<'_> {
    fn input(&mut self, index: usize, wire: WireInput<'_>) -> Result<Input, BadRequest> {
        let field = |name: &str| format!("inputs[{index}].{name}");
        let mut parameters = wire.parameters;
        let size = parameters.0.remove(DATA_SIZE);
        let size = size.filter(|value| *value != Value::Bool(false));
        let parameters = own(parameters, &field("parameters"))?;
        let datatype = Datatype::parse(&wire.datatype).map_err(|problem| bad(field("datatype"), problem))?;
        let shape = wire.shape.0;
        check_shape(&field("shape"), &shape)?;
        let data = match (size, wire.data) {
            (Some(_), Some(_)) => {
                let problem = format!("is there beside parameters.{DATA_SIZE}, must be one of both");
                return Err(bad(field("data"), problem));
            }
            (Some(size), None) => {
                let raw = self
                    .take(&size)
                    .map_err(|problem| bad(field("parameters"), problem))?;
                raw::check(&raw, &shape, datatype, Author::Caller)
                    .map_err(|problem| bad(field("data"), problem))?;
                Data::Raw(raw)
            }
            (None, Some(data)) => {
                let data = self.header.slice_ref(data.get().as_bytes());
                let text = text::check(&data, &shape, datatype);
                Data::Text(text.map_err(|problem| bad(field("data"), problem))?)
            }
            (None, None) => return Err(bad(field("data"), "is missing")),
        };
        Ok(Input {
            name: wire.name,
            datatype,
            shape,
            parameters,
            data,
        })
    }

    /// The next tensor.
    fn take(&mut self, size: &Value) -> Result<Bytes, String> {
        let Some(rest) = &mut self.rest else {
            return Err(format!(
                "{DATA_SIZE}: binary tensors need the header {HEADER_LENGTH}"
            ));
        };
        let size = size
            .as_u64()
            .ok_or_else(|| format!("{DATA_SIZE} is {size}, must be a number of bytes"))?;
        match usize::try_from(size) {
            Ok(size) if size <= rest.len() => Ok(rest.split_to(size)),
            _ => Err(format!(
                "{DATA_SIZE} is {size}, {} bytes of the body are left",
                rest.len()
            )),
        }
    }
}

/// Takes a parameter of the extension out.
fn take_flag(parameters: &mut Parameters, name: &str, field: &str) -> Result<Option<bool>, BadRequest> {
    match parameters.0.remove(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(other) => Err(bad(field, format!("{name} is {other}, must be true or false"))),
    }
}

/// The parameters that are no part of the extension. One of its own where it says nothing is an error, so that nobody waits for what it seems to
/// ask for; `false` asks for nothing.
pub(super) fn own(mut parameters: Parameters, field: &str) -> Result<String, BadRequest> {
    for (name, place) in [
        (DATA_SIZE, "an input with binary data"),
        (DATA, "an output that is asked for"),
        (DATA_OUTPUT, "the request"),
    ] {
        if parameters
            .0
            .remove(name)
            .is_some_and(|value| value != Value::Bool(false))
        {
            return Err(bad(field, format!("{name} is a parameter of {place}")));
        }
    }
    canonical(field, &parameters.0)
}
