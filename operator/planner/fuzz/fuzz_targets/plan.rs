//! The planner's whole entry point: any bytes are a request, whose plan must come in time and keep its promises.
//!
//! From `operator/planner`, with cargo-fuzz installed: `cargo fuzz run plan --sanitizer none`.

#![no_main]

#[path = "../wild.rs"]
mod wild;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(violation) = wild::plan_and_audit(bytes) {
        panic!("{violation}");
    }
});
