//! Requests over REST with binary tensors.

use bytes::Bytes;
use harmonybatch_gateway::protocol::Request;

use crate::{
    meaning,
    reference::rest::{self, Bounds},
};

/// Stands between the JSON and the tensors, as no text has it, so that the JSON can change its length.
const MARK: u8 = 0xff;

/// Takes how much longer (as a signed byte) the header says that the JSON is than it is, the JSON, [`MARK`], and the tensors.
pub fn target(data: &[u8]) {
    let Some(([more], message)) = data.split_first_chunk() else {
        return;
    };
    let (body, length) = split(message);
    let length = length.saturating_add_signed(more.cast_signed().into());
    let read = Request::read_binary(&Bytes::copy_from_slice(&body), length);
    let expected = rest::request(&body, Some(length), Bounds::Kept);
    assert_eq!(read.is_ok(), expected.is_some(), "{read:?}, {expected:?}");
    if let (Ok(read), Some(expected)) = (read, expected) {
        meaning::check(&read, &expected);
    }
}

/// A message without its [`MARK`], and the bytes before that.
pub(crate) fn split(message: &[u8]) -> (Vec<u8>, usize) {
    let mark = message.iter().position(|byte| *byte == MARK);
    let (json, tensors) = mark.map_or((message, &[][..]), |mark| {
        (&message[..mark], &message[mark + 1..])
    });
    ([json, tensors].concat(), json.len())
}
