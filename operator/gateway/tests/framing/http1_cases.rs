//! The cases of HTTP/1.1.

use crate::{
    Case, http1_bodies, http1_heads,
    wire::{HOST, POST, body, head},
};

pub(crate) fn all() -> Vec<Case> {
    [http1_heads::all(), http1_bodies::all()].concat()
}

/// What is answered by the service.
pub(crate) fn good(name: &'static str, sends: Vec<u8>, answer: &'static str, runtime: usize) -> Case {
    Case {
        name,
        sends,
        answer,
        runtime,
        counted: "",
    }
}

/// What is refused and never reaches the runtime.
pub(crate) fn bad(name: &'static str, sends: Vec<u8>, answer: &'static str, counted: &'static str) -> Case {
    Case {
        name,
        sends,
        answer,
        runtime: 0,
        counted,
    }
}

/// A request with this content, which must not matter.
pub(crate) fn post(lines: &[&str]) -> Vec<u8> {
    head(&[&[POST, HOST], lines].concat(), body().as_bytes())
}

/// A request with one part of it in another way.
pub(crate) fn replaced(request: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let at = request
        .windows(from.len())
        .position(|part| part == from.as_bytes())
        .unwrap();
    [&request[..at], to, &request[at + from.len()..]].concat()
}
