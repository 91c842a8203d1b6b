//! The gateway's own HTML pages: sign in, sign out, and one page for everything that went wrong.
//!
//! They hold no script and fetch nothing: one style sheet, inlined, and allowed by its hash in the page's policy. Every
//! value is escaped by its template (askama escapes in files that end in `.html`); the only exceptions are the style sheet
//! and a logo in base64, which are made here. Deliberately absent: `style` attributes, pictures from elsewhere, web fonts.
//!
//! All have one frame, `layout.html`, which shows whose they are ([`look`]).
//!
//! The templates lie beside this file. Each type names its own in a one-line `source`, so that no `templates/` folder
//! and no `askama.toml` is needed at the top; cargo runs the compiler in the package's folder, where the path begins.

pub mod color;
mod kept;
pub mod logo;
pub mod look;
mod parked;
mod sessions;

use askama::Template;
use http::HeaderValue;

pub use kept::{KeptPage, KeptRow};
use look::Look;
pub use parked::{Field, ParkedPage, Shown};
pub use sessions::{ChoicePage, SessionRow, SessionsPage};

/// The style sheet of every page. It goes between `<style>` and `</style>` byte for byte: the policy names its hash.
const STYLE: &str = include_str!("pages/style.css");

/// What the reader gets should a template fail, which only a formatter without memory could cause. It holds no value
/// of anybody's, so that nothing needs escaping.
const FALLBACK: &str = "This page could not be shown. Please go back and try again.";

/// A page as it is sent.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The whole page.
    pub text: String,
    /// What it may do, and nothing else: the value of `Content-Security-Policy`.
    pub policy: HeaderValue,
}

/// Whether somebody wants to be remembered, as it is asked on the sign-in form.
#[derive(Debug, Clone, Copy)]
pub struct RememberChoice<'a> {
    /// What the box shows.
    pub is_ticked: bool,
    /// For how long at the most, in words.
    pub span: &'a str,
    /// Whether there are people who are not remembered although they ask for it.
    pub may_be_refused: bool,
}

/// The sign-in form. It posts `username`, `password` and `attempt`, and `remember` where that is offered.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/login.html" %}"#, ext = "html")]
pub struct LoginPage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// Where the form is sent: a path of our own origin.
    pub action: &'a str,
    /// The sealed login attempt, sent back in a hidden field.
    pub attempt: &'a str,
    /// The user name to begin with; empty for none. The cursor then waits in the password field.
    pub username: &'a str,
    /// Whether they want to be remembered, where that is offered.
    pub remember: Option<RememberChoice<'a>>,
    /// What went wrong with the last try, read out by screen readers.
    pub message: Option<&'a str>,
    /// Why the person is here, such as the end of their last session. Not an error.
    pub notice: Option<&'a str>,
    /// Where they go on who have signed in in another tab meanwhile: a path of our own origin.
    pub go_on: Option<&'a str>,
}

impl LoginPage<'_> {
    /// The whole page.
    pub fn render(&self) -> Rendered {
        finished(self.look, Template::render(self))
    }
}

/// The question before signing out. Only its button, a POST, ends anything.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/logout.html" %}"#, ext = "html")]
pub struct LogoutPage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// Who is signed in. May be empty.
    pub username: &'a str,
    /// Where the form is sent: a path of our own origin.
    pub action: &'a str,
    /// Where the person's other sessions are: a path of our own origin. Empty for none.
    pub sessions: &'a str,
}

impl LogoutPage<'_> {
    /// The whole page.
    pub fn render(&self) -> Rendered {
        finished(self.look, Template::render(self))
    }
}

/// A page that says one thing: what happened, and what the reader can do. [`MessagePage::for_status`] and
/// [`MessagePage::signed_out`] hold the usual words; any of them can be replaced with `..` syntax.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/message.html" %}"#, ext = "html")]
pub struct MessagePage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// The HTTP status it is sent with. From 400 on the page counts as an error and shows the number.
    pub status: u16,
    /// The heading, and the title of the window.
    pub title: &'a str,
    /// What happened. May be empty.
    pub message: &'a str,
    /// What the reader can do about it. May be empty.
    pub advice: &'a str,
    /// A way on: the words on the button and the address behind it. An address that is neither a path of our own
    /// origin nor `http(s)` is not shown.
    pub action: Option<(&'a str, &'a str)>,
    /// What to mention when asking for help; shown on errors only.
    pub request_id: Option<&'a str>,
}

impl<'a> MessagePage<'a> {
    /// The usual words for an error status; those without words of their own get the general ones of 400 or 500.
    pub const fn for_status(look: &'a Look, status: u16) -> Self {
        let (title, message, advice) = words(status);
        Self { look, status, title, message, advice, action: None, request_id: None }
    }

    /// The page after signing out, with a button to sign in again at `login`.
    pub const fn signed_out(look: &'a Look, login: &'a str) -> Self {
        Self {
            look,
            status: 200,
            title: "You are signed out",
            message: "Your session has ended on this device.",
            advice: "If other people use this computer too, close the browser window as well.",
            action: Some(("Sign in again", login)),
            request_id: None,
        }
    }

    /// The whole page.
    pub fn render(&self) -> Rendered {
        finished(self.look, Template::render(self))
    }

    const fn is_error(&self) -> bool {
        self.status >= 400
    }

    /// The action, if its address is one that a link of ours may lead to: no `javascript:`, and no `//host` that only
    /// looks like a path, also not with a tab or line break in it, which browsers drop.
    fn link(&self) -> Option<(&'a str, &'a str)> {
        self.action.filter(|(_, url)| match url.strip_prefix('/') {
            _ if url.contains(char::is_control) => false,
            Some(rest) => !rest.starts_with(['/', '\\']),
            None => url.starts_with("https://") || url.starts_with("http://"),
        })
    }
}

/// Title, message and advice for a status.
pub(super) const fn words(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        403 => (
            "This page is not open to you",
            "Your account is not allowed to see this page or to do this here.",
            "If you think it should be, ask the person who looks after this application.",
        ),
        404 => (
            "There is no page here",
            "The address you opened does not lead to anything.",
            "Check it for typing mistakes, or start again from the front page.",
        ),
        408 => (
            "This took too long",
            "What your browser was sending came too slowly, so it was not carried out.",
            "Check your connection, then go back and send it again.",
        ),
        421 => (
            "This address is not served here",
            "Your browser asked this server for a site that it does not have.",
            "Close this tab and open the address again. If that does not help, check that the address is right.",
        ),
        429 => (
            "One moment, please",
            "Many requests came from you in a short time, so this one was not carried out.",
            "Wait a moment, then try again.",
        ),
        502 => (
            "The application gave no proper answer",
            "The sign-in service works, but the application behind it could not be reached or answered badly.",
            "Try again in a few minutes. If you were saving something, check first whether it was saved.",
        ),
        503 => (
            "Not available just now",
            "This service cannot take your request at the moment.",
            "Try again in a few minutes. There is nothing you need to change on your side.",
        ),
        504 => (
            "The application took too long",
            "Your request was passed on, but no answer came back in time.",
            "Try again in a few minutes. If you were saving something, check first whether it was saved.",
        ),
        500.. => (
            "Something went wrong here",
            "This request could not be finished. The fault is on our side, not yours.",
            "Try again in a moment. If it keeps happening, tell the person who looks after this application.",
        ),
        _ => (
            "This request could not be understood",
            "Your browser sent something that does not make sense here.",
            "Go back and try again. If you followed a link, part of it may be missing.",
        ),
    }
}

fn finished(look: &Look, page: askama::Result<String>) -> Rendered {
    Rendered { text: page.unwrap_or_else(|_| FALLBACK.to_owned()), policy: look.policy.clone() }
}

#[cfg(test)]
mod tests;
