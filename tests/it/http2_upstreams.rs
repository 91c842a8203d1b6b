//! Applications that are spoken to by HTTP/2, as gRPC asks for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::harness::{ALICE, Gateway, Hello, Raw, Scripted, Setup, Version, advance_until, eventually};
use super::http2::{
    AUTHORITY, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PATH, RST_STREAM, SCHEME, block, frame,
};

/// A request as the application saw it.
pub(super) struct Seen {
    pub(super) head: Parts,
    /// As far as it came.
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    is_whole: bool,
}

/// An application that speaks HTTP/2 and nothing else. `echo` gives back what comes as it comes, and `x-sum` behind it;
/// `announced` says so before it answers; `stuck` begins an answer and goes no further; `silent` says nothing at all;
/// `refused` refuses its stream; `flood` sends more than anybody takes; `bye` answers and closes the connection; `early` answers before it reads.
#[derive(Clone)]
pub(super) struct App {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl App {
    pub(super) fn start(max_streams: u32, tls: Option<TlsAcceptor>) -> Self {
        let (told, address) = channel();
        let (connections, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Seen>>>::default());
        let (counted, noted) = (Arc::clone(&connections), Arc::clone(&seen));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("somebody waits");
                while let Ok((stream, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let (noted, tls) = (Arc::clone(&noted), tls.clone());
                    tokio::task::spawn_local(async move {
                        match tls {
                            None => serve(stream, max_streams, noted).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, max_streams, noted).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        Self { address: address.recv().expect("it listens"), connections, seen }
    }

    pub(super) fn gateway(&self, keys: &str) -> Gateway {
        let mut setup = Setup::new().unlimited();
        setup.servers = Some(vec![format!("http://{}", self.address)]);
        setup.upstream = format!("protocol = \"h2\"\n{keys}");
        setup.workers = 1;
        setup.start()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The last request, once it is over.
    pub(super) fn last(&self) -> Seen {
        let take = || self.seen.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut found = None;
        eventually("a request is over", || {
            found = found.take().or_else(take);
            found.is_some()
        });
        found.expect("a request")
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, max_streams: u32, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(mut connection) = Builder::new().max_concurrent_streams(max_streams).handshake(stream).await else { return };
    let mut must_close = false;
    while let Some(Ok((request, respond))) = connection.accept().await {
        must_close |= request.uri().path().ends_with("/bye");
        tokio::task::spawn_local(answer(request, respond, Arc::clone(&seen)));
        if must_close {
            connection.graceful_shutdown();
        }
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, seen: Arc<Mutex<Vec<Seen>>>) {
    let (head, mut body) = request.into_parts();
    let what = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut noted = Seen { head, body: Vec::new(), trailers: None, is_whole: false };
    let mut answer = Response::new(());
    answer.headers_mut().insert("x-app", HeaderValue::from_static("yes"));
    answer.headers_mut().insert("set-cookie", HeaderValue::from_static("__Host-session=stolen"));
    match what.as_str() {
        "flood" => {
            let mut sending = respond.send_response(answer, false).expect("sent");
            // More than any window, kept until there is room for it.
            sending.send_data(vec![b'x'; 32 << 20].into(), false).expect("sent");
            return std::future::pending().await;
        }
        "refused" => return respond.send_reset(Reason::REFUSED_STREAM),
        "silent" => return std::future::pending().await,
        "stuck" => {
            let mut sending = respond.send_response(answer, false).expect("sent");
            sending.send_data("begun".into(), false).expect("sent");
            return std::future::pending().await;
        }
        "announced" => {
            let mut hints = Response::new(());
            *hints.status_mut() = http::StatusCode::EARLY_HINTS;
            hints.headers_mut().insert("link", HeaderValue::from_static("</style.css>"));
            respond.send_informational(hints).expect("sent");
        }
        "early" => {
            let mut sending = respond.send_response(answer, false).expect("sent");
            sending.send_data("early".into(), true).expect("sent");
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                noted.body.extend_from_slice(&data);
            }
            noted.is_whole = body.is_end_stream();
            return seen.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        }
        _ => {}
    }
    let mut sending = respond.send_response(answer, false).expect("sent");
    let is_broken = loop {
        match body.data().await {
            None => break false,
            Some(Err(_)) => break true,
            Some(Ok(data)) => {
                let _ = body.flow_control().release_capacity(data.len());
                noted.body.extend_from_slice(&data);
                if sending.send_data(data, false).is_err() {
                    break true;
                }
            }
        }
    };
    noted.is_whole = !is_broken;
    noted.trailers = body.trailers().await.ok().flatten();
    let mut sum = HeaderMap::new();
    sum.insert("x-sum", HeaderValue::from(noted.body.len()));
    sum.insert("set-cookie", HeaderValue::from_static("__Host-session=stolen"));
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
    let _ = sending.send_trailers(sum);
}

#[test]
fn a_request_goes_on_as_http_2_says_it() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let answer = client.request(Method::PUT, "/some/echo?a=1").header("x-own", "kept").body("body").send();
        assert_eq!((answer.status, answer.text().as_str(), answer.header("x-app")), (200, "body", "yes"));
        assert!(answer.set_cookies().iter().all(|cookie| !cookie.contains("stolen")));
        let seen = app.last();
        assert_eq!(seen.head.uri.to_string(), format!("http://{}/some/echo?a=1", client.authority()));
        assert_eq!((seen.head.method, seen.is_whole, &*seen.body), (Method::PUT, true, &b"body"[..]));
        let fields = seen.head.headers;
        assert_eq!(fields["x-own"], "kept");
        assert_eq!(fields["x-forwarded-user"], "alice");
        assert!(["host", "connection", "te", "cookie"].iter().all(|name| !fields.contains_key(*name)), "{fields:?}");
        assert_eq!(client.get("/some/page").send().status, 200);
        assert_eq!(app.last().body, b"");
        assert_eq!(client.request(Method::HEAD, "/some/page").send().text(), "");
        app.last();
    }
    assert_eq!(app.connections(), 1);
}

#[test]
fn many_requests_at_once_share_a_connection() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let client = gateway.client();
    for _ in 0..5 {
        let requests = (0..50).map(|at| client.request(Method::POST, "/public/echo").body(format!("number {at}")));
        let answers = client.together(requests.collect());
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!((answer.status, answer.text()), (200, format!("number {at}")));
        }
    }
    assert_eq!(app.connections(), 1);
}

#[test]
fn both_directions_flow_at_once_and_end_with_trailers() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let mut connection = Connection::to(&gateway);
    let call = block(&[
        (":method", "POST"),
        SCHEME,
        AUTHORITY,
        (":path", "/public/echo"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &call)]);
    assert_eq!(connection.next_of(HEADERS).payload.first(), Some(&0x88));
    for message in ["one", "two", "three"] {
        connection.send(&[frame(DATA, 0, 1, message.as_bytes())]);
        assert_eq!(connection.next_of(DATA).payload, message.as_bytes());
    }
    let trailers = block(&[("x-end", "yes"), ("x-forwarded-user", "mallory")]);
    connection.send(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)]);
    let end = connection.next_of(HEADERS);
    let shown = String::from_utf8_lossy(&end.payload).into_owned();
    assert!(end.flags & END_STREAM != 0 && !shown.contains("stolen"), "{shown}");
    let seen = app.last();
    let trailers = seen.trailers.expect("trailers");
    assert_eq!((trailers["x-end"].as_bytes(), trailers.len()), (&b"yes"[..], 1));
    assert_eq!(seen.head.headers["te"], "trailers");
    // To HTTP/1.1, too.
    let mut connection = Raw::to(gateway.address);
    connection
        .send("POST /public/echo HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.send("4\r\nbody\r\n0\r\nx-end: again\r\n\r\n");
    assert!(connection.read_until("4\r\nbody\r\n0\r\n").is_some());
    assert_eq!(app.last().trailers.expect("trailers")["x-end"], "again");
}

#[test]
fn large_bodies_pass_whole() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        let answer = client.request(Method::POST, "/public/echo").body(body.clone()).send();
        assert!(answer.status == 200 && answer.body == body);
    }
}

#[test]
fn what_announces_an_answer_is_passed_on() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public/announced HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let hints = connection.read_until("\r\n\r\n").expect("a head");
    assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
    assert!(connection.read_until("\r\n\r\n").expect("a head").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn an_upload_that_breaks_off_is_no_whole_one() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let mut connection = Connection::to(&gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, (":path", "/public/echo")]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"half")]);
    assert_eq!(connection.next_of(DATA).payload, b"half");
    connection.send(&[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])]);
    let seen = app.last();
    assert_eq!((&*seen.body, seen.is_whole), (&b"half"[..], false));
    // Over HTTP/1.1, the connection ends.
    let mut connection = Raw::to(gateway.address);
    connection.send("POST /public/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    assert!(connection.read_until("half").is_some());
    drop(connection);
    gateway.advance(2);
    let seen = app.last();
    assert_eq!((&*seen.body, seen.is_whole), (&b"half"[..], false));
}

#[test]
fn an_early_answer_does_not_cut_an_upload_that_is_still_read() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let mut connection = Raw::to(gateway.address);
    connection.send("POST /public/early HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert!(connection.read_until("early").is_some());
    connection.send("3\r\ndef\r\n0\r\n\r\n");
    let seen = app.last();
    assert_eq!((&*seen.body, seen.is_whole), (&b"abcdef"[..], true));
}

#[test]
fn a_session_that_ends_takes_its_calls_along() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let client = gateway.signed_in(ALICE).speaking(Version::H2);
    let (_, mut stream) = client.get("/some/stuck").open();
    assert_eq!(&*stream.next().expect("a piece").expect("a piece"), b"begun");
    gateway.revoke("alice");
    assert!(matches!(stream.next(), None | Some(Err(_))));
    eventually("nothing is left", || gateway.open_streams() == 0);
}

#[test]
fn who_says_nothing_is_given_up() {
    let app = App::start(100, None);
    let gateway = app.gateway("first_byte_timeout = \"10s\"\nidle_timeout = \"20s\"");
    let client = gateway.client();
    let asked = std::thread::spawn(move || client.get("/public/silent").send());
    advance_until(&gateway, "an answer", || asked.is_finished());
    assert_eq!(asked.join().expect("an answer").status, 504);
    let client = gateway.client();
    let (_, mut stream) = client.get("/public/stuck").open();
    assert_eq!(&*stream.next().expect("a piece").expect("a piece"), b"begun");
    let cut = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(stream.next().is_some_and(|piece| piece.is_err()), "it is no whole answer");
            cut.store(true, Ordering::SeqCst);
        });
        advance_until(&gateway, "the answer is cut", || cut.load(Ordering::SeqCst));
    });
}

#[test]
fn a_connection_that_its_server_has_given_up_is_made_anew() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    for round in 1..=3 {
        assert_eq!(gateway.client().get("/public/bye").send().status, 200);
        assert_eq!(gateway.client().get("/public/page").send().status, 200, "{round}");
    }
    assert!(app.connections() > 1);
    assert_eq!(gateway.client().get("/public/refused").send().status, 502);
    assert_eq!(gateway.client().get("/public/page").send().status, 200);
}

#[test]
fn who_finds_no_room_waits_and_is_then_told_so() {
    let app = App::start(1, None);
    let gateway = app.gateway("max_connections = 1\nmax_waiting = 1");
    // The server's word on how many it takes is heard with its first answer.
    assert_eq!(gateway.client().get("/public/page").send().status, 200);
    let holds = gateway.client();
    let (_, mut stream) = holds.get("/public/stuck").open();
    assert_eq!(&*stream.next().expect("a piece").expect("a piece"), b"begun");
    let client = gateway.client();
    let waits = std::thread::spawn(move || client.get("/public/page").send());
    advance_until(&gateway, "an answer", || waits.is_finished());
    assert_eq!(waits.join().expect("an answer").status, 503);
    // One may wait; the others are told at once.
    let wait = || {
        let client = gateway.client();
        std::thread::spawn(move || client.get("/public/page").send())
    };
    let waits = [wait(), wait(), wait()];
    eventually("two are told", || waits.iter().filter(|one| one.is_finished()).count() == 2);
    drop(stream);
    advance_until(&gateway, "the third is served", || waits.iter().all(|one| one.is_finished()));
    let mut statuses = waits.map(|one| one.join().expect("an answer").status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
    assert_eq!(app.connections(), 1);
}

/// A server's side of TLS that offers `protocol`, and the gateway's file of whom to believe.
fn tls(protocol: &[u8]) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let cert = params.self_signed(&key).expect("a certificate");
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca.path(), cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate");
    config.alpn_protocols = vec![protocol.to_vec()];
    (TlsAcceptor::from(Arc::new(config)), ca)
}

#[test]
fn by_tls_the_server_must_agree_to_it() {
    for (protocol, status) in [(&b"h2"[..], 200), (b"http/1.1", 502), (b"h3", 502)] {
        let (acceptor, ca) = tls(protocol);
        let app = App::start(100, Some(acceptor));
        let mut setup = Setup::new();
        setup.servers = Some(vec![format!("https://localhost:{}", app.address.port())]);
        setup.upstream = format!("protocol = \"h2\"\nca = {:?}", ca.path());
        let gateway = setup.start();
        assert_eq!(gateway.client().get("/public/page").send().status, status, "{protocol:?}");
        if status == 200 {
            assert_eq!(app.last().head.uri.scheme_str(), Some("https"));
        }
    }
}

#[test]
fn websockets_go_by_http_1() {
    let (told, got): (Sender<String>, Receiver<String>) = channel();
    let told = Mutex::new(told);
    let server = Scripted::start(move |mut line| {
        let head = line.head().unwrap_or_default();
        let _ = told.lock().expect("a channel").send(head);
        line.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        line.wait_for_close();
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.upstream = "protocol = \"h2\"".to_owned();
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    connection.send(
        "GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
         13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(connection.read_until("\r\n\r\n").expect("a head").starts_with("HTTP/1.1 101 "));
    assert!(got.recv_timeout(Duration::from_secs(5)).expect("a head").starts_with("GET /public HTTP/1.1\r\n"));
    // What speaks HTTP/1.1 only is no server for anything else.
    assert_eq!(gateway.client().get(PATH.1).send().status, 502);
}

#[test]
fn readers_that_do_not_read_hold_up_nobody_else() {
    let app = App::start(200, None);
    let gateway = app.gateway("");
    // Each gets more than is taken in advance for it, and takes nothing.
    let body = vec![b'x'; 4 << 20];
    let held: Vec<Raw> = (0..20)
        .map(|_| {
            let hello = Hello { receive_buffer: Some(4096), ..Hello::default() };
            let mut connection = Raw::shaking(gateway.address, hello).expect("a handshake");
            connection.send("GET /public/flood HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert!(connection.read_until("\r\n\r\n").expect("a head").starts_with("HTTP/1.1 200 "));
            connection
        })
        .collect();
    let answer = gateway.client().request(Method::POST, "/public/echo").body(body.clone()).send();
    assert!(answer.status == 200 && answer.body == body);
    drop(held);
}

#[test]
fn a_connection_that_its_server_winds_down_carries_nothing_new() {
    let app = App::start(100, None);
    let gateway = app.gateway("");
    let client = gateway.client();
    let (_, mut stream) = client.get("/public/stuck").open();
    assert_eq!(&*stream.next().expect("a piece").expect("a piece"), b"begun");
    // It says good-bye, and goes on with what is under way.
    assert_eq!(gateway.client().get("/public/bye").send().status, 200);
    for _ in 0..5 {
        let answer = gateway.client().request(Method::POST, "/public/echo").body("body").send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    }
    assert_eq!(app.connections(), 2);
    drop(stream);
}
