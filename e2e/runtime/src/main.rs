//! Demo inference server.
fn main() {}
