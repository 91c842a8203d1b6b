//! Two requests that look like one, and one that looks like two: nothing reaches the application that was not decided
//! on.

use super::harness::{ALICE, Gateway, Raw, Scripted, Setup, USER_AGENT};

/// What an attacker wants to get past us.
const HIDDEN: &str = "GET /admin/hidden HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-User: mallory\r\n\r\n";

/// Asserts that after `bytes` the connection is over, that the first answer was a refusal, if there was one at all, and
/// that nothing has reached the application.
fn assert_refused(gateway: &Gateway, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    gateway.application.forget();
    let mut connection = Raw::to(gateway.address);
    connection.send(bytes);
    connection.send(HIDDEN);
    let answers = connection.rest();
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert!(matches!(statuses[..], [] | ["400" | "414" | "431" | "501" | "505"]), "{shown:?} was answered {answers:?}");
    gateway.application.assert_untouched();
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /public/echo HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn a_body_of_uncertain_length_is_refused_and_its_connection_closed() {
    let gateway = Setup::new().unlimited().start();
    for (headers, body) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        ("Content-Length: 5, 6\r\n", "hello!"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: -5\r\n", "hello"),
        ("Content-Length: 5 5\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: 5.0\r\n", "hello"),
        ("Content-Length: \r\n", "hello"),
        ("Content-Length: five\r\n", "hello"),
        ("Content-Length: 18446744073709551621\r\n", "hello"),
        ("Content-Length: 99999999999999999999999999\r\n", "hello"),
        ("Content-Length : 5\r\n", "hello"),
        (" Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked;x\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: [chunked]\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"),
        (" Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\x0b\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\x00\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding\r\n: chunked\r\n", "0\r\n\r\n"),
        ("Transfer_Encoding: chunked\r\nContent-Length: +3\r\n", "0\r\n\r\n"),
    ] {
        assert_refused(&gateway, &post(headers, body));
    }
}

#[test]
fn a_length_beside_an_encoding_is_refused() {
    // RFC 9112 section 6.3 lets a server refuse it, or let the encoding count. Somebody on the way may do neither.
    let gateway = Setup::new().unlimited().start();
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: +5\r\n",
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: CHUNKED\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:chunked \r\nContent-Length:5\r\nConnection: keep-alive\r\n",
    ] {
        assert_refused(&gateway, &post(headers, "0\r\n\r\n"));
    }
}

#[test]
fn an_encoding_is_said_once_and_in_its_own_name() {
    let gateway = Setup::new().unlimited().start();
    for headers in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content_Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_refused(&gateway, &post(headers, "0\r\n\r\n"));
    }
}

#[test]
fn nothing_before_it_blinds_the_watch_over_heads() {
    let gateway = Setup::new().unlimited().start();
    let refused = post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    let long = format!("Content-Length: {}5\r\n", "0".repeat(300));
    let chunked = "Transfer-Encoding: chunked\r\n";
    let blind = "POST /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
    for (first, cut) in [
        (post(chunked, &format!("0\r\n\n{blind}")), 0),
        (post(chunked, &format!("0\r\nX: y\n{blind}")), 0),
        (post(&long, "hello"), 120),
        (post(chunked, &format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(300))), 200),
    ] {
        gateway.application.forget();
        let mut connection = Raw::to(gateway.address);
        connection.send(&first[..cut]);
        connection.send(&first[cut..]);
        connection.send(&refused);
        connection.send(HIDDEN);
        let answers = connection.rest();
        assert!(!answers.contains("HTTP/1.1 200") && !answers.contains("HTTP/1.1 401"), "{answers}");
        assert!(gateway.application.received().iter().all(|received| received.body.is_empty()));
    }
}

#[test]
fn what_comes_after_a_good_request_is_refused_as_well() {
    let gateway = Setup::new().start();
    for refused in [
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        b"GET /public HTTP/1.1\nHost: localhost\r\n\r\n".to_vec(),
    ] {
        for good in [
            post("Content-Length: 5\r\n", "a\nb\n\n"),
            post("Transfer-Encoding: chunked\r\n", "5\r\na\nb\n\n\r\n0\r\n\r\n"),
        ] {
            gateway.application.forget();
            let mut connection = Raw::to(gateway.address);
            connection.send([&good[..], &refused[..], HIDDEN.as_bytes()].concat());
            let answer = connection.answer().expect("an answer");
            assert!(answer.status == 200 && answer.body == b"a\nb\n\n", "{}", answer.head);
            let rest = connection.rest();
            assert!(rest.starts_with("HTTP/1.1 400") && rest.matches("HTTP/1.1").count() == 1, "{rest}");
            assert_eq!(gateway.application.received().len(), 1);
        }
    }
}

#[test]
fn what_is_repeated_but_certain_is_passed_on_once() {
    let gateway = Setup::new().start();
    let answer = Raw::to(gateway.address).ask(post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"));
    assert!(answer.is_some_and(|answer| answer.status == 400 || answer.body == b"hello"));
    for received in gateway.application.received() {
        assert_eq!(received.header("content-length"), Some("5"));
    }
}

#[test]
fn broken_chunks_never_make_a_whole_request() {
    let gateway = Setup::new().unlimited().start();
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a\nGET /admin/hidden HTTP/1.1\r\n\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
        "5\r\nhello\r\n0\r\n bad: trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nX: y\n",
        "0\r\nX: y\n\n",
    ] {
        gateway.application.forget();
        let mut connection = Raw::to(gateway.address);
        connection.send(post("Transfer-Encoding: chunked\r\n", body));
        connection.send(HIDDEN);
        connection.finish();
        let answers = connection.rest();
        assert!(!answers.contains("HTTP/1.1 401"), "{body:?}: the hidden request was read: {answers}");
        assert!(!answers.contains("HTTP/1.1 5"), "{body:?} is no fault of the application's: {answers}");
        for received in gateway.application.received() {
            // The head may have been sent on when the body broke; nobody takes that for a whole request.
            assert!(received.uri == "/public/echo" && received.body.is_empty(), "{body:?}: {received:?}");
            assert!(!answers.contains("200 OK"), "{body:?}: {answers}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_not_finished_for_its_client() {
    let server = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let gateway = Setup::new().in_front_of(&server).start();
    for (headers, body) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nzz\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
    ] {
        let mut connection = Raw::to(gateway.address);
        connection.send(post(headers, body));
        connection.finish();
        let answers = connection.rest();
        assert!(!answers.contains("HTTP/1.1 200"), "{body:?}: {answers}");
    }
    // The connection to the application on which a request broke off is not used again.
    assert_eq!(Raw::to(gateway.address).ask(post("Content-Length: 1\r\n", "x")).expect("an answer").status, 200);
    assert_eq!(server.received().len(), 1, "{:?}", server.received());
    assert!(server.received()[0].ends_with("\r\n\r\nx"));
}

#[test]
fn malformed_heads_are_refused_and_their_connection_closed() {
    let gateway = Setup::new().unlimited().start();
    let heads: &[&[u8]] = &[
        b"POST /public HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /public HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX\x00: a\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n",
        b"GET /public HTTP/1.1\r\n X: a\r\nHost: localhost\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\n: no name\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX(y): a\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: localhost\r\nX\xe9: a\r\n\r\n",
        b"GET /public HTTP/1.1\r\rHost: localhost\r\r\r\r",
        b"GET /public HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        b"GET  /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET\t/public\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /public\r\nHost: localhost\r\n\r\n",
        b"GET /public HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /public HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET /public HTTP/1.10\r\nHost: localhost\r\n\r\n",
        b"GET /public http/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /public HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G(T /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G\x00T /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b" GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for head in heads {
        assert_refused(&gateway, head);
    }
    let many: String = (0..200).map(|at| format!("X-{at}: y\r\n")).collect();
    assert_refused(&gateway, format!("GET /public HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes());
    let large = "y".repeat(64 * 1024);
    assert_refused(&gateway, format!("GET /public HTTP/1.1\r\nHost: localhost\r\nX: {large}\r\n\r\n").as_bytes());
}

#[test]
fn lines_that_end_in_a_bare_newline_are_refused() {
    let gateway = Setup::new().unlimited().start();
    for head in [
        "GET /public HTTP/1.1\nHost: localhost\nX: y\n\n",
        "GET /public HTTP/1.1\nHost: localhost\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: localhost\n\r\n",
        "GET /public HTTP/1.1\r\nHost: localhost\r\n\n",
        "\nGET /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        assert_refused(&gateway, head.as_bytes());
    }
}

#[test]
fn a_target_with_a_fragment_is_refused() {
    let gateway = Setup::new().unlimited().start();
    for target in ["/public#/admin", "/admin#/public", "/public?x#y", "/#", "http://localhost/public#x"] {
        assert_refused(&gateway, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    }
}

#[test]
fn who_speaks_before_a_websocket_is_granted_is_refused() {
    let gateway = Setup::new().unlimited().start();
    let ask = "GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
               Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for early in [&b"\x81\x85abcd\x09\x07\x0f\x08\x0e"[..], HIDDEN.as_bytes()] {
        assert_refused(&gateway, &[ask.as_bytes(), early].concat());
    }
}

#[test]
fn a_request_hidden_in_the_body_of_a_refused_one_is_never_read() {
    let gateway = Setup::new().unlimited().start();
    let session = gateway.signed_in(ALICE).session();
    let hidden = format!(
        "GET /admin/hidden HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\nCookie: \
         __Host-session={session}\r\n\r\n"
    );
    gateway.application.forget();
    for target in ["/", "/admin", "/public/../x", "/.vestibule/nowhere", "/.vestibule/login"] {
        for (headers, body) in [
            (format!("Content-Length: {}\r\n", hidden.len()), hidden.clone()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len())),
        ] {
            let mut connection = Raw::to(gateway.address);
            connection.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}"));
            let first = connection.answer().expect("an answer");
            assert!(first.status >= 400, "{target}: {}", first.head);
            connection.finish();
            let rest = connection.rest();
            assert!(!rest.contains("HTTP/1.1"), "{target}: {rest}");
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn a_malformed_request_ends_its_connection() {
    let gateway = Setup::new().start();
    for line in ["GET /public/../x HTTP/1.1", "GET https://evil.test/ HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let mut connection = Raw::to(gateway.address);
        connection.send(format!("{line}\r\nHost: localhost\r\n\r\n{}", HIDDEN.replace("/admin/hidden", "/public")));
        let answers = connection.rest();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{line}: {answers}");
        assert!(answers.to_ascii_lowercase().contains("connection: close"), "{answers}");
    }
    gateway.application.assert_untouched();
}

#[test]
fn a_request_to_switch_protocols_opens_no_tunnel_unless_the_application_agrees() {
    for (protocol, is_passed_on) in
        [("websocket", true), ("h2c", false), ("TLS/1.0", false), ("x, websocket;v=1", false)]
    {
        let gateway = Setup::new().start();
        let mut connection = Raw::to(gateway.address);
        connection.send(format!(
            "GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        assert_eq!(connection.answer().expect("an answer").status, 200);
        connection.send(HIDDEN);
        assert_eq!(connection.answer().expect("an answer").status, 401, "what follows is a request like any other");
        let received = gateway.application.received();
        assert_eq!(received.len(), 1, "{received:?}");
        let passed = is_passed_on.then_some(("websocket", "Upgrade"));
        assert_eq!(received[0].header("upgrade").zip(received[0].header("connection")), passed, "{protocol}");
        assert_eq!(received[0].header("http2-settings"), None);
    }
}

#[test]
fn a_body_in_a_coding_that_only_its_sender_knows_is_refused() {
    let gateway = Setup::new().start();
    for coding in ["gzip, chunked", "identity, chunked", "chunked, chunked", "x, chunked"] {
        let mut connection = Raw::to(gateway.address);
        connection.send(post(&format!("Transfer-Encoding: {coding}\r\n"), "5\r\nhello\r\n0\r\n\r\n"));
        connection.send(HIDDEN);
        connection.finish();
        let answers = connection.rest();
        assert!(answers.starts_with("HTTP/1.1 400") && answers.matches("HTTP/1.1").count() == 1, "{coding}: {answers}");
    }
    let answer = Raw::to(gateway.address).ask("TRACE /public HTTP/1.1\r\nHost: localhost\r\nX-Secret: y\r\n\r\n");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 405);
    assert!(!String::from_utf8_lossy(&answer.body).contains("X-Secret"));
    gateway.application.assert_untouched();
}
