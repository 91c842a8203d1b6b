//! Where a person is signed in: the page that shows it, and the one that asks which session ends for a new one.

use super::super::harness::{ALICE, Client, Gateway, Setup};
use super::{Browser, PAGE, SESSION, signed_in};

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1";

/// A phone in which she has signed in.
fn phone(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.user_agent = PHONE.to_owned();
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    client
}

/// The entry of the list that says these words.
fn entry(words: &str) -> String {
    format!("//li[contains(normalize-space(), '{words}')]")
}

#[test]
fn who_has_as_many_sessions_as_they_may_chooses_which_one_ends() {
    let gateway = Setup::new().extra("[session.concurrency]\nmax_sessions = 2\nwhen_full = \"ask\"").start();
    let (first, second) = (Browser::start(&gateway), Browser::start(&gateway));
    let old = signed_in(&first, "/page", ALICE);
    gateway.advance(3 * 60);
    let phone = phone(&gateway);
    gateway.advance(5 * 60);
    let new = second.tab();
    new.open("/yard/page?of=7");
    new.sign_in(ALICE);
    new.shows("Which session shall end?");
    for words in ["only 2 sessions at a time", "Safari on iOS", "Chrome on Linux", "8 minutes ago", "5 minutes ago"] {
        new.shows(words);
    }
    new.picture("which-session-ends");
    assert_eq!((new.cookie(SESSION), gateway.sessions_of("alice").len()), (None, 2), "nobody is signed in yet");
    // Who would rather not is not, and nothing has ended.
    new.press("Do not sign in here");
    new.is_at("/.vestibule/login");
    old.reload();
    old.shows(PAGE);
    new.open("/yard/page?of=7");
    new.sign_in(ALICE);
    new.press_in(&entry("Chrome on Linux"), "End it and sign in here");
    new.is_at("/yard/page?of=7");
    new.shows(PAGE);
    old.reload();
    old.shows("You were signed out here because only so many sessions at once are allowed");
    old.picture("login-displaced");
    assert_eq!((phone.get("/").send().status, gateway.sessions_of("alice").len()), (200, 2));
    // Back is not to the question, and asks for nothing twice.
    new.back();
    new.reload();
    assert_eq!(gateway.sessions_of("alice").len(), 2);
}

#[test]
fn who_finds_no_room_is_told_what_they_can_do() {
    let gateway = Setup::new().extra("[session.concurrency]\nmax_sessions = 1\nwhen_full = \"refuse\"").start();
    let browser = Browser::start(&gateway);
    let phone = phone(&gateway);
    let tab = browser.tab();
    tab.open("/page");
    tab.sign_in(ALICE);
    tab.shows("only one session at a time is allowed");
    tab.picture("login-no-room");
    assert_eq!(phone.post_form("/.vestibule/logout", &[]).send().status, 200);
    tab.sign_in(ALICE);
    tab.is_at("/page");
    tab.shows(PAGE);
}

#[test]
fn a_person_sees_where_they_are_signed_in_and_ends_what_they_do_not_need() {
    let gateway = Setup::new().start();
    let (here, there) = (Browser::start(&gateway), Browser::start(&gateway));
    let phones = [phone(&gateway), phone(&gateway)];
    let (tab, other) = (signed_in(&here, "/page", ALICE), signed_in(&there, "/page", ALICE));
    gateway.advance(60);
    tab.open("/.vestibule/logout");
    tab.press("See where you are signed in");
    tab.shows("Your sessions");
    tab.shows("This browser");
    tab.picture("sessions");
    let text = tab.text();
    assert_eq!((text.matches("Safari on iOS").count(), text.matches("Chrome on Linux").count()), (2, 2), "{text}");
    tab.press_in(&entry("Safari on iOS"), "End this session");
    tab.shows("The session has ended.");
    assert_eq!(phones.iter().filter(|phone| phone.get("/").send().status == 200).count(), 1);
    // Somebody who finds the screen ends nothing: it takes the password.
    gateway.advance(5 * 60);
    tab.press("End all other sessions");
    tab.shows("Please enter your password again");
    assert_eq!((tab.field("username"), gateway.sessions_of("alice").len()), ("alice".to_owned(), 3));
    tab.sign_in(ALICE);
    tab.is_at("/.vestibule/sessions");
    tab.press("End all other sessions");
    tab.shows("2 sessions have ended.");
    tab.picture("sessions-ended");
    other.reload();
    other.shows("you ended this session from another one");
    other.sign_in(ALICE);
    other.shows(PAGE);
    tab.press("Sign out everywhere, here too");
    tab.shows("All your sessions have ended");
    tab.picture("signed-out-everywhere");
    assert_eq!(tab.cookie(SESSION), None);
    other.reload();
    other.shows("you ended this session from another one");
    assert!(gateway.sessions_of("alice").is_empty());
}
