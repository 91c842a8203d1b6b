//! Fuzzes the watch over heads of HTTP/1.1: `cargo +nightly fuzz run http1_heads`.
#![no_main]

#[path = "../properties/http1_heads.rs"]
mod http1_heads;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1_heads::check(data));
