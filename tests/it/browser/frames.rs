//! Applications of old have frames. What of ours is shown in one, and how its person gets out of it.

use super::super::harness::{ALICE, Gateway, Setup};
use super::{Browser, Tab};

/// Longer than a session may be idle.
const LUNCH: u64 = 30 * 60 + 1;

/// Opens a page with a frame in it, and lets the session run out in which that was.
fn late<'a>(gateway: &Gateway, browser: &'a Browser, page: &str) -> Tab<'a> {
    let tab = browser.tab();
    tab.open(page);
    tab.sign_in(ALICE);
    tab.in_frame(|tab| tab.shows("a page of the application"));
    gateway.advance(LUNCH);
    gateway.application.forget();
    tab
}

#[test]
fn a_link_in_a_frame_that_meets_an_ended_session_leads_out_of_it() {
    for page in ["/orders/frames", "/orders/frameset"] {
        let gateway = Setup::new().start();
        let browser = Browser::start(&gateway);
        let tab = late(&gateway, &browser, page);
        tab.in_frame(|tab| {
            tab.press("another one");
            tab.shows("You were signed out because nothing happened for a while.");
        });
        tab.in_frame(|tab| tab.press("Sign in"));
        // It is the whole window that is somewhere else now.
        tab.sign_in(ALICE);
        tab.is_at("/orders/here");
        tab.shows("hello from the application");
    }
}

#[test]
fn a_form_in_a_frame_that_meets_an_ended_session_is_sent_in_the_end() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tab = late(&gateway, &browser, "/orders/frames");
    tab.in_frame(|tab| {
        tab.fill("note", "from a frame");
        tab.press("Send with a file");
        tab.shows("What you sent is kept for you.");
    });
    gateway.application.assert_untouched();
    tab.in_frame(|tab| tab.press("Sign in"));
    tab.sign_in(ALICE);
    tab.shows("Send this now?");
    tab.shows("from a frame");
    tab.press("Decide later");
    tab.open("/.vestibule/sessions");
    tab.press("See what is kept of what you sent");
    tab.shows("/orders/upload");
    tab.picture("kept-list");
    tab.press("Show it");
    tab.press("Send it now");
    tab.shows("hello from the application");
    let posts: Vec<_> = gateway.application.received().into_iter().filter(|request| request.method == "POST").collect();
    assert_eq!((posts.len(), posts[0].uri.path()), (1, "/orders/upload"));
    tab.open("/.vestibule/parked");
    tab.shows("Nothing is kept that you sent from this browser.");
    tab.picture("kept-list-empty");
}

#[test]
fn a_page_around_a_frame_that_was_opened_too_late_is_where_its_person_is_led_back_to() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/around\"\nupstream = \"app\"\naccess = \"public\"\n";
    setup.routes += "[[route]]\npath = \"/around/page\"\nupstream = \"app\"\n";
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/around/frames");
    tab.in_frame(|tab| {
        tab.shows("Please sign in");
        tab.press("Sign in");
    });
    tab.sign_in(ALICE);
    tab.is_at("/around/frames");
    tab.in_frame(|tab| tab.shows("a page of the application"));
}

#[test]
fn a_refusal_in_a_frame_is_one_that_can_be_read() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/orders/page\"\nupstream = \"app\"\nroles = [\"nobody-has-this\"]\n";
    let gateway = setup.start();
    let browser = Browser::start(&gateway);
    let tab = browser.tab();
    tab.open("/orders/frames");
    tab.sign_in(ALICE);
    tab.in_frame(|tab| {
        tab.shows("This page is not open to you");
        tab.press("Sign out");
    });
    tab.shows("Sign out?");
    tab.is_at("/.vestibule/logout");
}

#[test]
fn a_menu_in_a_frame_leads_to_our_page_in_the_whole_window_and_signing_out_in_it_is_said_there() {
    for page in ["/orders/frames", "/orders/frameset"] {
        let gateway = Setup::new().start();
        let browser = Browser::start(&gateway);
        let tab = browser.tab();
        tab.open(page);
        tab.sign_in(ALICE);
        tab.in_frame(|tab| {
            tab.press("Leave");
            tab.shows("This page opens in the whole window");
            tab.press("Open it");
        });
        tab.shows("Sign out?");
        tab.is_at("/.vestibule/logout");
        tab.open(page);
        tab.in_frame(|tab| {
            tab.press("Leave at once");
            tab.shows("You are signed out");
            tab.press("Sign in again");
        });
        tab.shows("Password");
        tab.is_at("/.vestibule/login");
    }
}

#[test]
fn a_second_tab_goes_on_without_the_password() {
    let gateway = Setup::new().start();
    let browser = Browser::start(&gateway);
    let tabs = [browser.tab(), browser.new_tab()];
    tabs[0].open("/orders/page");
    tabs[0].sign_in(ALICE);
    tabs[0].shows("a page of the application");
    tabs[1].open("/yard/page");
    tabs[1].shows("a page of the application");
    gateway.advance(LUNCH);
    for (tab, note) in tabs.iter().zip(["the first", "the second"]) {
        tab.fill("note", note);
        tab.press("Send with a file");
        tab.shows("What you sent is kept for you.");
        gateway.advance(1);
    }
    tabs[0].sign_in(ALICE);
    tabs[0].shows("the first");
    tabs[1].press("Signed in in another tab? Go on");
    tabs[1].shows("Send this now?");
    tabs[1].shows("the second");
}
