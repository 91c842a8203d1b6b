//! `/.vestibule/api/session`: what a page of the application is told of the session it runs in, and how it extends it.

use http::Method;
use serde_json::{Value, json};
use vestibule::base::clock::Timestamp;

use super::harness::{ALICE, Answer, BOB, Client, START, Setup, Version, hidden};

const SESSION: &str = "/.vestibule/api/session";
const EXTEND: &str = "/.vestibule/api/session/extend";

/// As a script of a page of the same origin asks.
fn look(client: &Client) -> Answer {
    client.get(SESSION).header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "cors").send()
}

fn extend(client: &Client) -> Answer {
    client.request(Method::POST, EXTEND).header("sec-fetch-site", "same-origin").send()
}

fn at(seconds: u64) -> Timestamp {
    START.plus(std::time::Duration::from_secs(seconds))
}

#[test]
fn a_page_is_told_whose_session_it_is_and_until_when() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let began = gateway.clock.now();
        gateway.advance(60);
        assert_eq!(client.get("/").send().status, 200);
        gateway.advance(240);
        let answer = look(&client);
        let until = |seconds: u64| {
            let at = began.plus(std::time::Duration::from_secs(seconds));
            json!({ "at": at.to_string(), "in_seconds": seconds - 300 })
        };
        let mut ends = until(1860);
        ends["by"] = "idle".into();
        let expected = json!({
            "user": "alice",
            "email": "alice@example.test",
            "roles": ["admin"],
            "authenticated_at": began.to_string(),
            "active_at": began.plus(std::time::Duration::from_secs(60)).to_string(),
            "idle_seconds": 240,
            "ends": ends,
            "idle": until(1860),
            "absolute": until(12 * 3600),
            "level": null,
            "remembered": false,
            "locked": false,
        });
        assert_eq!((answer.status, answer.json()), (200, expected));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        let head = client.request(Method::HEAD, SESSION).send();
        assert!(head.status == 200 && head.body.is_empty());
    }
}

#[test]
fn to_look_keeps_nobody_signed_in_and_to_extend_does() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let (looks, extends) = (gateway.signed_in(ALICE).speaking(version), gateway.signed_in(BOB).speaking(version));
        for minute in 1..30 {
            gateway.advance(60);
            let said = look(&looks).json();
            assert_eq!(said["ends"]["in_seconds"], 60 * (30 - minute), "{said}");
        }
        let said = extend(&extends);
        assert_eq!((said.status, &said.json()["idle_seconds"]), (200, &json!(0)));
        assert_eq!(said.json()["ends"]["in_seconds"], 1800);
        gateway.advance(60);
        let answer = look(&looks);
        assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!("idle")));
        assert_eq!(extend(&looks).json()["reason"], "idle", "what has ended is not extended");
        assert_eq!(extends.get("/").send().status, 200);
        gateway.revoke("bob");
    }
}

#[test]
fn what_ends_first_is_told_with_its_reason() {
    let lifetime = "[session.lifetime]\nabsolute = \"45m\"\non_idle = \"lock\"\n[roles.admin]\nidle = \"5m\"";
    let gateway = Setup::new().extra(lifetime).extra("[session.remember_me]").start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.client());
    let page = bob.visit("/.vestibule/login").send();
    let attempt = hidden(&page, "attempt");
    let fields = [("username", BOB.0), ("password", BOB.1), ("attempt", &*attempt), ("remember", "1")];
    assert_eq!(bob.post_form("/.vestibule/login", &fields).send().status, 303);
    let ends = |client: &Client| {
        let said = look(client).json();
        (said["ends"]["in_seconds"].clone(), said["ends"]["by"].clone(), said["remembered"].clone())
    };
    assert_eq!(ends(&alice), (json!(300), json!("locked"), json!(false)), "by her role");
    assert_eq!(ends(&bob), (json!(7 * 86_400), json!("locked"), json!(true)));
    gateway.advance(300);
    let locked = look(&alice);
    let said = locked.json();
    assert_eq!((locked.status, &said["reason"]), (401, &json!("locked")));
    assert!(said["user"] == Value::Null && !locked.text().contains("alice"), "{said}");
    assert_eq!(extend(&alice).json()["reason"], "locked", "extending opens no lock");
    let short = Setup::new().extra("[session.lifetime]\nidle = \"30m\"\nabsolute = \"31m\"").start();
    let client = short.signed_in(ALICE);
    short.advance(120);
    assert_eq!(extend(&client).json()["ends"]["by"], "absolute");
    assert_eq!(look(&client).json()["ends"]["at"], at(31 * 60).to_string());
}

#[test]
fn who_has_none_is_told_why_and_other_sites_are_told_nothing() {
    let gateway = Setup::new().start();
    let nobody = gateway.client();
    for (answer, reason) in [(look(&nobody), "no_session"), (extend(&nobody), "no_session")] {
        assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!(reason)));
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/json", "no-store"));
    }
    assert_eq!(nobody.get("/anonymous").send().status, 200);
    assert_eq!(look(&nobody).json()["reason"], "anonymous");
    let client = gateway.signed_in(ALICE);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.test"),
        ("referer", "https://evil.test/"),
    ] {
        for (method, target) in [(Method::GET, SESSION), (Method::POST, EXTEND)] {
            let answer = client.request(method, target).header(name, value).send();
            assert_eq!((answer.status, &answer.json()["reason"]), (403, &json!("cross_site")), "{name}: {value}");
            assert!(!answer.text().contains("alice"));
        }
    }
    for (method, target, allowed) in
        [(Method::GET, EXTEND, "POST"), (Method::POST, SESSION, "GET, HEAD"), (Method::PUT, EXTEND, "POST")]
    {
        let answer = client.request(method, target).send();
        assert_eq!((answer.status, answer.header("allow")), (405, allowed));
    }
    gateway.revoke("alice");
    assert_eq!(look(&client).json()["reason"], "revoked");
}

#[test]
fn a_secret_that_is_due_is_renewed_by_a_look_and_a_copied_one_noticed() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let first = client.session();
    gateway.advance(15 * 60);
    assert_eq!(look(&client).set_cookies().len(), 1);
    assert_eq!(look(&client).set_cookies().len(), 0, "its successor is presented");
    assert_eq!(look(&client).json()["idle_seconds"], 900);
    gateway.advance(60);
    let thief = gateway.client();
    thief.set_session(&first);
    assert_eq!(look(&thief).json()["reason"], "reuse");
    assert_eq!(look(&client).json()["reason"], "reuse");
}
