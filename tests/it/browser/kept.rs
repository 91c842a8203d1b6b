//! A form that is sent when the session is over, from a real page with a real file, and what becomes of it.

use super::super::harness::{ALICE, BOB, Gateway, Setup};
use super::{Browser, IDLE, PAGE, Tab, sign_out};

/// Signs Alice in, has her fill in a form, lets her session run out, and has her send it.
fn send_too_late(gateway: &Gateway, browser: &Browser, tab: &Tab<'_>) {
    tab.open("/orders/page");
    tab.sign_in(ALICE);
    tab.shows(PAGE);
    tab.fill("note", "the crane, on Tuesday \u{e9}");
    tab.choose_file("plan", &browser.file("plan.txt", "the crane stands here\n"));
    gateway.advance(IDLE);
    gateway.application.forget();
    tab.press("Send with a file");
    tab.shows("What you sent is kept for you.");
    gateway.application.assert_untouched();
}

#[test]
fn a_form_with_a_file_that_came_too_late_is_sent_once_its_person_says_so() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    send_too_late(&gateway, &browser, &tab);
    tab.picture("login-form-kept");
    tab.sign_in((ALICE.0, "wrong"));
    tab.shows("is not right");
    tab.sign_in(ALICE);
    tab.shows("Send this now?");
    for words in ["/orders/upload", "the crane, on Tuesday \u{e9}", "plan.txt"] {
        tab.shows(words);
    }
    tab.picture("kept-form");
    gateway.application.assert_untouched();
    tab.press("Send it now");
    tab.shows("hello from the application");
    let sent = gateway.application.received();
    assert_eq!(sent.len(), 1, "{sent:?}");
    let body = String::from_utf8_lossy(&sent[0].body).into_owned();
    assert_eq!((sent[0].method.as_str(), sent[0].uri.path()), ("POST", "/orders/upload"));
    assert_eq!(sent[0].header("x-forwarded-user"), Some("alice"));
    for part in ["the crane, on Tuesday \u{e9}\r\n", "filename=\"plan.txt\"", "the crane stands here\n\r\n"] {
        assert!(body.contains(part), "{part:?} in {body}");
    }
    // Neither loading the answer again nor going back sends it twice.
    tab.reload();
    tab.shows("Nothing is kept here");
    tab.picture("kept-form-gone");
    tab.back();
    assert_eq!(gateway.application.received().iter().filter(|request| request.method == "POST").count(), 1);
}

#[test]
fn somebody_else_who_signs_in_there_does_not_see_it_and_its_person_can_throw_it_away() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    send_too_late(&gateway, &browser, &tab);
    tab.sign_in(BOB);
    // Where she was is not told either.
    tab.is_at("/");
    tab.shows("hello from the application");
    sign_out(&tab);
    send_too_late(&gateway, &browser, &tab);
    tab.sign_in(ALICE);
    tab.shows("Send this now?");
    tab.press("Throw it away");
    tab.is_at("/orders/page");
    assert!(gateway.application.received().iter().all(|request| request.method == "GET"));
}
