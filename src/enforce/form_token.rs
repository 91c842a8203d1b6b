//! The synchroniser token in a form: found before the request is decided on, and taken out, so that the application sees
//! the form that it made.
//!
//! Forms of the urlencoded kind, as long as they say how long they are and that is not much. Other forms (multipart) are
//! as a rule what is uploaded: to find a field, all of it would have to be read here, so theirs comes in the header.
//!
//! An application that has the token in all its forms sends it to its other routes as well, which do not ask for it: it is
//! taken out there, too, but on public routes, where no cookie is read. Where no route asks for it, no form is read.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, header};
use http_body::Body;

use crate::base::clock::Timestamp;
use crate::base::deadline::{Deadline, Deadlines};
use crate::enforce::body::ClientBody;
use crate::enforce::form::{Unread, whole};
use crate::enforce::refusal::Refusal;
use crate::enforce::snapshot::Snapshot;
use crate::policy::check::csrf;
use crate::policy::facts::{Expectation, Facts, expectation};
use crate::policy::navigation::FormKind;
use crate::policy::origin;
use crate::policy::route_policy::{Access, RoutePolicy, TokenNames};
use crate::session::cookie::{MAX_CANDIDATES, SessionCookie};

/// The largest form that is read for its token, in bytes: as much as is gathered of any body before its application is
/// spoken to. A larger one must bring it in the header.
pub const MAX_FORM: u64 = 64 * 1024;

/// How long one may take to arrive, as on the login page.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// What was found in a form, if it was read.
#[derive(Default)]
pub struct Form {
    /// Its token, if it has one.
    token: Option<String>,
    /// How long it is without it, if it had one.
    length: Option<usize>,
}

impl Form {
    /// Its token, if it has one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Says in the head of its request how long it is now.
    pub fn say_length(&self, parts: &mut Parts) {
        if let Some(length) = self.length {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// Looks for the token in the form of a request, where it may be there, and takes it out.
///
/// # Errors
/// When the form breaks off, or comes too slowly.
pub async fn look(
    snapshot: &Snapshot,
    route: &RoutePolicy,
    cookie: &SessionCookie,
    facts: &Facts<'_>,
    body: &mut Option<ClientBody>,
    deadlines: &Rc<Deadlines>,
    now: Timestamp,
) -> Result<Form, Refusal> {
    let names = snapshot.csrf_token.as_deref();
    match names.filter(|_| is_wanted(route, cookie, facts, body.as_ref(), now)) {
        // Boxed, so that the future of an ordinary request stays small.
        Some(names) => Box::pin(read(names, body, deadlines.set(None), now)).await,
        None => Ok(Form::default()),
    }
}

/// Whether the token is to be looked for in a form: only where whoever sends it holds a cookie that was given out here, so
/// that nobody else has anything kept in memory.
fn is_wanted(
    route: &RoutePolicy,
    cookie: &SessionCookie,
    facts: &Facts<'_>,
    body: Option<&ClientBody>,
    now: Timestamp,
) -> bool {
    let body =
        body.filter(|body| !body.is_end_stream() && body.size_hint().exact().is_some_and(|length| length <= MAX_FORM));
    let headers = facts.headers;
    body.is_some()
        && route.access != Access::Public
        && origin::is_unsafe(facts.method)
        && FormKind::of(headers) == Some(FormKind::Urlencoded)
        && !headers.contains_key(header::CONTENT_ENCODING)
        // Who waits to be told to go on is told once it is decided that they may.
        && expectation(headers) == Expectation::Nothing
        && csrf::judge(facts, true).0.is_none()
        && cookie.candidates(headers).take(MAX_CANDIDATES).any(|value| cookie.open(value, now).is_some())
}

/// Reads a form and takes the token out of it.
async fn read(
    names: &TokenNames,
    body: &mut Option<ClientBody>,
    deadline: Deadline,
    now: Timestamp,
) -> Result<Form, Refusal> {
    let Some(unread) = body else { return Err(Refusal::Internal) };
    let content = whole(unread, MAX_FORM as usize, &deadline, now.plus(FORM_TIMEOUT)).await;
    let content = content.map_err(|why| match why {
        Unread::TooLarge | Unread::Broken => Refusal::BrokenUpload,
        Unread::Slow => Refusal::SlowUpload,
    })?;
    let (token, rest) = taken_out(&content, &names.field);
    let length = rest.as_ref().map(Bytes::len);
    unread.put_back(rest.unwrap_or(content));
    Ok(Form { token, length })
}

/// The token of a form, if it is there once, and the form without it, if it is there at all. The rest stays as it was
/// written, to the byte.
pub fn taken_out(content: &Bytes, field: &str) -> (Option<String>, Option<Bytes>) {
    let is_token = |pair: &[u8]| form_urlencoded::parse(pair).next().is_some_and(|(name, _)| name == field);
    let mut tokens = content.split(|byte| *byte == b'&').filter(|pair| is_token(pair));
    let Some(first) = tokens.next() else { return (None, None) };
    let is_only_one = tokens.next().is_none();
    let token = form_urlencoded::parse(first).next().map(|(_, value)| value.into_owned()).filter(|_| is_only_one);
    let mut rest = BytesMut::with_capacity(content.len());
    // Also a pair that is empty is one, so that the length does not say whether there is one before.
    let mut is_first = true;
    for pair in content.split(|byte| *byte == b'&').filter(|pair| !is_token(pair)) {
        if !is_first {
            rest.extend_from_slice(b"&");
        }
        is_first = false;
        rest.extend_from_slice(pair);
    }
    (token, Some(rest.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_taken_out_and_the_rest_stays() {
        let taken = |content: &str| {
            let (token, rest) = taken_out(&Bytes::copy_from_slice(content.as_bytes()), "the_token");
            (token, rest.map(|rest| String::from_utf8_lossy(&rest).into_owned()))
        };
        let with = |token: &str, rest: &str| (Some(token.to_owned()), Some(rest.to_owned()));
        assert_eq!(taken("the_token=abc&a=1&b=%20+x"), with("abc", "a=1&b=%20+x"));
        assert_eq!(taken("a=1&the_token=abc&b=2"), with("abc", "a=1&b=2"));
        assert_eq!(taken("a=1&the%5ftoken=a%2Dc"), with("a-c", "a=1"));
        assert_eq!(taken("the_token=abc"), with("abc", ""));
        assert_eq!(taken("&a=1&the_token=abc"), with("abc", "&a=1"));
        assert_eq!(taken("the_token=abc&&a=1&"), with("abc", "&a=1&"));
        assert_eq!(taken("the_token"), with("", ""));
        assert_eq!(taken("a=1&the_token=abc&the_token=abc"), (None, Some("a=1".to_owned())));
        for without in ["", "a=1", "a=1&&b", "the_token_2=x", "x=the_token=y", "a=1;the_token=x", "The_Token=x"] {
            assert_eq!(taken(without), (None, None), "{without}");
        }
    }
}
