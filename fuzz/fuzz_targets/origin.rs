//! Fuzzes the judgement of where a request came from: `cargo +nightly fuzz run origin`.
#![no_main]

#[path = "../properties/origin.rs"]
mod origin;

libfuzzer_sys::fuzz_target!(|data: &[u8]| origin::check(data));
