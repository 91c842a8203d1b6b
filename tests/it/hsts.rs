//! Strict transport security (RFC 6797): one header, on every answer by https, and never without TLS.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::harness::{ALICE, Answer, Client, Gateway, Scripted, Setup, Version};

fn started(server: &str) -> Gateway {
    let mut setup = Setup::new();
    setup.server = server.to_owned();
    setup.start()
}

fn policies(answer: &Answer) -> Vec<&str> {
    let values = answer.headers.get_all("strict-transport-security").iter();
    values.map(|value| value.to_str().expect("text")).collect()
}

/// Asks for the application's answers and for every kind of our own.
fn every_answer(gateway: &Gateway, client: &Client) -> Vec<(u16, Answer)> {
    let expected = [
        (200, "/public"),
        (503, "/public/status-503"),
        (304, "/public/status-304"),
        (200, "/.vestibule/login"),
        (404, "/.vestibule/nothing"),
        (401, "/"),
        (400, "/a/%2e%2e/b"),
        (502, "/public/close"),
    ];
    let mut answers: Vec<_> = expected.map(|(status, path)| (status, client.get(path).send())).into();
    answers.push((302, client.visit("/").send()));
    answers.push((405, client.request(http::Method::PUT, "/.vestibule/login").send()));
    answers.push((200, client.request(http::Method::HEAD, "/public").send()));
    answers.push((200, gateway.signed_in(ALICE).speaking(client.version).get("/admin").send()));
    answers
}

#[test]
fn it_is_off_and_then_the_applications_own_passes() {
    let gateway = started("");
    for (_, answer) in every_answer(&gateway, &gateway.client()) {
        assert!(policies(&answer).is_empty());
    }
    let server =
        Scripted::saying("HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=7\r\ncontent-length: 0\r\n\r\n");
    let gateway = Setup::new().in_front_of(&server).start();
    assert_eq!(policies(&gateway.client().get("/public").send()), ["max-age=7"]);
}

#[test]
fn every_answer_has_it_once() {
    let gateway = started("hsts = \"365d\"");
    for version in [Version::H1, Version::H2] {
        for (status, answer) in every_answer(&gateway, &gateway.client().speaking(version)) {
            assert_eq!(answer.status, status);
            assert_eq!(policies(&answer), ["max-age=31536000"], "{status} {version:?}");
        }
    }
}

#[test]
fn what_the_operator_says_replaces_what_the_application_says() {
    let server = Scripted::saying(
        "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=7\r\nstrict-transport-security: max-age=8\r\ncontent-length: \
         0\r\n\r\n",
    );
    let mut setup = Setup::new().in_front_of(&server);
    setup.server = "hsts = \"1h30m\"\nhsts_subdomains = true".to_owned();
    let gateway = setup.start();
    assert_eq!(policies(&gateway.client().get("/public").send()), ["max-age=5400; includeSubDomains"]);
}

#[test]
fn all_of_it_can_be_said_and_taken_back() {
    let gateway = started("hsts = \"730d\"\nhsts_subdomains = true\nhsts_preload = true");
    let answer = gateway.client().get("/public").send();
    assert_eq!(policies(&answer), ["max-age=63072000; includeSubDomains; preload"]);
    let gateway = started("hsts = \"0s\"");
    assert_eq!(policies(&gateway.client().get("/public").send()), ["max-age=0"]);
}

#[test]
fn nothing_is_said_without_tls() {
    let gateway = started("hsts = \"365d\"\nredirect = [\"127.0.0.1:0\"]");
    for (request, status) in [("GET / HTTP/1.1\r\nHost: a.test", " 308 "), ("GET / HTTP/1.1", " 400 ")] {
        let mut stream = TcpStream::connect(gateway.plain_address()).expect("connected");
        stream.write_all(format!("{request}\r\n\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(status) && !answer.to_lowercase().contains("strict-transport"), "{answer}");
    }
}
