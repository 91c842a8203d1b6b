//! A session that is locked for idleness, with a form that was sent too late: its person goes on where they were, and
//! nothing they had filled in is lost.

use super::super::harness::{ALICE, BOB, Setup};
use super::{Browser, IDLE, PAGE, signed_in};

#[test]
fn a_form_that_meets_a_locked_session_is_kept_and_sent_once_its_person_is_back() {
    let gateway = Setup::new().extra("[session.lifetime]\non_idle = \"lock\"").start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/orders/page", ALICE);
    tab.fill("note", "the crane, on Tuesday");
    tab.choose_file("plan", &browser.file("plan.txt", "the crane stands here\n"));
    gateway.advance(IDLE);
    gateway.application.forget();
    tab.press("Send with a file");
    tab.shows("Your session was locked because nothing happened for 30 minutes.");
    tab.shows("What you sent is kept for you.");
    assert_eq!((tab.field("username"), tab.cursor()), ("alice".to_owned(), "password".to_owned()));
    tab.picture("login-locked-form-kept");
    tab.sign_in((ALICE.0, "wrong"));
    tab.shows("is not right");
    tab.picture("login-locked-wrong-password");
    gateway.application.assert_untouched();
    tab.sign_in(ALICE);
    tab.shows("Send this now?");
    tab.shows("the crane, on Tuesday");
    gateway.application.assert_untouched();
    tab.press("Send it now");
    tab.shows("hello from the application");
    let sent = gateway.application.received();
    assert_eq!(sent.iter().filter(|request| request.method == "POST").count(), 1, "{sent:?}");
    let body = String::from_utf8_lossy(&sent[0].body).into_owned();
    assert!(body.contains("the crane, on Tuesday") && body.contains("the crane stands here"), "{body}");
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    tab.open("/orders/page");
    tab.shows(PAGE);
}

#[test]
fn somebody_else_who_opens_a_locked_screen_gets_a_session_of_their_own() {
    let gateway = Setup::new().extra("[session.lifetime]\non_idle = \"lock\"").start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/orders/page", ALICE);
    tab.fill("note", "for her eyes");
    gateway.advance(IDLE);
    tab.press("Send plainly");
    tab.shows("What you sent is kept for you.");
    gateway.application.forget();
    tab.sign_in(BOB);
    tab.shows("the application");
    let received = gateway.application.received();
    assert!(
        received.iter().all(|request| request.method == "GET" && request.header("x-forwarded-user") == Some("bob"))
    );
    assert_eq!([ALICE, BOB].map(|(name, _)| gateway.sessions_of(name).len()), [0, 1], "hers ended with it");
}
