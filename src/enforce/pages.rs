//! The gateway's own HTML pages: sign in, sign out, and one page for everything that went wrong.
//!
//! They hold no script and fetch nothing: one style sheet, inlined, and allowed by its hash in the page's
//! [`content_security_policy`]. Every value is escaped by its template (askama escapes in files that end in `.html`);
//! the only exception is the style sheet, which is ours. Deliberately absent: `style` attributes, images, web fonts.
//!
//! The templates lie beside this file. Each type names its own in a one-line `source`, so that no `templates/` folder
//! and no `askama.toml` is needed at the top; cargo runs the compiler in the package's folder, where the path begins.

mod kept;
mod parked;
mod sessions;

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub use kept::{KeptPage, KeptRow};
pub use parked::{Field, ParkedPage, Shown, let_forms_lead_on};
pub use sessions::{ChoicePage, SessionRow, SessionsPage};

/// The style sheet of every page. It goes between `<style>` and `</style>` byte for byte: the policy names its hash.
const STYLE: &str = include_str!("pages/style.css");

/// What the reader gets should a template fail, which only a formatter without memory could cause. It holds no value
/// of anybody's, so that nothing needs escaping.
const FALLBACK: &str = "This page could not be shown. Please go back and try again.";

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
});

/// The value of `Content-Security-Policy` for every page of this module.
///
/// Nothing may load or run but our one style sheet, forms go to our own origin only (some browsers apply that to the
/// redirect after a form as well), and nobody may frame the page.
pub fn content_security_policy() -> &'static str {
    &POLICY
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
    /// The name of the application behind the gateway, as its people know it. May be empty.
    pub title: &'a str,
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
    pub fn render(&self) -> String {
        finished(Template::render(self))
    }
}

/// The question before signing out. Only its button, a POST, ends anything.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/logout.html" %}"#, ext = "html")]
pub struct LogoutPage<'a> {
    /// Who is signed in. May be empty.
    pub username: &'a str,
    /// Where the form is sent: a path of our own origin.
    pub action: &'a str,
    /// Where the person's other sessions are: a path of our own origin. Empty for none.
    pub sessions: &'a str,
}

impl LogoutPage<'_> {
    /// The whole page.
    pub fn render(&self) -> String {
        finished(Template::render(self))
    }
}

/// A page that says one thing: what happened, and what the reader can do. [`MessagePage::for_status`] and
/// [`MessagePage::signed_out`] hold the usual words; any of them can be replaced with `..` syntax.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/message.html" %}"#, ext = "html")]
pub struct MessagePage<'a> {
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
    pub const fn for_status(status: u16) -> Self {
        let (title, message, advice) = words(status);
        Self { status, title, message, advice, action: None, request_id: None }
    }

    /// The page after signing out, with a button to sign in again at `login`.
    pub const fn signed_out(login: &'a str) -> Self {
        Self {
            status: 200,
            title: "You are signed out",
            message: "Your session has ended on this device.",
            advice: "If other people use this computer too, close the browser window as well.",
            action: Some(("Sign in again", login)),
            request_id: None,
        }
    }

    /// The whole page.
    pub fn render(&self) -> String {
        finished(Template::render(self))
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
const fn words(status: u16) -> (&'static str, &'static str, &'static str) {
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

fn finished(page: askama::Result<String>) -> String {
    page.unwrap_or_else(|_| FALLBACK.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks out of attributes and elements, closes a title, turns the line around, and is not all ASCII.
    const HOSTILE: &str = "\"><script>alert(1)</script>'onx=' </title></style>\u{202e}\u{2066}&lt;é";

    const LOGIN: LoginPage<'_> = LoginPage {
        title: "Payroll",
        action: "/p/login",
        attempt: "a1",
        username: "",
        remember: None,
        message: None,
        notice: None,
        go_on: None,
    };

    fn hostile_pages() -> [String; 3] {
        [
            LoginPage {
                title: HOSTILE,
                action: HOSTILE,
                attempt: HOSTILE,
                username: HOSTILE,
                remember: Some(RememberChoice { is_ticked: true, span: HOSTILE, may_be_refused: true }),
                message: Some(HOSTILE),
                notice: Some(HOSTILE),
                go_on: Some(HOSTILE),
            }
            .render(),
            LogoutPage { username: HOSTILE, action: HOSTILE, sessions: HOSTILE }.render(),
            MessagePage {
                status: 500,
                title: HOSTILE,
                message: HOSTILE,
                advice: HOSTILE,
                action: Some((HOSTILE, &format!("/{HOSTILE}"))),
                request_id: Some(HOSTILE),
            }
            .render(),
        ]
    }

    fn all_pages() -> Vec<String> {
        let mut pages = vec![
            LOGIN.render(),
            LogoutPage { username: "ada", action: "/p/logout", sessions: "/p/sessions" }.render(),
            MessagePage::signed_out("/p/login").render(),
        ];
        let statuses = [400, 401, 403, 404, 421, 429, 500, 502, 503, 504, 599];
        pages.extend(statuses.map(|status| MessagePage::for_status(status).render()));
        pages.extend(hostile_pages());
        pages
    }

    /// The page without its style sheet, which may hold words that the tests look for.
    fn without_style(page: &str) -> String {
        assert_eq!(page.matches(STYLE).count(), 1, "the style sheet is there once, as it is");
        page.replace(STYLE, "")
    }

    #[test]
    fn every_value_is_escaped() {
        for page in hostile_pages() {
            let page = without_style(&page);
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("\">'") && !page.contains("'onx"), "{page}");
            assert_eq!(page.matches("</title>").count(), 1, "{page}");
            assert_eq!(page.matches("</style>").count(), 1, "{page}");
            assert!(page.contains("&#60;script&#62;") && page.contains("&#38;lt;é"), "{page}");
        }
    }

    #[test]
    fn hostile_values_add_no_elements_and_no_attributes() {
        let quiet = LoginPage {
            title: "x",
            username: "x",
            remember: Some(RememberChoice { is_ticked: true, span: "x", may_be_refused: true }),
            message: Some("x"),
            notice: Some("x"),
            go_on: Some("x"),
            ..LOGIN
        }
        .render();
        let [hostile, ..] = hostile_pages();
        for mark in ["<", ">", "\"", "'"] {
            let (quiet, hostile) = (without_style(&quiet), without_style(&hostile));
            assert_eq!(quiet.matches(mark).count(), hostile.matches(mark).count(), "{mark}");
        }
    }

    #[test]
    fn names_that_turn_the_line_around_are_isolated() {
        let page = LogoutPage { username: "\u{202e}ada", action: "/p", sessions: "" }.render();
        assert!(page.contains("<bdi>\u{202e}ada</bdi>"), "{page}");
    }

    #[test]
    fn policy_names_the_hash_of_the_inlined_bytes() {
        for page in all_pages() {
            let inlined = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
            let inlined = inlined.unwrap_or_default();
            assert!(!inlined.is_empty());
            let hash = STANDARD.encode(Sha256::digest(inlined.as_bytes()));
            assert!(content_security_policy().contains(&format!("style-src 'sha256-{hash}';")));
        }
        assert_eq!(
            content_security_policy().split("; ").map(|d| d.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(),
            ["default-src", "style-src", "form-action", "frame-ancestors", "base-uri"]
        );
    }

    /// Browsers read CR LF as LF before they hash: a checkout that adds CRs would lose the style.
    #[test]
    fn style_sheet_survives_the_parser() {
        assert!(!STYLE.contains('\r') && !STYLE.contains('\0') && !STYLE.contains("</") && !STYLE.contains("<!--"));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn no_scripts_no_inline_styles_nothing_from_outside() {
        for page in all_pages() {
            let page = without_style(&page);
            for word in ["<script", " style=", "javascript:", " onload", " onclick", "<img", "<link", " src="] {
                assert!(!page.contains(word), "{word} in {page}");
            }
        }
    }

    #[test]
    fn pages_have_language_title_and_landmark() {
        for page in all_pages() {
            for part in ["<!doctype html>", "<html lang=\"en\">", "<main>", "<h1>", "name=\"viewport\""] {
                assert_eq!(page.matches(part).count(), 1, "{part}");
            }
            assert!(!page.contains("<title></title>"));
        }
    }

    #[test]
    fn login_form_has_its_fields() {
        let page = LoginPage { username: "ada", ..LOGIN }.render();
        assert!(page.contains("<title>Sign in – Payroll</title>"));
        assert!(page.contains("<form method=\"post\" action=\"/p/login\">"));
        assert!(page.contains("<input type=\"hidden\" name=\"attempt\" value=\"a1\">"));
        for part in ["for=\"username\"", "name=\"username\"", "value=\"ada\"", "autocomplete=\"username\""] {
            assert!(page.contains(part), "{part}");
        }
        for part in ["for=\"password\"", "name=\"password\"", "autocomplete=\"current-password\""] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("autocapitalize=\"none\"").count(), 2);
        assert_eq!(page.matches("spellcheck=\"false\"").count(), 2);
        assert_eq!(page.matches(" autofocus").count(), 1);
        assert!(!page.contains("role=\"alert\"") && !page.contains("role=\"status\""));
    }

    #[test]
    fn to_be_remembered_is_asked_where_it_is_offered() {
        assert!(!LOGIN.render().contains("remember"));
        let asked = |is_ticked, may_be_refused| {
            let remember = Some(RememberChoice { is_ticked, span: "30 days", may_be_refused });
            LoginPage { remember, ..LOGIN }.render()
        };
        let (page, ticked) = (asked(false, false), asked(true, true));
        assert!(
            page.contains("<input id=\"remember\" name=\"remember\" type=\"checkbox\" value=\"1\" aria-"),
            "{page}"
        );
        assert!(page.contains("<label for=\"remember\">") && page.contains("For up to 30 days. "), "{page}");
        assert!(page.contains("<input type=\"hidden\" name=\"remember_offered\" value=\"1\">"));
        assert!(
            ticked.contains("value=\"1\" checked aria-") && ticked.contains("30 days, if your account allows it. ")
        );
    }

    #[test]
    fn login_problem_is_announced_and_tied_to_the_fields() {
        let page = LoginPage { message: Some("No."), notice: Some("Ended."), ..LOGIN }.render();
        assert!(page.contains("<title>Problem – Sign in – Payroll</title>"));
        assert!(page.contains("role=\"alert\" id=\"problem\">No.</p>"));
        assert!(page.contains("role=\"status\">Ended.</p>"));
        assert_eq!(page.matches("aria-describedby=\"problem\"").count(), 2);
    }

    #[test]
    fn logout_is_a_post() {
        let page = LogoutPage { username: "ada", action: "/p/logout", sessions: "/p/sessions" }.render();
        assert!(page.contains("<form method=\"post\" action=\"/p/logout\">"));
        assert!(page.contains("<bdi>ada</bdi>") && page.contains("href=\"/\""));
        assert!(!page.contains("href=\"/p/logout\""));
    }

    #[test]
    fn message_page_says_what_and_what_now() {
        let usual = MessagePage::for_status(503);
        let html = MessagePage { request_id: Some("r-7"), action: Some(("Go back", "/")), ..usual }.render();
        assert!(html.contains("<title>Not available just now</title>") && html.contains("role=\"alert\""));
        assert!(html.contains("Error 503") && html.contains("r-7"));
        assert!(html.contains("<a class=\"button\" href=\"/\" target=\"_top\">Go back</a>"));

        let calm = MessagePage::signed_out("/p/login").render();
        assert!(!calm.contains("Error") && !calm.contains("role=\"alert\"") && calm.contains("href=\"/p/login\""));
    }

    #[test]
    fn odd_links_are_left_out() {
        let shown = |url| MessagePage { action: Some(("Go", url)), ..MessagePage::for_status(404) }.link().is_some();
        for url in ["/", "/a//b", "https://a.example/", "http://a.example/"] {
            assert!(shown(url), "{url}");
        }
        for url in ["", " /", "evil", "data:,x", "javascript:alert(1)", "//evil.example", "/\\evil", "/\t/evil"] {
            assert!(!shown(url), "{url}");
        }
    }
}
