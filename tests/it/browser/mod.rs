//! What people see and what their browsers do: a real one in front of the gateway. What the tests' own client shows is
//! not shown again; here is what depends on a browser: its rules for cookies, its tabs, its memory of pages, its eyes.
//!
//! Where a test takes a picture, it is in `target/screenshots` afterwards, for somebody to look at.

mod cookies;
mod driver;
mod kept;
mod looks;
mod remembered;
mod seats;
mod signing_in;
mod tabs;

pub use driver::{Browser, Tab};

/// The cookie of a session.
const SESSION: &str = "__Host-session";
