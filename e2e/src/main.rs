//! `e2e`: the local cluster.
fn main() {}
