//! From a request's cookies to the session that they open: found by its name, proved by its secret, and decided by nobody.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;

use crate::base::clock::Timestamp;
use crate::enforce::shared::Shared;
use crate::enforce::tenant::Tenant;
use crate::limit::guesses::Guess;
use crate::limit::rate::Exceeded;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::policy::verdict::Reason;
use crate::session::cookie::{CookieSecret, MAX_CANDIDATES};
use crate::session::live::Live;
use crate::session::rotation::proves;
use crate::session::store::{Lookup, StoreError};

/// What too many bad cookies from one address are called.
pub const COOKIE_LIMIT: &str = "cookie_limit";

/// A session found by a request's cookie.
pub(super) struct Found {
    pub(super) live: Arc<Live>,
    pub(super) generation: u32,
}

/// Why a request's cookie opens no session.
pub(super) struct Bad {
    pub(super) reason: Reason,
    /// When its address has sent too many of them.
    pub(super) too_many: Option<Box<Exceeded>>,
}

impl Bad {
    /// One that is nobody's guess.
    pub(super) const fn innocent(reason: Reason) -> Self {
        Self { reason, too_many: None }
    }
}

/// What a request's cookies came to.
pub(super) struct Search {
    pub(super) found: Result<Found, Bad>,
    /// More than one cookie of our name came.
    pub(super) has_strays: bool,
}

/// Finds the session of a request without deciding anything: for our own pages, which tell nobody what came of it, and so
/// refuse nobody for a bad cookie. It is counted.
///
/// # Errors
/// When the store fails.
pub async fn current_session(
    shared: &Shared,
    tenant: &Tenant,
    headers: &HeaderMap,
    client: IpAddr,
    now: Timestamp,
) -> Result<Option<Arc<Live>>, StoreError> {
    let known = known_session(shared, tenant, headers, client, now).await?;
    Ok(known.filter(|live| live.ended().is_none()))
}

/// The same, also one that has ended.
///
/// # Errors
/// When the store fails.
pub async fn known_session(
    shared: &Shared,
    tenant: &Tenant,
    headers: &HeaderMap,
    client: IpAddr,
    now: Timestamp,
) -> Result<Option<Arc<Live>>, StoreError> {
    let search = search(shared, tenant, headers, client, now).await?;
    Ok(search.found.ok().map(|found| found.live))
}

/// Finds the one session that a request's cookies open. Of several cookies, as somebody who can set cookies for a
/// neighbouring host leaves behind, one is used only if no other opens to a session that lasts.
pub(super) async fn search(
    shared: &Shared,
    tenant: &Tenant,
    headers: &HeaderMap,
    client: IpAddr,
    now: Timestamp,
) -> Result<Search, StoreError> {
    let mut candidates = tenant.cookie.candidates(headers);
    let (Some(first), second) = (candidates.next(), candidates.next()) else {
        return Ok(Search { found: Err(Bad::innocent(Reason::NoSession)), has_strays: false });
    };
    let Some(second) = second else {
        let opened = open(shared, tenant, first, now).await?;
        let found = opened.map_err(|reason| note_bad(shared, tenant, first, client, reason));
        return Ok(Search { found, has_strays: false });
    };
    let all = [first, second].into_iter().chain(candidates).take(MAX_CANDIDATES);
    let found = Box::pin(only_one_that_lasts(shared, tenant, all, client, now)).await?;
    Ok(Search { found, has_strays: true })
}

/// Counts a cookie that opens no session by the address it came from, and reports it.
fn note_bad(shared: &Shared, tenant: &Tenant, value: &[u8], client: IpAddr, reason: Reason) -> Bad {
    Metrics::count(&shared.metrics.bad_cookies, reason.name());
    let guess = tenant.limits.bad_cookies.as_ref().map_or(Guess::New, |limit| limit.count(client, value));
    let event = match guess {
        Guess::Again => None,
        // It was ours and is no more: nobody's forgery, and too common to be reported each time.
        Guess::New if reason == Reason::UnknownSession => None,
        Guess::New => Some(AuditEvent::CookieRefused),
        Guess::TooMany { report, .. } => report.then_some(AuditEvent::CookiesGuessed),
    };
    if let Some(event) = event {
        let (client, reason) = (Some(client), Some(reason.name()));
        let fields = AuditFields { client, reason, tenant: tenant.id.told(), ..AuditFields::default() };
        shared.audit(event, fields);
    }
    let too_many = match guess {
        Guess::TooMany { exceeded, .. } => Some(Box::new(exceeded)),
        Guess::Again | Guess::New => None,
    };
    Bad { reason, too_many }
}

/// Of several cookies, the one whose session lasts, if there is just one.
async fn only_one_that_lasts<'request>(
    shared: &Shared,
    tenant: &Tenant,
    values: impl Iterator<Item = &'request [u8]>,
    client: IpAddr,
    now: Timestamp,
) -> Result<Result<Found, Bad>, StoreError> {
    let lasts = |found: &Found| found.live.ended().is_none();
    let mut best: Result<Found, Bad> = Err(Bad::innocent(Reason::InvalidCookie));
    for value in values {
        match (open(shared, tenant, value, now).await?, &mut best) {
            (Ok(found), Ok(other)) if found.live.handle() == other.live.handle() => {
                if found.generation > other.generation {
                    best = Ok(found);
                }
            }
            (Ok(found), Ok(other)) if lasts(&found) && lasts(other) => {
                return Ok(Err(Bad::innocent(Reason::SeveralSessions)));
            }
            (Ok(found), Ok(_)) if !lasts(&found) => {}
            (Ok(found), _) => best = Ok(found),
            // Each is a guess, also beside one that is good.
            (Err(reason), best) => {
                let bad = note_bad(shared, tenant, value, client, reason);
                if let Err(best) = best {
                    best.too_many = bad.too_many.or(best.too_many.take());
                }
            }
        }
    }
    Ok(best)
}

/// Opens one cookie, finds its session, and checks its proof.
async fn open(
    shared: &Shared,
    tenant: &Tenant,
    value: &[u8],
    now: Timestamp,
) -> Result<Result<Found, Reason>, StoreError> {
    let Some(CookieSecret { handle, generation, proof }) = tenant.cookie.open(value, now) else {
        return Ok(Err(Reason::InvalidCookie));
    };
    let live = match shared.store.lookup(handle) {
        Lookup::Hit(live) => Some(live),
        Lookup::Miss => None,
        Lookup::Later(later) => shared.asked("lookup", later).await?,
    };
    // Of another tenant's session it is not even told that there is one.
    let own = live.filter(|live| live.tenant() == tenant.id);
    Ok(match own {
        None => Err(Reason::UnknownSession),
        Some(live) if proves(live.seed(), generation, proof.expose()) => Ok(Found { live, generation }),
        Some(_) => Err(Reason::InvalidProof),
    })
}
