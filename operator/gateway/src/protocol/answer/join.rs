//! The answers to the parts of a request as the answer to the whole.

use bytes::BytesMut;

use super::{
    super::{
        Request,
        grpc::unframe,
        json::push_list,
        meter::Meter,
        request::AnswerForm,
        tensor::Data,
        text::{Layout, Text},
    },
    Answer, AnswerError, Outcome, Part, Unwritable, cut, grpc, rest,
};

/// Why answers to the parts of a request are no answer to the whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// One of them is none.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// They have other outputs, datatypes or shapes.
    #[error("the runtime's answers to the parts of the request differ in their output {0}")]
    Differ(String),
    /// The caller's encoding cannot write what they say.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// One answer of those to the parts that [`Request::divide`] made of `request`, each with its part's rows, in their order. `model` is the name by which
/// the caller asked for the model.
///
/// # Errors
/// Where they do not belong together.
pub fn join(
    answers: Vec<(Answer, u32)>,
    request: &Request,
    model: &str,
    meter: &mut Meter,
) -> Result<Answer, JoinError> {
    let mut outcomes = Vec::with_capacity(answers.len());
    for (answer, rows) in answers {
        outcomes.push((read(answer, request, meter)?, u64::from(rows)));
    }
    let Some((first, _)) = outcomes.first() else {
        return Err(AnswerError::Invalid("there is none".to_owned()).into());
    };
    let mut parts = Vec::with_capacity(first.outputs.len());
    for (index, output) in first.outputs.iter().enumerate() {
        let mut datas = Vec::with_capacity(outcomes.len());
        let mut datatype = None;
        for (outcome, rows) in &outcomes {
            let same = outcome.outputs.get(index).filter(|other| {
                other.name == output.name
                    && other.datatype == output.datatype
                    && other.shape.get(1..) == output.shape.get(1..)
                    && outcome.outputs.len() == first.outputs.len()
            });
            let other = same.ok_or_else(|| JoinError::Differ(output.name.clone()))?;
            let mut whole = cut(other, &[*rows])?;
            datatype = Some(whole.datatype);
            datas.extend(whole.parts.pop());
        }
        let joined = datatype.zip(joined(datas));
        let (datatype, data) = joined.ok_or_else(|| JoinError::Differ(output.name.clone()))?;
        parts.push(Part {
            output,
            datatype,
            data,
        });
    }
    Ok(match request.answer {
        AnswerForm::Rest { .. } => rest::write(first, &parts, request, model),
        AnswerForm::Grpc { typed } => grpc::write(first, &parts, request, model, typed, meter)?,
    })
}

/// An answer as its caller would read it.
fn read(answer: Answer, request: &Request, meter: &mut Meter) -> Result<Outcome, AnswerError> {
    let body = answer.body.into_bytes();
    match request.answer {
        AnswerForm::Rest { .. } => rest::read(&body, answer.header_length),
        AnswerForm::Grpc { .. } => {
            let message = unframe(&body).map_err(|error| AnswerError::Invalid(error.to_string()))?;
            grpc::read(&message, meter)
        }
    }
}

/// The same output of all parts; nothing where some are text and some are not.
fn joined(datas: Vec<Data>) -> Option<Data> {
    let size: usize = datas.iter().map(|data| data.len() + 1).sum();
    if let Some(Data::Raw(_)) = datas.first() {
        let mut all = BytesMut::with_capacity(size);
        for data in datas {
            let Data::Raw(raw) = data else { return None };
            all.extend_from_slice(&raw);
        }
        return Some(Data::Raw(all.freeze()));
    }
    let texts = datas.into_iter().map(|data| match data {
        Data::Text(text) => Some(text),
        Data::Raw(_) => None,
    });
    let texts: Vec<Text> = texts.collect::<Option<_>>()?;
    let all_nested = texts.iter().all(|text| text.layout == Layout::Nested);
    let mut elements = Vec::with_capacity(size);
    push_list(&mut elements, &texts, |elements, text| {
        if all_nested {
            elements.extend_from_slice(&text.elements);
        } else {
            text.push_flat(elements);
        }
    });
    let layout = if all_nested { Layout::Nested } else { Layout::Flat };
    Some(Data::Text(Text {
        layout,
        elements: elements.into(),
    }))
}
