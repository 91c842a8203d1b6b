//! A route that opens some time after signing in, as the person sees it who is too early or was away.

use super::super::harness::{ALICE, Setup};
use super::{Browser, PAGE, signed_in};

#[test]
fn who_is_too_early_is_told_how_long_to_wait_and_gets_in_then() {
    let levels = "[[session.level]]\nname = \"known\"\nafter = \"5m\"\nidle = \"10m\"";
    let mut setup = Setup::new().extra(levels);
    setup.routes += "[[route]]\npath = \"/vault\"\nupstream = \"app\"\nlevel = \"known\"\n";
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = signed_in(&browser, "/page", ALICE);
    gateway.application.forget();
    tab.open("/vault/page");
    tab.shows("Not open to you yet");
    tab.shows("Wait 5 minutes, then try again.");
    tab.picture("403-too-new");
    gateway.advance(4 * 60);
    tab.reload();
    tab.shows("Wait a minute, then try again.");
    gateway.application.assert_untouched();
    gateway.advance(60);
    tab.reload();
    tab.shows(PAGE);
    assert_eq!(gateway.application.last().header("x-session-level"), Some("known"));
    gateway.advance(10 * 60);
    gateway.application.forget();
    tab.press("another one");
    tab.shows("Not open to you any more");
    tab.shows("Sign out, and sign in again. It opens 5 minutes after that.");
    tab.picture("403-level-lost");
    gateway.application.assert_untouched();
    tab.open("/page");
    tab.shows(PAGE);
}
