//! The protocol over gRPC: its messages, their framing in HTTP/2 and its statuses are those of [`harmonybatch_protocol::grpc`]; here is what a gateway reads and
//! writes of them besides: typed contents, parameters, and how much a message may make us hold.
//!
//! Messages are one of a call, so that a stream is a prefix, a message and, in an answer, trailers. Raw tensors stand last in a message, where they are
//! chained to the rest of it as they lie in memory.

pub(super) mod contents;
mod fields;
mod parameters;

use super::ApiError;

pub use harmonybatch_protocol::grpc::{
    CONTENT_TYPE, Code, FrameError, SERVICE, StatusLine, TIMEOUT, frame, frame_message, messages, unframe,
};

pub(super) use fields::{check_size, push_field};
pub(super) use parameters::{from_json, to_json};

impl From<ApiError> for StatusLine {
    fn from(error: ApiError) -> Self {
        Self {
            code: Code::of(error.status),
            message: error.message,
            retry_after: error.retry_after,
        }
    }
}

#[cfg(test)]
mod tests;
