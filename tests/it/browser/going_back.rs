//! The Back button, at an application that says nothing of how its pages may be kept: browsers then keep them whole, and
//! show them without asking anybody. Who is told that their session is over has nothing left to go back to.
//!
//! What is not stopped: until a browser has asked for something, it does not know that the session is over, and shows
//! what it showed before, as it does with what is on the screen. Chromium does so for some minutes also where the
//! application forbids to keep it (`no-store`), so to forbid it for the application would not help.

use super::super::harness::{ALICE, BOB, Gateway, Setup};
use super::{Browser, IDLE, PAGE, Tab, signed_in};

const LOCK: &str = "[session.lifetime]\non_idle = \"lock\"";

/// Fills in a form, and goes on without sending it.
fn read_on<'a>(browser: &'a Browser) -> Tab<'a> {
    let tab = signed_in(browser, "/yard/page", ALICE);
    tab.fill("note", "half a sentence");
    tab.press("another one");
    tab.shows("hello from the application");
    tab
}

#[test]
fn who_is_told_that_their_session_is_over_has_nothing_left_to_go_back_to() {
    type End = fn(&Gateway);
    let ends: [(&str, End); 3] = [
        ("", |gateway| gateway.advance(IDLE)),
        ("", |gateway| gateway.revoke("alice")),
        (LOCK, |gateway| gateway.advance(IDLE)),
    ];
    for (extra, end) in ends {
        let gateway = Setup::new().extra(extra).start();
        let browser = Browser::start(&gateway);
        let tab = read_on(&browser);
        // It would be there.
        tab.back();
        tab.shows(PAGE);
        tab.press("another one");
        tab.shows("hello from the application");
        end(&gateway);
        gateway.application.forget();
        tab.reload();
        tab.is_at("/.vestibule/login");
        tab.back();
        tab.is_at("/.vestibule/login");
        assert!(!tab.text().contains(PAGE), "{}", tab.text());
        gateway.application.assert_untouched();
    }
}

#[test]
fn who_signs_in_again_goes_back_to_what_they_had_not_sent_yet() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = read_on(&browser);
    gateway.advance(IDLE);
    tab.reload();
    tab.sign_in(ALICE);
    tab.is_at("/yard/here");
    // Past the form.
    (0..2).for_each(|_| tab.back());
    tab.is_at("/yard/page");
    assert_eq!(tab.field("note"), "half a sentence");
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"), "it was asked for again");
    // And somebody else sees what the application has for them.
    gateway.advance(IDLE);
    tab.reload();
    tab.sign_in(BOB);
    tab.shows("the application");
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("bob"));
}
