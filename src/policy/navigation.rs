//! Whether a person is going somewhere, and in what: what somebody is answered who must sign in for it.
//!
//! A browser says it itself (Fetch Metadata). One that does not, because it is too old, or since what it says is dropped on
//! the way, and none says it on a page that came without TLS, is known by what it asks for: pages want HTML, and so do
//! forms, of which a script's differ in that it says so (`X-Requested-With`) or takes anything.

use http::{HeaderMap, HeaderValue, Method, header};

use crate::policy::facts::{Facts, wants_html};
use crate::policy::origin::{self, Source};

/// Where a person is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Navigation {
    /// Nowhere: a script or a program asks, or nobody knows who.
    None,
    /// To a page in a window, which can be led to another.
    Window,
    /// To a page in a frame of a page of the same origin. Our own pages are never shown in one, so it leads nowhere; but
    /// a person looks at it.
    Frame,
}

impl Navigation {
    /// What a request says.
    ///
    /// A form without Fetch Metadata is one only where it says that it is from a page of the same origin: what would be
    /// kept of it is asked the same.
    pub fn of(facts: &Facts<'_>) -> Self {
        let headers = facts.headers;
        if let Some(said) = Self::said(headers) {
            return said;
        }
        let is_form =
            || *facts.method == Method::POST && FormKind::of(headers).is_some() && origin::source(facts) == Source::Own;
        if wants_page(headers) && (*facts.method == Method::GET || is_form()) { Self::Window } else { Self::None }
    }

    /// The same for one of our own pages. Who says nothing of it may be there, also a program; but whatever a script calls
    /// itself, under an application's origin our pages are for people who go there.
    pub fn to_own_page(headers: &HeaderMap) -> Self {
        if headers.contains_key("x-requested-with") {
            return Self::None;
        }
        Self::said(headers).unwrap_or(Self::Window)
    }

    /// What a browser itself says (Fetch Metadata), if it does. It says both how and for what it asks: half of it leads
    /// nowhere.
    fn said(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key("sec-fetch-mode") && !headers.contains_key("sec-fetch-dest") {
            return None;
        }
        Some(match is(headers, "sec-fetch-mode", "navigate") && is(headers, "sec-fetch-dest", "document") {
            true => Self::Window,
            false if is_in_frame(headers) => Self::Frame,
            false => Self::None,
        })
    }
}

/// Whether a refusal is shown to a person: they are going somewhere, or, where nothing is said of that, a page is wanted,
/// by whatever method.
pub fn is_for_person(headers: &HeaderMap) -> bool {
    Navigation::said(headers).map_or_else(|| wants_page(headers), |said| said != Navigation::None)
}

/// Whether a page is wanted, and by no script that says that it is one.
fn wants_page(headers: &HeaderMap) -> bool {
    let by_script =
        headers.get("x-requested-with").is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest"));
    wants_html(headers) && !by_script
}

/// Whether a page is asked for in a frame (also of a frameset) that a page of the same origin has. What is framed by
/// another site is that site's affair: a page of ours could be made to seem a part of it. Nor what is embedded as an
/// object: there, a browser shows something else in place of a refusal.
pub fn is_in_frame(headers: &HeaderMap) -> bool {
    let says = |name, values: [&str; 2]| values.iter().any(|value| is(headers, name, value));
    is(headers, "sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", ["iframe", "frame"])
        && says("sec-fetch-site", ["same-origin", "none"])
}

/// Whether what fills a frame was asked for by the page around it, and not by somebody who followed a link in it: what they
/// do themselves, browsers say.
pub fn is_by_page_around(headers: &HeaderMap) -> bool {
    is_in_frame(headers) && !headers.contains_key("sec-fetch-user")
}

/// In which of the three ways that browsers know a form is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormKind {
    /// Pairs of names and values, as in a query: what a form is that says nothing else.
    Urlencoded,
    /// In parts, with files.
    Multipart,
    /// Lines of text, which nobody can read for certain.
    Text,
}

impl FormKind {
    /// What a request says of its content, if that is a form.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::named(headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes))
    }

    /// The kind of this name, whatever parameters follow it.
    pub fn named(content_type: &[u8]) -> Option<Self> {
        let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |kind: &[u8]| name.eq_ignore_ascii_case(kind);
        if is(b"application/x-www-form-urlencoded") {
            Some(Self::Urlencoded)
        } else if is(b"multipart/form-data") {
            Some(Self::Multipart)
        } else if is(b"text/plain") {
            Some(Self::Text)
        } else {
            None
        }
    }
}

fn is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes())
}
