//! A kept form is lost in none of the ways that sending it can end: its person leaves meanwhile, must sign in once more, or
//! is no browser; and whoever is told of it is told what is so.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::harness::{
    ALICE, Answer, Client, Gateway, Raw, Request, Scripted, Setup, advance_until, eventually, hidden, nobody,
};
use super::http2_upstreams::App;
use super::parked::{LUNCH, URLENCODED, all_kept, count, decide, kept, post, post_text};

/// A server that answers what it is asked for as soon as it is told to.
fn waits() -> (Scripted, Sender<()>) {
    let (go, told): (Sender<()>, Receiver<()>) = channel();
    let told = Mutex::new(told);
    let server = Scripted::start(move |mut line| {
        while line.request().is_some() {
            let _ = told.lock().unwrap_or_else(PoisonError::into_inner).recv();
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (server, go)
}

/// Someone whose form is kept, and its page.
fn with_a_form(gateway: &Gateway) -> (Client, String, Answer) {
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/save", "a=1"));
    (client, path, page)
}

/// The word that it is to be sent, as bytes.
fn word(client: &Client, path: &str, page: &Answer) -> String {
    let fields = [("token", &*hidden(page, "token")), ("do", "send")];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {0}\r\nOrigin: https://{0}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Type: {URLENCODED}\r\nUser-Agent: {1}\r\nCookie: {2}\r\n\
         Content-Length: {3}\r\n\r\n{body}",
        client.authority(),
        client.user_agent,
        client.cookies(),
        body.len()
    )
}

/// The same word as something says it that tells nothing of what it does.
fn plain<'a>(client: &'a Client, path: &str, page: &Answer) -> Request<'a> {
    let names = ["sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "accept"];
    names.into_iter().fold(decide(client, path, page, "send"), Request::without)
}

#[test]
fn who_leaves_before_the_application_was_given_it_finds_it_kept() {
    let (server, go) = waits();
    let mut setup = Setup::new().in_front_of(&server);
    setup.workers = 1;
    setup.upstream = "max_connections = 1\nconnect_timeout = \"1m\"".to_owned();
    let gateway = setup.start();
    let (client, path, page) = with_a_form(&gateway);
    let other = gateway.client();
    let mut holding = other.connect_raw();
    let hold = format!("GET /public HTTP/1.1\r\nHost: {}\r\n\r\n", other.authority());
    std::io::Write::write_all(&mut holding, hold.as_bytes()).expect("sent");
    eventually("the only connection is in use", || server.received().len() == 1);
    let mut leaving = client.connect_raw();
    std::io::Write::write_all(&mut leaving, word(&client, &path, &page).as_bytes()).expect("sent");
    eventually("it is on its way", || all_kept(&gateway) == 0);
    drop(leaving);
    advance_until(&gateway, "it is kept again", || all_kept(&gateway) == 1);
    gateway.log.wait_for(&["access", "POST", " 499 ", "reason=client_left"]);
    gateway.log.wait_for(&["audit post.parked", "request_id=", "user=alice", "path=/save", "reason=not_sent"]);
    assert_eq!((count(&gateway, "put_back"), count(&gateway, "sent"), server.received().len()), (1, 0, 1));
    // And can be sent, once.
    for _ in 0..2 {
        go.send(()).expect("it waits");
    }
    let page = client.visit(&path).send();
    assert_eq!(decide(&client, &path, &page, "send").send().status, 200);
    assert_eq!((count(&gateway, "sent"), all_kept(&gateway), server.received().len()), (1, 0, 2));
}

#[test]
fn who_leaves_while_the_application_is_at_it_has_sent_it() {
    let (server, _go) = waits();
    let gateway = Setup::new().in_front_of(&server).start();
    let (client, path, page) = with_a_form(&gateway);
    let mut leaving = client.connect_raw();
    std::io::Write::write_all(&mut leaving, word(&client, &path, &page).as_bytes()).expect("sent");
    eventually("the application has it", || server.received().len() == 1);
    drop(leaving);
    advance_until(&gateway, "it is written down", || count(&gateway, "sent") == 1);
    gateway.log.wait_for(&["audit post.sent", "request_id=", "user=alice", "path=/save"]);
    gateway.log.wait_for(&["access", "POST", " 499 ", "reason=client_left"]);
    assert_eq!((count(&gateway, "put_back"), count(&gateway, "sent"), all_kept(&gateway)), (0, 1, 0));
    assert_eq!(client.visit(&path).send().status, 404);
}

#[test]
fn over_http_2_it_is_given_to_the_application_when_that_lets_it_begin() {
    let app = App::start(1, None);
    let gateway = app.gateway("max_connections = 1\nconnect_timeout = \"1m\"");
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/save/silent", "a=1"));
    let mut stuck = Raw::to(gateway.address);
    stuck.send("GET /public/stuck HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stuck.read_until("begun").expect("the only stream is in use");
    let leave = |page: &Answer| {
        let mut leaving = client.connect_raw();
        std::io::Write::write_all(&mut leaving, word(&client, &path, page).as_bytes()).expect("sent");
        eventually("it is on its way", || all_kept(&gateway) == 0);
        drop(leaving);
    };
    leave(&page);
    advance_until(&gateway, "it is kept again", || count(&gateway, "put_back") == 1);
    assert_eq!((all_kept(&gateway), count(&gateway, "sent")), (1, 0));
    drop(stuck);
    advance_until(&gateway, "the stream is free", || gateway.client().get("/public").send().status == 200);
    leave(&client.visit(&path).send());
    advance_until(&gateway, "it is written down", || count(&gateway, "sent") == 1);
    assert_eq!((all_kept(&gateway), count(&gateway, "put_back")), (0, 1));
}

/// Wherever something goes wrong while it is sent, it is kept, or written down as sent, and never both.
#[test]
fn a_panic_on_the_way_loses_nothing_and_sends_nothing_twice() {
    let gateway = Setup::new().unlimited().start();
    let client = gateway.signed_in(ALICE);
    let mut unknown = Vec::new();
    for good in 0..50 {
        gateway.advance(LUNCH);
        let (path, page) = kept(&client, post_text(&client, "/save", "a=1"));
        gateway.application.forget();
        let (word, before) = (word(&client, &path, &page), count(&gateway, "sent"));
        let mut connection = Raw::to(gateway.address);
        gateway.clock.break_after(good);
        connection.send(word);
        let status = connection.answer().map(|answer| answer.status);
        let has_broken = gateway.clock.mend();
        let arrived = gateway.application.received().len();
        let settled = || (all_kept(&gateway), count(&gateway, "sent") - before);
        // It is put back beside the answer.
        for _ in 0..100 {
            if settled() == (0, 0) {
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
        }
        if !has_broken {
            assert_eq!((status, settled(), arrived), (Some(200), (0, 1), 1));
            // Whether a store that was asked to take it has, nobody can know. The clock is read up to twice for that, and
            // for finding it, after once for the request.
            assert!(unknown.iter().all(|good| *good < 5), "{good}: {unknown:?}");
            return;
        }
        match settled() {
            (1, 0) => assert_eq!(arrived, 0, "{good}: {status:?}"),
            (0, 1) => {}
            (0, 0) => unknown.push(good),
            both => panic!("{good}: {both:?}"),
        }
        gateway.revoke("alice");
        client.sign_in_at("/.vestibule/login", ALICE);
    }
    panic!("the clock is read without end");
}

#[test]
fn who_must_sign_in_again_and_is_no_browser_finds_it_kept() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/pay\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(5 * 60);
    gateway.application.forget();
    let (path, page) = kept(&client, post_text(&client, "/pay", "amount=12"));
    gateway.advance(5 * 60);
    let answer = plain(&client, &path, &page).send();
    assert_eq!((answer.status, answer.header("content-type")), (401, "application/json"), "{}", answer.text());
    gateway.application.assert_untouched();
    assert_eq!((all_kept(&gateway), count(&gateway, "put_back"), count(&gateway, "sent")), (1, 1, 0));
    assert_eq!(answer.json()["kept"], *path);
}

#[test]
fn that_it_is_still_kept_is_said_in_the_kind_of_the_answer() {
    let (address, _refuses) = nobody();
    let logo = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 10 10\"><path d=\"M1 1h8\"/></svg>";
    let mut setup = Setup::new().extra("[portal]\nlogo = \"logo.svg\"");
    setup.files = vec![("logo.svg", logo.to_owned())];
    setup.routes += "[[route]]\npath = \"/limited\"\nupstream = \"app\"\nlimit = \"1/m\"\n";
    setup.servers = Some(vec![format!("http://{address}")]);
    let gateway = setup.start();
    let (client, path, page) = with_a_form(&gateway);
    let answer = plain(&client, &path, &page).send();
    assert_eq!((answer.status, answer.header("content-type")), (502, "application/json"));
    let told = answer.json();
    assert_eq!((&told["error"], &told["kept"]), (&"upstream".into(), &(*path).into()), "{told}");
    // A person is shown a page, with the logo where that was there before.
    let is_logo_in = |answer: &Answer| answer.text().contains("<img");
    let answer = decide(&client, &path, &client.visit(&path).send(), "send").send();
    assert!(answer.status == 502 && answer.text().contains("is still kept") && is_logo_in(&answer));
    assert!(answer.header("content-security-policy").contains("img-src data:"));
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post(&client, "/limited", URLENCODED, "a=2"));
    assert_eq!(client.get("/limited").send().status, 502);
    let answer = decide(&client, &path, &page, "send").send();
    assert!(answer.status == 429 && answer.text().contains("is still kept"), "{}", answer.text());
    assert!(!is_logo_in(&answer));
    assert_eq!((all_kept(&gateway), count(&gateway, "sent")), (1, 0));
}

/// Whoever comes when too many others send is told that, and not that they have sent something else.
#[test]
fn who_has_sent_nothing_else_is_not_told_so() {
    // As many as are read at once, of so many people that none has too many.
    let gateway = Setup::new().extra("[session.parked_posts]\nper_user = 64\n").start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(super::harness::BOB));
    gateway.advance(LUNCH);
    let head = format!(
        "POST /save HTTP/1.1\r\nHost: {0}\r\nOrigin: https://{0}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Content-Type: {URLENCODED}\r\nUser-Agent: {1}\r\nCookie: {2}\r\nContent-Length: 100\r\n\r\nhalf=",
        alice.authority(),
        alice.user_agent,
        alice.cookies()
    );
    let _reading: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = alice.connect_raw();
            std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let mut words = String::new();
    eventually("all of them are being read", || {
        words = super::parked::told(&bob, &post_text(&bob, "/save", "a=1").send());
        !words.contains("is kept for you")
    });
    assert!(words.contains("could not be kept just now"), "{words}");
}
