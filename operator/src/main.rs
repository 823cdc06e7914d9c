//! `harmonybatch`: one binary for planning, controlling and batching.
fn main() {}
