//! Signing in and out as people do it: by keyboard, with the back button, in a browser that is closed and opened again.

use super::super::harness::{ALICE, BOB, Setup};
use super::{Browser, IDLE, PAGE, SESSION, in_new_tab, sign_out, signed_in};

const QUARTER: u64 = 15 * 60;
const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";

#[test]
fn a_person_is_asked_for_their_password_and_led_to_where_they_wanted_to_go() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/yard/page?of=7");
    tab.is_at("/.vestibule/login");
    gateway.application.assert_untouched();
    // By the keyboard alone.
    assert_eq!(tab.cursor(), "username");
    ALICE.0.chars().for_each(|key| tab.press_key(&key.to_string()));
    tab.press_key(TAB);
    assert_eq!(tab.cursor(), "password");
    "wrong".chars().for_each(|key| tab.press_key(&key.to_string()));
    tab.press_key(ENTER);
    tab.shows("The user name or the password is not right.");
    assert_eq!((tab.field("username"), tab.cursor()), ("alice".to_owned(), "password".to_owned()));
    assert_eq!((tab.field("password"), tab.cookie(SESSION)), (String::new(), None));
    ALICE.1.chars().for_each(|key| tab.press_key(&key.to_string()));
    tab.press_key(ENTER);
    tab.is_at("/yard/page?of=7");
    tab.shows(PAGE);
    let page = |uri: &str| gateway.application.received().into_iter().find(|request| request.uri == uri);
    assert_eq!(page("/yard/page?of=7").expect("asked for").header("x-forwarded-user"), Some("alice"));
    tab.press("another one");
    tab.shows("hello from the application");
    assert_eq!(page("/yard/here?x=1").expect("asked for").header("x-forwarded-user"), Some("alice"));
    // Back is to the page, and not to the form.
    tab.back();
    tab.is_at("/yard/page?of=7");
}

#[test]
fn who_has_signed_out_cannot_go_back_to_what_they_saw() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/yard/page", ALICE);
    tab.open("/.vestibule/logout");
    tab.shows("You are signed in as alice.");
    tab.press("Stay signed in");
    tab.shows("hello from the application");
    sign_out(&tab);
    assert_eq!(tab.cookie(SESSION), None);
    assert!(gateway.sessions_of("alice").is_empty());
    gateway.application.forget();
    // Past the question, the start page and the question, to the page.
    (0..4).for_each(|_| tab.back());
    tab.is_at("/.vestibule/login");
    assert!(!tab.text().contains(PAGE), "{}", tab.text());
    gateway.application.assert_untouched();
    tab.sign_in(BOB);
    tab.is_at("/yard/page");
}

#[test]
fn who_was_away_is_told_so_and_goes_on_where_they_were() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/yard/page", ALICE);
    gateway.advance(IDLE);
    gateway.application.forget();
    tab.press("another one");
    tab.shows("You were signed out because nothing happened for a while.");
    gateway.application.assert_untouched();
    tab.sign_in(ALICE);
    tab.is_at("/yard/here?x=1");
    tab.shows("hello from the application");
}

#[test]
fn whose_session_is_ended_by_somebody_is_told_by_whom() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/yard/page", ALICE);
    gateway.revoke("alice");
    tab.reload();
    tab.shows("Your session was ended by an administrator.");
    tab.sign_in(ALICE);
    tab.shows(PAGE);
}

#[test]
fn a_route_that_asks_for_a_recent_password_gets_it_and_the_person_goes_on() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/vault\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/yard/page", ALICE);
    let before = tab.cookie(SESSION).expect("a session");
    gateway.advance(5 * 60);
    tab.open("/vault/page?of=7");
    tab.shows("Please enter your password again");
    assert_eq!((tab.field("username"), tab.cursor()), ("alice".to_owned(), "password".to_owned()));
    tab.picture("login-again");
    tab.fill("password", "wrong");
    tab.press_key(ENTER);
    tab.shows("The user name or the password is not right.");
    tab.open("/yard/page");
    tab.shows(PAGE);
    assert_eq!(tab.cookie(SESSION).as_ref(), Some(&before), "the session is as it was");
    tab.open("/vault/page?of=7");
    tab.fill("password", ALICE.1);
    tab.press_key(ENTER);
    tab.is_at("/vault/page?of=7");
    tab.shows(PAGE);
    assert_ne!(tab.cookie(SESSION).expect("a session"), before);
    assert_eq!(gateway.sessions_of("alice").len(), 1);
}

#[test]
fn two_people_in_two_browsers_have_the_limits_of_their_own_roles() {
    let gateway = Setup::new().extra("[roles.admin]\nidle = \"10m\"").start();
    let (hers, his) = (Browser::start(&gateway), Browser::start(&gateway));
    for (browser, who) in [(&hers, ALICE), (&his, BOB)] {
        signed_in(browser, "/page", who);
    }
    gateway.advance(10 * 60);
    his.tab().press("another one");
    his.tab().shows("hello from the application");
    hers.tab().press("another one");
    hers.tab().shows("You were signed out because nothing happened for a while.");
    his.tab().open("/admin");
    his.tab().shows("This page is not open to you");
}

#[test]
fn a_session_ends_with_its_browser_and_a_tab_does_not_end_it() {
    let gateway = Setup::new().start();
    let mut browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/page", ALICE);
    let kept = tab.cookie("__Host-device").expect("a device");
    assert!(kept.is_persistent && !tab.cookie(SESSION).expect("a session").is_persistent);
    let other = in_new_tab(&browser, "/page");
    tab.close();
    other.reload();
    other.shows(PAGE);
    gateway.advance(QUARTER / 2);
    browser.restart();
    let tab = browser.tab();
    tab.open("/page");
    tab.is_at("/.vestibule/login");
    assert_eq!((tab.cookie(SESSION), tab.cookie("__Host-device")), (None, Some(kept)));
}

#[test]
fn what_a_person_sends_with_a_file_arrives_as_they_sent_it() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/page");
    tab.sign_in(ALICE);
    let plan = browser.file("plan.txt", "the crane stands here\n");
    tab.fill("note", "for Tuesday, \u{e9}");
    tab.choose_file("plan", &plan);
    tab.press("Send with a file");
    tab.shows("hello from the application");
    let sent = gateway.application.last();
    let body = String::from_utf8_lossy(&sent.body).into_owned();
    assert_eq!(
        (sent.method.as_str(), sent.uri.path(), sent.header("x-forwarded-user")),
        ("POST", "/upload", Some("alice"))
    );
    assert!(sent.header("content-type").is_some_and(|kind| kind.starts_with("multipart/form-data; boundary=")));
    for part in ["for Tuesday, \u{e9}\r\n", "filename=\"plan.txt\"", "the crane stands here\n\r\n"] {
        assert!(body.contains(part), "{part:?} in {body}");
    }
}
