//! The page that shows what was kept of somebody's form, and asks what is to become of it.

use askama::Template;

use super::look::Look;
use super::{Rendered, STYLE, finished};

/// A field as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Shown,
}

/// What is shown of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The value, or its beginning and how many characters follow.
    Text(String, usize),
    /// That it is there: it is a secret.
    Hidden,
    /// That it is a file, with its name and size.
    File(String, String),
    /// That there is nothing in it.
    Empty,
}

/// What was kept, and two buttons. It posts `token`, and `do`, which is `send` or `discard`.
#[derive(Debug, Clone, Template)]
#[template(source = r#"{% extends "src/enforce/pages/parked.html" %}"#, ext = "html")]
pub struct ParkedPage<'a> {
    /// Whose it is.
    pub look: &'a Look,
    /// Where the answer is sent: the page's own path.
    pub action: &'a str,
    /// Where it is sent to be passed on to the application: a path of our own origin.
    pub sending_to: &'a str,
    /// What ties it to the session that it is shown to.
    pub token: &'a str,
    /// The host that it goes to.
    pub host: &'a str,
    /// The path that it goes to.
    pub path: &'a str,
    /// How long ago it was sent.
    pub sent_ago: &'a str,
    /// When that was, for machines.
    pub sent_at: &'a str,
    /// How much longer it is kept.
    pub left: &'a str,
    /// What is in it; nothing when it cannot be read.
    pub fields: &'a [Field],
    /// How many fields more there are.
    pub left_out: usize,
    /// How large it is.
    pub size: &'a str,
    /// The page that it was sent from.
    pub back: &'a str,
}

impl ParkedPage<'_> {
    /// The whole page. What answers its form may lead to other sites, as an application may that has taken an order: some
    /// browsers apply the policy of the page to the redirect, too.
    pub fn render(&self) -> Rendered {
        let page = finished(self.look, Template::render(self));
        Rendered { policy: self.look.leading_on.clone(), ..page }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::pages::look::LookSettings;

    const HOSTILE: &str = "\"><script>alert(1)</script>'onx=' </dd></title></style>\u{202e}&lt;";

    fn page(text: &str) -> String {
        let fields = [
            Field { name: text.to_owned(), value: Shown::Text(text.to_owned(), 3) },
            Field { name: text.to_owned(), value: Shown::File(text.to_owned(), "1 KiB".to_owned()) },
            Field { name: text.to_owned(), value: Shown::Hidden },
            Field { name: text.to_owned(), value: Shown::Empty },
        ];
        let look = Look::new(&LookSettings { title: text.into(), note: text.into(), ..LookSettings::default() });
        let page = ParkedPage {
            look: &look,
            action: text,
            sending_to: text,
            token: text,
            host: text,
            path: text,
            sent_ago: "3 minutes",
            sent_at: "2026-01-01T00:00:00.000Z",
            left: "12 minutes",
            fields: &fields,
            left_out: 7,
            size: "2 KiB",
            back: text,
        };
        page.render().text
    }

    #[test]
    fn what_was_sent_adds_no_elements_and_no_attributes() {
        let (quiet, hostile) = (page("x").replace(STYLE, ""), page(HOSTILE).replace(STYLE, ""));
        assert!(!hostile.contains("<script") && hostile.contains("&#60;script&#62;"), "{hostile}");
        for mark in ["<", ">", "\"", "'"] {
            assert_eq!(quiet.matches(mark).count(), hostile.matches(mark).count(), "{mark}");
        }
    }

    #[test]
    fn only_its_buttons_do_anything_and_what_turns_the_line_around_is_isolated() {
        let page = page("\u{202e}x");
        assert_eq!(page.matches("<form method=\"post\"").count(), 1);
        assert_eq!(page.matches("<button ").count(), 2);
        assert!(page.contains("<bdi>\u{202e}x</bdi>") && page.contains("and 7 more"), "{page}");
        for word in ["<script", " style=", "javascript:", " onload", "<img", "<link", " src="] {
            assert!(!page.replace(STYLE, "").contains(word), "{word}");
        }
    }
}
