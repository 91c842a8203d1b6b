//! Asking somebody to sign in: a redirect for a person who is going somewhere, a page with the way there for one who is in a
//! frame, 401 for everything else.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, header};

use crate::enforce::body::AnswerBody;
use crate::enforce::framed;
use crate::enforce::parking::{Challenged, Outcome, PostId, owner_of};
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, Unsent};
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::PREFIX;
use crate::enforce::tenant::Tenant;
use crate::login::attempt::Return;
use crate::observe::metrics::Metrics;
use crate::policy::navigation::{Navigation, is_by_page_around};
use crate::policy::return_to::ReturnTo;

/// The answer to a request that somebody must sign in for, and what became of the form that they sent, if it was one.
pub fn challenge(
    shared: &Shared,
    tenant: &Tenant,
    asked: &Challenged<'_>,
    navigation: Navigation,
    outcome: Outcome,
) -> Response<AnswerBody> {
    let (parts, reason) = (asked.parts, asked.reason);
    Metrics::count(&shared.metrics.challenges, reason.name());
    if navigation == Navigation::None {
        let mut refused = respond::refused(&Refusal::Unauthenticated(reason), None);
        // Of a session that ends later, that is not so.
        refused.extensions_mut().insert(Unsent);
        return refused;
    }
    let to = back_to(parts, asked.facts.authority).unwrap_or_else(ReturnTo::start);
    let notice = outcome.notice(&reason.notice().unwrap_or_default());
    let whose = asked.live.and_then(|live| live.principal()).map(|owner| owner_of(tenant.id.name(), &owner.user));
    let back = Return { to, notice, whose, kept: outcome.kept().map(PostId::bytes), asked_at: None };
    let link = format!("{PREFIX}login?return={}", tenant.attempts.link(&shared.random, &back, asked.now));
    let mut led = match navigation {
        // Our login page is in nobody's frame: a page around it could make its person type elsewhere.
        Navigation::Frame => framed::out_of_frame(&tenant.look, &back.notice, &link),
        Navigation::Window | Navigation::None => respond::redirect(status_of(&parts.method), &link),
    };
    if reason.is_end() {
        respond::forget_pages(&mut led);
    }
    led
}

/// What a navigation is answered that somebody must sign in for.
pub fn status_of(method: &Method) -> StatusCode {
    if *method == Method::GET { StatusCode::FOUND } else { StatusCode::SEE_OTHER }
}

/// Where the person goes on: what they asked for, or, since a form that was posted cannot be fetched again, the page that
/// they sent it from, if it was one of this host's application.
pub(super) fn back_to(parts: &Parts, authority: &str) -> Option<ReturnTo> {
    if parts.method == Method::GET && !is_by_page_around(&parts.headers) {
        return asked_for(parts);
    }
    let page = page_sent_from(parts, authority);
    // What fills a frame is no page to go back to; the page around it is, and fills its frame again.
    if parts.method == Method::GET { page.or_else(|| asked_for(parts)) } else { page }
}

/// What was asked for.
pub(super) fn asked_for(parts: &Parts) -> Option<ReturnTo> {
    ReturnTo::new(parts.uri.path_and_query().map_or("/", PathAndQuery::as_str))
}

/// The page of this host's application that a request was sent from, if it was.
fn page_sent_from(parts: &Parts, authority: &str) -> Option<ReturnTo> {
    let page = parts.headers.get(header::REFERER)?.to_str().ok()?.strip_prefix("https://")?;
    let (host, path) = page.split_at_checked(authority.len())?;
    let is_of_application = host.eq_ignore_ascii_case(authority) && !path.starts_with(PREFIX);
    ReturnTo::new(path).filter(|_| is_of_application)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_form_leads_back_to_the_page_it_was_sent_from_and_to_no_other_host() {
        let back = |method: Method, referer: &str| {
            let request = Request::builder().method(method).uri("/pay?x=1").header("referer", referer).body(());
            let parts = request.expect("a request").into_parts().0;
            back_to(&parts, "App.test:8443").map(|to| to.as_str().to_owned())
        };
        assert_eq!(back(Method::GET, "https://app.test:8443/form").as_deref(), Some("/pay?x=1"));
        for (referer, expected) in [
            ("https://app.test:8443/form?of=7", Some("/form?of=7")),
            ("https://APP.test:8443/", Some("/")),
            ("https://app.test:8443", None),
            ("https://app.test:8443//evil.test/", None),
            ("https://app.test:8443/.vestibule/login", None),
            ("https://app.test:84431/form", None),
            ("https://app.test:8443@evil.test/form", None),
            ("https://evil.test/form", None),
            ("http://app.test:8443/form", None),
            ("https://app.test:844\u{e9}/form", None),
            ("/form", None),
            ("", None),
        ] {
            assert_eq!(back(Method::POST, referer).as_deref(), expected, "{referer}");
        }
    }
}
