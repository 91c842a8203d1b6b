//! Fuzzes the places between frames of WebSockets: `cargo +nightly fuzz run websocket_frames`.
#![no_main]

#[path = "../properties/websocket_frames.rs"]
mod websocket_frames;

libfuzzer_sys::fuzz_target!(|data: &[u8]| websocket_frames::check(data));
