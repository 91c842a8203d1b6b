//! The operator's listeners under people who do not behave.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::harness::process::plain;
use super::harness::{ALICE, Setup, eventually};

#[test]
fn connections_that_say_nothing_keep_nobody_out_for_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let extra = format!("[admin]\nlisten = \"unix:{}\"\nmetrics = \"127.0.0.1:0\"", socket.display());
    let gateway = Setup::new().extra(&extra).start();
    let metrics = gateway.running().metrics_address.expect("a listener");
    let begun = b"GET /metrics HTTP/1.1\r\nHost";
    let mut silent: Vec<TcpStream> = Vec::new();
    let mut silent_here: Vec<UnixStream> = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(metrics).expect("connected"));
        silent.last_mut().expect("one").write_all(begun).expect("sent");
    }
    for _ in 0..20 {
        silent_here.push(UnixStream::connect(&socket).expect("connected"));
        silent_here.last_mut().expect("one").write_all(begun).expect("sent");
    }
    let asked = std::thread::spawn(move || plain(TcpStream::connect(metrics).expect("connected"), "GET", "/ping"));
    let asked_here = std::thread::spawn(move || plain(UnixStream::connect(socket).expect("connected"), "GET", "/ping"));
    eventually("both are answered when the others' time is over", || {
        gateway.advance(11);
        asked.is_finished() && asked_here.is_finished()
    });
    for asked in [asked, asked_here] {
        assert_eq!(asked.join().expect("an answer"), (200, "pong\n".to_owned()));
    }
    // The sessions' own time has moved on as well; people are not kept out either.
    assert_eq!(gateway.signed_in(ALICE).get("/").send().status, 200);
}
