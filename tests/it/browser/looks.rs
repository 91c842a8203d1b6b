//! How our pages look: each is pictured in the light, in the dark and on a phone, and what needs no eyes is asserted.

use super::super::harness::{ALICE, BOB, Scripted, Setup, eventually, nobody};
use super::Browser;

#[test]
fn signing_in_and_out() {
    let gateway = Setup::new().extra("[portal]\ntitle = \"Warehouse & Yard\"").start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/yard/page");
    tab.shows("to continue to Warehouse & Yard");
    assert_eq!(tab.title(), "Sign in – Warehouse & Yard");
    tab.picture("login");
    tab.sign_in((ALICE.0, "wrong"));
    tab.shows("is not right");
    assert_eq!(tab.title(), "Problem – Sign in – Warehouse & Yard");
    tab.picture("login-wrong-password");
    tab.sign_in(ALICE);
    tab.shows("a page of the application");
    tab.open("/.vestibule/logout");
    tab.picture("logout");
    tab.press("Sign out");
    tab.shows("You are signed out");
    tab.picture("signed-out");
    tab.press("Sign in again");
    tab.sign_in(ALICE);
    tab.shows("hello from the application");
    gateway.advance(30 * 60);
    tab.open("/yard/page");
    tab.picture("login-expired");
}

#[test]
fn what_is_not_there_or_not_allowed() {
    let mut setup = Setup::new().extra("[limits]\nper_address = \"40/m\"\nlogin = \"2/m\"");
    setup.routes = setup.routes.replacen("path = \"/\"", "path = \"/yard\"", 1);
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/yard/page");
    tab.sign_in(BOB);
    tab.shows("a page of the application");
    tab.open("/admin");
    tab.shows("This page is not open to you");
    tab.picture("403");
    tab.open("/elsewhere");
    tab.shows("There is no page here");
    tab.picture("404");
    tab.open("/.vestibule/logout");
    tab.press("Sign out");
    tab.press("Sign in again");
    for _ in 0..2 {
        tab.sign_in((BOB.0, "wrong"));
    }
    tab.shows("One moment, please");
    tab.picture("429");
}

#[test]
fn an_application_that_is_not_well() {
    let (address, _held) = nobody();
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("http://{address}")]);
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/public");
    tab.shows("The application gave no proper answer");
    tab.picture("502");
}

#[test]
fn an_application_that_is_busy() {
    let silent = Scripted::start(|mut line| {
        line.request();
        line.wait_for_close();
    });
    let mut setup = Setup::new().in_front_of(&silent);
    setup.upstream = "max_connections = 1\nmax_waiting = 0".to_owned();
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/.vestibule/login");
    let first = tab.open_beside("/public/slow");
    eventually("the one connection is in use", || silent.received().len() == 1);
    tab.open("/public");
    tab.shows("Not available just now");
    tab.picture("503");
    gateway.advance(60);
    first.shows("The application took too long");
    first.picture("504");
}
