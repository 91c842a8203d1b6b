//! Fuzzes the reader of PROXY protocol headers: `cargo +nightly fuzz run proxy_protocol`.
#![no_main]

#[path = "../properties/proxy_protocol.rs"]
mod proxy_protocol;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy_protocol::check(data));
