//! The decision on one request. Straight calls, from the cheapest refusal to permission.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::policy::check::{self, Unusable, access, binding, lifetime, recency, rotation, tenant};
use crate::policy::facts::Facts;
use crate::policy::route_policy::{Access, RoutePolicy, SessionRules};
use crate::policy::trace::Trace;
use crate::policy::verdict::{Decision, Grant, Reason, RotationStep, Subject, Upkeep, Verdict};
use crate::session::level;
use crate::session::live::SessionView;
use crate::session::timeouts::ACTIVITY_GRAIN;

/// The session that came with a request, as far as it was found.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'live> {
    /// None can be used, and why.
    Unusable(Reason),
    /// One was found, and its cookie's proof holds for this generation.
    Session {
        /// The session.
        session: SessionView<'live>,
        /// The generation of the cookie.
        generation: u32,
    },
}

/// Decides. `rules` hold for every session, `route` for where the request goes.
pub fn decide(
    rules: &SessionRules,
    route: &RoutePolicy,
    presented: Presented<'_>,
    facts: &Facts<'_>,
    now: Timestamp,
    trace: &mut impl Trace,
) -> Decision {
    trace.step("access", route.access.name());
    if route.access == Access::Public {
        return plain(Verdict::Allow(Grant::new(Subject::Nobody)));
    }
    match usable(rules, presented, facts, now, trace) {
        ControlFlow::Break(unusable) => without_session(route, unusable, trace),
        ControlFlow::Continue((session, upkeep)) => {
            if let Some(refusal) = refusal(route, &session, facts, now, trace) {
                return plain(refusal);
            }
            with_session(rules, &session, upkeep, now)
        }
    }
}

/// Whether the presented session can be used, and what upkeep it then needs.
fn usable<'live>(
    rules: &SessionRules,
    presented: Presented<'live>,
    facts: &Facts<'_>,
    now: Timestamp,
    trace: &mut impl Trace,
) -> ControlFlow<Unusable, (SessionView<'live>, Upkeep)> {
    let (session, generation) = match presented {
        Presented::Unusable(reason) => {
            trace.step("session", reason.name());
            return ControlFlow::Break(Unusable::as_is(reason));
        }
        Presented::Session { session, generation } => (session, generation),
    };
    trace.step("session", "found");
    tenant::own(&session, rules.tenant, trace)?;
    lifetime::not_revoked(&session, trace)?;
    let rotation = rotation::generation(&session, generation, &rules.rotation, now, trace)?;
    let locked = lifetime::within_limits(&session, &rules.lifetimes, now, trace)?;
    let report = binding::same_place(&session, &rules.binding, facts, trace)?;
    lifetime::not_locked(&session, locked, trace)?;
    let touch = now.since(session.active_at) >= ACTIVITY_GRAIN;
    ControlFlow::Continue((session, Upkeep { touch, rotation, report }))
}

/// Why somebody with a session to be used may not pass, if they may not.
fn refusal(
    route: &RoutePolicy,
    session: &SessionView<'_>,
    facts: &Facts<'_>,
    now: Timestamp,
    trace: &mut impl Trace,
) -> Option<Verdict> {
    let Some(principal) = session.principal else {
        return (route.access == Access::Authenticated).then_some(Verdict::Challenge(Reason::Anonymous));
    };
    // Nobody is asked for their password to be told that they may not.
    if !access::has_role(route, principal, trace) {
        return Some(Verdict::Deny(Reason::MissingRole));
    }
    if let Some(level) = &route.level
        && let Some(shortfall) = check::level::shortfall(level, session, now, trace)
    {
        return Some(Verdict::Deny(Reason::Level(shortfall)));
    }
    let asked = route.recency.as_ref()?;
    let stale = recency::stale(asked, session, facts.method, now, trace)?;
    Some(Verdict::Challenge(Reason::Stale(stale)))
}

/// The decision when there is a session that may pass.
fn with_session(rules: &SessionRules, session: &SessionView<'_>, upkeep: Upkeep, now: Timestamp) -> Decision {
    let subject = match session.principal {
        Some(principal) => Subject::User(session.handle, Arc::clone(principal)),
        None => Subject::Anonymous(session.handle),
    };
    // A stranger's session is of no level.
    let level = session.principal.and_then(|_| level::highest(&rules.levels, session, now));
    Decision { verdict: Verdict::Allow(Grant::new(subject).at(level)), upkeep, ends: None, locks: false }
}

/// The verdict when there is none.
fn without_session(route: &RoutePolicy, unusable: Unusable, trace: &mut impl Trace) -> Decision {
    let verdict = match route.access {
        Access::Public | Access::Optional => Verdict::Allow(Grant::new(Subject::Nobody)),
        // The cookie of another session would take the place of the locked one's.
        Access::Anonymous if matches!(unusable.reason, Reason::Locked(_)) => {
            Verdict::Allow(Grant::new(Subject::Nobody))
        }
        Access::Anonymous => Verdict::AllowWithNewSession(Grant::new(Subject::Nobody)),
        Access::Authenticated => Verdict::Challenge(unusable.reason),
    };
    trace.step("without a session", route.access.name());
    Decision { verdict, upkeep: Upkeep::default(), ends: unusable.ends, locks: unusable.locks }
}

fn plain(verdict: Verdict) -> Decision {
    let upkeep = Upkeep { rotation: RotationStep::None, ..Upkeep::default() };
    Decision { verdict, upkeep, ends: None, locks: false }
}
