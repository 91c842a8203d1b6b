//! What people see and what their browsers do: a real one in front of the gateway. What the tests' own client shows is
//! not shown again; here is what depends on a browser: its rules for cookies, its tabs, its memory of pages, its eyes.
//!
//! Where a test takes a picture, it is in `target/screenshots` afterwards, for somebody to look at.

mod cookies;
mod driver;
mod frames;
mod going_back;
mod kept;
mod levels;
mod locked;
mod looks;
mod origins;
mod remembered;
mod seats;
mod session_api;
mod signing_in;
mod sockets;
mod tabs;
mod tenants;

pub use driver::{Browser, Tab};

/// The cookie of a session.
const SESSION: &str = "__Host-session";

/// What a page of the application says.
const PAGE: &str = "a page of the application";

/// How long a session may be idle, in seconds: the default.
const IDLE: u64 = 30 * 60;

/// Opens a page of the application in the first tab of a browser, signs in as it asks for, and sees it.
fn signed_in<'a>(browser: &'a Browser, target: &str, who: (&str, &str)) -> Tab<'a> {
    let tab = browser.tab();
    tab.open(target);
    tab.sign_in(who);
    tab.shows(PAGE);
    tab
}

/// Opens one in another tab of a browser in which somebody is signed in.
fn in_new_tab<'a>(browser: &'a Browser, target: &str) -> Tab<'a> {
    let tab = browser.new_tab();
    tab.open(target);
    tab.shows(PAGE);
    tab
}

/// Signs out as people do: by the page that asks whether they want to.
fn sign_out(tab: &Tab<'_>) {
    sign_out_at(tab, "");
}

/// The same at a host of its own: `https://` and so on.
fn sign_out_at(tab: &Tab<'_>, host: &str) {
    tab.open(&format!("{host}/.vestibule/logout"));
    tab.press("Sign out");
    tab.shows("You are signed out");
}
