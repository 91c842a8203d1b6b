//! Fuzzes the readers of forms, as they are shown and as their token is taken out: `cargo +nightly fuzz run forms`.
#![no_main]

#[path = "../properties/forms.rs"]
mod forms;

libfuzzer_sys::fuzz_target!(|data: &[u8]| forms::check(data));
