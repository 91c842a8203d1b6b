//! From the cookie to the verdict: open it, find the session, decide, and do what the decision says.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::base::clock::Timestamp;
use crate::enforce::establish;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::Snapshot;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::policy::decide::{Presented, decide};
use crate::policy::facts::Facts;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::policy::trace::NoTrace;
use crate::policy::verdict::{Decision, Reason, RotationStep, Subject, Verdict};
use crate::session::cookie::{CookieSecret, MAX_CANDIDATES, SessionCookie};
use crate::session::live::Live;
use crate::session::rotation::proves;
use crate::session::store::{Lookup, StoreError};

/// What came of a request's authorisation.
pub struct Authorized {
    /// The verdict, its upkeep done.
    pub verdict: Verdict,
    /// The session, when one was used.
    pub live: Option<Arc<Live>>,
    /// What the answer's cookies say.
    pub cookies: AnswerCookies,
}

/// What the answer says in `Set-Cookie`.
#[derive(Default)]
pub struct AnswerCookies {
    /// The successor that is offered, if it still is one when the answer's head is sent.
    offer: Option<(Arc<Live>, u32)>,
    /// Ready values.
    set: Vec<HeaderValue>,
}

impl AnswerCookies {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.offer.is_none() && self.set.is_empty()
    }

    /// Adds a ready value.
    pub fn push(&mut self, value: HeaderValue) {
        self.set.push(value);
    }

    /// Writes them into the head of an answer, at the moment it is sent: a successor that has been presented in the
    /// meantime is not offered again, so an old slow answer never overwrites a newer cookie.
    pub fn write(self, shared: &Shared, snapshot: &Snapshot, headers: &mut HeaderMap) {
        let offered = self
            .offer
            .filter(|(live, generation)| {
                live.rotation().generation.checked_add(1) == Some(*generation) && live.ended().is_none()
            })
            .and_then(|(live, generation)| establish::cookie(shared, snapshot, &live, generation, shared.clock.now()));
        let mut all = self.set.into_iter().chain(offered).peekable();
        if all.peek().is_none() {
            return;
        }
        for value in all {
            headers.append(header::SET_COOKIE, value);
        }
        // An answer that hands out a session's secret is kept by nobody.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// A session found by a request's cookie.
struct Found {
    live: Arc<Live>,
    generation: u32,
}

/// What a request's cookies came to.
struct Search {
    found: Result<Found, Reason>,
    /// More than one cookie of our name came.
    has_strays: bool,
}

/// Decides on a request and does what the decision says of the session.
///
/// # Errors
/// When the store fails. The request is then refused, whatever its route.
pub async fn authorize(
    shared: &Shared,
    snapshot: &Snapshot,
    route: &RoutePolicy,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Authorized, StoreError> {
    let search = match route.access {
        // The cookie of a public route is not read.
        Access::Public => Search { found: Err(Reason::NoSession), has_strays: false },
        Access::Optional | Access::Anonymous | Access::Authenticated => {
            search(shared, &snapshot.cookie, headers, now).await?
        }
    };
    let presented = match &search.found {
        Ok(found) => Presented::Session { session: found.live.view(), generation: found.generation },
        Err(reason) => Presented::Unusable(*reason),
    };
    let decision = decide(&snapshot.rules, route, presented, facts, now, &mut NoTrace);
    if let Err(reason @ (Reason::InvalidCookie | Reason::InvalidProof)) = search.found {
        let fields = AuditFields { client: Some(facts.client), reason: Some(reason.name()), ..AuditFields::default() };
        shared.audit(AuditEvent::CookieRefused, fields);
    }
    let mut cookies = AnswerCookies::default();
    if search.has_strays {
        cookies.set = snapshot.cookie.delete_strays(&facts.host, &String::from_utf8_lossy(&facts.path.matched));
        if search.found.is_err() {
            cookies.set.extend(snapshot.cookie.delete());
        }
    }
    let live = search.found.ok();
    let verdict = apply(shared, decision, live.as_ref(), facts, now, &mut cookies).await?;
    // Whoever passes as nobody, because their session cannot be used, has no part in it: neither its limit nor its end.
    let is_used = !matches!(&verdict, Verdict::Allow(grant) if *grant.subject() == Subject::Nobody);
    let live = live.map(|found| found.live).filter(|_| is_used);
    Ok(Authorized { verdict, live, cookies })
}

/// Finds the session of a request without deciding anything: for our own pages.
///
/// # Errors
/// When the store fails.
pub async fn current_session(
    shared: &Shared,
    snapshot: &Snapshot,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Arc<Live>>, StoreError> {
    let search = search(shared, &snapshot.cookie, headers, now).await?;
    Ok(search.found.ok().map(|found| found.live).filter(|live| live.ended().is_none()))
}

/// Finds the one session that a request's cookies open. Of several cookies, as somebody who can set cookies for a
/// neighbouring host leaves behind, one is used only if no other opens to a session that lasts.
async fn search(
    shared: &Shared,
    cookie: &SessionCookie,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Search, StoreError> {
    let mut candidates = cookie.candidates(headers);
    let (Some(first), second) = (candidates.next(), candidates.next()) else {
        return Ok(Search { found: Err(Reason::NoSession), has_strays: false });
    };
    let Some(second) = second else {
        return Ok(Search { found: open(shared, cookie, first, now).await?, has_strays: false });
    };
    let all = [first, second].into_iter().chain(candidates).take(MAX_CANDIDATES);
    Ok(Search { found: Box::pin(only_one_that_lasts(shared, cookie, all, now)).await?, has_strays: true })
}

/// Of several cookies, the one whose session lasts, if there is just one.
async fn only_one_that_lasts<'request>(
    shared: &Shared,
    cookie: &SessionCookie,
    values: impl Iterator<Item = &'request [u8]>,
    now: Timestamp,
) -> Result<Result<Found, Reason>, StoreError> {
    let lasts = |found: &Found| found.live.ended().is_none();
    let mut best: Result<Found, Reason> = Err(Reason::InvalidCookie);
    for value in values {
        match (open(shared, cookie, value, now).await?, &best) {
            (Ok(found), Ok(other)) if found.live.handle() == other.live.handle() => {
                if found.generation > other.generation {
                    best = Ok(found);
                }
            }
            (Ok(found), Ok(other)) if lasts(&found) && lasts(other) => return Ok(Err(Reason::SeveralSessions)),
            (Ok(found), Ok(_)) if !lasts(&found) => {}
            (Ok(found), _) => best = Ok(found),
            (Err(_), _) => {}
        }
    }
    Ok(best)
}

/// Opens one cookie, finds its session, and checks its proof.
async fn open(
    shared: &Shared,
    cookie: &SessionCookie,
    value: &[u8],
    now: Timestamp,
) -> Result<Result<Found, Reason>, StoreError> {
    let Some(CookieSecret { handle, generation, proof }) = cookie.open(value, now) else {
        return Ok(Err(Reason::InvalidCookie));
    };
    let live = match shared.store.lookup(handle) {
        Lookup::Hit(live) => Some(live),
        Lookup::Miss => None,
        Lookup::Later(later) => shared.asked(later).await?,
    };
    Ok(match live {
        None => Err(Reason::UnknownSession),
        Some(live) if proves(live.seed(), generation, proof.expose()) => Ok(Found { live, generation }),
        Some(_) => Err(Reason::InvalidProof),
    })
}

/// Does what a decision says of the session.
async fn apply(
    shared: &Shared,
    decision: Decision,
    found: Option<&Found>,
    facts: &Facts<'_>,
    now: Timestamp,
    cookies: &mut AnswerCookies,
) -> Result<Verdict, StoreError> {
    let Some(Found { live, .. }) = found else { return Ok(decision.verdict) };
    if let Some(reason) = decision.ends {
        Box::pin(shared.end_session(live.handle(), reason, Some(facts.client), now)).await?;
    }
    if decision.upkeep.touch {
        shared.store.touch(live, now);
    }
    if let Some(factor) = decision.upkeep.report {
        Metrics::count(&shared.metrics.binding_mismatches, factor.name());
        let handle = live.handle();
        let fields = AuditFields {
            client: Some(facts.client),
            session: Some(&handle),
            reason: Some(factor.name()),
            ..AuditFields::default()
        };
        shared.audit(AuditEvent::BindingMismatch, fields);
    }
    match decision.upkeep.rotation {
        RotationStep::None => {}
        RotationStep::Offer(generation) => cookies.offer = Some((Arc::clone(live), generation)),
        RotationStep::Commit(generation) => {
            if !shared.asked(shared.store.rotate(live.handle(), generation, now)).await? {
                // It ended, or went on, between the decision and here.
                return Ok(Verdict::Challenge(Reason::UnknownSession));
            }
            shared.metrics.rotations.inc();
            let handle = live.handle();
            let fields = AuditFields { client: Some(facts.client), session: Some(&handle), ..AuditFields::default() };
            shared.audit(AuditEvent::SessionRotated, fields);
        }
    }
    Ok(decision.verdict)
}
