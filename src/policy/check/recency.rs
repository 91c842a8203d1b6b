//! Is what is known of somebody recent enough for where they go? The session goes on elsewhere if it is not.

use http::Method;

use crate::base::clock::Timestamp;
use crate::policy::route_policy::Recency;
use crate::policy::trace::Trace;
use crate::policy::verdict::Stale;
use crate::session::live::SessionView;

/// What is not recent enough, if anything. As with the session's own limits, a limit is the first moment at which it is
/// not; and a clock that went back makes nothing stale.
pub fn stale(
    asked: &Recency,
    session: &SessionView<'_>,
    method: &Method,
    now: Timestamp,
    trace: &mut impl Trace,
) -> Option<Stale> {
    let age = now.since(session.authenticated_at);
    let pause = now.since(session.active_at).max(session.longest_pause);
    let found = if asked.absolute.is_some_and(|limit| age >= limit) {
        Some(Stale::Absolute)
    } else if asked.idle.is_some_and(|limit| pause >= limit) {
        Some(Stale::Idle)
    } else if asked.max_auth_age.is_some_and(|limit| age >= limit) && asked.is_for(method) {
        Some(Stale::Proof)
    } else {
        None
    };
    trace.step("recency", found.map_or("recent enough", Stale::name));
    found
}
