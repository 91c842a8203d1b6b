//! Who asks to be remembered is signed in when their browser is closed and opened again, and nobody else is; and what
//! stays locked until its person is back.

use super::super::harness::{ALICE, BOB, Setup};
use super::{Browser, IDLE, PAGE, SESSION, in_new_tab, sign_out, signed_in};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn who_asks_to_be_remembered_is_when_their_browser_comes_back() {
    let gateway = Setup::new().extra("[session.remember_me]\n[roles.admin]\nremember_me = false").start();
    let mut browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/page");
    tab.shows("Stay signed in on this device");
    tab.picture("login-remember");
    tab.tick("remember");
    tab.sign_in((BOB.0, "wrong"));
    tab.shows("is not right");
    tab.picture("login-remember-wrong-password");
    // What was asked for is not forgotten for a password that was mistyped.
    tab.sign_in(BOB);
    tab.shows(PAGE);
    let first = tab.cookie(SESSION).expect("a session");
    assert!(first.is_persistent && first.is_http_only && first.is_secure && first.same_site == "Lax", "{first:?}");
    gateway.advance(6 * DAY);
    browser.restart();
    let tab = browser.tab();
    gateway.application.forget();
    tab.open("/page");
    tab.shows(PAGE);
    assert_eq!(gateway.application.received()[0].header("x-forwarded-user"), Some("bob"));
    // The secret has changed in the meantime, and what is kept now is the new one.
    let second = tab.cookie(SESSION).expect("a session");
    assert!(second.is_persistent && second != first, "{second:?}");
    tab.reload();
    gateway.advance(HOUR);
    browser.restart();
    let tab = browser.tab();
    tab.open("/page");
    tab.shows(PAGE);
    assert_eq!(gateway.sessions_of("bob").len(), 1);
    // Nobody is remembered for ever.
    gateway.advance(7 * DAY);
    browser.restart();
    let tab = browser.tab();
    tab.open("/page");
    tab.shows("You were signed out because nothing happened for a while.");
}

#[test]
fn who_does_not_ask_or_may_not_is_forgotten_with_their_browser() {
    let gateway = Setup::new().extra("[session.remember_me]\n[roles.admin]\nremember_me = false").start();
    for (who, asks) in [(BOB, false), (ALICE, true)] {
        let mut browser = Browser::start(&gateway);
        let tab = browser.tab();
        tab.open("/page");
        if asks {
            tab.tick("remember");
        }
        tab.sign_in(who);
        tab.shows(PAGE);
        assert!(!tab.cookie(SESSION).expect("a session").is_persistent, "{}", who.0);
        browser.restart();
        let tab = browser.tab();
        tab.open("/page");
        tab.is_at("/.vestibule/login");
        assert_eq!(tab.cookie(SESSION), None);
    }
}

#[test]
fn who_is_remembered_and_signs_out_is_forgotten_at_once() {
    let gateway = Setup::new().extra("[session.remember_me]").start();
    let mut browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/page");
    tab.tick("remember");
    tab.sign_in(BOB);
    tab.shows(PAGE);
    sign_out(&tab);
    browser.restart();
    let tab = browser.tab();
    tab.open("/page");
    tab.is_at("/.vestibule/login");
    assert_eq!(tab.cookie(SESSION), None);
}

#[test]
fn a_locked_session_waits_for_its_person_in_every_tab() {
    let gateway = Setup::new().extra("[session.lifetime]\non_idle = \"lock\"").start();
    let browser = Browser::start(&gateway);
    let tabs = [signed_in(&browser, "/first/page", ALICE), in_new_tab(&browser, "/second/page")];
    gateway.advance(IDLE);
    gateway.application.forget();
    for tab in &tabs {
        tab.press("another one");
        tab.shows("Your session was locked because nothing happened for 30 minutes.");
        assert_eq!((tab.field("username"), tab.cursor()), ("alice".to_owned(), "password".to_owned()));
    }
    tabs[0].picture("login-locked");
    gateway.application.assert_untouched();
    for (tab, path) in tabs.iter().zip(["/first/here?x=1", "/second/here?x=1"]) {
        tab.sign_in(ALICE);
        tab.is_at(path);
        tab.shows("hello from the application");
    }
    assert_eq!(gateway.sessions_of("alice").len(), 1);
}
