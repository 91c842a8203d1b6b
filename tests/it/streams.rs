//! Both directions of a request at once, slow sides, early answers, and ends that come at odd moments.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::harness::{ALICE, Gateway, Raw, Scripted, Setup, advance_until, nobody};
use super::http2::{
    AUTHORITY, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, METHOD, PATH, PING, RST_STREAM, SCHEME,
    WINDOW_UPDATE, block, frame,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A body in two pieces whose length nobody said: of one with a length, all or much must be here first.
const WHOLE: &str = "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";

/// A server that answers the head, and reads on: what it got of the body.
fn answers_early_and_reads_on() -> (Scripted, Receiver<Option<String>>) {
    let (told, got) = channel();
    let told = Mutex::new(told);
    let server = Scripted::start(move |mut line| {
        line.head();
        // As `request.pipe(file); response.end("ok")` does.
        line.say(OK);
        let _ = told.lock().expect("a channel").send(line.body(WHOLE.len()));
    });
    (server, got)
}

#[test]
fn an_early_answer_does_not_cut_an_upload_that_is_still_read() {
    let (server, got) = answers_early_and_reads_on();
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Raw::to(gateway.address);
    connection.send("POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(connection.answer().expect("an answer").body, b"ok");
    connection.send("3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(got.recv_timeout(Duration::from_secs(5)).expect("the server is done").as_deref(), Some(WHOLE));
}

#[test]
fn an_early_answer_does_not_cut_an_upload_over_http_2_that_is_still_read() {
    let (server, got) = answers_early_and_reads_on();
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Connection::to(&gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, PATH]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"abc")]);
    while connection.next().expect("a frame").kind != DATA {}
    connection.send(&[frame(DATA, END_STREAM, 1, b"def")]);
    assert_eq!(got.recv_timeout(Duration::from_secs(5)).expect("the server is done").as_deref(), Some(WHOLE));
}

#[test]
fn an_upload_goes_on_while_nobody_reads_the_answer_yet() {
    const LENGTH: usize = 64 << 20;
    let (told, got) = channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut reading, _) = listener.accept().expect("a connection");
        let mut writing = reading.try_clone().expect("another");
        let mut buffer = vec![0; 1 << 16];
        let first = reading.read(&mut buffer).expect("a head");
        let head = buffer[..first].windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        std::thread::spawn(move || {
            let _ = writing.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes());
            let _ = writing.write_all(&vec![b'y'; LENGTH]);
        });
        let mut received = first - head;
        while received < LENGTH {
            match reading.read(&mut buffer) {
                Ok(more @ 1..) => received += more,
                Ok(_) | Err(_) => break,
            }
        }
        let _ = told.send(received);
        std::thread::park_timeout(Duration::from_secs(60));
    });
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("http://{address}")]);
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    connection.send(format!("POST /public HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n"));
    // Everything is sent before anything is read, as browsers do over HTTP/1.1.
    let sent = connection.flood(LENGTH);
    assert_eq!(got.recv_timeout(Duration::from_secs(5)), Ok(LENGTH), "{sent} were sent");
}

#[test]
fn a_slow_reader_gets_the_end_of_an_answer_that_takes_longer_than_an_idle_connection_is_kept() {
    const LENGTH: usize = 250_000;
    let server = Scripted::start(move |mut line| {
        line.request();
        line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"));
        line.say([b'x'; LENGTH]);
        line.wait_for_close();
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.server = "keep_alive_timeout = \"5s\"\nheader_timeout = \"5s\"".to_owned();
    let gateway = setup.start();
    let mut connection = Connection::to(&gateway);
    connection.send(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))]);
    let mut received = 0;
    while received < LENGTH {
        let Some(read) = connection.next() else { break };
        if read.kind == DATA && !read.payload.is_empty() {
            received += read.payload.len();
            // It reads on all the time, sixteen kilobytes in two seconds.
            gateway.advance(2);
            std::thread::park_timeout(Duration::from_millis(10));
            let more = (read.payload.len() as u32).to_be_bytes();
            connection.send(&[frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, 1, &more)]);
        }
    }
    assert_eq!(received, LENGTH);
}

/// Sends the head of an upload, and a small body when the answer has begun. Whether the stream is reset nevertheless.
fn is_reset(gateway: &Gateway) -> bool {
    let mut connection = Connection::to(gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, PATH]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post)]);
    while connection.next().expect("a frame").kind != HEADERS {}
    connection.send(&[frame(DATA, 0, 1, &[b'x'; 10_000]), frame(DATA, END_STREAM, 1, b"end")]);
    let mut has_ended = false;
    loop {
        let read = connection.next().expect("a frame");
        match read.kind {
            RST_STREAM => return true,
            DATA if read.flags & END_STREAM != 0 => {
                has_ended = true;
                connection.send(&[frame(PING, 0, 0, b"are here")]);
            }
            PING if has_ended => return false,
            _ => {}
        }
    }
}

#[test]
fn a_small_upload_that_the_application_refuses_over_http_2_is_taken_to_its_end() {
    let server = Scripted::start(move |mut line| {
        line.head();
        line.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 7\r\nconnection: close\r\n\r\ntoo big");
    });
    let gateway = Setup::new().in_front_of(&server).start();
    assert!(!is_reset(&gateway));
}

#[test]
fn a_small_upload_to_an_application_that_is_down_is_taken_to_its_end_over_http_2() {
    let (address, _nobody) = nobody();
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("http://{address}")]);
    let gateway = setup.start();
    assert!(!is_reset(&gateway));
}

#[test]
fn a_connection_that_a_firewall_has_forgotten_is_not_used_hours_later() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Scripted::start(move |mut line| {
        let is_first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        line.request();
        line.say(OK);
        if is_first {
            // From now on nothing comes through, and nobody says so.
            line.wait_for_close();
        }
        while line.request().is_some() {
            line.say(OK);
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    assert_eq!(gateway.client().get("/public").send().status, 200);
    for _ in 0..12 {
        gateway.advance(600);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let client = gateway.client();
    let asked = std::thread::spawn(move || client.get("/public").send());
    advance_until(&gateway, "an answer", || asked.is_finished());
    assert_eq!(asked.join().expect("an answer").status, 200);
}

#[test]
fn an_application_that_never_stops_announcing_holds_nobody_up() {
    let server = Scripted::start(move |mut line| {
        let is_endless = line.request().is_some_and(|request| request.contains("/public/endless"));
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
        while is_endless && line.try_say(&hints) {}
        line.say(OK);
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    let answer = gateway.client().get("/public/endless").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (502, Some("upstream")));
    gateway.log.wait_for(&["/public/endless", "reason=upstream_broken"]);
    assert_eq!(gateway.client().get("/public").send().status, 200);
}

#[test]
fn a_client_that_stops_uploading_is_no_fault_of_the_applications() {
    let gateway = Setup::new().start();
    let mut connection = Raw::to(gateway.address);
    connection.send("POST /public/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nabc");
    for _ in 0..80 {
        gateway.advance(1);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let answer = connection.answer().expect("an answer");
    assert_ne!(answer.status, 504, "{}", String::from_utf8_lossy(&answer.body));
}

#[test]
fn an_upload_that_the_application_does_not_take_ends_with_its_session() {
    let server = Scripted::start(move |mut line| {
        line.head();
        std::thread::park_timeout(Duration::from_secs(60));
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let client = gateway.signed_in(ALICE);
    let mut connection = Raw::to(gateway.address);
    connection.send(format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {}\r\nCookie: __Host-session={}\r\nContent-Length: \
         100000000000\r\n\r\n",
        client.user_agent,
        client.session()
    ));
    connection.flood(100 << 20);
    gateway.revoke("alice");
    advance_until(&gateway, "the upload is cut", || gateway.log.text().lines().any(|line| line.contains("/echo")));
}

#[test]
fn a_malformed_request_is_answered_also_when_more_follows() {
    let gateway = Setup::new().unlimited().start();
    for _ in 0..20 {
        let mut connection = Raw::to(gateway.address);
        let mut bytes = b"GET /public/../x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        bytes.resize(1 << 20, b'x');
        connection.send(bytes);
        assert_eq!(connection.answer().expect("an answer").status, 400);
    }
}

#[test]
fn what_comes_behind_an_answer_without_content_is_nobodys_answer() {
    for head in [
        "HTTP/1.1 204 No Content\r\ncontent-length: 47\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let server = Scripted::start(move |mut line| {
            line.request();
            line.say(head);
            // Its content is slow to come.
            line.head();
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nswordfish");
            line.wait_for_close();
        });
        let mut setup = Setup::new().in_front_of(&server);
        setup.workers = 1;
        let gateway = setup.start();
        assert_eq!(gateway.client().get("/public").send().status, 204);
        // Either nothing of it is used for the next, or that gets a connection of its own.
        let mut next = Raw::to(gateway.address);
        next.send("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = next.answer().expect("an answer");
        assert!(!answer.body.ends_with(b"swordfish"), "{head}");
    }
}

#[test]
fn a_get_without_content_is_sent_without_content() {
    let server = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say(OK);
        }
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Connection::to(&gateway);
    let head = block(&[METHOD, SCHEME, AUTHORITY, PATH]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, b"")]);
    while connection.next().expect("a frame").kind != DATA {}
    let received = server.received();
    assert!(!received[0].contains("chunked"), "{}", received[0]);
}

/// A server that announces its answer, waits for `go`, and answers; with how often it has announced.
fn announces(go: Receiver<()>) -> Scripted {
    let go = Mutex::new(go);
    Scripted::start(move |mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
            line.say(
                "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n",
            );
            line.say("set-cookie: __Host-session=stolen\r\nset-cookie: theme=dark\r\n\r\n");
            let _ = go.lock().expect("a channel").recv_timeout(Duration::from_secs(5));
            line.say(OK);
        }
    })
}

#[test]
fn what_announces_an_answer_is_passed_on_before_it_comes() {
    let (go, waits) = channel();
    let server = announces(waits);
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Raw::to(gateway.address);
    for _ in 0..2 {
        connection.send("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.read_until("\r\n\r\n").expect("a head"), "HTTP/1.1 102 Processing\r\n\r\n");
        let hints = connection.read_until("\r\n\r\n").expect("a head");
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nset-cookie: theme=dark\r\n\r\n";
        assert_eq!(hints, expected);
        go.send(()).expect("it waits");
        let answer = connection.answer().expect("an answer");
        assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
    }
}

#[test]
fn what_announces_an_answer_is_passed_on_over_http_2() {
    let (go, waits) = channel();
    let server = announces(waits);
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Connection::to(&gateway);
    connection.send(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))]);
    let mut heads = [connection.next_of(HEADERS), connection.next_of(HEADERS)];
    go.send(()).expect("it waits");
    let answer = connection.next_of(HEADERS);
    // RFC 7541 section 6.1: 200 is in the static table; the others are written out.
    assert_eq!(answer.payload.first(), Some(&0x88));
    let shown = heads.each_mut().map(|head| String::from_utf8_lossy(&head.payload).into_owned());
    assert!(heads.iter().all(|head| head.flags & END_STREAM == 0 && head.payload.first() != Some(&0x88)), "{shown:?}");
    assert_eq!(connection.next_of(DATA).payload, b"ok");
}

#[test]
fn nothing_is_announced_to_whom_it_would_confuse() {
    let (go, waits) = channel();
    let server = announces(waits);
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public HTTP/1.0\r\nHost: localhost\r\n\r\n");
    go.send(()).expect("it waits");
    assert!(connection.read_until("\r\n\r\n").expect("a head").starts_with("HTTP/1.0 200 OK\r\n"));
}

#[test]
fn a_client_over_http_2_that_asks_first_is_told_to_go_on() {
    let server = Scripted::saying(OK);
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Connection::to(&gateway);
    let fields = [(":method", "POST"), SCHEME, AUTHORITY, PATH, ("content-length", "4"), ("expect", "100-continue")];
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &block(&fields))]);
    let told = connection.next_of(HEADERS);
    assert!(
        told.flags & END_STREAM == 0
            && told.payload.windows(3).any(|three| three == b"100" || three == b"\x82\x08\x01"),
        "{told:?}"
    );
    connection.send(&[frame(DATA, END_STREAM, 1, b"body")]);
    assert_eq!(connection.next_of(HEADERS).payload.first(), Some(&0x88));
    assert!(server.received().iter().all(|request| request.ends_with("body") && !request.contains("expect")));
}

#[test]
fn what_follows_an_upload_over_http_2_is_passed_on() {
    let server = Scripted::saying(OK);
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Connection::to(&gateway);
    let post = block(&[(":method", "POST"), SCHEME, AUTHORITY, PATH, ("te", "trailers"), ("trailer", "x-sum")]);
    let trailers = block(&[("x-sum", "42"), ("x-forwarded-user", "mallory")]);
    connection.send(&[frame(HEADERS, END_HEADERS, 1, &post), frame(DATA, 0, 1, b"hello")]);
    connection.send(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)]);
    assert_eq!(connection.next_of(HEADERS).payload.first(), Some(&0x88));
    let received = server.received().join("\n");
    assert!(received.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"), "{received}");
    assert!(received.contains("te: trailers\r\n") && received.contains("connection: TE\r\n"), "{received}");
}
