//! Several tabs of one browser share a cookie jar, and each asks when it likes.

use serde_json::Value;

use super::super::harness::{ALICE, Gateway, Setup, eventually};
use super::{Browser, IDLE, PAGE, SESSION, Tab, in_new_tab, sign_out, signed_in};

const QUARTER: u64 = 15 * 60;

/// What a page of a busy application does: ten requests at once. `all` is what is to become of them.
fn ask_ten_times(tab: &Tab<'_>) {
    tab.run(
        "window.all = Promise.all([...Array(10).keys()].map(n => fetch('/yard/' + n).then(answer => answer.status))); \
         return null",
    );
}

fn answers(tab: &Tab<'_>) -> Value {
    tab.run("return window.all")
}

/// How often the secret of her one session has changed.
fn changes(gateway: &Gateway) -> u32 {
    let sessions = gateway.sessions_of(ALICE.0);
    assert_eq!(sessions.len(), 1);
    sessions[0].rotation().generation
}

#[test]
fn two_busy_tabs_are_one_session_while_its_secret_changes() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tabs = [signed_in(&browser, "/page", ALICE), in_new_tab(&browser, "/page")];
    let mut before = tabs[0].cookie(SESSION).expect("a session").value;
    for turn in 1..=4 {
        gateway.advance(QUARTER);
        tabs.iter().for_each(ask_ten_times);
        for tab in &tabs {
            assert_eq!(answers(tab), Value::from([200; 10]), "turn {turn}");
        }
        tabs[turn as usize % 2].reload();
        let now = tabs[0].cookie(SESSION).expect("a session").value;
        assert_ne!(now, before);
        eventually("it has changed once", || changes(&gateway) == turn);
        // The former secret is no good any more.
        gateway.advance(61);
        tabs.iter().for_each(ask_ten_times);
        for tab in &tabs {
            assert_eq!(answers(tab), Value::from([200; 10]), "turn {turn}");
            tab.reload();
            tab.shows(PAGE);
        }
        before = now;
    }
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    assert!(!gateway.log.text().contains("session.ended"));
}

#[test]
fn an_answer_that_was_on_its_way_for_long_does_not_bring_back_the_secret_of_then() {
    let mut setup = Setup::new();
    setup.upstream = "first_byte_timeout = \"1h\"".to_owned();
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let (slow, quick) = (signed_in(&browser, "/page", ALICE), browser.new_tab());
    gateway.advance(QUARTER);
    // It is due to change when this is asked, and has changed when it is answered.
    slow.run("window.answer = fetch('/gate').then(answer => answer.status); return null");
    eventually("it is asked", || gateway.application.received().iter().any(|request| request.uri == "/gate"));
    for turn in 1..=2 {
        for _ in 0..2 {
            quick.open("/page");
            quick.shows(PAGE);
        }
        eventually("it has changed", || changes(&gateway) == turn);
        gateway.advance(QUARTER);
    }
    let now = quick.cookie(SESSION);
    gateway.application.open_gate();
    assert_eq!(slow.run("return window.answer"), 200);
    assert_eq!(slow.cookie(SESSION), now);
    gateway.advance(61);
    for tab in [&slow, &quick] {
        tab.reload();
        tab.shows(PAGE);
    }
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    assert!(!gateway.log.text().contains("session.ended"));
}

#[test]
fn two_tabs_whose_session_ran_out_are_both_told_and_both_go_on() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tabs = [signed_in(&browser, "/first/page", ALICE), in_new_tab(&browser, "/second/page")];
    gateway.advance(IDLE);
    gateway.application.forget();
    // A script is told in words that it can read, and where to sign in.
    tabs.iter().for_each(ask_ten_times);
    for tab in &tabs {
        assert_eq!(answers(tab), Value::from([401; 10]));
        let told = tab.run("return fetch('/yard/x').then(answer => answer.json())");
        assert_eq!((&told["error"], &told["login"]), (&"unauthenticated".into(), &"/.vestibule/login".into()));
    }
    // Both show the form before either is sent.
    for tab in &tabs {
        tab.press("another one");
        tab.is_at("/.vestibule/login");
    }
    tabs[0].shows("You were signed out because nothing happened for a while.");
    gateway.application.assert_untouched();
    for (tab, path) in tabs.iter().zip(["/first/here?x=1", "/second/here?x=1"]) {
        tab.sign_in(ALICE);
        tab.is_at(path);
        tab.shows("hello from the application");
    }
    for tab in &tabs {
        tab.reload();
        tab.shows("hello from the application");
    }
    assert_eq!(gateway.sessions_of("alice").len(), 1);
}

#[test]
fn signing_out_in_one_tab_is_signing_out_in_all_and_cuts_what_they_hear() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tabs = [browser.tab(), browser.new_tab()];
    tabs[0].open("/page");
    tabs[0].sign_in(ALICE);
    tabs[0].shows(PAGE);
    tabs[1].open("/page");
    tabs[1].run(
        "window.heard = fetch('/stream').then(async answer => { \
           const pieces = answer.body.getReader(); \
           try { for (;;) if ((await pieces.read()).done) return 'the end'; } catch { return 'cut'; } \
         }); return null",
    );
    eventually("it hears", || gateway.open_streams() == 1);
    sign_out(&tabs[0]);
    assert_eq!(tabs[1].run("return window.heard"), "cut");
    tabs[1].press("another one");
    tabs[1].is_at("/.vestibule/login");
}
