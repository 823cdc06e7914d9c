//! What the gateway and the profiler both speak of the Open Inference Protocol, version 2, so that it is written down once.
//!
//! - [`grpc`]: the messages of the service, their frames in HTTP/2, and how a call ends.
//! - [`datatype`]: the datatypes of tensors, and how large their elements are.
//! - [`raw`]: elements of BYTES among raw ones, behind their lengths.
//! - [`body`]: bodies in parts.
//!
//! Who calls whom, and over which connection, is not known here: there is no I/O.

pub mod body;
pub mod datatype;
pub mod grpc;
pub mod raw;

/// The header that says, of a body with binary tensors, how many bytes of JSON it begins with.
pub const HEADER_LENGTH: &str = "inference-header-content-length";
