//! Requests over gRPC.

use bytes::Bytes;
use harmonybatch_gateway::protocol::Request;

use crate::{
    meaning::{self, meter},
    reference::grpc,
};

/// Longest message that cannot reach the gateway's bounds of bytes, which the reference does not know.
const WITHIN_BOUNDS: usize = 8 << 10;

/// Takes a `ModelInferRequest`. The gateway may refuse what the definition allows (unknown fields among contents, numbers that are cut to their
/// type), but not what a library would write.
pub fn target(data: &[u8]) {
    let read = Request::read_grpc(&Bytes::copy_from_slice(data), &mut meter());
    let expected = grpc::request(data);
    if read.is_ok() || (data.len() <= WITHIN_BOUNDS && grpc::is_canonical(data)) {
        assert_eq!(read.is_ok(), expected.is_some(), "{read:?}, {expected:?}");
    }
    if let (Ok(read), Some(expected)) = (read, expected) {
        meaning::check(&read.request, &expected);
    }
}
