//! Every file that fuzzing has found worth keeping, against what the fuzz targets check (`fuzz/`).

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/properties/mod.rs"]
mod properties;

/// Checks every file of a target's corpus.
fn all_of(target: &str, check: fn(&[u8])) {
    // As the reference: of the repository that is tested.
    let top = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let folder = Path::new(&top).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    assert!(files.len() >= 10, "the corpus was found");
    let breaks = |file: &&std::path::PathBuf| {
        let bytes = fs::read(file).expect("a file");
        catch_unwind(|| check(&bytes)).is_err()
    };
    let broken: Vec<_> = files.iter().filter(breaks).collect();
    assert!(broken.is_empty(), "what must hold does not hold of {broken:#?}");
}

#[test]
fn of_proxy_protocol_headers() {
    all_of("proxy_protocol", properties::proxy_protocol::check);
}

#[test]
fn of_forwarded_and_x_forwarded_for() {
    all_of("client_address", properties::client_address::check);
}

#[test]
fn of_forms() {
    all_of("forms", properties::forms::check);
}

#[test]
fn of_where_requests_come_from() {
    all_of("origin", properties::origin::check);
}

#[test]
fn of_paths() {
    all_of("path", properties::path::check);
}

#[test]
fn of_answers() {
    all_of("answer", properties::answer::check);
}

#[test]
fn of_http_1_heads() {
    all_of("http1_heads", properties::http1_heads::check);
}

#[test]
fn of_http_2_frames() {
    all_of("http2_frames", properties::http2_frames::check);
}

#[test]
fn of_websocket_frames() {
    all_of("websocket_frames", properties::websocket_frames::check);
}
