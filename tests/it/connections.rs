//! Connections that are half made, half used or too many: others are served, and they are cut in time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::harness::{ALICE, Gateway, Hello, Raw, Scripted, Setup, Version, advance_until, eventually};

const GET: &str = "GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads to the end of a plain connection, which must come.
fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut read = Vec::new();
    if let Err(error) = stream.read_to_end(&mut read) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    read
}

fn assert_serves(gateway: &Gateway) {
    for version in [Version::H1, Version::H2] {
        assert_eq!(gateway.client().speaking(version).get("/public").send().status, 200);
    }
}

#[test]
fn a_thousand_half_open_connections_disturb_nobody_and_are_cut() {
    let gateway = Setup::new().start();
    let half_open: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect(gateway.address).expect("connected")).collect();
    eventually("all are accepted", || gateway.connections() >= 1000);
    gateway.signed_in(ALICE);
    assert_serves(&gateway);
    advance_until(&gateway, "all are cut", || gateway.connections() == 0);
    half_open.into_iter().for_each(|stream| assert!(until_closed(stream).is_empty()));
    assert_serves(&gateway);
}

#[test]
fn handshakes_that_stop_half_way_are_cut() {
    let gateway = Setup::new().start();
    let begun: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.address).expect("connected");
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").expect("sent");
            stream
        })
        .collect();
    eventually("all are accepted", || gateway.connections() >= 50);
    assert_serves(&gateway);
    let before = gateway.clock.now();
    advance_until(&gateway, "all are cut", || gateway.connections() == 0);
    assert!(gateway.clock.now().since(before) >= Duration::from_secs(9), "they had their time");
    drop(begun);
}

#[test]
fn two_hundred_half_sent_heads_disturb_nobody_and_are_cut() {
    let gateway = Setup::new().start();
    let mut half_sent: Vec<Raw> = (0..200)
        .map(|_| {
            let mut connection = Raw::to(gateway.address);
            connection.send("GET /public HTTP/1.1\r\nHost: loc");
            connection
        })
        .collect();
    assert_serves(&gateway);
    advance_until(&gateway, "all are cut", || gateway.connections() == 0);
    assert!(half_sent.iter_mut().all(|connection| !connection.rest().contains(" 200 ")));
    gateway.application.forget();
    assert_serves(&gateway);
    assert_eq!(gateway.application.received().len(), 2, "nothing half sent was passed on");
}

#[test]
fn a_head_that_comes_by_drops_has_no_more_time_than_another() {
    let gateway = Setup::new().start();
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public HTTP/1.1\r\nHost: localhost\r\nX: ");
    for _ in 0..30 {
        connection.send("y");
        gateway.advance(2);
        std::thread::park_timeout(Duration::from_millis(2));
    }
    eventually("it is cut", || gateway.connections() == 0);
    gateway.application.assert_untouched();
}

#[test]
fn a_connection_without_a_request_is_cut() {
    let gateway = Setup::new().start();
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let hello = Hello { protocols: &[protocol], ..Hello::default() };
        let mut connection = Raw::shaking(gateway.address, hello).expect("a handshake");
        eventually("it is open", || gateway.connections() == 1);
        advance_until(&gateway, "it is cut", || gateway.connections() == 0);
        connection.rest();
    }
}

#[test]
fn an_idle_connection_is_kept_for_a_while_and_then_closed() {
    let gateway = Setup::new().start();
    let mut connection = Raw::to(gateway.address);
    for _ in 0..3 {
        assert_eq!(connection.ask(GET).expect("an answer").status, 200);
        gateway.advance(70);
        // The deadlines have been looked at once more.
        assert_serves(&gateway);
    }
    gateway.advance(80);
    assert_eq!(connection.rest(), "", "closed without a word");
}

#[test]
fn an_idle_http_2_connection_is_told_before_it_is_closed() {
    let gateway = Setup::new().start();
    let hello = Hello { protocols: &[b"h2"], ..Hello::default() };
    let mut connection = Raw::shaking(gateway.address, hello).expect("a handshake");
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    connection.send("\0\0\x08\x06\0\0\0\0\0answerme");
    let mut read = Vec::new();
    while !read.windows(8).any(|window| window == b"answerme") {
        read.extend(connection.bytes());
    }
    advance_until(&gateway, "it is cut", || gateway.connections() == 0);
    // GOAWAY, type 7, on stream 0: whoever sends a request at this moment learns that it can be sent again.
    let read = connection.rest();
    assert!(read.contains("\0\0\x08\x07\0\0\0\0\0"), "closed with {read:?}");
}

#[test]
fn who_comes_when_all_places_are_taken_is_served_when_one_leaves() {
    let mut setup = Setup::new();
    setup.workers = 1;
    setup.server = "max_connections = 4".to_owned();
    let gateway = setup.start();
    let mut taken: Vec<Raw> = (0..4).map(|_| Raw::to(gateway.address)).collect();
    assert!(taken.iter_mut().all(|connection| connection.ask(GET).is_some_and(|answer| answer.status == 200)));
    let address = gateway.address;
    let late = std::thread::spawn(move || Raw::to(address).ask(GET).expect("an answer").status);
    assert_eq!(taken[0].ask(GET).expect("an answer").status, 200, "those who are here are served");
    assert_eq!(gateway.connections(), 4);
    assert!(!late.is_finished());
    taken.pop();
    advance_until(&gateway, "the late one is served", || late.is_finished());
    assert_eq!(late.join().expect("a status"), 200);
}

#[test]
fn plain_http_on_the_tls_port_gets_nowhere() {
    let gateway = Setup::new().start();
    for bytes in [GET.as_bytes(), b"\r\n\r\n\r\n\r\n\r\n\r\n", &[0; 64], b"SSH-2.0-x\r\n", &[0xff; 20_000]] {
        let mut stream = TcpStream::connect(gateway.address).expect("connected");
        let _ = stream.write_all(bytes);
        let answer = until_closed(stream);
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    }
    gateway.application.assert_untouched();
    assert_serves(&gateway);
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let gateway = Setup::new().start();
    for version in rustls::ALL_VERSIONS {
        let hello = Hello { versions: &[version], ..Hello::default() };
        let mut connection = Raw::shaking(gateway.address, hello).expect("a handshake");
        assert_eq!(connection.ask(GET).expect("an answer").status, 200, "{version:?}");
    }
    for (minor, name) in [(0, "SSL 3"), (1, "TLS 1.0"), (2, "TLS 1.1")] {
        let mut stream = TcpStream::connect(gateway.address).expect("connected");
        stream.write_all(&old_client_hello(minor)).expect("sent");
        let answer = until_closed(stream);
        // An alert, fatal, protocol_version (70), or any other that ends it; never a ServerHello (22).
        assert!(answer.first().is_none_or(|kind| *kind == 21), "{name}: {answer:?}");
    }
}

/// A ClientHello of a TLS before 1.2: no extensions, two suites with RSA key exchange.
fn old_client_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0, 0x2f, 0, 0x35, 1, 0]);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend(hello);
    let mut record = vec![22, 3, minor, 0, message.len() as u8];
    record.extend(message);
    record
}

#[test]
fn alpn_chooses_http_2_or_1_1_and_without_it_there_is_1_1() {
    let gateway = Setup::new().start();
    let agreed = |protocols: &[&[u8]]| {
        let connection = Raw::shaking(gateway.address, Hello { protocols, ..Hello::default() });
        connection.map(|connection| connection.protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&[b"h2", b"http/1.1"]).expect("agreed").as_deref(), Some(&b"h2"[..]));
    assert_eq!(agreed(&[b"http/1.1", b"h2"]).expect("agreed").as_deref(), Some(&b"h2"[..]));
    assert_eq!(agreed(&[b"http/1.1"]).expect("agreed").as_deref(), Some(&b"http/1.1"[..]));
    // What `curl --http1.0` asks for: it speaks HTTP/1.0, and nothing else is different.
    assert_eq!(agreed(&[b"http/1.0"]).expect("agreed").as_deref(), Some(&b"http/1.0"[..]));
    assert_eq!(agreed(&[b"spdy/3", b"http/1.1"]).expect("agreed").as_deref(), Some(&b"http/1.1"[..]));
    assert!(agreed(&[b"spdy/3"]).is_err(), "RFC 7301 section 3.2: nothing in common is fatal");
    assert_eq!(agreed(&[]).expect("agreed"), None);
    let hello = Hello { protocols: &[], ..Hello::default() };
    let mut connection = Raw::shaking(gateway.address, hello).expect("a handshake");
    assert_eq!(connection.ask(GET).expect("an answer").status, 200);
}

#[test]
fn stopping_lets_a_request_under_way_finish_and_closes_what_is_idle() {
    let (open, opened) = channel::<()>();
    let opened = Mutex::new(opened);
    let server = Scripted::start(move |mut line| {
        while let Some(request) = line.request() {
            if request.contains("/public/held") {
                let _ = opened.lock().expect("a gate").recv();
            }
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
        }
    });
    let mut gateway = Setup::new().in_front_of(&server).start();
    let mut idle = Raw::to(gateway.address);
    assert_eq!(idle.ask(GET).expect("an answer").status, 200);
    let mut begun = Raw::to(gateway.address);
    begun.send("GET /pub");
    let held: Vec<_> = [Version::H1, Version::H2]
        .map(|version| {
            let client = gateway.client().speaking(version);
            std::thread::spawn(move || client.get("/public/held").send())
        })
        .into();
    eventually("both are under way", || server.received().len() == 3);
    gateway.running().stop();
    assert_eq!(idle.rest(), "");
    assert!(!begun.rest().contains(" 200 "));
    let address = gateway.address;
    eventually("nobody new is let in", || Raw::shaking(address, Hello::default()).is_err());
    assert!(held.iter().all(|held| !held.is_finished()));
    for _ in 0..2 {
        open.send(()).expect("it waits");
    }
    for held in held {
        let answer = held.join().expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    }
    // Everything is done, so stopping does not wait for the drain time-out.
    gateway.stop();
}

#[test]
fn an_endless_answer_does_not_keep_the_gateway_from_stopping() {
    let mut setup = Setup::new();
    setup.server = "drain_timeout = \"40s\"".to_owned();
    let gateway = setup.start();
    let clients = [gateway.client(), gateway.client().speaking(Version::H2)];
    let mut streams: Vec<_> = clients.iter().map(|client| client.get("/public/stream").open().1).collect();
    for stream in &mut streams {
        assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    }
    gateway.running().stop();
    let before = gateway.clock.now();
    for stream in &mut streams {
        assert!(gateway.application.goes_on(stream), "it goes on while there is time");
    }
    advance_until(&gateway, "they are cut", || gateway.connections() == 0);
    assert!(gateway.clock.now().since(before) >= Duration::from_secs(39));
    for mut stream in streams {
        let end = std::iter::from_fn(|| stream.next()).find(Result::is_err);
        assert!(end.is_some(), "a cut answer does not look whole");
    }
}

#[test]
fn who_leaves_an_answer_where_it_is_is_cut_after_a_minute() {
    let server = Scripted::saying(
        [b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n".as_slice(), &[b'x'; 1 << 26]].concat(),
    );
    let gateway = Setup::new().in_front_of(&server).start();
    let mut idle_reader = Raw::to(gateway.address);
    idle_reader.send(GET);
    eventually("the answer is under way", || server.received().len() == 1);
    let begun = gateway.clock.now();
    advance_until(&gateway, "the connection is cut", || gateway.connections() == 0);
    assert!(gateway.clock.now().since(begun) >= Duration::from_secs(60), "it had its minute");
    assert_eq!(gateway.client().get("/nowhere").send().status, 401);
}

#[test]
fn who_leaves_before_the_answer_begins_is_in_the_log() {
    let (arrived, has_arrived) = channel();
    let arrived = Mutex::new(arrived);
    let server = Scripted::start(move |mut line| {
        line.request();
        let _ = arrived.lock().expect("a channel").send(());
        line.wait_for_close();
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let mut leaver = Raw::to(gateway.address);
    leaver.send("GET /public/side-effect HTTP/1.1\r\nHost: localhost\r\n\r\n");
    has_arrived.recv_timeout(Duration::from_secs(10)).expect("the application is asked");
    drop(leaver);
    advance_until(&gateway, "the line is written", || {
        gateway
            .log
            .text()
            .lines()
            .any(|line| ["/public/side-effect", " 499 ", "reason=client_left"].iter().all(|word| line.contains(word)))
    });
}

#[test]
fn what_cannot_be_read_is_in_the_log_too() {
    let gateway = Setup::new().start();
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\n".to_owned(), " 400 "),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(60_000)), " 431 "),
    ] {
        let mut connection = Raw::to(gateway.address);
        connection.send(head);
        gateway.log.wait_for(&["access", status, "reason=unreadable_request"]);
    }
}

#[test]
fn one_address_has_its_share_of_connections_and_no_more() {
    let mut setup = Setup::new();
    setup.server = "max_connections_per_address = 3".to_owned();
    let gateway = setup.start();
    let mut held: Vec<Raw> = (0..3).map(|_| Raw::to(gateway.address)).collect();
    assert!(Raw::shaking(gateway.address, Hello::default()).is_err(), "one too many");
    for connection in &mut held {
        assert_eq!(connection.ask(GET).expect("an answer").status, 200);
    }
    held.pop();
    eventually("it has left", || gateway.connections() == 2);
    assert_eq!(Raw::to(gateway.address).ask(GET).expect("an answer").status, 200);
    // Another address has its own.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("an address");
    eventually("it has left, too", || gateway.connections() == 2);
    let _third = Raw::to(gateway.address);
    assert!(Raw::shaking(gateway.address, Hello::default()).is_err(), "one too many");
    socket.connect(&gateway.address.into()).expect("connected");
    let mut other = Raw::over(socket.into(), b"", Hello::default()).expect("a handshake");
    assert_eq!(other.ask(GET).expect("an answer").status, 200);
}

#[test]
fn a_trusted_proxy_has_everybodys_connections_unless_it_says_whose_they_are() {
    let keys = "max_connections_per_address = 2\ntrusted_proxies = [\"127.0.0.1\"]";
    let mut setup = Setup::new();
    setup.server = keys.to_owned();
    let gateway = setup.start();
    let mut all: Vec<Raw> = (0..5).map(|_| Raw::to(gateway.address)).collect();
    assert!(all.iter_mut().all(|one| one.ask(GET).expect("an answer").status == 200));
    let mut setup = Setup::new();
    setup.server = format!("{keys}\nproxy_protocol = true");
    let gateway = setup.start();
    let relayed = |client: &str| {
        let tcp = TcpStream::connect(gateway.address).expect("connected");
        let header = format!("PROXY TCP4 {client} 127.0.0.1 1000 443\r\n");
        Raw::over(tcp, header.as_bytes(), Hello::default())
    };
    let _held = [relayed("192.0.2.1").expect("a handshake"), relayed("192.0.2.1").expect("a handshake")];
    assert!(relayed("192.0.2.1").is_err(), "one too many");
    assert!(relayed("192.0.2.2").is_ok());
}

#[test]
fn who_opens_a_connection_for_http_2_and_says_nothing_is_not_kept_to_be_sent_away_once_they_do() {
    use tokio::io::AsyncReadExt;
    let gateway = Setup::new().start();
    let client = gateway.client();
    // As browsers open one in advance.
    let read = gateway.block_on(async {
        let mut stream = client.connect(Version::H2).await;
        let mut read = [0; 1024];
        let count = stream.read(&mut read).await.expect("the gateway's settings");
        gateway.advance(20);
        let mut rest = Vec::new();
        let all = stream.read_to_end(&mut rest);
        tokio::time::timeout(Duration::from_secs(10), all).await.map(|_| count)
    });
    assert!(read.expect("it is closed when the head of a request would be late") > 0);
    eventually("it is gone", || gateway.connections() == 0);
}
