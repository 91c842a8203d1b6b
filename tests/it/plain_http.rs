//! The listener without TLS: it redirects to https, answers ACME challenges, and does nothing else.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::harness::process::{Process, address_after, plain};
use super::harness::{ALICE, Gateway, Hello, Raw, Setup, advance_until, eventually};

/// Routes for every host but those of one domain's neighbours: `a.test`, `*.wild.test`, `[::1]`.
fn started(server: &str) -> Gateway {
    let mut setup = Setup::new();
    setup.routes = ["a.test", "*.wild.test", "[::1]"]
        .map(|host| format!("[[route]]\nhost = \"{host}\"\npath = \"/app\"\nupstream = \"app\"\n"))
        .concat();
    setup.server = format!("redirect = [\"127.0.0.1:0\"]\n{server}");
    setup.start()
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream
}

/// An answer, as it was read to the end of the connection.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let first = values.next();
        assert!(values.next().is_none(), "{name} comes twice: {}", self.head);
        first
    }
}

/// Reads to the end of the connection.
fn rest(mut stream: &TcpStream) -> Option<Answer> {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).expect("an end");
    let text = String::from_utf8_lossy(&read).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// The answer to these bytes, on a connection of its own.
fn ask(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Answer {
    let mut stream = connected(gateway.plain_address());
    stream.write_all(bytes.as_ref()).expect("sent");
    rest(&stream).expect("an answer")
}

/// The same for a request line and a host.
fn get(gateway: &Gateway, target: &str, host: &str) -> Answer {
    ask(gateway, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn every_request_is_sent_to_the_same_place_by_https() {
    let gateway = started("");
    let port = gateway.address.port();
    for (target, host, place) in [
        ("/", "a.test", format!("https://a.test:{port}/")),
        ("/app/x?y=z&y=%20", "a.test:80", format!("https://a.test:{port}/app/x?y=z&y=%20")),
        ("/elsewhere", "A.Test.", format!("https://a.test:{port}/elsewhere")),
        ("/?", "x.wild.test:8080", format!("https://x.wild.test:{port}/?")),
        ("/app/;a=b//c/%C3%A4", "[::1]:80", format!("https://[::1]:{port}/app/;a=b//c/%C3%A4")),
        ("//evil.test/x", "a.test", format!("https://a.test:{port}//evil.test/x")),
        ("/?to=//evil.test/", "a.test", format!("https://a.test:{port}/?to=//evil.test/")),
        ("/@evil.test", "a.test", format!("https://a.test:{port}/@evil.test")),
        ("http://a.test/x?y", "a.test", format!("https://a.test:{port}/x?y")),
        ("http://a.test", "a.test", format!("https://a.test:{port}/")),
        ("/.vestibule/login", "a.test", format!("https://a.test:{port}/.vestibule/login")),
        ("/.well-known/acme-challenge/x", "a.test", format!("https://a.test:{port}/.well-known/acme-challenge/x")),
    ] {
        let answer = get(&gateway, target, host);
        assert_eq!((answer.status, answer.header("location")), (308, Some(place.as_str())), "{target} {host}");
        assert_eq!((answer.body.as_str(), answer.header("content-length")), ("", Some("0")));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    gateway.application.assert_untouched();
}

#[test]
fn whatever_the_method_and_the_body_the_answer_is_the_same() {
    let gateway = started("");
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X-OWN"] {
        let head = format!("{method} /app HTTP/1.1\r\nHost: a.test\r\nCookie: __Host-session=secret\r\n");
        for after in [
            "\r\n",
            "Content-Length: 6\r\n\r\nsecret",
            "Transfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n0\r\n\r\n",
            // Never sent in full: nobody waits for it.
            "Content-Length: 60000\r\n\r\nsecret",
            "Expect: 100-continue\r\nContent-Length: 6\r\n\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        ] {
            let mut stream = connected(gateway.plain_address());
            stream.write_all(format!("{head}{after}").as_bytes()).expect("sent");
            let answer = rest(&stream).expect("an answer");
            assert_eq!(answer.status, 308, "{method} {after:?}");
            assert!(!answer.head.contains("secret") && answer.body.is_empty(), "{}", answer.head);
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn what_comes_after_a_request_is_no_second_one() {
    let gateway = started("");
    let second = "GET /app HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for first in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let answer = ask(&gateway, format!("{first}{second}"));
        assert_eq!((answer.status, answer.body.as_str()), (308, ""), "{first}");
    }
}

#[test]
fn who_goes_on_sending_hears_the_answer_all_the_same() {
    let gateway = started("");
    for head in
        ["GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8388608\r\n\r\n"]
    {
        let stream = connected(gateway.plain_address());
        let mut writing = stream.try_clone().expect("a connection");
        let sender = std::thread::spawn(move || {
            writing.write_all(head.as_bytes()).expect("sent");
            writing.write_all(&vec![b'x'; 8 << 20]).is_ok()
        });
        // Not before everything was taken: closed at once, it would have been reset.
        assert!(sender.join().expect("a sender"), "{head}");
        assert_eq!(rest(&stream).map(|answer| answer.status), Some(308), "{head}");
    }
}

#[test]
fn a_request_without_one_good_host_is_refused() {
    let gateway = started("");
    for headers in [
        "",
        "Host:\r\n",
        "Host: a.test\r\nHost: a.test\r\n",
        "Host: a.test\r\nhost: evil.test\r\n",
        "Host: a.test, evil.test\r\n",
        "Host: user@a.test\r\n",
        "Host: a.test/x\r\n",
        "Host: a.test:x\r\n",
        "Host: a.test:65536\r\n",
        "Host: a.te%73t\r\n",
        "Host: \u{e4}.test\r\n",
        "Host: https://a.test\r\n",
        "Host: [::1\r\n",
        "Host: .\r\n",
    ] {
        let answer = ask(&gateway, format!("GET / HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!((answer.status, answer.header("location")), (400, None), "{headers:?}");
    }
    for line in [
        "GET http://evil.test/ HTTP/1.1\r\nHost: a.test",
        "GET http://a.test@evil.test/ HTTP/1.1\r\nHost: a.test",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443",
        "OPTIONS * HTTP/1.1\r\nHost: a.test",
        "GET / HTTP/1.0",
        "GET /../x HTTP/1.1\r\nHost: a.test",
        "GET /%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: a.test",
    ] {
        let answer = ask(&gateway, format!("{line}\r\n\r\n"));
        assert_eq!((answer.status, answer.header("location")), (400, None), "{line}");
    }
    // What is no UTF-8 is no target. What is, goes back as it came.
    assert_eq!(ask(&gateway, b"GET /?\xff HTTP/1.1\r\nHost: a.test\r\n\r\n").status, 400);
    let answer = get(&gateway, "/?\u{e4}", "a.test");
    assert!(answer.status == 308 && answer.header("location").is_some_and(|place| place.ends_with("/?\u{e4}")));
    // What a client by HTTP/2 begins with, who was told of no HTTP/2.
    let mut stream = connected(gateway.plain_address());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
    assert!(rest(&stream).is_none());
}

#[test]
fn a_host_that_no_route_is_for_is_sent_nowhere() {
    let gateway = started("");
    for host in ["evil.test", "a.test.evil.test", "xa.test", "wild.test", "127.0.0.1", "localhost", "[::2]"] {
        let answer = get(&gateway, "/app", host);
        assert_eq!((answer.status, answer.header("location")), (404, None), "{host}");
        assert!(!answer.body.contains(host), "{}", answer.body);
    }
    gateway.log.wait_for(&["evil.test", " 404 ", "reason=no_route"]);
    // A route for every host is one for each.
    let mut setup = Setup::new();
    setup.server = "redirect = [\"127.0.0.1:0\"]".to_owned();
    let gateway = setup.start();
    let place = format!("https://any.test:{}/", gateway.address.port());
    assert_eq!(get(&gateway, "/", "any.test").header("location"), Some(place.as_str()));
}

#[test]
fn a_session_is_not_seen_without_tls() {
    let mut setup = Setup::new();
    setup.server = "redirect = [\"127.0.0.1:0\"]".to_owned();
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.application.forget();
    let cookies = client.cookies();
    let answer = ask(&gateway, format!("GET /admin HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\n\r\n"));
    assert_eq!((answer.status, answer.header("set-cookie")), (308, None));
    gateway.log.wait_for(&[" 308 ", "/admin", "reason=https_redirect"]);
    assert!(!gateway.log.text().lines().any(|line| line.contains(" 308 ") && line.contains("alice")));
    gateway.application.assert_untouched();
    assert_eq!(client.get("/admin").send().status, 200);
}

#[test]
fn it_is_in_the_log_and_in_the_numbers_like_every_request() {
    let gateway = started("");
    let answer = get(&gateway, "/app/x?secret", "a.test");
    assert_eq!(answer.status, 308);
    let id = format!("request_id={}", answer.header("x-request-id").expect("an id"));
    gateway.log.wait_for(&["access", "GET", "a.test", "/app/x", " 308 ", "127.0.0.1", "reason=https_redirect", &id]);
    assert!(!gateway.log.text().contains("?secret"), "a query may hold secrets");
    let text = gateway.running().shared.render_metrics();
    assert!(text.lines().any(|line| line.contains("status=\"3xx\"") && line.ends_with(" 1")), "{text}");
}

#[test]
fn who_is_slow_or_silent_is_cut() {
    let gateway = started("");
    let silent: Vec<TcpStream> = (0..50).map(|_| connected(gateway.plain_address())).collect();
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connected(gateway.plain_address());
            stream.write_all(b"GET /app HTTP/1.1\r\nHost: a.te").expect("sent");
            stream
        })
        .collect();
    eventually("all are accepted", || gateway.connections() == 100);
    assert_eq!(get(&gateway, "/", "a.test").status, 308, "nobody else is disturbed");
    let before = gateway.clock.now();
    advance_until(&gateway, "all are cut", || gateway.connections() == 0);
    assert!(gateway.clock.now().since(before) >= Duration::from_secs(19), "they had their time");
    assert!(silent.iter().chain(&slow).all(|stream| rest(stream).is_none()), "without a word");
}

#[test]
fn its_bounds_are_those_of_every_connection() {
    let mut setup = Setup::new().extra("[limits]\nper_address = \"3/m\"");
    setup.server = "redirect = [\"127.0.0.1:0\"]\nmax_connections = 4".to_owned();
    setup.workers = 1;
    let gateway = setup.start();
    let long = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    assert_eq!(ask(&gateway, long).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(ask(&gateway, many).status, 431);
    let statuses: Vec<u16> = (0..4).map(|_| get(&gateway, "/", "a.test").status).collect();
    assert_eq!(statuses, [308, 308, 308, 429]);
    eventually("nobody is left", || gateway.connections() == 0);
    // With all places taken, by whichever door, the next one waits.
    let mut taken: Vec<TcpStream> = (0..4).map(|_| connected(gateway.plain_address())).collect();
    eventually("all are accepted", || gateway.connections() == 4);
    let address = gateway.address;
    let late = std::thread::spawn(move || Raw::shaking(address, Hello::default()).is_ok());
    assert!(!late.is_finished());
    taken.pop();
    advance_until(&gateway, "the late one is served", || late.is_finished());
    assert!(late.join().expect("a handshake"));
}

#[test]
fn without_the_key_nothing_listens_and_tls_is_not_spoken_here() {
    let gateway = Setup::new().start();
    assert!(gateway.running().redirect_addresses.is_empty());
    let gateway = started("");
    let shaken = Raw::shaking(gateway.plain_address(), Hello::default());
    assert!(shaken.is_err());
}

/// A gateway whose answers to challenges are in the folder.
fn answering(folder: &Path) -> Gateway {
    started(&format!("acme_challenges = {:?}", folder.to_str().expect("a path")))
}

const CHALLENGE: &str = "/.well-known/acme-challenge/";

#[test]
fn an_acme_challenge_is_answered_from_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = answering(folder.path());
    let token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";
    let target = format!("{CHALLENGE}{token}");
    assert_eq!(get(&gateway, &target, "a.test").status, 404, "not yet");
    let answer = format!("{token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI");
    fs::write(folder.path().join(token), &answer).expect("written");
    // A host need not have a route to have a certificate.
    for host in ["a.test", "A.test:80", "elsewhere.test"] {
        let got = get(&gateway, &target, host);
        assert_eq!((got.status, got.body.as_str()), (200, answer.as_str()), "{host}");
        assert_eq!(got.header("content-type"), Some("application/octet-stream"));
        assert_eq!((got.header("cache-control"), got.header("set-cookie")), (Some("no-store"), None));
    }
    gateway.log.wait_for(&["access", token, " 200 ", "reason=acme_challenge"]);
    let head = ask(&gateway, format!("HEAD {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some(answer.len().to_string().as_str()));
    assert_eq!(get(&gateway, &format!("{target}?x=y"), "a.test").status, 200);
    let posted = ask(&gateway, format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(posted.status, 308, "a question is asked by GET");
    assert_eq!(get(&gateway, &target, "a.test, b.test").status, 400);
    // By https the path is the application's, as every other.
    let mut client = gateway.client();
    (client.host, client.sni) = ("a.test".to_owned(), "a.test".to_owned());
    assert_eq!(client.get(&target).send().status, 404, "no route leads there");
    fs::remove_file(folder.path().join(token)).expect("removed");
    assert_eq!(get(&gateway, &target, "a.test").status, 404);
    fs::remove_dir(folder.path()).expect("removed");
    assert_eq!(get(&gateway, &target, "a.test").status, 404, "clients tidy up after them");
}

#[test]
fn nothing_but_a_small_file_in_the_folder_is_an_answer() {
    let outside = tempfile::tempdir().expect("a folder");
    let folder = outside.path().join("challenges");
    fs::create_dir(&folder).expect("a folder");
    fs::write(outside.path().join("secret"), "secret").expect("written");
    fs::create_dir_all(folder.join("sub")).expect("a folder");
    fs::write(folder.join("sub/file"), "secret").expect("written");
    fs::write(folder.join("dot.ted"), "secret").expect("written");
    fs::write(folder.join("large"), vec![b'x'; 4097]).expect("written");
    fs::write(folder.join("largest"), vec![b'x'; 4096]).expect("written");
    let (good, long) = ("a".repeat(128), "a".repeat(129));
    fs::write(folder.join(&good), "good").expect("written");
    fs::write(folder.join(&long), "secret").expect("written");
    std::os::unix::fs::symlink("../secret", folder.join("link")).expect("a link");
    std::os::unix::fs::symlink(&good, folder.join("inner-link")).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().expect("mkfifo");
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("a socket");
    let gateway = answering(&folder);
    assert_eq!(get(&gateway, &format!("{CHALLENGE}{good}"), "a.test").body, "good");
    assert_eq!(get(&gateway, &format!("{CHALLENGE}largest"), "a.test").body.len(), 4096);
    for token in [
        "",
        "/",
        "sub",
        "sub/",
        "sub/file",
        "sub%2ffile",
        "dot.ted",
        "..",
        "../secret",
        "%2e%2e%2fsecret",
        "..%2fsecret",
        "..;/secret",
        ".",
        "large",
        &long,
        "link",
        "inner-link",
        "pipe",
        "socket",
        "%6carge",
        "a%00",
        "none",
        "x/../link",
        "\u{e4}",
        "//secret",
        "%5c..%5csecret",
    ] {
        let answer = get(&gateway, &format!("{CHALLENGE}{token}"), "a.test");
        assert!(matches!(answer.status, 400 | 404), "{token}: {}", answer.status);
        assert!(!answer.body.contains("secret") && answer.header("location").is_none(), "{token}");
    }
    // Elsewhere it is a path like any other.
    for path in ["/.well-known/acme-challenge", "/.well-known/", "/x/.well-known/acme-challenge/link"] {
        assert_eq!(get(&gateway, path, "a.test").status, 308, "{path}");
    }
}

#[test]
fn the_binary_says_where_it_redirects_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"[server]
listen = ["127.0.0.1:0"]
redirect = ["127.0.0.1:0"]
[[server.certificate]]
cert = "a.crt"
key = "a.key"
generate = true
[[upstream]]
name = "app"
servers = ["http://127.0.0.1:1"]
[[route]]
path = "/"
upstream = "app"
access = "public"
"#;
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    let gateway = Process::serve(folder.path());
    let address = address_after(&gateway.stderr.text(), "redirecting http://");
    assert_eq!(plain(connected(address), "GET", "/"), (308, String::new()));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}
