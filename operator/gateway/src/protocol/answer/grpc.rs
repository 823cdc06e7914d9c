//! Answers over gRPC, of runtimes and to callers.

use bytes::Bytes;
use prost::Message as _;
use serde_json::value::to_raw_value;

use super::{
    super::{
        datatype::{self, Datatype},
        grpc::{
            self, contents, from_json,
            messages::{InferOutputTensor, InferParameter, ModelInferResponse, RAW_OUTPUT_CONTENTS},
            push_field, to_json,
        },
        merge::shape,
        meter::{Direction, Meter},
        tensor::Data,
    },
    Answer, AnswerError, Outcome, Output, OutputData, Part, Request, Unwritable,
};
use crate::body::Chunks;

/// Reads a runtime's answer.
pub(super) fn read(body: &Bytes, meter: &mut Meter) -> Result<Outcome, AnswerError> {
    let message =
        ModelInferResponse::decode(body.clone()).map_err(|error| AnswerError::Invalid(error.to_string()))?;
    let raws = message.raw_output_contents;
    if !raws.is_empty() && raws.len() != message.outputs.len() {
        let problem = format!(
            "raw_output_contents has {} tensors, there are {} outputs",
            raws.len(),
            message.outputs.len()
        );
        return Err(AnswerError::Invalid(problem));
    }
    let mut raws = raws.into_iter();
    let outputs = message
        .outputs
        .into_iter()
        .map(|output| self::output(output, raws.next(), meter));
    let version = Some(message.model_version).filter(|version| !version.is_empty());
    Ok(Outcome {
        id: Some(message.id),
        model_version: version.and_then(|version| to_raw_value(&version).ok()),
        parameters: parameters(message.parameters).map_err(AnswerError::Invalid)?,
        outputs: outputs.collect::<Result<_, _>>()?,
    })
}

fn output(output: InferOutputTensor, raw: Option<Bytes>, meter: &mut Meter) -> Result<Output, AnswerError> {
    let name = output.name;
    let problem = |problem: String| AnswerError::BadOutput {
        output: name.clone(),
        problem,
    };
    let shape: Result<Vec<u64>, _> = output.shape.iter().map(|size| u64::try_from(*size)).collect();
    let shape = shape.map_err(|_| problem(format!("has shape {:?}", output.shape)))?;
    let raw = match (raw, output.contents.as_slice()) {
        (Some(raw), _) => raw,
        (None, [typed]) => {
            let datatype = Datatype::parse(&output.datatype).map_err(problem)?;
            let to_raw = || contents::to_raw(typed, datatype);
            meter
                .measure(Direction::AnswerToRaw, typed.len(), to_raw)
                .map_err(problem)?
        }
        // An empty tensor has empty contents, which some leave out.
        (None, []) if datatype::elements(&shape) == Ok(0) => Bytes::new(),
        (None, []) => return Err(problem("has no data".to_owned())),
        (None, _) => return Err(problem("has contents twice".to_owned())),
    };
    let parameters = parameters(output.parameters).map_err(problem)?;
    Ok(Output {
        name,
        shape,
        datatype: output.datatype,
        parameters,
        data: OutputData::Raw(raw),
    })
}

/// As the text of an object; empty if there are none.
fn parameters(parameters: std::collections::BTreeMap<String, InferParameter>) -> Result<String, String> {
    if parameters.is_empty() {
        return Ok(String::new());
    }
    let values = to_json(parameters).map_err(|problem| format!("has parameters of which {problem}"))?;
    serde_json::to_string(&values).map_err(|error| error.to_string())
}

/// The answer to one caller, framed. Typed contents are given only where all outputs have them, as raw contents stand for all outputs.
pub(super) fn write(
    outcome: &Outcome,
    parts: &[Part<'_>],
    request: &Request,
    model: &str,
    typed: bool,
    meter: &mut Meter,
) -> Result<Answer, Unwritable> {
    let typed = typed && parts.iter().all(|part| contents::is_typed(part.datatype));
    let mut raws = Chunks::default();
    let mut outputs = Vec::with_capacity(parts.len());
    for Part {
        output,
        datatype,
        data,
    } in parts
    {
        let Data::Raw(raw) = data else { continue };
        // Of no elements, as a runtime of REST may write it.
        if output.shape.iter().any(|size| i64::try_from(*size).is_err()) {
            let problem = format!("has shape {:?}, which gRPC cannot write", output.shape);
            return Err(output.unwritable(problem));
        }
        let contents = if typed {
            let from_raw = || contents::from_raw(raw, *datatype);
            let contents = meter.measure(Direction::AnswerToTyped, raw.len(), from_raw);
            Some(contents.map_err(|problem| output.unwritable(problem))?)
        } else {
            let mut key = Vec::with_capacity(11);
            push_field(&mut key, RAW_OUTPUT_CONTENTS, raw.len());
            raws.push(key);
            raws.push(raw.clone());
            None
        };
        outputs.push(InferOutputTensor {
            name: output.name.clone(),
            datatype: output.datatype.clone(),
            shape: shape(u64::from(request.rows()), &output.shape),
            parameters: from_json(&output.parameters),
            contents: contents.into_iter().collect(),
        });
    }
    let version = outcome.model_version.as_ref().map(|version| version.get());
    let head = ModelInferResponse {
        model_name: model.to_owned(),
        // A text mostly; whatever else it is, as it stands there.
        model_version: version
            .map(|version| serde_json::from_str(version).unwrap_or_else(|_| version.to_owned()))
            .unwrap_or_default(),
        id: request.id.clone().unwrap_or_default(),
        parameters: from_json(&outcome.parameters),
        outputs,
        raw_output_contents: Vec::new(),
    };
    let mut message = Chunks::from(head.encode_to_vec());
    message.append(raws);
    let body = grpc::frame(message).map_err(|error| Unwritable {
        output: parts
            .first()
            .map(|part| part.output.name.clone())
            .unwrap_or_default(),
        problem: error.to_string(),
    })?;
    Ok(Answer {
        body,
        header_length: None,
    })
}
