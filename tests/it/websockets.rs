//! WebSockets (RFC 6455; over HTTP/2, RFC 8441): what both sides say passes unharmed, for as long as the session lasts.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use rustls::{ClientConnection, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::harness::{ALICE, Client, Gateway, Raw, Scripted, Setup, advance_until, eventually};
use super::http2::{
    AUTHORITY, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SCHEME, SETTINGS, block, frame,
};

pub(super) type Socket = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

/// An application that says everything back, in text or binary as it came, and shows with what headers it was asked.
pub(super) struct Echo {
    pub(super) server: Scripted,
    pub(super) asked: Receiver<HeaderMap>,
    ended: Receiver<()>,
}

impl Echo {
    pub(super) fn start() -> Self {
        let (ask, asked) = channel();
        let (end, ended) = channel();
        let (ask, end) = (Mutex::new(ask), Mutex::new(end));
        let server = Scripted::start(move |line| {
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let show = |request: &Request, mut response: Response| {
                let _ = ask.lock().expect("a channel").send(request.headers().clone());
                if let Some(protocols) = request.headers().get("sec-websocket-protocol") {
                    let chosen = protocols.to_str().expect("text").split(',').next().expect("one").trim().to_owned();
                    response.headers_mut().insert("sec-websocket-protocol", chosen.parse().expect("a header"));
                }
                Ok(response)
            };
            if let Ok(mut socket) = tungstenite::accept_hdr(line.into_stream(), show) {
                while let Ok(message) = socket.read() {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).expect("sent");
                    }
                }
            }
            let _ = end.lock().expect("a channel").send(());
        });
        Self { server, asked, ended }
    }

    fn asked(&self) -> HeaderMap {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("it is asked")
    }

    pub(super) fn has_ended(&self) {
        self.ended.recv_timeout(Duration::from_secs(10)).expect("its side ends");
    }
}

fn gateway(server: &Scripted) -> Gateway {
    Setup::new().unlimited().in_front_of(server).start()
}

/// Opens a WebSocket as this client.
pub(super) fn open(client: &Client, path: &str, headers: &[(&'static str, &str)]) -> Result<(Socket, HeaderMap), u16> {
    let uri = format!("wss://{}{path}", client.authority());
    let mut request = uri.into_client_request().expect("a request");
    let cookies = client.cookies();
    let (user_agent, origin) = (super::harness::USER_AGENT, format!("https://{}", client.authority()));
    let usual = [("cookie", cookies.as_str()), ("user-agent", user_agent), ("origin", &origin)];
    for (name, value) in usual.iter().chain(headers) {
        if value.is_empty() {
            request.headers_mut().remove(*name);
        } else {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
    }
    match tungstenite::client(request, client.connect_raw()) {
        Ok((socket, response)) => Ok((socket, response.headers().clone())),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn assert_echoes(socket: &mut Socket, message: impl Into<Message>) {
    let message = message.into();
    socket.send(message.clone()).expect("sent");
    assert_eq!(socket.read().expect("a message"), message);
}

/// What a socket is closed with; `None` when it was just cut.
pub(super) fn closed_with(socket: &mut Socket) -> Option<(CloseCode, String)> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                return Some(frame.map(|frame| (frame.code, frame.reason.to_string())).expect("a code"));
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

#[test]
fn what_is_said_passes_both_ways_as_it_is() {
    let echo = Echo::start();
    let gateway = gateway(&echo.server);
    let alice = gateway.signed_in(ALICE);
    let headers = [
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "x-unheard-of"),
        ("x-forwarded-user", "mallory"),
    ];
    let (mut socket, answered) = open(&alice, "/socket?x=y", &headers).expect("it opens");
    let asked = echo.asked();
    assert_eq!(asked["sec-websocket-protocol"], "chat, superchat");
    assert_eq!(asked["sec-websocket-extensions"], "x-unheard-of");
    assert_eq!(asked["x-forwarded-user"], "alice");
    assert_eq!(
        (&asked["upgrade"], &asked["connection"]),
        (&"websocket".parse().expect("it"), &"Upgrade".parse().expect("it"))
    );
    assert!(!asked.contains_key("cookie"), "ours was the only one");
    assert_eq!(answered["sec-websocket-protocol"], "chat");
    assert_echoes(&mut socket, "hello");
    for length in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
        assert_echoes(&mut socket, Bytes::from(vec![7; length]));
    }
    assert_eq!(gateway.open_streams(), 1);
    socket.close(None).expect("sent");
    while socket.read().is_ok() {}
    drop(socket);
    echo.has_ended();
    eventually("nothing is left", || gateway.connections() == 0 && gateway.open_streams() == 0);
    gateway.log.wait_for(&["GET", "/socket", "101", "alice"]);
}

#[test]
fn who_may_not_pass_gets_no_socket() {
    let echo = Echo::start();
    let gateway = gateway(&echo.server);
    assert_eq!(open(&gateway.client(), "/socket", &[]).err(), Some(401));
    assert_eq!(open(&gateway.signed_in(super::harness::BOB), "/admin/socket", &[]).err(), Some(403));
    assert_eq!(over_http_2(&gateway, "/socket", "").next_of(HEADERS).payload.first(), Some(&STATUS_LITERAL));
    assert!(echo.asked.try_recv().is_err(), "the application hears nothing of it");
    let (mut socket, _) = open(&gateway.client(), "/public/socket", &[]).expect("it opens");
    assert_echoes(&mut socket, "hello");
}

#[test]
fn an_application_that_does_not_agree_has_answered() {
    let server = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno");
        }
    });
    let gateway = gateway(&server);
    assert_eq!(open(&gateway.client(), "/public", &[]).err(), Some(426));
    // What follows on the connection is a request like any other.
    let mut connection = Raw::to(gateway.address);
    for _ in 0..2 {
        let answer = connection.ask(ASK).expect("an answer");
        assert_eq!((answer.status, &*answer.body), (426, &b"no"[..]));
    }
}

#[test]
fn an_ordinary_answer_is_no_open_websocket_over_http_2() {
    for status in ["200 OK", "204 No Content", "201 Created"] {
        let server = Scripted::start(move |mut line| {
            while line.request().is_some() {
                line.say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        let gateway = gateway(&server);
        let mut connection = over_http_2(&gateway, "/public", "");
        let answer = connection.next_of(HEADERS);
        // No success by any name (RFC 7541 appendix A), and no page of the application's.
        assert!(!matches!(answer.payload.first(), Some(0x88..=0x8a)), "{status}: {answer:?}");
        gateway.log.wait_for(&["/public", "502", "upstream_broken"]);
    }
}

const ASK: &str = "GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

#[test]
fn what_an_application_switches_to_unasked_is_broken() {
    for answer in [
        AGREED.replace("upgrade: websocket", "upgrade: h2c"),
        AGREED.replace("upgrade: websocket\r\n", ""),
        AGREED.replace("connection: upgrade\r\n", ""),
    ] {
        let gateway = gateway(&Scripted::saying(format!("{answer}swordfish")));
        let answer = Raw::to(gateway.address).ask(ASK).expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.head);
    }
    let gateway = gateway(&Scripted::saying(AGREED));
    assert_eq!(Raw::to(gateway.address).ask(ASK.replace("websocket", "h2c")).expect("an answer").status, 502);
}

#[test]
fn a_body_before_the_first_frame_is_refused_and_nothing_behind_it_is_served() {
    let gateway = Setup::new().start();
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let mut connection = Raw::to(gateway.address);
        connection
            .send(ASK.replace("\r\n\r\n", &format!("\r\n{body}")) + "GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.answer().expect("an answer").status, 400);
        connection.finish();
        assert_eq!(connection.rest(), "");
    }
    gateway.application.assert_untouched();
}

#[test]
fn words_that_come_with_the_answer_and_right_behind_it_arrive() {
    let server = Scripted::start(|mut line| {
        line.head();
        line.say(format!("{AGREED}welcome"));
        let said = line.body(5).unwrap_or_default();
        line.say(said);
    });
    let gateway = gateway(&server);
    let mut connection = Raw::to(gateway.address);
    connection.send(ASK);
    let head = connection.read_until("\r\n\r\n").expect("a head").to_ascii_lowercase();
    connection.send("early");
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("connection: upgrade") && !head.contains("content-length"), "{head}");
    assert_eq!(connection.rest(), "welcomeearly");
}

#[test]
fn it_ends_with_its_session_and_is_told_why() {
    let echo = Echo::start();
    let gateway = gateway(&echo.server);
    type End = fn(&Gateway, &Client);
    let ends: [(&str, End); 3] = [
        ("logout", |_, client| assert!(client.post_form("/.vestibule/logout", &[]).send().status < 400)),
        ("revocation", |gateway, _| gateway.revoke("alice")),
        ("the idle limit", |gateway, _| gateway.advance(30 * 60)),
    ];
    for (how, end) in ends {
        let alice = gateway.signed_in(ALICE);
        let (mut socket, _) = open(&alice, "/socket", &[]).expect("it opens");
        assert_echoes(&mut socket, "hello");
        end(&gateway, &alice);
        let closed = closed_with(&mut socket).unwrap_or_else(|| panic!("{how}: it is closed in words"));
        assert_eq!(closed, (CloseCode::Policy, "the session has ended".to_owned()), "{how}");
        drop(socket);
        echo.has_ended();
        eventually("nothing is left", || gateway.open_streams() == 0);
    }
}

#[test]
fn in_the_middle_of_a_frame_it_is_finished_or_cut() {
    let (go_on, goes_on) = channel::<bool>();
    let goes_on = Mutex::new(goes_on);
    let server = Scripted::start(move |mut line| {
        line.head();
        line.say(AGREED);
        line.say(b"\x82\x05he");
        if goes_on.lock().expect("a channel").recv() == Ok(true) {
            line.say(b"llo\x82\x05never");
        }
        line.wait_for_close();
    });
    let gateway = gateway(&server);
    for finishes in [true, false] {
        let alice = gateway.signed_in(ALICE);
        let mut connection = Raw::to(gateway.address);
        let (cookies, agent) = (alice.cookies(), super::harness::USER_AGENT);
        let fields = format!("Cookie: {cookies}\r\nUser-Agent: {agent}\r\nOrigin: https://localhost\r\n\r\n");
        connection.send(ASK.replace("GET /public", "GET /socket").replace("\r\n\r\n", &format!("\r\n{fields}")));
        connection.read_until("he").expect("the beginning of a frame");
        gateway.revoke("alice");
        if finishes {
            go_on.send(true).expect("it waits");
            let rest = connection.read_until("has ended").expect("a close frame");
            assert!(rest.starts_with("llo") && !rest.contains("never"), "{rest:?}");
        } else {
            advance_until(&gateway, "it is cut", || gateway.open_streams() == 0);
            go_on.send(false).expect("it waits");
            assert_eq!(connection.rest(), "");
        }
    }
}

#[test]
fn one_that_says_nothing_is_closed_after_its_time() {
    let echo = Echo::start();
    let mut setup = Setup::new().unlimited().in_front_of(&echo.server);
    setup.routes = setup.routes.replace("access = \"public\"", "access = \"public\"\nwebsocket_timeout = \"10m\"");
    let gateway = setup.start();
    let (mut socket, _) = open(&gateway.client(), "/public", &[]).expect("it opens");
    for _ in 0..3 {
        gateway.advance(9 * 60);
        assert_echoes(&mut socket, "still here");
    }
    gateway.advance(10 * 60 + 1);
    assert_eq!(closed_with(&mut socket), Some((CloseCode::Away, "nothing was said for too long".to_owned())));
    echo.has_ended();
    advance_until(&gateway, "nothing is left", || gateway.connections() == 0);
}

#[test]
fn when_the_gateway_stops_it_says_so() {
    let echo = Echo::start();
    let mut gateway = gateway(&echo.server);
    let (mut socket, _) = open(&gateway.client(), "/public", &[]).expect("it opens");
    assert_echoes(&mut socket, "hello");
    gateway.running().stop();
    assert_eq!(closed_with(&mut socket).expect("a close frame").0, CloseCode::Away);
    drop(socket);
    echo.has_ended();
    gateway.stop();
}

#[test]
fn who_goes_away_takes_the_other_side_along() {
    let echo = Echo::start();
    let gateway = gateway(&echo.server);
    let (mut socket, _) = open(&gateway.client(), "/public", &[]).expect("it opens");
    assert_echoes(&mut socket, "hello");
    drop(socket);
    echo.has_ended();
    eventually("nothing is left", || gateway.connections() == 0);
    let server = Scripted::saying(AGREED);
    let gateway = self::gateway(&server);
    let mut connection = Raw::to(gateway.address);
    connection.send(ASK);
    connection.read_until("\r\n\r\n").expect("a head");
    assert_eq!(connection.rest(), "");
}

/// A literal `:status` (RFC 7541 section 6.2.1, name from the static table): one that the table has not.
const STATUS_LITERAL: u8 = 0x48;
/// `:status: 200` (RFC 7541 appendix A).
pub(super) const STATUS_200: u8 = 0x88;
const ENABLE_CONNECT_PROTOCOL: [u8; 6] = [0, 8, 0, 0, 0, 1];

/// Asks for a WebSocket by an extended CONNECT.
pub(super) fn over_http_2(gateway: &Gateway, path: &str, cookies: &str) -> Connection {
    over_http_2_for(gateway, path, cookies, Some("https://localhost"))
}

/// The same for a page of this origin.
pub(super) fn over_http_2_for(gateway: &Gateway, path: &str, cookies: &str, origin: Option<&str>) -> Connection {
    let mut connection = Connection::to(gateway);
    let settings = connection.next_of(SETTINGS).payload;
    assert!(settings.chunks(6).any(|setting| setting == ENABLE_CONNECT_PROTOCOL), "it is offered");
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        SCHEME,
        AUTHORITY,
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("user-agent", super::harness::USER_AGENT),
    ];
    let said = [("cookie", Some(cookies).filter(|cookies| !cookies.is_empty())), ("origin", origin)];
    let said = said.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let fields: Vec<_> = fields.into_iter().chain(said).collect();
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &block(&fields))]);
    connection
}

/// A masked text frame of less than 64 KiB (RFC 6455 section 5.2), whose mask changes nothing.
pub(super) fn masked(text: &str) -> Vec<u8> {
    let length = text.len() as u16;
    let [high, low] = length.to_be_bytes();
    let mut bytes = if length < 126 { vec![0x81, 0x80 | low] } else { vec![0x81, 0x80 | 126, high, low] };
    bytes.extend([0; 4]);
    bytes.extend(text.bytes());
    bytes
}

#[test]
fn over_http_2_it_is_a_stream_among_others() {
    let echo = Echo::start();
    let gateway = gateway(&echo.server);
    let alice = gateway.signed_in(ALICE);
    let mut connection = over_http_2(&gateway, "/socket", &alice.cookies());
    let answer = connection.next_of(HEADERS);
    assert_eq!((answer.payload.first(), answer.flags & END_STREAM), (Some(&STATUS_200), 0));
    let asked = echo.asked();
    assert_eq!(
        (&asked["x-forwarded-user"], &asked["sec-websocket-protocol"]),
        (&"alice".parse().expect("it"), &"chat".parse().expect("it"))
    );
    for text in ["hello", "again"] {
        connection.send(&[frame(DATA, 0, 1, &masked(text))]);
        let mut read = Vec::new();
        while read.len() < text.len() + 2 {
            read.extend(connection.next_of(DATA).payload);
        }
        assert_eq!(read, [&[0x81, text.len() as u8], text.as_bytes()].concat());
    }
    // Long after an idle connection would have been closed.
    gateway.advance(1200);
    connection.send(&[frame(DATA, 0, 1, &masked("alive"))]);
    assert_eq!(connection.next_of(DATA).payload[2..], *b"alive");
    gateway.revoke("alice");
    let closed = connection.next_of(DATA).payload;
    assert_eq!(
        (closed[0], &closed[2..4], &closed[4..]),
        (0x88, &1008_u16.to_be_bytes()[..], &b"the session has ended"[..])
    );
    let end = std::iter::from_fn(|| connection.next())
        .find(|read| read.kind == RST_STREAM || (read.kind == DATA && read.flags & END_STREAM != 0));
    assert!(end.is_some());
    echo.has_ended();
    eventually("nothing is left", || gateway.open_streams() == 0);
    gateway.log.wait_for(&["/socket", "alice"]);
}

#[test]
fn another_protocol_by_connect_is_refused() {
    let gateway = Setup::new().start();
    for fields in [
        vec![(":method", "CONNECT"), (":protocol", "connect-udp"), SCHEME, AUTHORITY, (":path", "/public")],
        vec![(":method", "CONNECT"), AUTHORITY],
    ] {
        let mut connection = Connection::to(&gateway);
        connection.send(&[frame(HEADERS, END_HEADERS, 1, &block(&fields))]);
        let answer = std::iter::from_fn(|| connection.next()).find(|read| read.stream == 1).expect("an answer");
        // `:status: 400` (RFC 7541 appendix A).
        assert!(answer.kind == RST_STREAM || answer.payload.first() == Some(&0x8c), "{answer:?}");
    }
    gateway.application.assert_untouched();
}

#[test]
fn a_thousand_messages_by_many_at_once_arrive_in_order() {
    let echo = Echo::start();
    let gateway = Arc::new(gateway(&echo.server));
    let talk = |who: usize| {
        let client = gateway.client();
        std::thread::spawn(move || {
            let (mut socket, _) = open(&client, "/public", &[]).expect("it opens");
            for at in 0..100 {
                assert_echoes(&mut socket, format!("{who} says {at} {}", "x".repeat(at * 37)));
            }
        })
    };
    let all: Vec<_> = (0..10).map(talk).collect();
    all.into_iter().for_each(|one| one.join().expect("all in order"));
    eventually("nothing is left", || gateway.connections() == 0);
}
