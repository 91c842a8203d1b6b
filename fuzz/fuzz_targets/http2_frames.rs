//! Fuzzes the watch for floods of HTTP/2 frames: `cargo +nightly fuzz run http2_frames`.
#![no_main]

#[path = "../properties/http2_frames.rs"]
mod http2_frames;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http2_frames::check(data));
