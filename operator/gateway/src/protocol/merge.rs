//! Many requests as one.

mod grpc;
mod rest;

use crate::body::Chunks;

use super::{Request, grpc::FrameError, tensor::Data, text::Text, wire::Wire};

pub(super) use grpc::shape;

/// A message as it goes to a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its body.
    pub body: Chunks,
    /// Bytes of JSON that it begins with, where binary tensors follow.
    pub header_length: Option<usize>,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressee<'a> {
    /// The message's id.
    pub id: &'a str,
    /// The model as the runtime names it.
    pub model: &'a str,
    /// The version that the callers ask for.
    pub version: Option<&'a str>,
}

/// Why requests are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// One was not brought into the runtime's encoding by [`Request::convert`], or there is none.
    #[error("a request of the batch is not in the runtime's encoding")]
    NotConverted,
    /// Together they are too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// One request with the rows of all of `requests`, in their order. They have one [`MergeKey`](super::MergeKey), and all their tensors are in the
/// runtime's encoding: text is copied as the callers wrote it, nested only where all of them are; raw bytes are chained.
///
/// # Errors
/// Where a tensor has another encoding.
pub fn merge(to: &Addressee<'_>, requests: &[&Request], wire: Wire) -> Result<Message, MergeError> {
    match wire {
        Wire::Json => rest::json(to.id, requests),
        Wire::Binary => rest::binary(to.id, requests),
        Wire::Grpc => grpc::merge(to, requests),
    }
}

/// The same input of all requests, as text.
fn texts<'a>(requests: &[&'a Request], input: usize) -> Result<Vec<&'a Text>, MergeError> {
    let data = requests
        .iter()
        .map(|request| match &request.inputs.get(input)?.data {
            Data::Text(text) => Some(text),
            Data::Raw(_) => None,
        });
    data.collect::<Option<_>>().ok_or(MergeError::NotConverted)
}

/// The same input of all requests, raw.
fn raws(requests: &[&Request], input: usize) -> Result<Chunks, MergeError> {
    let mut chunks = Chunks::default();
    for request in requests {
        match request.inputs.get(input).map(|input| &input.data) {
            Some(Data::Raw(raw)) => chunks.push(raw.clone()),
            _ => return Err(MergeError::NotConverted),
        }
    }
    Ok(chunks)
}

fn rows(requests: &[&Request]) -> u64 {
    requests.iter().map(|request| u64::from(request.rows())).sum()
}
