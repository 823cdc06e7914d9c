//! The frames of RFC 9113 that carry content. Heads are not read, so that a stream may be any request that its content can be.

use std::collections::BTreeMap;

use super::{
    grpc,
    message::Request,
    rest::{self, Bounds},
};

/// What a connection of HTTP/2 begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// Every request that a stream could be whose content is whole.
pub fn possible(bytes: &[u8]) -> Vec<Request> {
    let Some(mut rest) = bytes.strip_prefix(PREFACE) else {
        return Vec::new();
    };
    let mut open: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut possible = Vec::new();
    while let Some((kind, flags, stream, payload)) = frame(&mut rest) {
        if kind != DATA {
            continue;
        }
        let Some(content) = content(flags, payload) else {
            break;
        };
        open.entry(stream).or_default().extend_from_slice(content);
        if flags & END_STREAM != 0 {
            possible.extend(
                open.remove(&stream)
                    .into_iter()
                    .flat_map(|content| readings(&content)),
            );
        }
    }
    possible
}

/// Kind, flags, stream and payload of the first frame.
fn frame<'a>(bytes: &mut &'a [u8]) -> Option<(u8, u8, u32, &'a [u8])> {
    let ([high, middle, low, kind, flags, stream @ ..], rest) = bytes.split_first_chunk::<FRAME_HEAD>()?;
    let length = u32::from_be_bytes([0, *high, *middle, *low]);
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some((*kind, *flags, u32::from_be_bytes(*stream) & !(1 << 31), payload))
}

/// The content of a frame without its padding.
fn content(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// What a content means, read in every way; mostly one.
fn readings(content: &[u8]) -> Vec<Request> {
    let call = grpc::unframed(content).and_then(grpc::request);
    let json = rest::request(content, None, Bounds::Kept);
    // Where the JSON ends is said in the head; it can only end with its last brace, or with white space behind that.
    let mut values = serde_json::Deserializer::from_slice(content).into_iter::<serde::de::IgnoredAny>();
    let end = values.next().and_then(Result::ok).map(|_| values.byte_offset());
    let space = |end: usize| {
        let space = content[end..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace());
        end..=end + space.count()
    };
    let ends = end.into_iter().flat_map(space);
    let binary = ends.filter_map(|end| rest::request(content, Some(end), Bounds::Kept));
    let mut readings: Vec<Request> = call.into_iter().chain(json).chain(binary).collect();
    readings.dedup_by_key(|request| request.split());
    readings
}
