//! One answer as many.

mod grpc;
mod join;
mod rest;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    Request,
    datatype::Datatype,
    meter::Meter,
    raw,
    request::AnswerForm,
    tensor::{Author, Data},
    text,
    wire::Wire,
};
use crate::body::Chunks;

pub use join::{JoinError, join};

/// One caller's answer, in the encoding that it asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its body.
    pub body: Chunks,
    /// Bytes of JSON that it begins with, where binary tensors follow.
    pub header_length: Option<usize>,
}

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

/// A caller's part cannot be written in the encoding that the caller asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the runtime's output {output} {problem}")]
pub struct Unwritable {
    output: String,
    problem: String,
}

/// A runtime's answer, read but not checked.
#[derive(Debug, Default)]
struct Outcome {
    id: Option<String>,
    model_version: Option<Box<RawValue>>,
    /// An object's text; empty if there is none.
    parameters: String,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    parameters: String,
    data: OutputData,
}

impl Output {
    fn unwritable(&self, problem: String) -> Unwritable {
        Unwritable {
            output: self.name.clone(),
            problem,
        }
    }
}

#[derive(Debug)]
enum OutputData {
    /// A JSON array.
    Text(Bytes),
    Raw(Bytes),
}

/// An output, cut into the callers' rows.
struct Cut<'a> {
    output: &'a Output,
    datatype: Datatype,
    parts: Vec<Data>,
}

/// One caller's part of an output.
struct Part<'a> {
    output: &'a Output,
    datatype: Datatype,
    data: Data,
}

/// Cuts the answer to a batch into one for each of its requests, in their order. `asked_id` is the id that the batch was sent with; the text beside a
/// request is the name by which its caller asked for the model. `header_length` is what the answer says of itself.
///
/// # Errors
/// Where any output cannot be given to its callers: then none can, as nothing says whose rows are wrong. A part that only its caller's encoding
/// cannot write is that caller's error.
pub fn split(
    body: &Bytes,
    header_length: Option<usize>,
    wire: Wire,
    asked_id: &str,
    requests: &[(&Request, &str)],
    meter: &mut Meter,
) -> Result<Vec<Result<Answer, Unwritable>>, AnswerError> {
    let outcome = match wire {
        Wire::Json | Wire::Binary => rest::read(body, header_length)?,
        Wire::Grpc => grpc::read(body, meter)?,
    };
    if let Some(found) = outcome.id.as_ref().filter(|id| !id.is_empty() && *id != asked_id) {
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
        .find(|asked| !outcome.outputs.iter().any(|output| output.name == asked.name))
    {
        return Err(AnswerError::MissingOutput(missing.name.clone()));
    }
    let rows: Vec<u64> = requests
        .iter()
        .map(|(request, _)| u64::from(request.rows()))
        .collect();
    let outputs = outcome.outputs.iter().map(|output| cut(output, &rows));
    let mut outputs: Vec<Cut> = outputs.collect::<Result<_, _>>()?;
    // From the last one on, so that every part is given away.
    let answers = requests.iter().rev().map(|(request, model)| {
        let parts = outputs.iter_mut().map(|cut| part(cut, request, meter));
        let parts = parts
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        match request.answer {
            AnswerForm::Rest { .. } => Ok(rest::write(&outcome, &parts, request, model)),
            AnswerForm::Grpc { typed } => grpc::write(&outcome, &parts, request, model, typed, meter),
        }
    });
    let mut answers: Vec<_> = answers.collect();
    answers.reverse();
    Ok(answers)
}

fn cut<'a>(output: &'a Output, rows: &[u64]) -> Result<Cut<'a>, AnswerError> {
    let total: u64 = rows.iter().sum();
    if output.shape.first() != Some(&total) {
        return Err(AnswerError::WrongRows {
            output: output.name.clone(),
            shape: output.shape.clone(),
            rows: total,
        });
    }
    let problem = |problem: String| AnswerError::BadOutput {
        output: output.name.clone(),
        problem,
    };
    let datatype = Datatype::parse(&output.datatype).map_err(problem)?;
    let parts = match &output.data {
        OutputData::Text(text) => text::cut(text, &output.shape, datatype, rows)
            .map(|parts| parts.into_iter().map(Data::Text).collect()),
        OutputData::Raw(raw) => raw::cut(raw, &output.shape, datatype, rows)
            .map(|parts| parts.into_iter().map(Data::Raw).collect()),
    };
    Ok(Cut {
        output,
        datatype,
        parts: parts.map_err(problem)?,
    })
}

/// The last part of an output, in the form that its caller wants.
fn part<'a>(cut: &mut Cut<'a>, request: &Request, meter: &mut Meter) -> Result<Part<'a>, Unwritable> {
    let (output, datatype) = (cut.output, cut.datatype);
    let unwritable = |problem: String| output.unwritable(problem);
    let data = cut
        .parts
        .pop()
        .ok_or_else(|| unwritable("has too few parts".to_owned()))?;
    let form = request.wanted_form(&output.name);
    let data = data
        .into_form(form, datatype, Author::Runtime, meter)
        .map_err(unwritable)?;
    Ok(Part {
        output,
        datatype,
        data,
    })
}
