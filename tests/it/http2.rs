//! HTTP/2 as no library would write it: what it can carry and HTTP/1.1 cannot never becomes a second request.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::harness::{Gateway, Hello, Raw, Scripted, Setup, eventually};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// RFC 9113 section 7.
const FRAME_SIZE_ERROR: u8 = 6;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    BadRequest,
    /// Another status.
    Answered,
    /// Its stream was reset, or the connection closed.
    Refused,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

/// A header block (RFC 7541 section 6.2.2): everything literal, nothing compressed, nothing kept.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // RFC 7541 section 5.1: what seven bits cannot hold goes on in the next ones.
            match text.len().checked_sub(127) {
                None => block.push(text.len() as u8),
                Some(more @ 0..128) => block.extend([127, more as u8]),
                Some(more) => block.extend([127, (more % 128) as u8 | 128, (more / 128) as u8]),
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

pub(super) struct Connection {
    raw: Raw,
    read: Vec<u8>,
}

/// A frame that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u8,
    pub(super) payload: Vec<u8>,
}

impl Connection {
    pub(super) fn to(gateway: &Gateway) -> Self {
        Self::shaking(gateway, Hello { protocols: &[b"h2"], ..Hello::default() }, b"")
    }

    /// A connection that shakes hands as told, with these settings.
    pub(super) fn shaking(gateway: &Gateway, hello: Hello<'_>, settings: &[u8]) -> Self {
        let mut raw = Raw::shaking(gateway.address, hello).expect("a handshake");
        raw.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, settings)].concat());
        Self { raw, read: Vec::new() }
    }

    pub(super) fn send(&mut self, frames: &[Vec<u8>]) {
        self.raw.send(frames.concat());
    }

    /// Sends bytes; whether the connection still takes them.
    fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.raw.try_send(bytes)
    }

    /// Reads what has come, without waiting, and forgets it.
    fn read_what_is_there(&mut self) {
        self.raw.read_what_is_there();
    }

    /// Reads the next frame; `None` at the end of the connection.
    pub(super) fn next(&mut self) -> Option<Read> {
        loop {
            if let Some([high, middle, low]) = self.read.first_chunk() {
                let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
                if self.read.len() >= 9 + length {
                    let rest = self.read.split_off(9 + length);
                    let frame = std::mem::replace(&mut self.read, rest);
                    let payload = frame[9..].to_vec();
                    return Some(Read { kind: frame[3], flags: frame[4], stream: frame[8], payload });
                }
            }
            let more = self.raw.bytes();
            if more.is_empty() {
                return None;
            }
            self.read.extend(more);
        }
    }

    /// Reads until a frame of a kind comes.
    pub(super) fn next_of(&mut self, kind: u8) -> Read {
        loop {
            let read = self.next().expect("a frame");
            if read.kind == kind {
                return read;
            }
        }
    }

    /// Reads until something is said about stream 1.
    fn outcome(&mut self) -> Outcome {
        while let Some(frame) = self.next() {
            match (frame.kind, frame.stream, frame.payload.first()) {
                // The status comes first, from the static table (RFC 7541 appendix A).
                (HEADERS, 1, Some(0x88)) => return Outcome::Ok,
                (HEADERS, 1, Some(0x8c)) => return Outcome::BadRequest,
                (HEADERS, 1, _) => return Outcome::Answered,
                (RST_STREAM, 1, _) | (GOAWAY, ..) => return Outcome::Refused,
                _ => {}
            }
        }
        Outcome::Refused
    }
}

/// What becomes of a request without a body.
fn ask(gateway: &Gateway, fields: &[(&str, &str)]) -> Outcome {
    let mut connection = Connection::to(gateway);
    connection.send(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))]);
    connection.outcome()
}

pub(super) const PATH: (&str, &str) = (":path", "/public");
pub(super) const METHOD: (&str, &str) = (":method", "GET");
pub(super) const SCHEME: (&str, &str) = (":scheme", "https");
pub(super) const AUTHORITY: (&str, &str) = (":authority", "localhost");

#[test]
fn a_plain_request_is_answered() {
    let gateway = Setup::new().start();
    assert_eq!(ask(&gateway, &[METHOD, SCHEME, AUTHORITY, PATH, ("x", "y")]), Outcome::Ok);
    assert_eq!(gateway.application.last().header("x"), Some("y"));
    assert_eq!(ask(&gateway, &[METHOD, SCHEME, PATH, ("host", "localhost")]), Outcome::Ok);
}

#[test]
fn what_would_break_a_line_of_http_1_is_refused() {
    let gateway = Setup::new().start();
    let injected = "y\r\nX-Forwarded-User: mallory";
    for (name, value) in [
        ("x", injected),
        ("x", "y\r\n\r\nGET /admin HTTP/1.1\r\n"),
        ("x", "y\nz: mallory"),
        ("x", "y\rz: mallory"),
        ("x", "y\0"),
        ("x\r\nx-forwarded-user", "mallory"),
        ("x: y\r\nz", "mallory"),
        ("x y", "mallory"),
        ("x:y", "mallory"),
        ("", "mallory"),
        ("X-Upper", "mallory"),
        (":x", "mallory"),
        (":path", "/admin"),
        ("connection", "x-forwarded-user"),
        ("keep-alive", "x"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("cookie", injected),
        ("host", "localhost\r\nx: mallory"),
        ("content-length", "+0"),
        ("content-length", "0, 0"),
        ("content-length", "5"),
    ] {
        gateway.application.forget();
        let outcome = ask(&gateway, &[METHOD, SCHEME, AUTHORITY, PATH, (name, value)]);
        assert!(matches!(outcome, Outcome::Refused | Outcome::BadRequest), "{name:?}: {value:?} is {outcome:?}");
        gateway.application.assert_untouched();
    }
}

#[test]
fn a_head_of_the_wrong_kind_is_refused() {
    let gateway = Setup::new().start();
    let heads: &[&[(&str, &str)]] = &[
        &[SCHEME, AUTHORITY, PATH],
        &[METHOD, AUTHORITY, ("x", "y")],
        &[METHOD, SCHEME, AUTHORITY],
        &[METHOD, SCHEME, PATH],
        &[METHOD, METHOD, SCHEME, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, PATH],
        &[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "*")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "public")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/public HTTP/1.1\r\nx: y")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/public /x")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/public/../x")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/public\\x")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/public\0")],
        &[METHOD, SCHEME, (":authority", "localhost\r\nx: y"), PATH],
        &[METHOD, SCHEME, (":authority", "localhost/public"), PATH],
        &[METHOD, SCHEME, (":authority", "user@localhost"), PATH],
        &[METHOD, SCHEME, (":authority", ""), PATH],
        &[METHOD, SCHEME, (":authority", "localhost"), PATH, ("host", "evil.test")],
        &[(":method", "GET /admin HTTP/1.1\r\nx: y\r\n\r\nGET"), SCHEME, AUTHORITY, PATH],
        &[(":method", "G T"), SCHEME, AUTHORITY, PATH],
        &[(":method", ""), SCHEME, AUTHORITY, PATH],
        &[(":method", "CONNECT"), AUTHORITY],
        &[(":method", "CONNECT"), (":protocol", "connect-tcp"), SCHEME, AUTHORITY, PATH],
        &[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH],
    ];
    for head in heads {
        let outcome = ask(&gateway, head);
        assert!(matches!(outcome, Outcome::Refused | Outcome::BadRequest), "{head:?} is {outcome:?}");
    }
    gateway.application.assert_untouched();
}

#[test]
fn a_length_that_is_not_the_bodys_hides_no_request() {
    let server = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    let hidden = "helloGET /admin/hidden HTTP/1.1\r\nhost: localhost\r\nx-forwarded-user: mallory\r\n\r\n";
    for (lengths, body) in [
        (&["5"][..], hidden),
        (&["0"], hidden),
        (&["5", "5"], hidden),
        (&["5", "86"], hidden),
        (&["1000"], hidden),
        (&["5"], "hel"),
        (&["5"], ""),
    ] {
        let mut fields = vec![(":method", "POST"), SCHEME, AUTHORITY, PATH];
        fields.extend(lengths.iter().map(|length| ("content-length", *length)));
        let mut connection = Connection::to(&gateway);
        connection
            .send(&[frame(HEADERS, END_HEADERS, 1, &block(&fields)), frame(DATA, END_STREAM, 1, body.as_bytes())]);
        let outcome = connection.outcome();
        assert_ne!(outcome, Outcome::Answered, "{lengths:?} {body:?}");
        assert_eq!(gateway.client().get("/public/next").send().status, 200);
        let received = server.received();
        assert!(received.iter().all(|one| one.contains(" /public")), "{lengths:?} {body:?}: {received:?}");
        assert!(received.iter().all(|one| !one.contains("/admin/hidden")), "{lengths:?} {body:?}: {received:?}");
    }
}

#[test]
fn a_flood_of_continuations_is_refused_and_others_are_served() {
    let gateway = Setup::new().start();
    let mut connection = Connection::to(&gateway);
    connection.send(&[frame(HEADERS, END_STREAM, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))]);
    let piece = block(&[("x-filler", "0123456789012345678901234567890123456789"); 100]);
    for _ in 0..1000 {
        connection.send(&[frame(CONTINUATION, 0, 1, &piece)]);
    }
    assert_eq!(connection.outcome(), Outcome::Refused);
    gateway.application.assert_untouched();
    assert_eq!(gateway.client().get("/public").send().status, 200);
}

#[test]
fn streams_that_are_opened_only_to_be_reset_bring_nothing_down() {
    let gateway = Setup::new().unlimited().start();
    let mut connection = Connection::to(&gateway);
    let head = block(&[METHOD, SCHEME, AUTHORITY, (":path", "/public/slow")]);
    let mut all = Vec::new();
    for at in 0..2000_u32 {
        let stream = (2 * at + 1).to_be_bytes();
        let open = frame(HEADERS, END_STREAM | END_HEADERS, 0, &head);
        for mut frame in [open, frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])] {
            frame[5..9].copy_from_slice(&stream);
            all.append(&mut frame);
        }
    }
    connection.send(&[all]);
    assert_eq!(gateway.client().get("/public").send().status, 200);
    drop(connection);
    eventually("nothing of it is left", || gateway.connections() == 0);
    assert_eq!(gateway.client().get("/public").send().status, 200);
}

#[test]
fn an_upload_that_its_client_gives_up_is_never_taken_for_a_whole_one() {
    // Without a length, its end in the middle would look like any other end.
    for reason in [0_u8, 8] {
        let (told, got) = channel();
        let told = Mutex::new(told);
        let server = Scripted::start(move |mut line| {
            line.head();
            for expected in ["4\r\nhalf", "\r\n0\r\n\r\n"] {
                let _ = told.lock().expect("a channel").send(line.body(expected.len()));
            }
        });
        let gateway = Setup::new().in_front_of(&server).start();
        let mut connection = Connection::to(&gateway);
        let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, PATH]);
        connection.send(&[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"half")]);
        let next = || got.recv_timeout(Duration::from_secs(5)).expect("the server reads");
        assert_eq!(next().as_deref(), Some("4\r\nhalf"));
        connection.send(&[frame(RST_STREAM, 0, 1, &[0, 0, 0, reason])]);
        assert_eq!(next(), None, "reason {reason}");
    }
}

/// Whether a flood ends its connection before it has gone on for long.
fn is_stopped(flood: &[u8]) -> bool {
    const LONG: usize = 32 << 20;
    let gateway = Setup::new().unlimited().start();
    let mut connection = Connection::to(&gateway);
    let get = block(&[METHOD, SCHEME, AUTHORITY, PATH]);
    connection.send(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &get)]);
    connection.next_of(HEADERS);
    let piece = flood.repeat(64 * 1024 / flood.len());
    let mut sent = 0;
    while sent < LONG && gateway.connections() > 0 && connection.try_send(&piece) {
        sent += piece.len();
        // Answers to pings and settings are read: who floods need not block itself.
        connection.read_what_is_there();
    }
    assert_eq!(gateway.client().get("/public").send().status, 200);
    sent < LONG
}

#[test]
fn floods_of_frames_that_ask_for_nothing_end_the_connection() {
    const PRIORITY: u8 = 2;
    const SETTINGS_OF_A_WINDOW: [u8; 6] = [0, 4, 0, 1, 0, 0];
    for (what, flood) in [
        ("pings", frame(PING, 0, 0, b"are here")),
        ("empty settings", frame(SETTINGS, 0, 0, b"")),
        ("settings", frame(SETTINGS, 0, 0, &SETTINGS_OF_A_WINDOW.repeat(100))),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("priorities", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("unknown frames", frame(0xfa, 0, 0, b"")),
        ("acknowledged pings", frame(PING, ACK, 0, b"are here")),
    ] {
        assert!(is_stopped(&flood), "{what}");
    }
}

#[test]
fn who_announces_a_frame_that_is_too_long_is_told_so_and_is_no_flood() {
    let gateway = Setup::new().start();
    // Settings, and a kind that nobody knows.
    for kind in [SETTINGS, 99] {
        let mut connection = Connection::to(&gateway);
        connection.send(&[vec![0xff, 0xff, 0xff, kind, 0, 0, 0, 0, 0]]);
        let goaway = connection.next_of(GOAWAY);
        assert_eq!(goaway.payload[4..8], [0, 0, 0, FRAME_SIZE_ERROR], "{kind}");
    }
    let counted = gateway.running().shared.render_metrics();
    assert!(counted.contains("\nvestibule_limited_total{reason=\"http2_frames\"} 0\n"), "{counted}");
}

#[test]
fn a_flood_of_empty_data_ends_the_connection() {
    let gateway = Setup::new().unlimited().start();
    let mut connection = Connection::to(&gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, PATH]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post)]);
    let piece = frame(DATA, 0, 1, b"").repeat(4096);
    let is_open = (0..400).all(|_| gateway.connections() > 0 && connection.try_send(&piece));
    assert!(!is_open, "a million and a half are taken");
    assert_eq!(gateway.client().get("/public").send().status, 200);
}

#[test]
fn whoever_reads_a_long_answer_in_small_pieces_is_no_flood() {
    const LENGTH: usize = 2_000_000;
    let server = Scripted::start(move |mut line| {
        line.request();
        line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"));
        line.say(vec![b'x'; LENGTH]);
        line.wait_for_close();
    });
    let gateway = Setup::new().in_front_of(&server).start();
    // A window of a kilobyte.
    let mut connection =
        Connection::shaking(&gateway, Hello { protocols: &[b"h2"], ..Hello::default() }, &[0, 4, 0, 0, 4, 0]);
    connection.send(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))]);
    let mut received = 0;
    while received < LENGTH {
        let read = connection.next_of(DATA);
        received += read.payload.len();
        let more = (read.payload.len() as u32).to_be_bytes();
        connection.send(&[frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, 1, &more)]);
    }
}
