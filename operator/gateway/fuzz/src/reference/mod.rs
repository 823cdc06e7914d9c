//! The protocols once more, read slowly and strictly: elements as values, messages piece by piece. Shares no code with what is held against it, but the
//! names of gRPC's parameters.

pub mod element;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod message;
pub mod rest;
