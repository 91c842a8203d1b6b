//! What goes on for long ends with its session: answers that stream, uploads, and answers that are still awaited.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use super::harness::{ALICE, BOB, Client, Gateway, Setup, Stream, Version, advance_until, eventually};

/// Opens the endless answer and reads its first piece.
fn streaming<'a>(client: &'a Client, path: &str) -> Stream<'a> {
    let (answer, mut stream) = client.get(path).open();
    assert_eq!(answer.status, 200);
    let first = stream.next().expect("a piece").expect("data");
    assert!(first.starts_with(b"piece "), "{first:?}");
    stream
}

/// Reads on until the answer breaks off; it must not end as if it were whole.
fn assert_cut(stream: &mut Stream<'_>) {
    for _ in 0..100 {
        match stream.next() {
            Some(Ok(_)) => {}
            Some(Err(_)) => return,
            None => panic!("the answer ended as if it were whole"),
        }
    }
    panic!("the answer goes on");
}

fn assert_nothing_left(gateway: &Gateway) {
    eventually("no stream is left behind", || gateway.open_streams() == 0);
}

#[test]
fn a_streaming_answer_is_cut_when_its_person_signs_out() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let out = gateway.client();
        out.set_session(&client.session());
        let mut streams = [streaming(&client, "/stream"), streaming(&client, "/optional/stream")];
        assert_eq!(out.post_form("/.vestibule/logout", &[]).send().status, 200);
        streams.iter_mut().for_each(assert_cut);
        assert_nothing_left(&gateway);
    }
}

#[test]
fn a_streaming_answer_is_cut_when_the_session_is_revoked_and_no_other_is() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let (alice, bob) = (gateway.signed_in(ALICE).speaking(version), gateway.signed_in(BOB).speaking(version));
        let (mut hers, mut his) = (streaming(&alice, "/stream"), streaming(&bob, "/stream"));
        let mut public = streaming(&alice, "/public/stream");
        gateway.revoke("alice");
        assert_cut(&mut hers);
        for stream in [&mut his, &mut public] {
            for _ in 0..2 {
                assert!(gateway.application.goes_on(stream));
            }
        }
        drop((his, public));
    }
}

#[test]
fn a_streaming_answer_is_cut_when_its_session_was_replaced_or_stolen() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let mut stream = streaming(&client, "/stream");
    let page = client.visit("/.vestibule/login").send();
    let token = super::harness::hidden(&page, "attempt");
    let fields = [("username", BOB.0), ("password", BOB.1), ("attempt", &*token)];
    assert_eq!(client.post_form("/.vestibule/login", &fields).send().status, 303);
    assert_cut(&mut stream);
    let mut stream = streaming(&client, "/stream");
    let mut thief = gateway.client();
    thief.user_agent = "another browser".to_owned();
    thief.set_session(&client.session());
    assert_eq!(thief.get("/").send().status, 401);
    assert_cut(&mut stream);
    assert_nothing_left(&gateway);
}

/// Time moves in leaps here, and the application is not to be late by them.
fn patient(mut setup: Setup) -> Setup {
    setup.upstream = "idle_timeout = \"24h\"".to_owned();
    setup
}

#[test]
fn a_streaming_answer_is_cut_at_the_idle_limit() {
    let gateway = patient(Setup::new()).start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let mut stream = streaming(&client, "/stream");
        gateway.advance(30 * 60 - 1);
        assert!(gateway.application.goes_on(&mut stream), "not before");
        gateway.advance(1);
        assert_cut(&mut stream);
        assert_nothing_left(&gateway);
        assert!(gateway.sessions_of("alice").is_empty());
        gateway.log.wait_for(&["audit session.ended", "reason=idle"]);
    }
}

#[test]
fn a_streaming_answer_goes_on_while_its_person_works_and_ends_at_the_absolute_limit() {
    let gateway = patient(Setup::new().extra("[session.rotation]\nevery = \"off\"\n")).start();
    let client = gateway.signed_in(ALICE);
    let mut stream = streaming(&client, "/stream");
    for _ in 0..35 {
        gateway.advance(20 * 60);
        assert_eq!(client.get("/").send().status, 200);
    }
    assert!(gateway.application.goes_on(&mut stream));
    gateway.advance(20 * 60);
    assert_cut(&mut stream);
    gateway.log.wait_for(&["audit session.ended", "reason=absolute"]);
    assert_nothing_left(&gateway);
}

/// Begins an upload that lacks its end, and waits until the gateway waits for more.
fn uploading(gateway: &Gateway, client: &Client) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = client.connect_raw();
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nCookie: __Host-session={}\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Length: 1000\r\n\r\nthe first half",
        client.authority(),
        client.user_agent,
        client.session()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.flush().expect("sent");
    eventually("the upload is under way", || gateway.open_streams() == 1);
    stream
}

/// The answer, without waiting for the connection to close: it is listened to for a while, by a clock that stands.
fn read_answer(mut stream: StreamOwned<ClientConnection, TcpStream>) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !read.ends_with(b"}\n") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => read.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn an_upload_is_cut_when_its_session_ends() {
    let mut setup = Setup::new();
    // Time moves in a leap, and neither side is to be late by it.
    setup.upstream = "first_byte_timeout = \"1h\"".to_owned();
    setup.server = "min_body_rate = 0".to_owned();
    let gateway = setup.start();
    type End<'a> = &'a dyn Fn(&Client);
    let ends: [(&str, End<'_>); 3] = [
        ("revoked", &|_| gateway.revoke("alice")),
        ("logout", &|client| {
            assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
        }),
        ("idle", &|_| gateway.advance(30 * 60)),
    ];
    for (reason, end) in ends {
        let client = gateway.signed_in(ALICE);
        let upload = uploading(&gateway, &client);
        end(&client);
        let answer = read_answer(upload);
        assert!(answer.starts_with("HTTP/1.1 401"), "{reason}: {answer}");
        assert!(answer.contains(&format!("\"reason\":\"{reason}\"")) && !answer.contains("half"), "{answer}");
        assert_nothing_left(&gateway);
        let received = gateway.application.received();
        assert!(received.iter().all(|request| request.body.is_empty()), "no half of it counts as whole: {received:?}");
    }
}

#[test]
fn an_upload_whose_session_lasts_arrives_whole() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let mut upload = uploading(&gateway, &client);
    upload.write_all(&[b'.'; 986]).expect("sent");
    upload.flush().expect("sent");
    eventually("it arrived", || gateway.application.received().len() == 1);
    let received = gateway.application.last();
    assert_eq!((received.method, received.body.len()), (http::Method::POST, 1000));
    drop(upload);
    assert_nothing_left(&gateway);
}

/// Asks for an answer that the application holds back, and runs `meanwhile` while it does.
fn while_awaited(gateway: &Gateway, client: Client, meanwhile: impl FnOnce()) -> super::harness::Answer {
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || client.get("/gate").send());
        eventually("it arrived", || gateway.application.received().iter().any(|request| request.uri == "/gate"));
        meanwhile();
        gateway.application.open_gate();
        gateway.application.forget();
        asking.join().expect("an answer")
    })
}

#[test]
fn an_answer_that_comes_after_its_session_ended_is_for_nobody() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let answer = while_awaited(&gateway, gateway.signed_in(ALICE).speaking(version), || gateway.revoke("alice"));
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("revoked")));
        assert!(answer.header("x-application").is_empty() && !answer.text().contains("gate"));
        let client = gateway.signed_in(ALICE).speaking(version);
        let out = gateway.client();
        out.set_session(&client.session());
        let answer = while_awaited(&gateway, client, || {
            assert_eq!(out.post_form("/.vestibule/logout", &[]).send().status, 200);
        });
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("logout")));
        let answer = while_awaited(&gateway, gateway.signed_in(BOB).speaking(version), || {});
        assert_eq!((answer.status, answer.text().as_str()), (200, "through the gate"));
        assert_nothing_left(&gateway);
    }
}

#[test]
fn whoever_goes_away_leaves_nothing_behind() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    for version in [Version::H1, Version::H2] {
        let reader = gateway.client().speaking(version);
        reader.set_session(&client.session());
        let stream = streaming(&reader, "/stream");
        eventually("it is known", || gateway.open_streams() > 0);
        drop(stream);
        drop(reader);
        // Nothing is said there, so it is found when it is next looked for.
        advance_until(&gateway, "no stream is left behind", || gateway.open_streams() == 0);
    }
    drop(uploading(&gateway, &client));
    assert_nothing_left(&gateway);
    let slow = gateway.client();
    slow.set_session(&client.session());
    let mut waiting = slow.connect_raw();
    let request = format!(
        "GET /slow HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nCookie: __Host-session={}\r\n\r\n",
        slow.authority(),
        slow.user_agent,
        slow.session()
    );
    waiting.write_all(request.as_bytes()).expect("sent");
    waiting.flush().expect("sent");
    eventually("it arrived", || gateway.application.received().iter().any(|request| request.uri == "/slow"));
    drop(waiting);
    assert_nothing_left(&gateway);
    assert_eq!(client.get("/").send().status, 200);
}

#[test]
fn short_answers_hold_on_to_nothing() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    for path in ["/", "/big", "/status-404"] {
        client.get(path).send();
        assert_nothing_left(&gateway);
    }
    gateway.clock.advance(Duration::from_millis(1));
    assert_eq!(client.request(http::Method::POST, "/echo").body(vec![b'x'; 100_000]).send().body.len(), 100_000);
    assert_nothing_left(&gateway);
}
