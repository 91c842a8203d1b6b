//! Was a request that may change something caused by the application's own pages, or by another site's?
//!
//! Browsers send cookies along with what any site makes them ask (CSRF), and open WebSockets for any site. Who made a
//! browser ask, it says itself. That is judged before the session is: so what another site is refused does not depend on
//! whether somebody is signed in, and whoever is asked to sign in sent what the shield lets through.

use crate::policy::decide::Presented;
use crate::policy::facts::Facts;
use crate::policy::origin::{self, Source};
use crate::policy::route_policy::Shield;
use crate::policy::trace::Trace;
use crate::policy::verdict::{CrossSite, Reason};
use crate::session::csrf_token;
use crate::session::live::SessionView;

/// Why a request does not come from the application's own pages, as far as it must.
///
/// One that says nothing of where it comes from is no browser's of this decade. It is refused when a session cookie came
/// with it, be that good or not; without one it has nobody's rights.
pub fn elsewhere(
    shield: &Shield,
    presented: &Presented<'_>,
    facts: &Facts<'_>,
    trace: &mut impl Trace,
) -> Option<CrossSite> {
    if facts.is_websocket {
        let is_allowed = origin::is_own_origin_or(facts, &shield.websocket_origins);
        trace.step(
            "csrf",
            if is_allowed { "a WebSocket of an allowed origin" } else { "a WebSocket of another origin" },
        );
        return (!is_allowed).then_some(CrossSite::WebSocket);
    }
    if !origin::is_unsafe(facts.method) {
        trace.step("csrf", "changes nothing");
        return None;
    }
    if shield.is_for_sockets_alone {
        trace.step("csrf", "off: other sites may send here");
        return None;
    }
    let has_cookie = !matches!(presented, Presented::Unusable(Reason::NoSession));
    let (found, words) = judge(facts, has_cookie);
    trace.step("csrf", words);
    found
}

/// The judgement itself, of a request that may change something, in words too: also of those for our own pages.
pub fn judge(facts: &Facts<'_>, has_cookie: bool) -> (Option<CrossSite>, &'static str) {
    match origin::source(facts) {
        Source::Own => (None, "the same origin"),
        Source::Elsewhere => (Some(CrossSite::Elsewhere), "another site"),
        Source::Unsaid if has_cookie => (Some(CrossSite::Unsaid), "a session cookie, and no word on where it is from"),
        Source::Unsaid => (None, "no session cookie, and no word on where it is from"),
    }
}

/// Whether a request that may change something lacks the session's token, where the route asks for it.
pub fn without_token(
    shield: &Shield,
    session: &SessionView<'_>,
    facts: &Facts<'_>,
    trace: &mut impl Trace,
) -> Option<CrossSite> {
    let names = shield.token.as_ref()?;
    if facts.is_websocket || !origin::is_unsafe(facts.method) {
        return None;
    }
    let mut shown = facts.headers.get_all(&names.header).iter();
    let token = match (shown.next(), shown.next()) {
        (Some(one), None) => Some(one.as_bytes()),
        (Some(_), Some(_)) => None,
        (None, _) => facts.form_token.map(str::as_bytes),
    };
    let found = match token {
        Some(token) if csrf_token::is_of(session.seed, token) => "the session's",
        Some(_) => "not the session's",
        None => "none, or several",
    };
    trace.step("token", found);
    (found != "the session's").then_some(CrossSite::Token)
}
