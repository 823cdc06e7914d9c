//! The Open Inference Protocol, version 2: REST with JSON tensors, REST with the binary tensor extension, and gRPC ([`grpc`]).
//!
//! A request is read into a [`Request`] whose tensors are slices of its body, checked against shape and datatype: JSON text that is never turned into
//! numbers, or raw bytes. [`Request::convert`] brings them into the encoding of the runtime ([`Wire`]), where they have another one. Requests with
//! equal [`MergeKey`] become one message for the runtime ([`merge`]), and the runtime's answer is cut by rows ([`split`]) so that each caller gets its
//! own rows, its own id and the model name that it asked by, in the encoding that it asked for. A request of more rows than a batch may have becomes several
//! ([`Request::divide`]), whose answers become one ([`join`]). [`Meter`] counts what conversions cost.

mod answer;
mod bounded;
mod cause;
mod convert;
mod error;
pub mod grpc;
mod json;
mod key;
mod merge;
mod meter;
mod path;
mod raw;
mod request;
mod tensor;
mod text;
mod wire;

use harmonybatch_protocol::datatype;

pub use answer::{Answer, AnswerError, JoinError, Unwritable, join, split};
pub use cause::{CAUSE_HEADER, Cause};
pub use error::ApiError;
pub use key::MergeKey;
pub use merge::{Addressee, MergeError, Message, merge};
pub use meter::{Cost, Direction, Meter};
pub use path::{Endpoint, Route, check_version, locate};
pub use request::{BadRequest, GrpcRequest, HEADER_LENGTH, Request};
pub use wire::Wire;

#[cfg(test)]
mod tests;
