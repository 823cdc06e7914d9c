//! Many requests as one.

mod rest;

use crate::body::Chunks;

use super::{Request, tensor::Data, text::Text, wire::Wire};

/// A message as it goes to a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its body.
    pub body: Chunks,
    /// Bytes of JSON that it begins with, where binary tensors follow.
    pub header_length: Option<usize>,
}

/// A request was not brought into the runtime's encoding by [`Request::convert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request of the batch is not in the runtime's encoding")]
pub struct NotConverted;

/// One request with the rows of all of `requests`, in their order. They have one [`MergeKey`](super::MergeKey), and all their tensors are in the
/// runtime's encoding: text is copied as the callers wrote it, nested only where all of them are; raw bytes are chained.
///
/// # Errors
/// Where a tensor has another encoding.
pub fn merge(id: &str, requests: &[&Request], wire: Wire) -> Result<Message, NotConverted> {
    match wire {
        Wire::Json => rest::json(id, requests),
        Wire::Binary | Wire::Grpc => rest::binary(id, requests),
    }
}

/// The same input of all requests, as text.
fn texts<'a>(requests: &[&'a Request], input: usize) -> Result<Vec<&'a Text>, NotConverted> {
    let data = requests
        .iter()
        .map(|request| match &request.inputs.get(input)?.data {
            Data::Text(text) => Some(text),
            Data::Raw(_) => None,
        });
    data.collect::<Option<_>>().ok_or(NotConverted)
}

/// The same input of all requests, raw.
fn raws(requests: &[&Request], input: usize) -> Result<Chunks, NotConverted> {
    let mut chunks = Chunks::default();
    for request in requests {
        match request.inputs.get(input).map(|input| &input.data) {
            Some(Data::Raw(raw)) => chunks.push(raw.clone()),
            _ => return Err(NotConverted),
        }
    }
    Ok(chunks)
}

fn rows(requests: &[&Request]) -> u64 {
    requests.iter().map(|request| u64::from(request.rows())).sum()
}
