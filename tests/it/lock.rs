//! A session that is idle for too long is locked, where the configuration says so: it stays, and nothing passes with it
//! until its person has proved again who they are.

use std::time::Duration;

use http::Method;
use vestibule::enforce::reloads::Cause;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Setup, Version, eventually, hidden};
use super::websockets::{Echo, assert_echoes, closed_with, open};

const LOCK: &str = "[session.lifetime]\non_idle = \"lock\"";
const IDLE: u64 = 30 * 60;

fn refused(client: &Client, path: &str) -> Option<String> {
    let answer = client.get(path).send();
    match answer.status {
        200 => None,
        401 => Some(answer.json()["reason"].as_str().expect("a reason").to_owned()),
        status => panic!("{status}: {}", answer.text()),
    }
}

fn change(gateway: &Gateway, from: &str, to: &str) {
    let file = gateway.folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
    let outcome = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    outcome.unwrap_or_else(|words| panic!("refused: {words}"));
}

/// Where somebody is led to who visits a page.
fn login_page(client: &Client, path: &str) -> Answer {
    let led = client.visit(path).send();
    assert_eq!(led.status, 302, "{}", led.text());
    client.visit(led.header("location")).send()
}

fn prove(client: &Client, page: &Answer, (name, password): (&str, &str), more: &[(&str, &str)]) -> Answer {
    let attempt = hidden(page, "attempt");
    let fields = [&[("username", name), ("password", password), ("attempt", &*attempt)], more].concat();
    client.post_form("/.vestibule/login", &fields).send()
}

#[test]
fn nothing_passes_with_a_locked_session_and_its_person_goes_on_where_they_were() {
    let gateway = Setup::new().extra(LOCK).start();
    for version in [Version::H1, Version::H2] {
        let alice = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(IDLE - 1);
        assert_eq!(refused(&alice, "/"), None);
        gateway.advance(IDLE);
        gateway.application.forget();
        let answer = alice.get("/admin").send();
        let said = answer.json();
        assert_eq!((answer.status, &said["reason"]), (401, &"locked".into()), "{said}");
        assert!(
            said["message"].as_str().is_some_and(|words| words.contains("Enter your password to go on.")),
            "{said}"
        );
        assert_eq!(alice.request(Method::POST, "/").body("x").send().json()["reason"], "locked");
        gateway.application.assert_untouched();
        let before = gateway.sessions_of("alice");
        assert!(before.len() == 1 && before[0].is_locked(), "it is still there");
        let page = login_page(&alice, "/admin/report?of=7");
        let words = "Your session was locked because nothing happened for 30 minutes. Enter your password to go on.";
        assert!(page.text().contains(words), "{}", page.text());
        assert_eq!(hidden(&page, "username\" type=\"text"), "alice");
        assert_eq!(prove(&alice, &page, (ALICE.0, "wrong"), &[]).status, 401);
        assert_eq!(refused(&alice, "/").as_deref(), Some("locked"));
        let answer = prove(&alice, &page, ALICE, &[]);
        assert_eq!((answer.status, answer.header("location")), (303, "/admin/report?of=7"));
        assert_eq!(refused(&alice, "/admin"), None);
        let after = gateway.sessions_of("alice");
        assert!(after.len() == 1 && !after[0].is_locked() && after[0].handle() != before[0].handle());
        gateway.revoke("alice");
    }
    gateway.log.wait_for(&["audit session.locked", "user=alice"]);
    gateway.log.wait_for(&[" 401 ", "reason=locked"]);
    gateway.log.wait_for(&["audit login.succeeded", "user=alice", "reason=again"]);
    assert!(!gateway.log.text().contains("reason=idle"));
    let counted = gateway.running().shared.render_metrics();
    for line in
        ["challenges_total{reason=\"locked\"} 8", "sessions_locked_total 2", "sessions_ended_total{reason=\"idle\"} 0"]
    {
        assert!(counted.contains(&format!("\nvestibule_{line}\n")), "{line} in:\n{counted}");
    }
}

#[test]
fn a_request_opens_nothing_and_moves_nothing() {
    let gateway = Setup::new().extra(LOCK).start();
    let alice = gateway.signed_in(ALICE);
    let active = gateway.sessions_of("alice")[0].active_at();
    gateway.advance(IDLE);
    for _ in 0..5 {
        assert_eq!(refused(&alice, "/").as_deref(), Some("locked"));
        gateway.advance(60);
    }
    assert_eq!(gateway.sessions_of("alice")[0].active_at(), active, "it is no activity");
    let cookie = alice.session();
    // Where nobody need be signed in, nobody is; and the cookie stays, by which they are known.
    for path in ["/optional", "/anonymous", "/public"] {
        let answer = alice.get(path).send();
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 0), "{path}");
        assert_eq!(gateway.application.last().header("x-forwarded-user"), None, "{path}");
    }
    assert_eq!(alice.session(), cookie);
    assert_eq!(prove(&alice, &login_page(&alice, "/"), ALICE, &[]).status, 303);
}

#[test]
fn its_streams_are_cut_and_it_stays_until_its_absolute_limit() {
    let mut setup = Setup::new().extra(&format!("{LOCK}\nabsolute = \"2h\""));
    setup.upstream = "idle_timeout = \"24h\"".to_owned();
    let gateway = setup.start();
    let alice = gateway.signed_in(ALICE);
    let (answer, mut stream) = alice.get("/stream").open();
    assert_eq!(answer.status, 200);
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    gateway.advance(IDLE - 1);
    assert!(gateway.application.goes_on(&mut stream), "not before");
    gateway.advance(1);
    assert!((0..100).any(|_| matches!(stream.next(), Some(Err(_)))), "it is cut");
    drop(stream);
    eventually("nobody holds on to it", || gateway.open_streams() == 0);
    // Without a request or a stream, the sweep locks.
    let again = gateway.signed_in(BOB);
    gateway.advance(IDLE - 60);
    eventually("both are locked", || {
        gateway.clock.advance(Duration::from_secs(1));
        ["alice", "bob"].iter().all(|name| gateway.sessions_of(name)[0].is_locked())
    });
    gateway.advance(3500);
    eventually("hers is over", || {
        gateway.clock.advance(Duration::from_secs(1));
        gateway.sessions_of("alice").is_empty()
    });
    gateway.log.wait_for(&["session.ended", "reason=absolute", "user=alice"]);
    assert_eq!(refused(&alice, "/").as_deref(), Some("absolute"));
    assert_eq!(refused(&again, "/").as_deref(), Some("locked"));
}

#[test]
fn its_websockets_are_cut_when_it_locks() {
    // By time alone, and by a request that finds it idle.
    for by_request in [false, true] {
        let echo = Echo::start();
        let mut setup = Setup::new().extra(LOCK).unlimited().in_front_of(&echo.server);
        setup.routes += "[[route]]\npath = \"/socket\"\nupstream = \"app\"\nwebsocket_timeout = \"2h\"\n";
        let gateway = setup.start();
        let alice = gateway.signed_in(ALICE);
        let (mut socket, _) = open(&alice, "/socket", &[]).expect("it opens");
        gateway.advance(IDLE - 1);
        // What is said there is no activity.
        assert_echoes(&mut socket, "still here");
        gateway.advance(1);
        if by_request {
            assert_eq!(refused(&alice, "/").as_deref(), Some("locked"));
        }
        let closed = closed_with(&mut socket).expect("it is closed in words");
        assert_eq!(u16::from(closed.0), 1008, "{}", closed.1);
        echo.has_ended();
        eventually("nobody holds on to it", || gateway.open_streams() == 0);
        assert_eq!(open(&alice, "/socket", &[]).err(), Some(401), "nor does it open another");
        assert!(gateway.sessions_of("alice")[0].is_locked(), "and the session stays");
        let page = login_page(&alice, "/");
        assert_eq!(prove(&alice, &page, ALICE, &[]).status, 303);
        let (mut socket, _) = open(&alice, "/socket", &[]).expect("it opens again");
        assert_echoes(&mut socket, "again");
    }
}

#[test]
fn somebody_else_who_signs_in_there_ends_it() {
    let gateway = Setup::new().extra(LOCK).start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(IDLE);
    let cookie = client.session();
    let page = login_page(&client, "/report?of=alice");
    let answer = prove(&client, &page, BOB, &[]);
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "where she was is nobody else's");
    assert!(gateway.sessions_of("alice").is_empty() && gateway.sessions_of("bob").len() == 1);
    let copy = gateway.client();
    copy.set_session(&cookie);
    assert_eq!(refused(&copy, "/").as_deref(), Some("replaced"));
    assert!(!gateway.log.text().contains("reason=again"));
    // Whoever leaves a locked session has left.
    let left = gateway.signed_in(ALICE);
    gateway.advance(IDLE);
    assert_eq!(refused(&left, "/").as_deref(), Some("locked"));
    let page = left.visit("/.vestibule/logout").send();
    assert!(page.status == 200 && !page.text().contains("alice"), "{}", page.text());
    assert_eq!(left.post_form("/.vestibule/logout", &[]).send().status, 200);
    assert!(gateway.sessions_of("alice").is_empty());
}

#[test]
fn whose_it_is_is_told_to_nobody_who_only_has_the_cookie() {
    let gateway = Setup::new().extra(LOCK).start();
    let alice = gateway.signed_in(ALICE);
    gateway.advance(IDLE);
    let led = alice.visit("/").send();
    let mut thief = gateway.client();
    thief.user_agent = "another browser".to_owned();
    assert!(!thief.visit(led.header("location")).send().text().contains("alice"), "only the link");
    thief.set_session(&alice.session());
    assert!(!thief.visit(led.header("location")).send().text().contains("alice"));
    assert_eq!(refused(&thief, "/").as_deref(), Some("binding_user_agent"), "a thief ends it, locked or not");
}

#[test]
fn who_was_remembered_is_remembered_again() {
    let gateway = Setup::new().extra(LOCK).extra("[session.remember_me]\nidle = \"2d\"").start();
    let client = gateway.client();
    let page = client.visit("/.vestibule/login").send();
    assert_eq!(prove(&client, &page, ALICE, &[("remember", "1")]).status, 303);
    gateway.advance(2 * 86_400);
    let page = login_page(&client, "/");
    assert!(page.text().contains("nothing happened for 2 days."), "{}", page.text());
    assert!(page.text().contains("value=\"1\" checked"), "{}", page.text());
    let answer = prove(&client, &page, ALICE, &[]);
    assert!(
        answer.set_cookies().iter().any(|cookie| cookie.contains("Max-Age=2592000;")),
        "{:?}",
        answer.set_cookies()
    );
}

#[test]
fn a_lock_is_opened_by_no_restart_and_no_reload() {
    let mut gateway = Setup::new().extra(LOCK).start();
    let before = gateway.signed_in(ALICE);
    gateway.advance(IDLE);
    assert_eq!(refused(&before, "/").as_deref(), Some("locked"));
    change(&gateway, LOCK, &format!("{LOCK}\nidle = \"2h\""));
    assert_eq!(refused(&before, "/").as_deref(), Some("locked"), "longer limits are for those who are there");
    gateway.restart();
    let alice = gateway.client();
    alice.set_session(&before.session());
    assert_eq!(refused(&alice, "/").as_deref(), Some("locked"));
    // Where idle sessions end, it is one.
    change(&gateway, "on_idle = \"lock\"", "on_idle = \"end\"");
    assert_eq!(refused(&alice, "/").as_deref(), Some("idle"));
    change(&gateway, "on_idle = \"end\"", "on_idle = \"lock\"");
    assert_eq!(refused(&alice, "/").as_deref(), Some("idle"), "for good");
}

#[test]
fn a_reload_locks_what_would_have_ended() {
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    gateway.advance(IDLE - 1);
    change(&gateway, "[login.local]", &format!("{LOCK}\n[login.local]"));
    gateway.advance(1);
    assert_eq!(refused(&alice, "/").as_deref(), Some("locked"));
}

#[test]
fn a_strangers_session_ends_as_ever() {
    let gateway = Setup::new().extra(LOCK).start();
    let client = gateway.client();
    assert_eq!(client.get("/anonymous").send().status, 200);
    let first = client.session();
    gateway.advance(IDLE);
    assert_eq!(client.get("/anonymous").send().status, 200);
    assert_ne!(client.session(), first, "they have no password to be asked for");
}
