//! The fuzzer of [`harmonybatch_gateway_fuzz::server`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonybatch_gateway_fuzz::server::target(data));
