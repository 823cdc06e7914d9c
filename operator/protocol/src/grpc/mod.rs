//! The protocol over gRPC: its messages, their framing in HTTP/2, and its statuses.
//!
//! Messages are one of a call, so that a stream is a prefix, a message and, in an answer, trailers. Raw tensors stand last in a message, where they are
//! chained to the rest of it as they lie in memory.

pub mod messages;
mod status;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use crate::body::Chunks;

pub use status::{Code, StatusLine};

/// Name of the service, as paths begin with it.
pub const SERVICE: &str = "/inference.GRPCInferenceService/";
/// Type of the content of requests and answers; it may have a suffix.
pub const CONTENT_TYPE: &str = "application/grpc";
/// Says how long the caller waits, in up to eight digits and a unit.
pub const TIMEOUT: &str = "grpc-timeout";

/// The flag of compression, and the length.
const PREFIX: usize = 5;

/// What is wrong with the frame of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is compressed.
    #[error("the message is compressed; send it as it is")]
    Compressed,
    /// There is not exactly one message.
    #[error("the body is not one message: it has {found} bytes, its prefix says {expected}")]
    Length {
        /// Bytes that there are.
        found: usize,
        /// Bytes that there should be.
        expected: usize,
    },
    /// A message cannot have so many bytes.
    #[error("the message has {0} bytes, more than gRPC can carry")]
    TooLong(usize),
}

/// The message in a body.
///
/// # Errors
/// Where it is compressed or not alone.
pub fn unframe(body: &Bytes) -> Result<Bytes, FrameError> {
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(FrameError::Length {
            found: body.len(),
            expected: PREFIX,
        });
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if message.len() != length {
        return Err(FrameError::Length {
            found: body.len(),
            expected: length.saturating_add(PREFIX),
        });
    }
    if *flag != 0 {
        return Err(FrameError::Compressed);
    }
    Ok(body.slice(PREFIX..))
}

/// A body with one message.
///
/// # Errors
/// Where the message has 4 GiB or more.
pub fn frame(message: Chunks) -> Result<Chunks, FrameError> {
    let length = message.len();
    let length = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?;
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(0);
    prefix.put_u32(length);
    let mut body = Chunks::from(prefix.freeze());
    body.append(message);
    Ok(body)
}

/// A body with one message that is all in one piece.
pub fn frame_message(message: &impl Message) -> Chunks {
    // Small ones only, which can be framed.
    frame(message.encode_to_vec().into()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
