//! Has the session ended, or reached one of its limits?

use std::ops::ControlFlow;

use crate::base::clock::Timestamp;
use crate::policy::check::Unusable;
use crate::policy::trace::Trace;
use crate::policy::verdict::Reason;
use crate::session::live::SessionView;
use crate::session::timeouts::Lifetimes;

/// A session that was ended stays ended.
pub fn not_revoked(session: &SessionView<'_>, trace: &mut impl Trace) -> ControlFlow<Unusable> {
    match session.ended {
        Some((reason, _)) => {
            trace.step("revoked", "it has ended");
            ControlFlow::Break(Unusable::as_is(Reason::Ended(reason)))
        }
        None => {
            trace.step("revoked", "no");
            ControlFlow::Continue(())
        }
    }
}

/// A session that reached its idle or absolute limit ends. Its person's roles count as they are now.
pub fn within_limits(
    session: &SessionView<'_>,
    lifetimes: &Lifetimes,
    now: Timestamp,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable> {
    let limits = lifetimes.of(session.principal.map(|principal| &**principal));
    match limits.over(session.authenticated_at, session.active_at, now) {
        Some(reason) => {
            trace.step("lifetime", reason.name());
            ControlFlow::Break(Unusable::and_ends(reason))
        }
        None => {
            trace.step("lifetime", "within its limits");
            ControlFlow::Continue(())
        }
    }
}
