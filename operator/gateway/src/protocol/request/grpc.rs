//! Requests over gRPC: raw contents for all inputs, or typed contents in each.

use bytes::Bytes;
use prost::Message as _;

use super::{
    super::{
        bounded::Parameters,
        datatype::Datatype,
        grpc::{
            check_size, contents,
            messages::{InferInputTensor, InferParameter, ModelInferRequest},
            to_json,
        },
        meter::{Direction, Meter},
        path::is_name,
        raw,
        tensor::{Author, Data},
    },
    AnswerForm, BadRequest, DIMENSIONS, Input, Parts, Request, RequestedOutput, TENSORS, bad, check_shape,
    check_text_size, rest,
};

/// A request that came over gRPC, with what REST has in its path.
#[derive(Clone, Debug)]
pub struct GrpcRequest {
    /// The request.
    pub request: Request,
    /// The model as the caller named it.
    pub model: String,
    /// The version that it asks for.
    pub version: Option<String>,
}

impl Request {
    /// Reads a `ModelInferRequest`.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn read_grpc(body: &Bytes, meter: &mut Meter) -> Result<GrpcRequest, BadRequest> {
        check_size(body).map_err(|problem| bad("body", problem))?;
        let message =
            ModelInferRequest::decode(body.clone()).map_err(|error| bad("body", error.to_string()))?;
        check_text_size(text_size(&message))?;
        if !is_name(&message.model_name) {
            return Err(bad(
                "model_name",
                format!("{:?} is no name of a model", message.model_name),
            ));
        }
        let version = Some(message.model_version).filter(|version| !version.is_empty());
        if let Some(version) = version.as_ref().filter(|version| !is_name(version)) {
            return Err(bad("model_version", format!("{version:?} is no version")));
        }
        if message.outputs.len() > TENSORS {
            return Err(bad("outputs", format!("more than {TENSORS} outputs")));
        }
        let raws = message.raw_input_contents;
        let is_raw = !raws.is_empty();
        if is_raw && raws.len() != message.inputs.len() {
            let problem = format!(
                "has {} tensors, there are {} inputs",
                raws.len(),
                message.inputs.len()
            );
            return Err(bad("raw_input_contents", problem));
        }
        let mut raws = raws.into_iter();
        let inputs = message.inputs.into_iter().enumerate();
        let inputs = inputs.map(|(index, input)| self::input(index, input, raws.next(), meter));
        let inputs = inputs.collect::<Result<_, _>>()?;
        let outputs = message.outputs.into_iter().enumerate().map(|(index, output)| {
            Ok(RequestedOutput {
                name: output.name,
                parameters: parameters(&format!("outputs[{index}].parameters"), output.parameters)?,
                binary: None,
            })
        });
        let outputs = outputs.collect::<Result<_, _>>()?;
        let request = Self::assemble(Parts {
            id: Some(message.id).filter(|id| !id.is_empty()),
            parameters: parameters("parameters", message.parameters)?,
            inputs,
            outputs,
            answer: AnswerForm::Grpc { typed: !is_raw },
            size: body.len(),
        })?;
        Ok(GrpcRequest {
            request,
            model: message.model_name,
            version,
        })
    }
}

fn input(
    index: usize,
    input: InferInputTensor,
    raw: Option<Bytes>,
    meter: &mut Meter,
) -> Result<Input, BadRequest> {
    let field = |name: &str| format!("inputs[{index}].{name}");
    let parameters = parameters(&field("parameters"), input.parameters)?;
    let datatype = Datatype::parse(&input.datatype).map_err(|problem| bad(field("datatype"), problem))?;
    if input.shape.len() > DIMENSIONS {
        return Err(bad(field("shape"), format!("more than {DIMENSIONS} dimensions")));
    }
    let shape: Result<Vec<u64>, _> = input.shape.iter().map(|size| u64::try_from(*size)).collect();
    let Ok(shape) = shape else {
        let problem = format!("is {:?}, every dimension must be at least 1", input.shape);
        return Err(bad(field("shape"), problem));
    };
    check_shape(&field("shape"), &shape)?;
    let place = if raw.is_some() {
        format!("raw_input_contents[{index}]")
    } else {
        field("contents")
    };
    let raw = match (raw, input.contents.as_slice()) {
        (_, [_, _, ..]) => return Err(bad(field("contents"), "is there twice")),
        (Some(_), [_]) => {
            return Err(bad(
                field("contents"),
                "is there beside raw_input_contents, must be one of both",
            ));
        }
        (Some(raw), []) => raw,
        (None, []) => return Err(bad(field("contents"), "is missing, and so is raw_input_contents")),
        (None, [typed]) => meter
            .measure(Direction::RequestToRaw, typed.len(), || {
                contents::to_raw(typed, datatype)
            })
            .map_err(|problem| bad(place.as_str(), problem))?,
    };
    raw::check(&raw, &shape, datatype, Author::Caller).map_err(|problem| bad(place, problem))?;
    Ok(Input {
        name: input.name,
        datatype,
        shape,
        parameters,
        data: Data::Raw(raw),
    })
}

type Map = std::collections::BTreeMap<String, InferParameter>;

fn parameters(field: &str, parameters: Map) -> Result<String, BadRequest> {
    let parameters = to_json(parameters).map_err(|problem| bad(field, problem))?;
    rest::own(Parameters(parameters), field)
}

/// Bytes of all texts that are kept beside the data.
fn text_size(message: &ModelInferRequest) -> usize {
    let of = |parameters: &Map| {
        parameters
            .iter()
            .map(|(name, value)| name.len() + value.encoded_len())
            .sum::<usize>()
    };
    let inputs = message.inputs.iter();
    let inputs = inputs.map(|input| input.name.len() + input.datatype.len() + of(&input.parameters));
    let outputs = message
        .outputs
        .iter()
        .map(|output| output.name.len() + of(&output.parameters));
    let own =
        message.id.len() + message.model_name.len() + message.model_version.len() + of(&message.parameters);
    own + inputs.chain(outputs).sum::<usize>()
}
