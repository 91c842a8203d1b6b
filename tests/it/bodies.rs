//! Bodies of every size, in both directions, streamed and never piled up.

use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use http::Method;

use super::harness::{Gateway, Raw, Scripted, Setup, Version};

/// More than all buffers between two ends take, the kernel's included; far less than what is sent.
const MOST_IN_FLIGHT: usize = 48 << 20;

/// The head of a request with a body, up to what says how long it is.
const POST: &str = "POST /public/echo HTTP/1.1\r\nHost: localhost\r\n";

#[test]
fn a_body_comes_back_as_it_was_sent() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        for size in [0, 1, 1000, 64 * 1024 + 1, 1 << 20] {
            let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let answer = client.request(Method::POST, "/public/echo").body(body.clone()).send();
            assert_eq!(answer.status, 200);
            assert!(answer.body == body, "{version:?}: {size} bytes came back as {}", answer.body.len());
            assert!(gateway.application.last().body == body);
        }
    }
}

#[test]
fn chunked_bodies_arrive_whole_however_they_are_cut() {
    let gateway = Setup::new().start();
    for (size, piece) in [(0, 1), (1, 1), (1000, 1), (1 << 20, 4093), (1 << 20, 1 << 18)] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let mut request = format!("{POST}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(piece) {
            request.extend(format!("{:x};some=extension\r\n", chunk.len()).into_bytes());
            request.extend(chunk);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        let mut connection = Raw::to(gateway.address);
        let answer = connection.ask(request).expect("an answer");
        assert!(answer.status == 200 && answer.body == body, "{size} bytes in pieces of {piece}");
        assert_eq!(connection.ask(format!("{POST}Content-Length: 2\r\n\r\nok")).expect("an answer").body, b"ok");
    }
}

#[test]
fn a_large_answer_arrives_whole() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let answer = gateway.client().speaking(version).get("/public/big").send();
        assert!(answer.body.len() == 1 << 20 && answer.body.iter().all(|byte| *byte == b'x'), "{version:?}");
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_application_and_nothing_piles_up() {
    for version in [Version::H1, Version::H2] {
        let (told, sent) = channel();
        let told = Mutex::new(told);
        let server = Scripted::start(move |mut line| {
            line.request();
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n");
            let _ = told.lock().expect("a channel").send(line.flood());
        });
        let gateway = Setup::new().in_front_of(&server).start();
        let client = gateway.client().speaking(version);
        let (answer, mut body) = client.get("/public").open();
        assert_eq!(answer.status, 200);
        let sent = sent.recv_timeout(Duration::from_secs(20)).expect("the application is made to wait");
        assert!(sent < MOST_IN_FLIGHT, "{version:?}: {sent} bytes went somewhere");
        assert!(body.next().is_some_and(|piece| piece.is_ok()), "and it goes on when the client reads");
    }
}

/// What the system may hold of an answer that was not read, in bytes (`upstream::reach`). It takes the double of what it
/// is told, for what it needs itself.
const MOST_UNREAD: usize = 2 * 256 * 1024;

#[test]
fn the_system_holds_no_more_of_an_answer_however_fast_the_application_is() {
    const PIECES: usize = 512;
    let piece = [b'x'; 64 * 1024];
    let server = Scripted::start(move |mut line| {
        while line.request().is_some() {
            line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES * piece.len()));
            (0..PIECES).for_each(|_| line.say(piece));
        }
    });
    let gateway = Setup::new().in_front_of(&server).start();
    assert_eq!(gateway.client().get("/public").send().body.len(), PIECES * piece.len());
    // The connection is kept for the next request. Left to itself, the system gives it more room with every answer.
    let said =
        Command::new("ss").args(["-Htnm", "dst", &server.address().to_string()]).output().expect("ss, of iproute2");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let room = said.split(",rb").skip(1).map(|after| after.split(',').next().and_then(|room| room.parse().ok()));
    let room: Vec<usize> = room.map(|room| room.unwrap_or_else(|| panic!("a number: {said}"))).collect();
    assert!(!room.is_empty() && room.iter().all(|room| *room <= MOST_UNREAD), "{room:?}: {said}");
}

#[test]
fn an_application_that_does_not_read_stops_its_client_and_nothing_piles_up() {
    let (done, is_done) = channel::<()>();
    let is_done = Mutex::new(is_done);
    let server = Scripted::start(move |mut line| {
        line.head();
        let _ = is_done.lock().expect("a channel").recv_timeout(Duration::from_secs(20));
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Raw::to(gateway.address);
    connection.send(format!("{POST}Content-Length: 1000000000000\r\n\r\n"));
    let sent = connection.flood(2 * MOST_IN_FLIGHT);
    assert!(sent < MOST_IN_FLIGHT, "{sent} bytes went somewhere");
    done.send(()).expect("it waits");
}

#[test]
fn expect_100_continue_is_answered_when_the_request_is_allowed_and_not_before() {
    let gateway = Setup::new().start();
    let mut allowed = Raw::to(gateway.address);
    allowed.send(format!("{POST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(allowed.answer().expect("an answer").status, 100);
    allowed.send("hello");
    let answer = allowed.answer().expect("an answer");
    assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
    assert_eq!(gateway.application.last().header("expect"), None);
    gateway.application.forget();
    for target in ["/", "/admin/echo", "/public/../echo", "/.vestibule/nowhere"] {
        let mut refused = Raw::to(gateway.address);
        refused.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        let answer = refused.answer().expect("an answer");
        assert!(answer.status >= 400, "{target}: {}", answer.head);
        refused.finish();
        assert_eq!(refused.rest(), "", "{target}");
    }
    gateway.application.assert_untouched();
}

#[test]
fn what_is_expected_and_nobody_here_knows_is_refused() {
    let gateway = Setup::new().unlimited().start();
    let hidden = "GET /public/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let unknown = [
        "Expect: something-else\r\n",
        "Expect: 100-continued\r\n",
        "Expect: 100-continue;q=1\r\n",
        "Expect: 100-continue, 200-ok\r\n",
        "Expect: x=\"100-continue, y\"\r\n",
        "Expect: 100-continue\r\nexpect: Something=Else\r\n",
        "Expect: \u{e9}\r\n",
    ];
    for fields in unknown {
        for (framing, body) in [
            (format!("Content-Length: {}\r\n", hidden.len()), hidden),
            (format!("Content-Length: {}\r\n", hidden.len()), ""),
            ("Transfer-Encoding: chunked\r\n".to_owned(), &chunked),
            // Without a body, what follows may be one that its sender forgot to announce.
            (String::new(), hidden),
        ] {
            let mut connection = Raw::to(gateway.address);
            connection.send(format!("{POST}{fields}{framing}\r\n{body}"));
            let answer = connection.answer().expect("an answer");
            assert_eq!(answer.status, 417, "{fields}{framing}: {}", answer.head);
            assert!(String::from_utf8_lossy(&answer.body).contains("expectation_failed"), "{fields}");
            connection.send(hidden);
            connection.finish();
            assert_eq!(connection.rest(), "", "{fields}{framing}");
        }
    }
    gateway.log.wait_for(&["POST", "/public/echo", " 417 ", "reason=expectation_failed"]);
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        for target in ["/public", "/", "/.vestibule/login"] {
            let answer = client.get(target).header("expect", "Something-Else").send();
            assert_eq!(answer.status, 417, "{version:?} {target}");
            let answer = client.request(Method::POST, target).header("expect", "100-continue,x").body("y").send();
            assert_eq!(answer.status, 417, "{version:?} {target}");
        }
    }
    gateway.application.assert_untouched();
    for known in ["100-continue", "100-CONTINUE", " 100-Continue ", "100-continue, ,100-continue", ""] {
        for version in [Version::H1, Version::H2] {
            let client = gateway.client().speaking(version);
            let answer = client.request(Method::POST, "/public/echo").header("expect", known).body("hello").send();
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{version:?} {known:?}");
        }
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_in_order() {
    let server = Scripted::start(|mut line| {
        while let Some(request) = line.request() {
            let answer = match request.split(' ').nth(1).unwrap_or_default() {
                "/public/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/public/304" => "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 5\r\n\r\n",
                _ if request.starts_with("HEAD") => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            };
            line.say(answer);
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    for (method, target, status, body) in [
        ("GET", "/public", 200, "hello"),
        ("HEAD", "/public", 200, ""),
        ("GET", "/public", 200, "hello"),
        ("GET", "/public/204", 204, ""),
        ("GET", "/public/304", 304, ""),
        ("HEAD", "/public/304", 304, ""),
        ("HEAD", "/", 401, ""),
        ("GET", "/public", 200, "hello"),
    ] {
        connection.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = connection.answer_to(method).expect("an answer");
        let found = (answer.status, String::from_utf8_lossy(&answer.body).into_owned());
        assert_eq!(found, (status, body.to_owned()), "{method} {target}");
        if method == "HEAD" && status == 200 {
            assert!(answer.head.to_ascii_lowercase().contains("content-length: 5"), "{}", answer.head);
        }
    }
    let client = gateway.client().speaking(Version::H2);
    for (method, target, status, body) in [
        (Method::HEAD, "/public", 200, ""),
        (Method::GET, "/public/204", 204, ""),
        (Method::GET, "/public/304", 304, ""),
        (Method::GET, "/public", 200, "hello"),
    ] {
        let answer = client.request(method, target).send();
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{target}");
    }
}

#[test]
fn a_slow_upload_has_all_the_time_it_needs() {
    // Five times as long as the application has for an answer, and a little faster than is asked for at least.
    const PIECES: usize = 20;
    const PIECE: usize = 4_000;
    let server = Scripted::start(move |mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    connection.send(format!("{POST}Content-Length: {}\r\n\r\n", PIECES * PIECE));
    for _ in 0..PIECES {
        // So that the worker has had a turn.
        assert_eq!(gateway.client().get("/public").send().status, 200);
        gateway.advance(15);
        connection.send([b'x'; PIECE]);
    }
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// Sends a body by drops, a byte a second, for as long as the connection takes it, and gives what is answered.
fn drip(gateway: &Gateway, seconds: usize) -> Option<(u16, String, usize)> {
    let mut connection = Raw::to(gateway.address);
    connection.send(format!("{POST}Content-Length: {seconds}\r\n\r\n"));
    for _ in 0..seconds {
        gateway.advance(1);
        // So that the worker has had a turn.
        assert_eq!(gateway.client().get("/public").send().status, 200);
        connection.send("x");
    }
    connection.answer().map(|answer| (answer.status, answer.head.to_ascii_lowercase(), answer.body.len()))
}

#[test]
fn a_body_that_comes_by_drops_is_not_waited_for() {
    let mut setup = Setup::new().unlimited();
    setup.workers = 1;
    let gateway = setup.start();
    let (status, head, _) = drip(&gateway, 23).expect("an answer");
    assert!(status == 408 && head.contains("connection: close"), "{head}");
    gateway.log.wait_for(&["reason=upload_slow"]);
    assert!(
        gateway.application.received().iter().all(|request| request.method == Method::GET || request.body.is_empty())
    );
    let mut setup = Setup::new().unlimited();
    (setup.server, setup.workers) = ("min_body_rate = 0".to_owned(), 1);
    let gateway = setup.start();
    let (status, _, length) = drip(&gateway, 23).expect("an answer");
    assert_eq!((status, length), (200, 23));
}

#[test]
fn a_body_that_is_here_is_not_too_slow_however_long_the_application_thinks() {
    let (go, waits) = channel::<()>();
    let waits = Mutex::new(waits);
    let server = Scripted::start(move |mut line| {
        if line.request().is_some_and(|request| request.starts_with("POST")) {
            let _ = waits.lock().expect("a channel").recv();
        }
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    });
    let mut setup = Setup::new().in_front_of(&server).unlimited();
    setup.workers = 1;
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    connection.send(format!("{POST}Content-Length: 4\r\n\r\nbody"));
    for _ in 0..50 {
        gateway.advance(1);
        // So that the worker has had a turn.
        assert_eq!(gateway.client().get("/public").send().status, 200);
    }
    go.send(()).expect("it waits");
    assert_eq!(connection.answer().expect("an answer").status, 200);
}

#[test]
fn bodies_that_come_by_drops_leave_the_application_to_others() {
    let server = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.upstream = "max_connections = 2".to_owned();
    let gateway = setup.start();
    let mut slow: Vec<Raw> = [1_000, 65_000, 5_000_000]
        .map(|length| {
            let mut connection = Raw::to(gateway.address);
            connection.send(format!("{POST}Content-Length: {length}\r\n\r\nsome of it"));
            connection
        })
        .into();
    for _ in 0..3 {
        assert_eq!(gateway.client().get("/public").send().status, 200);
    }
    slow[0].send(vec![b'x'; 990]);
    assert_eq!(slow[0].answer().expect("an answer").status, 200);
    let received = server.received();
    let whole = received.iter().find(|request| request.starts_with("POST")).expect("it arrived");
    let expected = format!("\r\n\r\nsome of it{}", "x".repeat(990));
    assert!(whole.to_ascii_lowercase().contains("content-length: 1000\r\n") && whole.ends_with(&expected), "{whole}");
    assert_eq!(received.iter().filter(|request| request.starts_with("POST")).count(), 1);
}
