//! The Open Inference Protocol, version 2, over REST with JSON tensors.
//!
//! A request is read into a [`Request`] whose tensors are slices of its body: `data` is checked against shape and datatype and never turned into
//! numbers. Requests with equal [`MergeKey`] become one body for the runtime ([`merge`]), and the runtime's answer is cut by rows ([`split`]) so
//! that each caller gets its own rows, its own id and the model name that it asked by.

mod answer;
mod bounded;
mod error;
mod key;
mod merge;
mod path;
mod request;
mod tensor;

pub use answer::{Answer, AnswerError, split};
pub use error::ApiError;
pub use key::MergeKey;
pub use merge::merge;
pub use path::{Endpoint, Route, locate};
pub use request::{BadRequest, Request};
