//! The fuzzer of [`harmonybatch_gateway_fuzz::grpc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonybatch_gateway_fuzz::grpc::target(data));
