//! Has the session ended, or reached one of its limits?

use std::ops::ControlFlow;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::policy::check::Unusable;
use crate::policy::trace::Trace;
use crate::policy::verdict::Reason;
use crate::session::live::SessionView;
use crate::session::timeouts::{Lifetimes, Over};

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

/// A session that reached one of its limits ends, or is locked: for how long it was idle then. Its person's roles count as
/// they are now.
pub fn within_limits(
    session: &SessionView<'_>,
    lifetimes: &Lifetimes,
    now: Timestamp,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable, Option<Duration>> {
    match lifetimes.over(session, now) {
        Some(Over::End(reason)) => {
            trace.step("lifetime", reason.name());
            ControlFlow::Break(Unusable::and_ends(reason))
        }
        Some(Over::Lock(idle)) => {
            trace.step("lifetime", "idle for too long, so it is locked");
            ControlFlow::Continue(Some(idle))
        }
        None => {
            trace.step("lifetime", "within its limits");
            ControlFlow::Continue(None)
        }
    }
}

/// Nothing passes with a locked session. Looked at last: who is told that theirs is locked is told whose it is.
pub fn not_locked(session: &SessionView<'_>, idle: Option<Duration>, trace: &mut impl Trace) -> ControlFlow<Unusable> {
    let Some(idle) = idle else { return ControlFlow::Continue(()) };
    trace.step("lock", if session.is_locked { "it is locked" } else { "it is locked from now on" });
    ControlFlow::Break(Unusable { locks: !session.is_locked, ..Unusable::as_is(Reason::Locked(idle)) })
}
