//! The only place that turns a refusal into an answer.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::base::units;
use crate::enforce::body::AnswerBody;
use crate::enforce::pages::look::Look;
use crate::enforce::pages::{self, MessagePage, Rendered};
use crate::enforce::refusal::Refusal;
use crate::enforce::snapshot::PREFIX;
use crate::limit::rate::{Allowed, Exceeded};
use crate::observe::correlation;
pub use crate::policy::navigation::is_for_person;
use crate::policy::verdict::Reason;
use crate::session::level::Shortfall;

/// The answer to a request that is refused: a page for a person, by the look of whose host it is, JSON for everyone else.
pub fn refused(refusal: &Refusal, person: Option<&Look>) -> Response<AnswerBody> {
    let mut response = match person {
        Some(look) => refused_person(refusal, look),
        None => {
            let (status, (_, standard, _)) = (refusal.status(), pages::words(refusal.status().as_u16()));
            let message = match refusal.cross_site() {
                Some(found) => found.sentence_for_programs(),
                None => refusal.message().unwrap_or(standard),
            };
            json(status, &error_json(refusal, message))
        }
    };
    if refusal.is_before_sending() {
        response.extensions_mut().insert(Unsent);
    }
    let headers = response.headers_mut();
    if let Some(wait) = refusal.retry_after() {
        // Rounded up: a client that comes back a moment too early is refused again.
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64));
    }
    if let Refusal::TooMany(name, exceeded) = refusal {
        say_limit(headers, name, *exceeded);
    }
    if let Refusal::Method(allowed) = refusal {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if refusal.status() == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(WWW_AUTHENTICATE));
    }
    response
}

/// The page for a person who is refused.
fn refused_person(refusal: &Refusal, look: &Look) -> Response<AnswerBody> {
    // Whoever asks too much, or has not been counted yet, is not given a hundred times what they sent.
    let is_plain = matches!(refusal, Refusal::TooMany(..) | Refusal::Malformed(_) | Refusal::Misdirected);
    let plain = is_plain.then(|| look.without_logo());
    let look = plain.as_ref().unwrap_or(look);
    let standard = MessagePage::for_status(look, refusal.status().as_u16());
    let mut page = match refusal.message() {
        Some(message) => MessagePage { message, ..standard },
        None => standard,
    };
    if let Refusal::Forbidden(Reason::Level(shortfall)) = refusal {
        page.title = shortfall.title();
    }
    let advice = advice(refusal);
    if !advice.is_empty() {
        page.advice = &advice;
    }
    let logout = format!("{PREFIX}logout");
    match refusal.cross_site() {
        Some(found) => (page.title, page.advice) = ("This was not carried out", found.advice()),
        None if matches!(refusal, Refusal::Forbidden(Reason::Level(Shortfall::TooNew(_)))) => {}
        None if matches!(refusal, Refusal::Forbidden(_)) => {
            // Whoever has two accounts is in the wrong one.
            page.action = Some(("Sign out", &logout));
        }
        None if matches!(refusal, Refusal::NoNavigation) => {
            (page.title, page.advice) = ("This was not carried out", "Open it in a window of its own, and try again.");
        }
        None if matches!(refusal, Refusal::NoPage) => {
            page.action = Some(("Go to the front page", "/"));
        }
        None => {}
    }
    message(page)
}

/// A page that says one thing. Where that is that something went wrong, it says which request it was, as the log has it.
pub fn message(page: MessagePage<'_>) -> Response<AnswerBody> {
    let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let id = correlation::current();
    let request_id = id.as_ref().and_then(|id| id.to_str().ok());
    html(status, MessagePage { request_id, ..page }.render())
}

/// What marks an answer of ours to a request that certainly has not reached an application.
#[derive(Clone, Copy, Debug)]
pub struct Unsent;

/// Says in the answer to a refusal that what was to be sent is still kept, and where: on a page of ours, or as one more
/// member of its JSON. The fields of its head stay as they are.
pub fn say_kept(response: &mut Response<AnswerBody>, look: &Look, page: &str) {
    let status = response.status();
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == JSON) {
        return say_kept_in_json(response.body_mut(), page);
    }
    if !response.headers().contains_key(header::CONTENT_SECURITY_POLICY) {
        return;
    }
    // As the page was that this one takes the place of.
    let is_plain =
        matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_REQUEST | StatusCode::MISDIRECTED_REQUEST);
    let plain = is_plain.then(|| look.without_logo());
    let (look, status) = (plain.as_ref().unwrap_or(look), status.as_u16());
    let advice = "What you sent has not reached the application, and is still kept. You can look at it and try again.";
    let action = Some(("Show what is kept", page));
    let told = message(MessagePage { advice, action, ..MessagePage::for_status(look, status) });
    *response.body_mut() = told.into_body();
}

fn say_kept_in_json(body: &mut AnswerBody, page: &str) {
    let AnswerBody::Own(content) = body else { return };
    let content = content.clone().into_inner().unwrap_or_default();
    if let Some(members) = content.strip_suffix(b"}\n") {
        let page = serde_json::Value::from(page).to_string();
        *body = AnswerBody::own([members, b",\"kept\":", page.as_bytes(), b"}\n"].concat());
    }
}

/// What a person can do about a refusal, where that says more than its status; empty where it does not.
fn advice(refusal: &Refusal) -> String {
    if let Refusal::Forbidden(Reason::Level(Shortfall::WasAway(after))) = refusal {
        return format!("Sign out, and sign in again. It opens {} after that.", units::in_words(*after));
    }
    if let Refusal::NoRoute = refusal {
        // There is no front page either: a route for it would have been one for this.
        return "Check it for typing mistakes.".to_owned();
    }
    if let Refusal::TooMany(..) | Refusal::Forbidden(_) = refusal {
        return refusal.retry_after().map(when).unwrap_or_default();
    }
    String::new()
}

/// When a person may try again: no sooner than `Retry-After` has it.
fn when(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    match seconds {
        1 => "Wait a second, then try again.".to_owned(),
        2..60 => format!("Wait {seconds} seconds, then try again."),
        60 => "Wait a minute, then try again.".to_owned(),
        _ => format!("Wait {} minutes, then try again.", seconds.div_ceil(60)),
    }
}

/// Says which limit it was, in the fields of draft-ietf-httpapi-ratelimit-headers. Only what is refused says so: browsers
/// make nothing of it, a program that paces itself needs it then at the latest, and every other answer would be longer
/// for it, and tell whoever tries out how far they can go.
///
/// What is said is the rate, without a burst: who spreads so many over so much time is never refused.
fn say_limit(headers: &mut HeaderMap, name: &str, exceeded: Exceeded) {
    let seconds = |span: Duration| span.as_millis().div_ceil(1000).max(1);
    let (policy, until) = match exceeded.allowed {
        Allowed::Rate(rate) => {
            let policy = format!("\"{name}\";q={};w={}", rate.count, seconds(rate.per));
            (policy, format!(";t={}", seconds(exceeded.retry_after)))
        }
        // Nobody knows when there is room again.
        Allowed::Requests(most) => (format!("\"{name}\";q={most};qu=\"concurrent-requests\""), String::new()),
        Allowed::Sessions(most) => (format!("\"{name}\";q={most};qu=\"sessions\""), String::new()),
    };
    for (field, text) in [("ratelimit-policy", policy), ("ratelimit", format!("\"{name}\";r=0{until}"))] {
        // Names are ours, and made of letters.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(field, value);
        }
    }
}

/// RFC 9110 section 15.5.2 asks for a challenge. Browsers ask for no password when they do not know the scheme.
pub(super) const WWW_AUTHENTICATE: &str = "Cookie realm=\"vestibule\", form-action=\"/.vestibule/login\"";

fn error_json(refusal: &Refusal, message: &str) -> String {
    let mut text = String::new();
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    // The error is the kind of refusal, the reason which one of that kind.
    let error = match refusal.status() {
        StatusCode::UNAUTHORIZED => "unauthenticated",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        _ => refusal.shown(),
    };
    let _ = write!(
        text,
        "{{\"error\":{},\"reason\":{},\"message\":{}",
        quoted(error),
        quoted(refusal.shown()),
        quoted(message)
    );
    if let Refusal::Unauthenticated(_) = refusal {
        let _ = write!(text, ",\"login\":{}", quoted(&format!("{PREFIX}login")));
    }
    text.push('}');
    text
}

/// One of our own pages.
pub fn html(status: StatusCode, page: Rendered) -> Response<AnswerBody> {
    let mut response = own(status, page.text, "text/html; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

const JSON: &str = "application/json";

/// An answer for programs.
pub fn json(status: StatusCode, body: &str) -> Response<AnswerBody> {
    own(status, format!("{body}\n"), JSON)
}

/// Bytes that are no page of ours.
pub fn octets(content: Vec<u8>) -> Response<AnswerBody> {
    own(StatusCode::OK, content, "application/octet-stream")
}

/// A redirect. After a POST, 303 makes the browser fetch the new place with GET (RFC 9110 section 15.4.4).
pub fn redirect(status: StatusCode, to: &str) -> Response<AnswerBody> {
    let mut response = own(status, String::new(), "text/plain");
    response.headers_mut().remove(header::CONTENT_TYPE);
    match HeaderValue::from_str(to) {
        Ok(to) => {
            response.headers_mut().insert(header::LOCATION, to);
            response
        }
        Err(_) => refused(&Refusal::Internal, None),
    }
}

/// Has the browser forget the pages it keeps of this origin: what a person saw must not come back by its Back button when
/// their session is over. Not "cookies": the whole domain's would go.
pub fn forget_pages(response: &mut Response<AnswerBody>) {
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
}

fn own(status: StatusCode, content: impl Into<Bytes>, kind: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::own(content));
    *response.status_mut() = status;
    let fields = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_names_our_login_page() {
        assert!(WWW_AUTHENTICATE.ends_with(&format!("form-action=\"{PREFIX}login\"")));
    }

    #[test]
    fn a_person_is_told_to_wait_as_long_as_a_program_is() {
        for (millis, words) in [
            (0, "Wait a second,"),
            (1000, "Wait a second,"),
            (1001, "Wait 2 seconds,"),
            (59_000, "Wait 59 seconds,"),
            (59_001, "Wait a minute,"),
            (60_001, "Wait 2 minutes,"),
            (120_000, "Wait 2 minutes,"),
            (120_001, "Wait 3 minutes,"),
        ] {
            let advice = when(Duration::from_millis(millis));
            assert!(advice.starts_with(words), "{millis}: {advice}");
        }
    }
}
