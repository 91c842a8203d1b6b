//! The decision on one request. Straight calls, from the cheapest refusal to permission.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::policy::check::{self, Unusable, access, binding, csrf, lifetime, recency, rotation, tenant};
use crate::policy::facts::Facts;
use crate::policy::route_policy::{Access, RoutePolicy, SessionRules, Shield};
use crate::policy::trace::Trace;
use crate::policy::verdict::{CrossSite, Decision, Grant, Reason, Subject, Upkeep, Verdict};
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
    let mut shielded = Shielded { shield: route.csrf.as_deref(), reported: None };
    if let Some(refusal) = shielded.judge(|shield| csrf::elsewhere(shield, &presented, facts, trace)) {
        return plain(refusal);
    }
    let decision = if route.access == Access::Public {
        plain(Verdict::Allow(Grant::new(Subject::Nobody)))
    } else {
        match usable(rules, presented, facts, now, trace) {
            ControlFlow::Break(unusable) => without_session(route, unusable, trace),
            ControlFlow::Continue((session, upkeep)) => {
                match refusal(route, &session, facts, now, &mut shielded, trace) {
                    Some(refusal) => plain(refusal),
                    None => with_session(rules, &session, upkeep, now),
                }
            }
        }
    };
    Decision { cross_site: shielded.reported, ..decision }
}

/// The shield of the route, and for what it would have refused the request if it is only to report.
struct Shielded<'a> {
    shield: Option<&'a Shield>,
    reported: Option<CrossSite>,
}

impl Shielded<'_> {
    /// The refusal that follows from a check of the shield, if one does.
    fn judge(&mut self, check: impl FnOnce(&Shield) -> Option<CrossSite>) -> Option<Verdict> {
        let shield = self.shield?;
        let found = check(shield)?;
        if shield.is_enforced {
            return Some(Verdict::Deny(Reason::CrossSite(found)));
        }
        self.reported = self.reported.or(Some(found));
        None
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
    let rotation = rotation::generation(&session, generation, rules, now, trace)?;
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
    shielded: &mut Shielded<'_>,
    trace: &mut impl Trace,
) -> Option<Verdict> {
    // Nobody is asked for their password to be told that they may not.
    match session.principal {
        None if route.access == Access::Authenticated => return Some(Verdict::Challenge(Reason::Anonymous)),
        Some(principal) if !access::has_role(route, principal, trace) => {
            return Some(Verdict::Deny(Reason::MissingRole));
        }
        None | Some(_) => {}
    }
    if let Some(refusal) = shielded.judge(|shield| csrf::without_token(shield, session, facts, trace)) {
        return Some(refusal);
    }
    // What a stranger's session does is as recent as it gets.
    session.principal?;
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
    let verdict = Verdict::Allow(Grant::new(subject).at(level));
    Decision { verdict, upkeep, ends: None, locks: false, cross_site: None }
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
    Decision { verdict, upkeep: Upkeep::default(), ends: unusable.ends, locks: unusable.locks, cross_site: None }
}

fn plain(verdict: Verdict) -> Decision {
    Decision { verdict, upkeep: Upkeep::default(), ends: None, locks: false, cross_site: None }
}
