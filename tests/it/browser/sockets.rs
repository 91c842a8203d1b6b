//! A WebSocket of a page ends with the session that it was opened in, and the page is told.

use super::super::harness::{ALICE, Gateway, Setup, eventually};
use super::super::websockets::Echo;
use super::origins::with_socket;
use super::{Browser, IDLE, PAGE, Tab, sign_out, signed_in};

/// Opens one. `closed` is then how it is closed, once it is.
const OPEN: &str = "return new Promise(done => { \
    const socket = new WebSocket('wss://' + location.host + '/socket'); \
    window.closed_with = new Promise(closed => { \
        socket.onclose = event => { closed([event.code, event.reason, event.wasClean]); done('closed'); }; }); \
    socket.onopen = () => socket.send('hello'); socket.onmessage = event => done(event.data); })";

fn assert_closed(gateway: &Gateway, tab: &Tab<'_>) {
    let closed = tab.run("return window.closed_with");
    assert_eq!(closed, serde_json::json!([1008, "the session has ended", true]));
    eventually("nothing is left", || gateway.open_streams() == 0);
    // Who tries again without a session gets none.
    assert_eq!(tab.run(OPEN), "closed");
}

#[test]
fn it_is_closed_in_words_when_its_session_ends() {
    let echo = Echo::start();
    let gateway = with_socket(Setup::new(), &echo).start();
    let browser = Browser::start(&gateway);
    let other = browser.new_tab();
    type End<'a> = &'a dyn Fn();
    let ends: [(&str, End<'_>); 3] = [
        ("an administrator", &|| gateway.revoke("alice")),
        ("the idle limit", &|| gateway.advance(IDLE)),
        ("the other tab", &|| sign_out(&other)),
    ];
    for (how, end) in ends {
        let tab = signed_in(&browser, "/page", ALICE);
        assert_eq!(tab.run(OPEN), "hello", "{how}");
        end();
        assert_closed(&gateway, &tab);
        eventually("it is over", || gateway.sessions_of("alice").is_empty());
    }
}

#[test]
fn it_is_closed_when_its_session_is_locked_and_opens_again_for_who_is_back() {
    let echo = Echo::start();
    let gateway = with_socket(Setup::new().extra("[session.lifetime]\non_idle = \"lock\""), &echo).start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/page", ALICE);
    assert_eq!(tab.run(OPEN), "hello");
    gateway.advance(IDLE);
    assert_closed(&gateway, &tab);
    tab.reload();
    tab.shows("Your session was locked");
    tab.sign_in(ALICE);
    tab.shows(PAGE);
    assert_eq!((tab.run(OPEN), gateway.sessions_of("alice").len()), ("hello".into(), 1));
}
