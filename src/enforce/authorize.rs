//! From a request's session to the verdict: decide, and do what the decision says.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::base::clock::Timestamp;
use crate::enforce::cross_site;
use crate::enforce::establish;
use crate::enforce::lookup::{Bad, Found, Search, search};
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::Snapshot;
use crate::enforce::tenant::Tenant;
use crate::limit::rate::Exceeded;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Answered;
use crate::policy::decide::{Presented, decide};
use crate::policy::facts::Facts;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::policy::trace::NoTrace;
use crate::policy::verdict::{Decision, Reason, RotationStep, Subject, Verdict};
use crate::session::binding::{Answer, Report};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::store::StoreError;

/// What came of a request's authorisation.
pub struct Authorized {
    /// The verdict, its upkeep done.
    pub verdict: Verdict,
    /// The session, when one was used.
    pub live: Option<Arc<Live>>,
    /// What the answer's cookies say.
    pub cookies: AnswerCookies,
    /// When the cookie is bad, and its address has sent too many of them: the request is refused for that, whatever the
    /// verdict.
    pub too_many: Option<Box<Exceeded>>,
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

    /// Adds a ready value, if there is one.
    pub fn extend(&mut self, value: Option<HeaderValue>) {
        self.set.extend(value);
    }

    /// Writes them into the head of an answer, at the moment it is sent: a successor that has been presented in the
    /// meantime is not offered again, so an old slow answer never overwrites a newer cookie.
    pub fn write(self, shared: &Shared, tenant: &Tenant, headers: &mut HeaderMap) {
        let offered = self
            .offer
            .filter(|(live, generation)| {
                live.rotation().generation.checked_add(1) == Some(*generation) && live.ended().is_none()
            })
            .and_then(|(live, generation)| establish::cookie(shared, tenant, &live, generation, shared.clock.now()));
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

/// Decides on a request and does what the decision says of the session.
///
/// # Errors
/// When the store fails. The request is then refused, whatever its route.
pub async fn authorize(
    shared: &Shared,
    tenant: &Tenant,
    route: &RoutePolicy,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Authorized, StoreError> {
    authorize_for(shared, tenant, route, facts, headers, now, true).await
}

/// The same for whoever only looks at their session: it does everything else that is done to one, and is no activity.
///
/// # Errors
/// When the store fails.
pub async fn look(
    shared: &Shared,
    tenant: &Tenant,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Authorized, StoreError> {
    let route = RoutePolicy::new(Access::Authenticated, Vec::new());
    authorize_for(shared, tenant, &route, facts, headers, now, false).await
}

async fn authorize_for(
    shared: &Shared,
    tenant: &Tenant,
    route: &RoutePolicy,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
    is_activity: bool,
) -> Result<Authorized, StoreError> {
    let search = match route.access {
        // The cookie of a public route is not read.
        Access::Public => Search { found: Err(Bad::innocent(Reason::NoSession)), has_strays: false },
        Access::Optional | Access::Anonymous | Access::Authenticated => {
            search(shared, tenant, headers, facts.client, now).await?
        }
    };
    let presented = match &search.found {
        Ok(found) => Presented::Session { session: found.live.view(), generation: found.generation },
        Err(bad) => Presented::Unusable(bad.reason),
    };
    let mut decision = decide(&tenant.rules, route, presented, facts, now, &mut NoTrace);
    decision.upkeep.touch &= is_activity;
    let mut cookies = AnswerCookies::default();
    if search.has_strays {
        cookies.set = tenant.cookie.delete_strays(&facts.host, &String::from_utf8_lossy(&facts.path.matched));
    }
    let (live, too_many) = match search.found {
        Ok(found) => (Some(found), None),
        Err(bad) => (None, bad.too_many),
    };
    // A browser that has lost its session among many, as when all are gone, comes again without the cookie and is let in.
    // Only in an answer that is made at once: a later one could take away what its person has signed in with since.
    if too_many.is_some() || (search.has_strays && live.is_none()) {
        cookies.set.extend(tenant.cookie.delete());
    }
    cross_site::note_decision(shared, &decision, facts, live.as_ref().map(|found| &*found.live));
    let verdict = apply(shared, decision, live.as_ref(), facts, now, &mut cookies).await?;
    // Whoever passes as nobody, because their session cannot be used, has no part in it: neither its limit nor its end.
    let is_used = !matches!(&verdict, Verdict::Allow(grant) if *grant.subject() == Subject::Nobody);
    let live = live.map(|found| found.live).filter(|_| is_used);
    Ok(Authorized { verdict, live, cookies, too_many })
}

/// The session of somebody who is signed in, as far as it can be used from where the request comes, or could if it were not
/// locked; nothing is done to it: for the page that asks them for their password again.
///
/// # Errors
/// When the store fails.
pub async fn recognised(
    shared: &Shared,
    tenant: &Tenant,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Arc<Live>>, StoreError> {
    let (live, decision) = looked_at(shared, tenant, facts, headers, now).await?;
    let is_theirs = matches!(decision, Some(Verdict::Allow(_) | Verdict::Challenge(Reason::Locked(_))));
    Ok(live.filter(|_| is_theirs))
}

/// The name of a session that can be used from where the request comes, and whose it is; nothing is done to it.
///
/// # Errors
/// When the store fails.
pub async fn recognised_session(
    shared: &Shared,
    tenant: &Tenant,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<(SessionHandle, Arc<Principal>)>, StoreError> {
    Ok(match looked_at(shared, tenant, facts, headers, now).await?.1 {
        Some(Verdict::Allow(grant)) => match grant.subject() {
            Subject::User(handle, principal) => Some((*handle, Arc::clone(principal))),
            Subject::Nobody | Subject::Anonymous(_) => None,
        },
        Some(Verdict::AllowWithNewSession(_) | Verdict::Challenge(_) | Verdict::Deny(_)) | None => None,
    })
}

/// The session of a request, and what is decided of it where somebody must be signed in.
async fn looked_at(
    shared: &Shared,
    tenant: &Tenant,
    facts: &Facts<'_>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(Option<Arc<Live>>, Option<Verdict>), StoreError> {
    let search = search(shared, tenant, headers, facts.client, now).await?;
    let Ok(found) = search.found else { return Ok((None, None)) };
    let presented = Presented::Session { session: found.live.view(), generation: found.generation };
    let route = RoutePolicy::new(Access::Authenticated, Vec::new());
    let decision = decide(&tenant.rules, &route, presented, facts, now, &mut NoTrace);
    Ok((Some(found.live), Some(decision.verdict)))
}

/// Why nothing passes with a session any more.
pub fn why_over(live: &Live, snapshot: &Snapshot) -> Reason {
    let principal = live.principal().map(|principal| &**principal);
    let limits = snapshot.lifetimes().of(live.tenant()).of(principal, live.is_remembered());
    live.ended().map_or(Reason::Locked(limits.idle), |(reason, _)| Reason::Ended(reason))
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
    if decision.locks {
        shared.lock_session(live, Some(facts.client));
    }
    if decision.upkeep.touch {
        shared.store.touch(live, now);
    }
    for (factor, answer) in decision.upkeep.report.all() {
        // What passes although more than a report was to follow does so in shadow mode.
        report(shared, live, Report { factor, answer, is_shadow: answer != Answer::Log }, facts.client);
    }
    if let Verdict::Challenge(Reason::Elsewhere(factor)) = decision.verdict {
        report(shared, live, Report { factor, answer: Answer::StepUp, is_shadow: false }, facts.client);
    }
    match decision.upkeep.rotation {
        RotationStep::None => {}
        RotationStep::Offer(generation) => cookies.offer = Some((Arc::clone(live), generation)),
        RotationStep::Commit(generation) => {
            let _reported = Rotating { shared, live, generation, client: facts.client, now };
            if !shared.asked("rotate", shared.store.rotate(live.handle(), generation, now)).await? {
                // It ended, or went on, between the decision and here.
                return Ok(Verdict::Challenge(Reason::UnknownSession));
            }
        }
    }
    Ok(decision.verdict)
}

/// The replacement of a secret. Reported when it is dropped, if it came about: a client that leaves while that is written
/// down has had its secret replaced all the same.
struct Rotating<'a> {
    shared: &'a Shared,
    live: &'a Live,
    generation: u32,
    client: IpAddr,
    now: Timestamp,
}

impl Drop for Rotating<'_> {
    fn drop(&mut self) {
        let Self { shared, live, generation, client, now } = *self;
        // Where the clock is late, that is before there was a session, which it then begins with.
        let presented_at = now.max(live.authenticated_at());
        let rotation = live.rotation();
        if (rotation.generation, rotation.presented_at) != (generation, presented_at) {
            return;
        }
        shared.metrics.rotations.inc();
        let handle = live.handle();
        let (client, session, tenant) = (Some(client), Some(&handle as _), live.tenant().told());
        shared.audit(AuditEvent::SessionRotated, AuditFields { client, session, tenant, ..AuditFields::default() });
    }
}

/// Reports that a session is used from elsewhere. Once a session: a browser that was moved makes hundreds of requests.
fn report(shared: &Shared, live: &Live, report: Report, client: IpAddr) {
    if !live.note_report(report) {
        return;
    }
    let labels = Answered { reason: report.factor.name(), answer: report.outcome() };
    let handle = live.handle();
    let fields = AuditFields {
        client: Some(client),
        session: Some(&handle),
        user: live.principal().map(|principal| &*principal.user),
        tenant: live.tenant().told(),
        reason: Some(labels.reason),
        answer: Some(labels.answer),
        ..AuditFields::default()
    };
    shared.audit(AuditEvent::BindingMismatch, fields);
    shared.metrics.binding_mismatches.get_or_create(&labels).inc();
}
