//! The two pages that list a person's sessions: the one where they look, and the one where they choose which one ends.

use askama::Template;

use super::look::Look;
use super::{Rendered, STYLE, finished};

/// A session, in words for its person.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Its public name, which is what the button sends.
    pub handle: String,
    /// What it was made with: "Firefox on Linux".
    pub device: String,
    /// The network address it was made from.
    pub address: String,
    /// When its person signed in: "2 hours ago".
    pub signed_in: String,
    /// The same as a date, for programs that read the page.
    pub signed_in_at: String,
    /// When it was last used.
    pub last_used: String,
    /// The same as a date.
    pub last_used_at: String,
    /// Whether it is the one that the page was asked for with.
    pub is_this: bool,
}

/// All of a person's sessions, with a button each. It posts `end`: a handle, `others` or `all`.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/sessions.html" %}"#, ext = "html")]
pub struct SessionsPage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// Who is signed in.
    pub username: &'a str,
    /// Where the form is sent: a path of our own origin.
    pub action: &'a str,
    /// The sessions, the one of this browser first.
    pub sessions: &'a [SessionRow],
    /// How many more there are than are shown.
    pub left_out: usize,
    /// What has just happened.
    pub notice: Option<&'a str>,
    /// Where they see what is kept of what they sent: a path of our own origin. Empty when nothing is.
    pub kept: &'a str,
}

impl SessionsPage<'_> {
    /// The whole page.
    pub fn render(&self) -> Rendered {
        finished(self.look, Template::render(self))
    }

    /// Whether there is another session than this one.
    fn has_others(&self) -> bool {
        self.left_out > 0 || self.sessions.iter().any(|session| !session.is_this)
    }
}

/// The question which session ends for a new one. It posts `choice` and `end`, a handle.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/choice.html" %}"#, ext = "html")]
pub struct ChoicePage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// Where the form is sent: a path of our own origin.
    pub action: &'a str,
    /// The sealed proof that the password was right, sent back in a hidden field.
    pub choice: &'a str,
    /// How many sessions are allowed.
    pub max: usize,
    /// The sessions there are.
    pub sessions: &'a [SessionRow],
    /// How many more there are than are shown.
    pub left_out: usize,
    /// The login page, for who would rather not.
    pub back: &'a str,
}

impl ChoicePage<'_> {
    /// The whole page.
    pub fn render(&self) -> Rendered {
        finished(self.look, Template::render(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::pages::look::LookSettings;

    /// As the tests of the other pages have it.
    const HOSTILE: &str = "\"><script>alert(1)</script>'onx=' </title></style>\u{202e}\u{2066}&lt;é";

    fn row(text: &str, is_this: bool) -> SessionRow {
        let text = || text.to_owned();
        SessionRow {
            handle: text(),
            device: text(),
            address: text(),
            signed_in: text(),
            signed_in_at: text(),
            last_used: text(),
            last_used_at: text(),
            is_this,
        }
    }

    fn pages(text: &str) -> [String; 2] {
        let sessions = &[row(text, true), row(text, false)];
        let (username, action, notice) = (text, text, Some(text));
        let look = &Look::new(&LookSettings { title: text.into(), note: text.into(), ..LookSettings::default() });
        let choice = ChoicePage { look, action, choice: text, max: 3, sessions, left_out: 2, back: text };
        let page = SessionsPage { look, username, action, sessions, left_out: 2, notice, kept: text };
        [page.render().text, choice.render().text]
    }

    #[test]
    fn hostile_values_add_no_elements_and_no_attributes() {
        for (quiet, hostile) in pages("x").iter().zip(pages(HOSTILE)) {
            assert_eq!(hostile.matches(STYLE).count(), 1);
            let (quiet, hostile) = (quiet.replace(STYLE, ""), hostile.replace(STYLE, ""));
            for mark in ["<", ">", "\"", "'"] {
                assert_eq!(quiet.matches(mark).count(), hostile.matches(mark).count(), "{mark} in {hostile}");
            }
            assert!(hostile.contains("&#60;script&#62;") && !hostile.contains("<script"));
        }
    }

    #[test]
    fn pages_have_language_title_and_landmark_and_no_scripts() {
        for page in pages("x") {
            let page = page.replace(STYLE, "");
            for part in ["<!doctype html>", "<html lang=\"en\">", "<main", "<h1>", "name=\"viewport\""] {
                assert_eq!(page.matches(part).count(), 1, "{part}");
            }
            for word in ["<script", " style=", "javascript:", " onclick", "<img", "<link", " src="] {
                assert!(!page.contains(word), "{word} in {page}");
            }
        }
    }

    #[test]
    fn each_other_session_has_a_button_and_this_one_is_marked() {
        let [sessions, choice] = pages("x");
        assert_eq!((sessions.matches("This browser").count(), choice.matches("This browser").count()), (1, 0));
        assert_eq!(sessions.matches("name=\"end\" value=\"x\"").count(), 1);
        assert_eq!(choice.matches("name=\"end\" value=\"x\"").count(), 2);
        for all in ["others", "all"] {
            assert_eq!(sessions.matches(&format!("name=\"end\" value=\"{all}\"")).count(), 1);
        }
        let alone = [row("x", true)];
        let look = &Look::new(&LookSettings::default());
        let page =
            SessionsPage { look, username: "x", action: "/", sessions: &alone, left_out: 0, notice: None, kept: "" };
        let page = page.render().text;
        assert!(!page.contains("value=\"others\"") && page.contains("value=\"all\""));
    }
}
