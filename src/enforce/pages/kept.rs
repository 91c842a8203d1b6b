//! The page that lists what is kept of what somebody has sent.

use askama::Template;

use super::look::Look;
use super::{Rendered, STYLE, finished};

/// A form that is kept, in words for its person.
#[derive(Debug, Clone)]
pub struct KeptRow {
    /// Its name, which is what the button sends.
    pub id: String,
    /// Where it is shown: a path of our own origin.
    pub page: String,
    /// The path that it goes to.
    pub path: String,
    /// How long ago it was sent.
    pub sent_ago: String,
    /// When that was, for machines.
    pub sent_at: String,
    /// How much longer it is kept.
    pub left: String,
    /// How large it is.
    pub size: String,
}

/// All of them, each with a link and a button. It posts `token`, and `discard`, a name.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/kept.html" %}"#, ext = "html")]
pub struct KeptPage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// Where the form is sent: the page's own path.
    pub action: &'a str,
    /// What ties it to the session that it is shown to.
    pub token: &'a str,
    /// What is kept, the oldest first.
    pub rows: &'a [KeptRow],
    /// How long anything is kept.
    pub keep: &'a str,
}

impl KeptPage<'_> {
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

    fn page(text: &str, count: usize) -> String {
        let row = KeptRow {
            id: text.to_owned(),
            page: text.to_owned(),
            path: text.to_owned(),
            sent_ago: text.to_owned(),
            sent_at: text.to_owned(),
            left: text.to_owned(),
            size: text.to_owned(),
        };
        let look = &Look::new(&LookSettings { title: text.into(), note: text.into(), ..LookSettings::default() });
        KeptPage { look, action: text, token: text, rows: &vec![row; count], keep: text }.render().text
    }

    #[test]
    fn hostile_values_add_no_elements_and_no_attributes() {
        for count in [0, 2] {
            let (quiet, hostile) = (page("x", count).replace(STYLE, ""), page(HOSTILE, count).replace(STYLE, ""));
            for mark in ["<", ">", "\"", "'"] {
                assert_eq!(quiet.matches(mark).count(), hostile.matches(mark).count(), "{mark} in {hostile}");
            }
            assert!(hostile.contains("&#60;script&#62;") && !hostile.contains("<script"));
        }
    }

    #[test]
    fn each_has_a_link_and_a_button_and_nothing_sends_anything() {
        let page = page("x", 3).replace(STYLE, "");
        assert_eq!((page.matches("<form method=\"post\"").count(), page.matches("name=\"discard\"").count()), (1, 3));
        assert_eq!((page.matches(">Show it</a>").count(), page.matches("<button ").count()), (3, 3));
        for word in ["<script", " style=", "javascript:", " onclick", "<img", "<link", " src="] {
            assert!(!page.contains(word), "{word} in {page}");
        }
    }
}
