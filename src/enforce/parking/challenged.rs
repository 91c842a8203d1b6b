//! A request that somebody must sign in for: whether it is one of their own that may be kept, and whose.

use std::sync::Arc;

use http::request::Parts;

use crate::base::clock::Timestamp;
use crate::policy::check::csrf;
use crate::policy::facts::Facts;
use crate::policy::origin::{self, Source};
use crate::policy::route_policy::RoutePolicy;
use crate::policy::trace::NoTrace;
use crate::policy::verdict::Reason;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::EndReason;

/// A request that somebody must sign in for.
pub struct Challenged<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// What it says of itself.
    pub facts: &'a Facts<'a>,
    /// What its route asks.
    pub route: &'a RoutePolicy,
    /// The session that came with it.
    pub live: Option<&'a Live>,
    /// Why they must.
    pub reason: Reason,
    /// When it came.
    pub now: Timestamp,
}

/// Whether the request would have been let through had the session lasted, as far as other sites are concerned.
pub(super) fn is_from_here(facts: &Facts<'_>) -> bool {
    origin::source(facts) == Source::Own
}

/// Whether it would have been refused for want of a token had the session lasted: the token is of that session.
pub(super) fn lacks_token(post: &Challenged<'_>) -> bool {
    let Some((shield, live)) = post.route.csrf.as_ref().filter(|shield| shield.is_enforced).zip(post.live) else {
        return false;
    };
    csrf::without_token(shield, &live.view(), post.facts, &mut NoTrace).is_some()
}

/// Whose it is, where that is known, and what they send may be kept for them.
pub(super) fn owner(live: Option<&Live>, reason: Reason) -> Option<&Arc<Principal>> {
    let may = match reason {
        // Nobody will sign in to whom it could be shown.
        Reason::Ended(EndReason::AccountDisabled) => false,
        Reason::Ended(_) | Reason::Locked(_) | Reason::Stale(_) | Reason::Elsewhere(_) => true,
        Reason::NoSession
        | Reason::InvalidCookie
        | Reason::SeveralSessions
        | Reason::UnknownSession
        | Reason::InvalidProof
        | Reason::Anonymous
        | Reason::MissingRole
        | Reason::Level(_)
        | Reason::CrossSite(_) => false,
    };
    live.filter(|_| may)?.principal()
}
