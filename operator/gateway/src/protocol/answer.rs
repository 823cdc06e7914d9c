//! One answer as many.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Request, merge::push_text, tensor};

/// One caller's answer: a JSON body.
pub type Answer = Bytes;

/// What is wrong with a runtime's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is not what the protocol says.
    #[error("the runtime's answer is not valid: {0}")]
    Invalid(String),
    /// It answers something else.
    #[error("the runtime's answer has id {found:?}, asked was {asked:?}")]
    OtherId {
        /// The id that it has.
        found: String,
        /// The id that was sent.
        asked: String,
    },
    /// An output does not have the rows that were sent.
    #[error("the runtime's output {output} has shape {shape:?}, the batch has {rows} rows")]
    WrongRows {
        /// Name of the output.
        output: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Rows of the batch.
        rows: u64,
    },
    /// An output is not what its shape says.
    #[error("the runtime's output {output} {problem}")]
    BadOutput {
        /// Name of the output.
        output: String,
        /// What is wrong.
        problem: String,
    },
    /// An output that was asked for is missing.
    #[error("the runtime's answer lacks the output {0}")]
    MissingOutput(String),
}

#[derive(Deserialize)]
struct WireAnswer<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default, borrow)]
    model_version: Option<&'a RawValue>,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    outputs: Vec<WireOutput<'a>>,
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

/// An output, cut into the callers' rows.
struct Cut<'a> {
    wire: &'a WireOutput<'a>,
    parts: Vec<Bytes>,
}

/// Cuts the answer to a batch into one for each of its requests, in their order. `asked_id` is the id that the batch was sent with; `model` gives
/// the name by which each caller asked.
///
/// # Errors
/// Where any output cannot be given to its callers: then none can, as nothing says whose rows are wrong.
pub fn split(
    body: &Bytes,
    asked_id: &str,
    requests: &[(&Request, &str)],
) -> Result<Vec<Answer>, AnswerError> {
    let wire: WireAnswer =
        serde_json::from_slice(body).map_err(|error| AnswerError::Invalid(error.to_string()))?;
    if let Some(found) = wire.id.as_ref().filter(|id| !id.is_empty() && *id != asked_id) {
        return Err(AnswerError::OtherId {
            found: found.clone(),
            asked: asked_id.to_owned(),
        });
    }
    let asked = requests
        .first()
        .map(|(request, _)| request.outputs.as_slice())
        .unwrap_or_default();
    if let Some(missing) = asked
        .iter()
        .find(|asked| !wire.outputs.iter().any(|output| output.name == asked.name))
    {
        return Err(AnswerError::MissingOutput(missing.name.clone()));
    }
    let rows: Vec<u64> = requests
        .iter()
        .map(|(request, _)| u64::from(request.rows()))
        .collect();
    let total: u64 = rows.iter().sum();
    let outputs = wire.outputs.iter().map(|output| {
        if output.shape.first() != Some(&total) {
            let (output, shape) = (output.name.clone(), output.shape.clone());
            return Err(AnswerError::WrongRows {
                output,
                shape,
                rows: total,
            });
        }
        let problem = |problem: String| AnswerError::BadOutput {
            output: output.name.clone(),
            problem,
        };
        let data = output.data.ok_or_else(|| problem("has no data".to_owned()))?;
        let text = body.slice_ref(data.get().as_bytes());
        let parts = tensor::cut(&text, &output.shape, &output.datatype, &rows).map_err(problem)?;
        Ok(Cut { wire: output, parts })
    });
    let outputs: Vec<Cut> = outputs.collect::<Result<_, _>>()?;
    Ok(requests
        .iter()
        .enumerate()
        .map(|(index, (request, model))| answer(&wire, &outputs, index, request, model))
        .collect())
}

fn answer(wire: &WireAnswer, outputs: &[Cut], index: usize, request: &Request, model: &str) -> Answer {
    let size: usize = outputs.iter().map(|output| output.parts[index].len() + 128).sum();
    let mut body = Vec::with_capacity(size + 128);
    body.extend_from_slice(b"{\"model_name\":");
    push_text(&mut body, model);
    if let Some(version) = wire.model_version {
        body.extend_from_slice(b",\"model_version\":");
        body.extend_from_slice(version.get().as_bytes());
    }
    if let Some(id) = &request.id {
        body.extend_from_slice(b",\"id\":");
        push_text(&mut body, id);
    }
    push_raw_parameters(&mut body, wire.parameters);
    body.extend_from_slice(b",\"outputs\":[");
    for (position, output) in outputs.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"name\":");
        push_text(&mut body, &output.wire.name);
        body.extend_from_slice(b",\"shape\":[");
        body.extend_from_slice(request.rows().to_string().as_bytes());
        for size in &output.wire.shape[1..] {
            body.push(b',');
            body.extend_from_slice(size.to_string().as_bytes());
        }
        body.extend_from_slice(b"],\"datatype\":");
        push_text(&mut body, &output.wire.datatype);
        push_raw_parameters(&mut body, output.wire.parameters);
        body.extend_from_slice(b",\"data\":[");
        body.extend_from_slice(&output.parts[index]);
        body.extend_from_slice(b"]}");
    }
    body.extend_from_slice(b"]}");
    body.into()
}

fn push_raw_parameters(body: &mut Vec<u8>, parameters: Option<&RawValue>) {
    if let Some(parameters) = parameters {
        body.extend_from_slice(b",\"parameters\":");
        body.extend_from_slice(parameters.get().as_bytes());
    }
}
