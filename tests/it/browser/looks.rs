//! How our pages look: each is pictured in the light, in the dark and on a phone, and what needs no eyes is asserted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule::enforce::reloads::Cause;

use super::super::harness::{ALICE, BOB, Gateway, Scripted, Setup, eventually, nobody};
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

/// A logo as somebody draws it: a mark and a word, coloured by a style of its own, and a script that comes to nothing.
const LOGO: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 190 48'>\
    <style>.a{fill:#2356b3}.b{fill:#1b2422;font:700 30px sans-serif}</style>\
    <script>document.documentElement.remove()</script>\
    <path class='a' d='M4 44 24 4l20 40h-9L24 22 13 44z'/><text class='b' x='56' y='36'>ACME</text></svg>";

/// One that says itself how it looks in the dark.
const ADAPTING: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 190 48'>\
    <style>text{fill:#222;font:700 32px sans-serif}@media(prefers-color-scheme:dark){text{fill:#ffd400}}</style>\
    <circle cx='22' cy='24' r='18' fill='#ffd400'/><text x='50' y='35'>Globex</text></svg>";

/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const TENANTS: &str = r##"
[portal]
title = "Town library"
note = "Help desk: 555 0100, on workdays from 8 to 17"
[[tenant]]
name = "acme"
hosts = ["acme.test"]
[tenant.login.local]
users = "users.toml"
[tenant.portal]
title = "Acme Rockets"
note = "Trouble signing in? Call 4711, or write to help@acme.test"
logo = "acme.svg"
color = "#2356b3"
[[tenant]]
name = "globex"
hosts = ["globex.test"]
[tenant.login.local]
users = "users.toml"
[tenant.portal]
title = "Globex Corporation"
note = ""
logo = "globex.svg"
color = "#ffd400"
"##;

fn with_looks() -> Gateway {
    let mut setup = Setup::new().extra(TENANTS);
    setup.certificates = vec![vec!["localhost", "acme.test", "globex.test"]];
    setup.files = vec![("acme.svg", LOGO.to_owned()), ("globex.svg", ADAPTING.to_owned())];
    setup.routes = setup.routes.replacen("path = \"/\"", "path = \"/yard\"", 1);
    setup.start()
}

#[test]
fn everybody_has_a_look_of_their_own() {
    let gateway = with_looks();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    let picture = "const logo = document.querySelector('img.logo'); return logo ? logo.naturalWidth : 0";
    for (name, host, title) in [
        ("default", "localhost", "Town library"),
        ("acme", "acme.test", "Acme Rockets"),
        ("globex", "globex.test", "Globex Corporation"),
    ] {
        tab.open(&browser.url(host, "/yard/page"));
        tab.shows(&format!("to continue to {title}"));
        assert_eq!(tab.title(), format!("Sign in – {title}"));
        assert_eq!(tab.run(picture).as_u64() > Some(0), host != "localhost", "the browser could show it");
        tab.picture(&format!("look-{name}-login"));
        tab.sign_in(BOB);
        tab.shows("a page of the application");
        tab.open(&browser.url(host, "/admin"));
        tab.shows("This page is not open to you");
        tab.shows("If you ask for help, mention request ");
        tab.picture(&format!("look-{name}-403"));
        tab.open(&browser.url(host, "/.vestibule/nothing"));
        tab.picture(&format!("look-{name}-404"));
        tab.open(&browser.url(host, "/.vestibule/sessions"));
        tab.picture(&format!("look-{name}-sessions"));
        tab.open(&browser.url(host, "/.vestibule/logout"));
        tab.picture(&format!("look-{name}-logout"));
        tab.press("Sign out");
        tab.shows("You are signed out");
        tab.picture(&format!("look-{name}-signed-out"));
    }
    // And a PNG.
    std::fs::write(gateway.folder.path().join("acme.svg"), STANDARD.decode(PIXEL).expect("base64")).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
    tab.open(&browser.url("acme.test", "/.vestibule/login"));
    assert_eq!(tab.run(picture), 1, "the browser could show it");
}
