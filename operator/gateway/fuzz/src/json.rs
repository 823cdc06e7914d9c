//! Requests over REST with JSON tensors.

use bytes::Bytes;
use harmonybatch_gateway::protocol::Request;

use crate::{
    meaning,
    reference::rest::{self, Bounds},
};

/// Takes a body.
pub fn target(data: &[u8]) {
    let read = Request::read(&Bytes::copy_from_slice(data));
    let expected = rest::request(data, None, Bounds::Kept);
    assert_eq!(read.is_ok(), expected.is_some(), "{read:?}, {expected:?}");
    if let (Ok(read), Some(expected)) = (read, expected) {
        meaning::check(&read, &expected);
    }
}
