//! How connections end: what was sent to a client is not lost by the closing (RFC 9112 section 9.6).

use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::harness::{Gateway, Hello, Raw, Scripted, Setup, advance_until};
use super::http2::{
    ACK, AUTHORITY, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, METHOD, PATH, PING, RST_STREAM, SCHEME,
    SETTINGS, WINDOW_UPDATE, block, frame,
};

const LARGE: usize = 1 << 20;

/// A POST of `length` bytes to a page that asks for a session.
fn upload(length: usize) -> Vec<u8> {
    let mut bytes = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

#[test]
fn who_sends_everything_before_reading_still_gets_the_refusal() {
    let gateway = Setup::new().unlimited().start();
    for length in [10, 20_000, LARGE, 4 * LARGE] {
        for _ in 0..5 {
            let mut connection = Raw::to(gateway.address);
            connection.send(upload(length));
            let answer = connection.answer().unwrap_or_else(|| panic!("an answer after {length} bytes"));
            assert_eq!(answer.status, 401, "{length}");
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn who_goes_on_sending_after_a_refusal_is_cut() {
    let gateway = Setup::new().start();
    let mut connection = Raw::to(gateway.address);
    connection.send(&upload(LARGE)[..LARGE]);
    assert_eq!(connection.answer().expect("an answer").status, 401);
    connection.send("x");
    let begun = gateway.clock.now();
    advance_until(&gateway, "the connection is cut", || {
        connection.send("x");
        gateway.connections() == 0
    });
    assert!(gateway.clock.now().since(begun) <= std::time::Duration::from_secs(40));
}

/// Sends the head of an upload, and `body` when the answer has begun. Whether the answer ends before the stream is reset.
fn is_taken_to_its_end(gateway: &Gateway, path: (&'static str, &'static str), body: &[Vec<u8>]) -> bool {
    let mut connection = Connection::to(gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, path]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post)]);
    connection.next_of(HEADERS);
    connection.send(body);
    let mut has_ended = false;
    loop {
        let read = connection.next().expect("a frame");
        match read.kind {
            RST_STREAM => return false,
            DATA if read.flags & END_STREAM != 0 => {
                has_ended = true;
                connection.send(&[frame(PING, 0, 0, b"are here")]);
            }
            PING if has_ended => return true,
            _ => {}
        }
    }
}

#[test]
fn a_small_upload_that_is_refused_over_http_2_is_taken_to_its_end() {
    let gateway = Setup::new().unlimited().start();
    let body = [frame(DATA, 0, 1, &[b'x'; 10_000]), frame(DATA, END_STREAM, 1, b"end")];
    for path in ["/", "/admin", "/.vestibule/logout"] {
        assert!(is_taken_to_its_end(&gateway, (":path", path), &body), "{path}");
    }
    // Who sends more than anybody wants to take in vain is told to stop.
    let mut connection = Connection::to(&gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, (":path", "/")]);
    // From now on a stream's window is as wide as the gateway says.
    connection.next_of(SETTINGS);
    connection.send(&[frame(SETTINGS, ACK, 0, b""), frame(PING, 0, 0, b"are here")]);
    connection.next_of(PING);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post)]);
    let mut sent = 0;
    'sending: loop {
        // Half of what may be under way, as the gateway then says that more may follow.
        for _ in 0..14 {
            connection.send(&[frame(DATA, 0, 1, &[b'x'; 10_000])]);
            sent += 10_000;
        }
        loop {
            match connection.next().expect("a frame") {
                read if read.kind == RST_STREAM => break 'sending,
                read if read.kind == WINDOW_UPDATE && read.stream == 1 => break,
                _ => {}
            }
        }
        assert!(sent < 3 << 20, "nobody says stop");
    }
    assert!(sent > 1 << 20);
    gateway.application.assert_untouched();
}

#[test]
fn who_never_ends_a_refused_upload_is_told_to_stop() {
    let gateway = Setup::new().start();
    let mut connection = Connection::to(&gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, (":path", "/")]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"a beginning")]);
    connection.next_of(DATA);
    gateway.advance(10);
    connection.next_of(RST_STREAM);
}

#[test]
fn a_slow_reader_gets_the_end_of_a_download_when_the_gateway_stops() {
    const WIDE: [u8; 4] = 0x7fff_0000_u32.to_be_bytes();
    const FIRST: usize = 10_000;
    // As much as there is room for on its way.
    const LENGTH: usize = 300_000;
    let (go_on, goes_on) = channel::<()>();
    let goes_on = Mutex::new(goes_on);
    let server = Scripted::start(move |mut line| {
        line.request();
        line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"));
        line.say([b'x'; FIRST]);
        let _ = goes_on.lock().expect("a channel").recv();
        line.say([b'x'; LENGTH - FIRST]);
    });
    let mut gateway = Setup::new().in_front_of(&server).start();
    // SETTINGS_INITIAL_WINDOW_SIZE, so that nothing but the connection itself holds the download up.
    let settings = [&[0, 4][..], &WIDE].concat();
    let hello = Hello { protocols: &[b"h2"], receive_buffer: Some(64 * 1024), ..Hello::default() };
    let mut connection = Connection::shaking(&gateway, hello, &settings);
    connection.send(&[
        frame(WINDOW_UPDATE, 0, 0, &WIDE),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH])),
    ]);
    let mut received = 0;
    while received < FIRST {
        let read = connection.next().expect("a frame");
        received += if read.kind == DATA { read.payload.len() } else { 0 };
    }
    gateway.running().stop();
    // It asks whether everything that was sent before has been seen, and is told so; and we know that it was told.
    let asked = connection.next_of(PING);
    connection.send(&[frame(PING, ACK, 0, &asked.payload), frame(PING, 0, 0, b"are here")]);
    connection.next_of(PING);
    go_on.send(()).expect("it waits");
    gateway.log.wait_for(&["/public", "200"]);
    while let Some(read) = connection.next() {
        if read.kind == DATA {
            received += read.payload.len();
            // As a browser does, which tells what it has read.
            connection.send(&[frame(PING, 0, 0, b"are here")]);
        }
    }
    assert_eq!(received, LENGTH);
    drop(connection);
    gateway.stop();
}
