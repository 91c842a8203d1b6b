//! An application that is down, slow, or answers nonsense: a clear answer of ours, and nothing of its bytes.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;

use super::harness::{
    ALICE, Answer, Client, Raw, Scripted, Setup, USER_AGENT, Version, advance_until, eventually, nobody,
};

/// What no client may ever see of a broken answer.
const SECRET: &str = "swordfish";

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A GET in a thread of its own.
fn in_background(client: Client, target: &'static str) -> JoinHandle<Answer> {
    std::thread::spawn(move || client.get(target).send())
}

/// Asserts that an answer is one of ours: JSON that says `reason`, and says nothing of the server.
fn assert_ours(answer: &Answer, status: u16, reason: &str, server: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    // What is the matter with the application is for the log alone.
    let is_for_the_log = reason.starts_with("upstream_");
    assert_eq!(answer.json()["reason"], if is_for_the_log { "upstream" } else { reason });
    let all = format!("{:?}{}", answer.headers, answer.text());
    let address = server.trim_start_matches("http://");
    let mut secrets = vec![SECRET, address, "x-application"];
    if is_for_the_log {
        secrets.push(reason);
    }
    assert!(secrets.iter().all(|secret| !all.contains(secret)), "{all}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// A pair to make a server wait until the test says so.
fn gate() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (open, opened) = channel();
    (open, Arc::new(Mutex::new(opened)))
}

fn wait(gate: &Mutex<Receiver<()>>) {
    let _ = gate.lock().expect("a gate").recv();
}

#[test]
fn a_server_that_is_not_there_is_a_bad_gateway() {
    let (address, _nobody) = nobody();
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("http://{address}")]);
    let gateway = setup.start();
    for version in [Version::H1, Version::H2] {
        let answer = gateway.client().speaking(version).get("/public").send();
        assert_ours(&answer, 502, "upstream_connect", &address.to_string());
    }
    let page = gateway.client().visit("/public").send();
    assert_eq!((page.status, page.header("content-type")), (502, "text/html; charset=utf-8"));
    assert!(!page.text().contains(&address.to_string()));
    gateway.log.wait_for(&["/public", "502", "upstream_connect"]);
}

#[test]
fn a_server_that_lets_nobody_in_is_given_up_after_connect_timeout() {
    let (address, _full) = full_server();
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("http://{address}")]);
    setup.upstream = "connect_timeout = \"7s\"".to_owned();
    let gateway = setup.start();
    let asked = in_background(gateway.client(), "/public");
    advance_until(&gateway, "an answer", || asked.is_finished());
    assert_ours(&asked.join().expect("an answer"), 504, "upstream_connect_timeout", &address.to_string());
    assert!(gateway.clock.now().since(super::harness::START) >= Duration::from_secs(7));
}

/// A server whose queue is full: nobody gets through to it, and nobody is turned away.
fn full_server() -> (SocketAddr, (socket2::Socket, Vec<TcpStream>)) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(0).expect("listening");
    let address = socket.local_addr().expect("an address").as_socket().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    (address, (socket, waiting))
}

#[test]
fn a_server_that_never_answers_is_given_up_after_first_byte_timeout() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.wait_for_close();
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.upstream = "first_byte_timeout = \"90s\"".to_owned();
    let gateway = setup.start();
    let asked = in_background(gateway.client(), "/public");
    eventually("the server is asked", || server.received().len() == 1);
    gateway.advance(89);
    assert_eq!(gateway.client().get("/.vestibule/nowhere").send().status, 404, "others are served meanwhile");
    assert!(!asked.is_finished());
    advance_until(&gateway, "an answer", || asked.is_finished());
    assert_ours(&asked.join().expect("an answer"), 504, "upstream_timeout", &server.url());
    assert_eq!(server.received().len(), 1, "it is not asked twice");
}

#[test]
fn a_head_that_comes_by_drops_is_given_up_too() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.say(format!("HTTP/1.1 200 OK\r\nx-secret: {SECRET}"));
        line.wait_for_close();
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let asked = in_background(gateway.client(), "/public");
    eventually("the server is asked", || server.received().len() == 1);
    advance_until(&gateway, "an answer", || asked.is_finished());
    assert_ours(&asked.join().expect("an answer"), 504, "upstream_timeout", &server.url());
}

#[test]
fn a_server_that_hangs_up_is_a_bad_gateway_and_is_not_asked_twice() {
    let at_once = Scripted::start(drop);
    let gateway = Setup::new().in_front_of(&at_once).start();
    let answer = gateway.client().get("/public").send();
    assert_ours(&answer, 502, "upstream_broken", &at_once.url());
    let after_the_request = Scripted::start(|mut line| {
        line.request();
    });
    let gateway = Setup::new().in_front_of(&after_the_request).start();
    for (asked, method) in [Method::GET, Method::POST].into_iter().enumerate() {
        let answer = gateway.client().request(method, "/public").body("once").send();
        assert_ours(&answer, 502, "upstream_broken", &after_the_request.url());
        assert_eq!(after_the_request.received().len(), asked + 1);
    }
}

#[test]
fn what_is_not_http_is_a_bad_gateway_and_none_of_it_is_passed_on() {
    let answers = [
        format!("{SECRET}\r\n\r\n"),
        format!("<html>{SECRET}</html>"),
        format!("HTTP/0.9 200 OK\r\n\r\n{SECRET}"),
        format!("HTTP/2.0 200 OK\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 20 OK\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 2000 OK\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 abc OK\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 099 OK\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nx-secret : {SECRET}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n: {SECRET}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nx: \0{SECRET}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nx: y\r\n {SECRET}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: -9\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: +9\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-length: 5\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\nx-secret: {SECRET}"),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n{SECRET}", "y".repeat(300 * 1024)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n{SECRET}", (0..200).map(|at| format!("x-{at}: y\r\n")).collect::<String>()),
        format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{SECRET}"),
        "\r\n\r\n".to_owned(),
        String::new(),
    ];
    for answer in answers {
        let shown: String = answer.chars().take(80).collect();
        let server = Scripted::saying(answer);
        let gateway = Setup::new().in_front_of(&server).start();
        let raw = Raw::to(gateway.address).ask("GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let raw = raw.unwrap_or_else(|| panic!("{shown:?} is answered"));
        assert_eq!(raw.status, 502, "{shown:?}: {}", raw.head);
        assert!(!format!("{}{:?}", raw.head, String::from_utf8_lossy(&raw.body)).contains(SECRET), "{shown:?}");
        assert_eq!(server.received().len(), 1, "{shown:?}");
    }
}

#[test]
fn informational_answers_are_not_taken_for_the_answer() {
    let server =
        Scripted::saying(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}"));
    let gateway = Setup::new().in_front_of(&server).start();
    let answer = gateway.client().get("/public").send();
    assert_eq!((answer.status, answer.text().as_str(), answer.header("link")), (200, "ok", ""));
}

#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client_too() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\nnonsense\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\nhalf",
    ] {
        let server = Scripted::saying(answer);
        let gateway = Setup::new().in_front_of(&server).start();
        let mut connection = Raw::to(gateway.address);
        connection.send("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = connection.read_until("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let rest = connection.rest();
        assert!(!rest.contains("0\r\n\r\n") && !rest.contains("HTTP/1.1"), "{answer:?}: {rest:?}");
        let client = gateway.client().speaking(Version::H2);
        // The stream may be reset before its head has left.
        if let Ok((head, mut body)) = client.get("/public").try_open() {
            assert_eq!(head.status, 200);
            let end = std::iter::from_fn(|| body.next()).find(Result::is_err);
            assert!(end.is_some(), "{answer:?} looks whole over HTTP/2");
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let server = Scripted::saying("HTTP/1.0 200 OK\r\n\r\neverything");
    let gateway = Setup::new().in_front_of(&server).start();
    for version in [Version::H1, Version::H2] {
        assert_eq!(gateway.client().speaking(version).get("/public").send().text(), "everything");
    }
}

#[test]
fn connections_that_were_closed_while_idle_disturb_nobody() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.say(OK);
    });
    let mut setup = Setup::new().unlimited().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    let mut good = 0;
    for at in 0..60 {
        let (method, id) = (if at % 2 == 0 { Method::GET } else { Method::POST }, format!("request-{at}-"));
        let answer = gateway.client().request(method, "/public").header("x-id", &id).body(id.clone()).send();
        let asked = server.received().iter().filter(|received| received.contains(&id)).count();
        assert!(asked <= 1, "{id} was sent {asked} times");
        assert!(matches!(answer.status, 200 | 502), "{}", answer.text());
        good += usize::from(answer.status == 200 && asked == 1);
    }
    assert!(good > 50, "only {good} of 60 got through");
}

#[test]
fn a_request_that_may_have_been_seen_is_never_sent_again() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.say(OK);
        line.request();
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(gateway.client().get("/public").send().status, 200);
        let before = server.received().len();
        let answer = gateway.client().request(method.clone(), "/public").body("once").send();
        assert_ours(&answer, 502, "upstream_broken", &server.url());
        assert_eq!(server.received().len(), before + 1, "{method}");
    }
}

/// A server that answers the first request of each connection, and closes when the second has come.
fn closes_on_the_second_request() -> Scripted {
    Scripted::start(|mut line| {
        line.request();
        line.say(OK);
        line.request();
    })
}

#[test]
fn what_may_be_done_twice_is_sent_once_more_when_an_idle_connection_was_closed() {
    let server = closes_on_the_second_request();
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    for method in [Method::GET, Method::OPTIONS, Method::PUT, Method::DELETE] {
        assert_eq!(gateway.client().get("/public").send().status, 200);
        let before = server.received().len();
        assert_eq!(gateway.client().request(method.clone(), "/public").send().status, 200, "{method}");
        assert_eq!(server.received().len(), before + 2, "{method} is sent on the old connection and on a new one");
        // Ends that connection, too.
        assert_eq!(gateway.client().request(Method::POST, "/public").send().status, 502);
    }
    assert_eq!(gateway.client().get("/public").send().status, 200);
    let before = server.received().len();
    let answer = gateway.client().request(Method::POST, "/public").send();
    assert_ours(&answer, 502, "upstream_broken", &server.url());
    assert_eq!(server.received().len(), before + 1, "POST is not sent again");
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_is_the_answer() {
    const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 7\r\nconnection: close\r\n\r\ntoo big";
    let server = Scripted::start(|mut line| {
        line.head();
        line.say(TOO_LARGE);
    });
    let gateway = Setup::new().in_front_of(&server).start();
    for _ in 0..20 {
        let mut connection = Raw::to(gateway.address);
        connection.send("POST /public HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n");
        connection.send([b'x'; 100_000]);
        let answer = connection.answer().expect("an answer");
        assert_eq!((answer.status, &*answer.body), (413, &b"too big"[..]));
    }
}

#[test]
fn an_answer_is_sent_on_while_the_request_still_comes() {
    let server = Scripted::start(|mut line| {
        while let Some(head) = line.head() {
            if head.starts_with("GET ") {
                line.say(OK);
                continue;
            }
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n");
            // What ends a chunk comes with the next.
            for at in 0..6 {
                let Some(chunk) = line.body(if at == 0 { "1\r\nx" } else { "\r\n1\r\nx" }.len()) else { return };
                line.say(&chunk[chunk.len() - 1..]);
            }
            line.body("\r\n0\r\n\r\n".len());
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    for _ in 0..2 {
        connection.send("POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.read_until("\r\n\r\n").expect("a head");
        for piece in ["e", "c", "h", "o", "e", "d"] {
            connection.send(format!("1\r\n{piece}\r\n"));
            assert_eq!(connection.read_until(piece).as_deref(), Some(piece));
        }
        connection.send("0\r\n\r\n");
        connection.send("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.answer().expect("an answer").body, b"ok");
    }
}

#[test]
fn a_connection_that_is_closed_while_idle_is_let_go() {
    let (gone, went) = channel();
    let gone = Mutex::new(gone);
    let server = Scripted::start(move |mut line| {
        line.request();
        line.say(OK);
        line.finish();
        line.wait_for_close();
        let _ = gone.lock().expect("a channel").send(());
    });
    let gateway = Setup::new().in_front_of(&server).start();
    assert_eq!(gateway.client().get("/public").send().status, 200);
    advance_until(&gateway, "the gateway closes its end", || went.try_recv().is_ok());
}

#[test]
fn trailers_of_an_answer_say_nothing_that_its_head_could_not() {
    let server = Scripted::saying(
        "HTTP/1.1 200 OK\r\ntrailer: x-sum, set-cookie, clear-site-data, content-length\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\
         set-cookie: __Host-session=stolen\r\nclear-site-data: \"*\"\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
    );
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n");
    let whole =
        connection.read_until("\r\n0\r\n").expect("a body") + &connection.read_until("\r\n\r\n").expect("its end");
    assert!(whole.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{whole}");
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        let answer = client.get("/public").header("te", "trailers").send();
        assert_eq!(answer.header("trailer"), "x-sum", "{version:?}: what does not follow is not announced");
    }
    let server = Scripted::saying(
        "HTTP/1.1 200 OK\r\ntrailer: Set-Cookie,\r\nTrailer: connection, Location\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    let gateway = Setup::new().in_front_of(&server).start();
    for version in [Version::H1, Version::H2] {
        let answer = gateway.client().speaking(version).get("/public").send();
        assert_eq!((answer.status, answer.headers.contains_key("trailer")), (200, false), "{version:?}");
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_nobodys_answer() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.say(format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{SECRET}"));
        while line.request().is_some() {
            line.say(OK);
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    let gateway = setup.start();
    for _ in 0..5 {
        let answer = gateway.client().get("/public").send();
        assert!(!answer.text().contains(SECRET), "{}", answer.text());
    }
}

#[test]
fn more_connections_than_allowed_are_not_made() {
    let (open, opened) = gate();
    let server = Scripted::start(move |mut line| {
        while let Some(request) = line.request() {
            if request.contains("/public/held") {
                wait(&opened);
            }
            line.say(OK);
        }
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    setup.upstream = "max_connections = 1\nmax_waiting = 0".to_owned();
    let gateway = setup.start();
    let held = in_background(gateway.client(), "/public/held");
    eventually("the server is asked", || server.received().len() == 1);
    for _ in 0..3 {
        assert_ours(&gateway.client().get("/public").send(), 503, "upstream_exhausted", &server.url());
    }
    assert_eq!(server.received().len(), 1);
    open.send(()).expect("it waits");
    assert_eq!(held.join().expect("an answer").status, 200);
    eventually("served again", || gateway.client().get("/public").send().status == 200);
}

#[test]
fn an_idle_connection_to_one_server_does_not_use_up_what_another_may_have() {
    let script = |mut line: super::harness::Line| {
        while line.request().is_some() {
            line.say(OK);
        }
    };
    let servers = [Scripted::start(script), Scripted::start(script)];
    let mut setup = Setup::new();
    setup.servers = Some(servers.iter().map(Scripted::url).collect());
    setup.workers = 1;
    setup.upstream = "max_connections = 1".to_owned();
    let gateway = setup.start();
    for _ in 0..6 {
        assert_eq!(gateway.client().get("/public").send().status, 200);
    }
}

#[test]
fn who_leaves_frees_the_connection_to_the_application() {
    let (closed, is_closed) = channel();
    let closed = Mutex::new(closed);
    let server = Scripted::start(move |mut line| {
        line.request();
        line.wait_for_close();
        let _ = closed.lock().expect("a channel").send(());
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("the server is asked", || server.received().len() == 1);
    drop(connection);
    // Looked at each second; a minute is what the application has for its answer, so it is not that.
    let is_closed = (0..50).any(|_| {
        gateway.advance(1);
        is_closed.recv_timeout(Duration::from_millis(50)).is_ok()
    });
    assert!(is_closed, "the server's connection stays open");
}

#[test]
fn an_answer_to_a_session_that_ended_meanwhile_is_for_nobody() {
    let (open, opened) = gate();
    let server = Scripted::start(move |mut line| {
        while let Some(request) = line.request() {
            if request.contains("/held") {
                wait(&opened);
            }
            line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx-application: yes\r\n\r\n{SECRET}"));
        }
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let client = gateway.signed_in(ALICE);
    let other = gateway.client();
    other.set_session(&client.session());
    let held = in_background(client, "/held");
    eventually("the server is asked", || server.received().len() == 1);
    assert_eq!(other.post_form("/.vestibule/logout", &[]).send().status, 200);
    open.send(()).expect("it waits");
    assert_ours(&held.join().expect("an answer"), 401, "logout", &server.url());
}

#[test]
fn a_refused_request_never_touches_the_application() {
    let server = Scripted::saying(format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{SECRET}"));
    let gateway = Setup::new().in_front_of(&server).start();
    for (target, status) in [("/", 401), ("/admin", 401), ("/public/../x", 400), ("/.vestibule/nowhere", 404)] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\n\r\n");
        let answer = Raw::to(gateway.address).ask(request).expect("an answer");
        assert_eq!(answer.status, status, "{target}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
    }
    assert!(server.received().is_empty(), "{:?}", server.received());
}

#[test]
fn an_answer_that_stands_still_is_given_up_and_one_that_moves_is_not() {
    let server = Scripted::start(|mut line| {
        let is_slow = line.request().is_some_and(|request| request.contains("/public/slow"));
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
        while is_slow && line.try_say("x") {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        line.wait_for_close();
    });
    let mut setup = Setup::new().in_front_of(&server);
    setup.upstream = "idle_timeout = \"20s\"".to_owned();
    let gateway = setup.start();
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public/slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for length in 0..50 {
        assert!(connection.read_until("x").is_some(), "{length}");
        gateway.advance(1);
    }
    let mut connection = Raw::to(gateway.address);
    connection.send("GET /public/still HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = connection.read_until("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    advance_until(&gateway, "it is given up", || gateway.log.text().contains("upstream_broken"));
    assert!(connection.bytes().is_empty());
}
