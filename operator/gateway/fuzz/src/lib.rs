//! Fuzz targets of the gateway. Each is a function that takes any bytes and asserts what must hold of them:
//!
//! - [`json`], [`binary`], [`grpc`]: a caller's request in each encoding. The gateway accepts what the [`reference`] reader accepts and refuses what it
//!   refuses; what is accepted means the same to the reference once it was converted and merged for a runtime of each encoding.
//! - [`answer`]: a runtime's answer to a batch. Whatever it is, each caller gets its own rows, id and model name, or all get an error.
//! - [`server`]: a connection, over a pipe in memory and in time that does not pass by itself. It ends, and no row reaches a runtime that a strict reader
//!   of the same bytes does not find in them.
//!
//! `operator/gateway/fuzz/run` builds the fuzzers (libFuzzer, guided by coverage, on the stable compiler) and runs them; `--help` says how. An ordinary
//! `cargo test` gives every file of `corpus/<target>` to its function, so a crash that is found becomes a test by being copied there under a name that
//! says what it is.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a target fails by panicking"
)]

pub mod answer;
pub mod binary;
pub mod grpc;
pub mod json;
mod meaning;
pub mod reference;
pub mod server;

/// A target takes any bytes, and panics where what it asserts does not hold.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 5] = [
    ("answer", answer::target),
    ("binary", binary::target),
    ("grpc", grpc::target),
    ("json", json::target),
    ("server", server::target),
];
